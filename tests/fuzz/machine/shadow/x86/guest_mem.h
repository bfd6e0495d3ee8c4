/* What hv/x86/guest_mem.h does, without its repair of faults: the machine knows what is mapped. */
#ifndef MACHINE_X86_GUEST_MEM_H
#define MACHINE_X86_GUEST_MEM_H

#include "x86/entry.h"

static inline must_check bool guest_read_pair(const void *u_src, u64 *a, u64 *b)
{
    u64 words[2];

    if (guest_copy_raw(words, u_src, sizeof(words)))
        return false;
    *a = words[0];
    *b = words[1];
    return true;
}

static inline must_check bool guest_read_triple(const void *u_src, u64 *a, u64 *b, u64 *c)
{
    u64 words[3];

    if (guest_copy_raw(words, u_src, sizeof(words)))
        return false;
    *a = words[0];
    *b = words[1];
    *c = words[2];
    return true;
}

static inline must_check bool guest_write_pair(void *u_dst, u64 a, u64 b)
{
    const u64 words[2] = {a, b};

    return !guest_copy_raw(u_dst, words, sizeof(words));
}

static inline must_check bool guest_write_u16(void *u_dst, u16 value)
{
    return !guest_copy_raw(u_dst, &value, sizeof(value));
}

static inline u64 read_or_zero(const u64 *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

#endif
