/* What the fuzz targets share. */
#ifndef SERAI_TESTS_FUZZ_H
#define SERAI_TESTS_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include <sanitizer/asan_interface.h>

#include "base/types.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define FUZZ_CHECK(cond)                                                                       \
    do {                                                                                       \
        if (!(cond))                                                                           \
            abort();                                                                           \
    } while (0)

/*
 * Physical memory made of the input: 'size' bytes at 'base'. Each call hands out a copy and
 * poisons the one before, so a parser that keeps a pointer too long, or reads past what it
 * asked for, is found.
 */
#define FUZZ_WINDOW MIB(1)

struct fuzz_memory {
    const u8 *data;
    size_t size;
    u64 base;
    u8 *copy;
    size_t copy_len;
    unsigned half; /* the part of the window that the next copy goes to */
};

static inline void fuzz_unmap(struct fuzz_memory *m)
{
    if (m->copy)
        ASAN_POISON_MEMORY_REGION(m->copy, m->copy_len);
    m->copy = NULL;
}

/* For struct phys_reader; 'arg' is a struct fuzz_memory. */
static inline const void *fuzz_map(void *arg, u64 phys, u64 len)
{
    static u8 window[2][FUZZ_WINDOW + 64];
    struct fuzz_memory *m = arg;

    fuzz_unmap(m);
    FUZZ_CHECK(len > 0 && len <= FUZZ_WINDOW);
    if (phys < m->base || !range_ok(phys - m->base, len, m->size))
        return NULL;
    /* The end, not the start, is aligned: the sanitizer sees the first byte too many. */
    m->copy = (u8 *)ROUND_DOWN((uintptr_t)window[m->half] + sizeof(window[0]) - 32, 8UL) - len;
    ASAN_POISON_MEMORY_REGION(m->copy + len, 16);
    ASAN_UNPOISON_MEMORY_REGION(m->copy, len);
    memcpy(m->copy, m->data + (phys - m->base), len);
    m->copy_len = len;
    m->half ^= 1;
    return m->copy;
}

#endif
