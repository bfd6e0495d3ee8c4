/* What hv/x86/guest_mem.h does, without its repair of faults: the machine knows what is mapped. */
#ifndef MACHINE_X86_GUEST_MEM_H
#define MACHINE_X86_GUEST_MEM_H

#include "x86/entry.h"

static inline must_check bool guest_read_pair(const void *u_src, u64 *a, u64 *b)
{
    u64 pair[2];

    if (guest_copy_raw(pair, u_src, sizeof(pair)))
        return false;
    *a = pair[0];
    *b = pair[1];
    return true;
}

static inline u64 read_or_zero(const u64 *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

#endif
