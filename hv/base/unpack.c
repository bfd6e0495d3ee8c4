#include "base/unpack.h"
#include "base/unpack_impl.h"
#include "base/string.h"

enum unpack_format unpack_identify(const u8 *in, size_t in_len)
{
    static const u8 xz_magic[6] = {0xFD, '7', 'z', 'X', 'Z', 0};

    if (in_len >= sizeof(xz_magic) && memcmp(in, xz_magic, sizeof(xz_magic)) == 0)
        return UNPACK_XZ;
    /* A zstd stream may open with a skippable frame. */
    if (in_len >= 4 && (get_le32(in) == 0xFD2FB528 || get_le32(in) >> 4 == 0x184D2A5))
        return UNPACK_ZSTD;
    if (in_len >= 3 && in[0] == 0x1F && in[1] == 0x8B && in[2] == 8)
        return UNPACK_GZIP;
    if (in_len >= 4 && get_le32(in) == 0x184C2102)
        return UNPACK_LZ4;
    return UNPACK_NONE;
}

size_t unpack_work_size(void)
{
    return MAX(xz_work_size(), MAX(zstd_work_size(), inflate_work_size()));
}

int unpack_job_run(struct unpack_job *job, enum unpack_format format)
{
    if (format == UNPACK_XZ)
        return xz_decode(job);
    if (format == UNPACK_ZSTD)
        return zstd_decode(job);
    if (format == UNPACK_GZIP)
        return gzip_decode(job);
    if (format == UNPACK_LZ4)
        return lz4_decode(job);
    return unpack_fail(job, -XEN_EOPNOTSUPP, "no known compression format");
}

int unpack(const u8 *in, size_t in_len, u8 *out, size_t out_cap, size_t *out_len, void *work,
           const char **reason)
{
    struct unpack_job job = {
        .in = in,
        .in_len = in_len,
        .out = out,
        .out_cap = out_cap,
        .work = work,
        .verify = true,
    };
    int rc = unpack_job_run(&job, unpack_identify(in, in_len));

    *out_len = job.out_len;
    *reason = job.reason;
    return rc;
}
