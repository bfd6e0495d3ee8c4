/*
 * How a parser looks at physical memory. The glue supplies the mapping, so the same parsers
 * run on the host over byte arrays.
 */
#ifndef SERAI_CORE_PHYS_READER_H
#define SERAI_CORE_PHYS_READER_H

#include "base/types.h"

struct phys_reader {
    /*
     * 'len' readable bytes at physical address 'phys', or NULL. The pointer is good until the
     * next call, so a small moving window is enough; 'len' is 1 byte to 1 MiB.
     */
    const void *(*map)(void *arg, u64 phys, u64 len);
    void *arg;
};

static inline const u8 *phys_map(const struct phys_reader *r, u64 phys, u64 len)
{
    if (phys + len < phys)
        return NULL;
    return r->map(r->arg, phys, len);
}

#endif
