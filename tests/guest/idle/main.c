/*
 * For domain 0's tools to look at: sleeps, and wakes now and then. An image of its own, because
 * guests of it are had by the hundred.
 */
#include "guest.h"

void guest_main(struct start_info *si);

void guest_main(struct start_info *si)
{
    guest_begin(si);
    for (;;)
        poll_port(timer_port(), clock_ns() + 100000000);
}
