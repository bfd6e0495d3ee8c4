/*
 * Has a domain's log of dirty pages on for so many seconds, and reads it once a second, as live
 * migration does between its rounds; prints how many pages were dirty each time:
 * logdirty DOMID SECONDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xenctrl.h>

#define PAGES (1ul << 16) /* of a guest of 256 MiB */

int main(int argc, char **argv)
{
    xc_interface *xch = xc_interface_open(NULL, NULL, 0);
    DECLARE_HYPERCALL_BUFFER(unsigned long, map);
    xc_shadow_op_stats_t stats;

    if (argc < 3 || !xch)
        return 2;
    uint32_t id = (uint32_t)atoi(argv[1]);
    map = xc_hypercall_buffer_alloc_pages(xch, map, PAGES / 8 / XC_PAGE_SIZE);
    if (!map || xc_shadow_control(xch, id, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, NULL, 0) < 0) {
        perror("logdirty");
        return 1;
    }
    for (int i = atoi(argv[2]); i; i--) {
        if (xc_logdirty_control(xch, id, XEN_DOMCTL_SHADOW_OP_CLEAN, HYPERCALL_BUFFER(map),
                                PAGES, 0, &stats) < 0) {
            perror("logdirty");
            return 1;
        }
        printf("dirty %u\n", stats.dirty_count);
        sleep(1);
    }
    return xc_shadow_control(xch, id, XEN_DOMCTL_SHADOW_OP_OFF, NULL, 0) < 0;
}
