/*
 * What the three decompression fuzzers share. The input's first three bytes choose: bit 0 of the
 * first, whether checksums count (mostly not: they cannot be guessed); the others, the size of the
 * output buffer. Input and output lie in exact heap blocks, so that ASan sees every step outside.
 */
#ifndef SERAI_FUZZ_UNPACK_H
#define SERAI_FUZZ_UNPACK_H

#include <stdlib.h>
#include <string.h>

#include "base/unpack_impl.h"

static int fuzz_unpack(const u8 *data, size_t size, int (*decode)(struct unpack_job *),
                       size_t work_size)
{
    static u8 *work;
    struct unpack_job job = {0};
    u8 *in;
    int rc;

    if (size < 3)
        return 0;
    if (!work)
        work = aligned_alloc(64, ROUND_UP(work_size, 64));
    memset(work, 0xA5, work_size);
    in = malloc(size - 3);
    memcpy(in, data + 3, size - 3);
    job.in = in;
    job.in_len = size - 3;
    job.out_cap = (data[1] | (size_t)data[2] << 8) & 0x3FFF;
    job.out = malloc(job.out_cap);
    job.work = work;
    job.verify = data[0] & 1;
    rc = decode(&job);
    if (job.out_len > job.out_cap || (rc != 0) != (job.reason != NULL) || rc > 0)
        abort();
    free(in);
    free(job.out);
    return 0;
}

#endif
