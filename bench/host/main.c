/* The measured program of `make bench-host`: see measure.h. */
#include "measure.h"

/* Ten instructions, and three that end in a jump to the ten: what the counting is checked with. */
void measured_ten(void);
void measured_thirteen(void);
__asm__(".text\n.type measured_ten, @function\nmeasured_ten:\n"
        ".rept 9\nnop\n.endr\nret\n.size measured_ten, . - measured_ten\n"
        ".type measured_thirteen, @function\nmeasured_thirteen:\n"
        "nop\nnop\njmp ten_more\n.size measured_thirteen, . - measured_thirteen\n"
        ".type ten_more, @function\nten_more:\n"
        ".rept 9\nnop\n.endr\nret\n.size ten_more, . - ten_more\n");

int main(void)
{
    measure_begin();
    measured_ten();
    measure_keep("check|ten||0");
    measure_begin();
    measured_thirteen();
    measured_ten();
    measure_keep("check|twenty-three||0");
    sched_cases();
    load_cases();
    other_cases();
    vfr_packet_cases();
    vfr_rules_cases();
    vfr_leases_cases();
    vfr_flow_cases();
    return 0;
}
