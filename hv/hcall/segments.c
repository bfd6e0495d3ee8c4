#include "guest/segments.h"
#include "guest/access.h"
#include "hcall/hcall.h"

HYPERCALL(set_gdt)
{
    u64 list[GUEST_GDT_PAGES];
    u32 entries = (u32)a2, pages = DIV_ROUND_UP(entries, 512);

    if (entries > GUEST_GDT_PAGES * 512)
        return -XEN_EINVAL;
    if (copy_from_guest(list, (const void *)a1, pages * sizeof(u64)))
        return -XEN_EFAULT;
    return segments_set_gdt(v, list, entries);
}

HYPERCALL(update_descriptor)
{
    return segments_update_descriptor(v->domain, a1, a2);
}

HYPERCALL(set_segment_base)
{
    return segments_set_base(v, (unsigned)a1, a2);
}
