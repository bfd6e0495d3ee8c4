/* What each image does first. */
#include "guest.h"

struct shared_info *shared;
struct vcpu_info *vi;
static u8 shared_page[PAGE_SIZE] __attribute__((aligned(4096)));

/* The shared page takes the place of a page of the image. */
static void map_shared(void)
{
    if (hc_update_va(shared_page, start->shared_info | PTE_KERN, UVMF_INVLPG))
        die("cannot map shared_info");
    shared = (struct shared_info *)shared_page;
    vi = &shared->vcpu_info[0];
}

void guest_begin(struct start_info *si)
{
    static xen_extraversion_t extra;

    start = si;
    hc_version(XENVER_extraversion, extra);
    is_serai = has_prefix(extra, "-serai");
    map_shared();
    trap_init();
    mem_init();
}
