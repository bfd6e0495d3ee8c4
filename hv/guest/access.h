/*
 * Guest memory named by a guest's linear address, through the page table that is loaded (the
 * guest kernel's, in a hypercall).
 *
 * Copy once, then look: a guest's other vcpus may rewrite what was read. The range is checked to
 * lie outside the hypervisor's addresses; what does not translate gives -XEN_EFAULT.
 */
#ifndef SERAI_GUEST_ACCESS_H
#define SERAI_GUEST_ACCESS_H

#include "core/pte.h"
#include "x86/entry.h"

static inline must_check int copy_from_guest(void *dst, const void *u_src, u64 len)
{
    if (unlikely(!guest_range_ok((u64)u_src, len)))
        return -XEN_EFAULT;
    return guest_copy_raw(dst, u_src, len) ? -XEN_EFAULT : 0;
}

static inline must_check int copy_to_guest(void *u_dst, const void *src, u64 len)
{
    if (unlikely(!guest_range_ok((u64)u_dst, len)))
        return -XEN_EFAULT;
    return guest_copy_raw(u_dst, src, len) ? -XEN_EFAULT : 0;
}

/* Element i of an array of 'size'-byte elements; -XEN_EFAULT also when the address would wrap. */
static inline must_check int copy_array_from_guest(void *dst, const void *u_base, u64 i,
                                                   u64 size)
{
    u64 off;

    if (__builtin_mul_overflow(i, size, &off) || __builtin_add_overflow((u64)u_base, off, &off))
        return -XEN_EFAULT;
    return copy_from_guest(dst, (const void *)off, size);
}

static inline must_check int copy_array_to_guest(void *u_base, u64 i, const void *src, u64 size)
{
    u64 off;

    if (__builtin_mul_overflow(i, size, &off) || __builtin_add_overflow((u64)u_base, off, &off))
        return -XEN_EFAULT;
    return copy_to_guest((void *)off, src, size);
}

#endif
