/*
 * Boot-time decompression of a kernel or ramdisk: XZ, zstd, gzip and LZ4 as Linux has it,
 * recognised by magic.
 *
 * One shot, memory to memory; the output is its own window, so a distance may reach back to its
 * first byte whatever window the stream declares. The input is not trusted:
 *   1. nothing outside in[0, in_len), out[0, out_cap) and the work area is read or written;
 *   2. the time is bounded by a constant times in_len + out_cap;
 *   3. success means that every check the format carries (CRC32, CRC64, SHA-256, xxHash64, sizes,
 *      indices) was present and right, and that at most UNPACK_TRAILER bytes follow the stream
 *      (Linux appends the unpacked size).
 * Bytes of out at and after *out_len are undefined afterwards; so is all of out on an error.
 *
 * Pure; no state between calls. Anyone may call, at boot only: the code is given back afterwards.
 *
 * Errors: -XEN_EINVAL     malformed, truncated or damaged input
 *         -XEN_ENOSPC     the output does not fit out_cap
 *         -XEN_EOPNOTSUPP a feature that these decoders leave out, or no known magic
 */
#ifndef SERAI_BASE_UNPACK_H
#define SERAI_BASE_UNPACK_H

#include "base/types.h"

enum unpack_format { UNPACK_NONE, UNPACK_XZ, UNPACK_ZSTD, UNPACK_GZIP, UNPACK_LZ4 };

#define UNPACK_TRAILER 8

enum unpack_format unpack_identify(const u8 *in, size_t in_len);

/* Bytes of scratch that unpack() needs, aligned to 64. */
size_t unpack_work_size(void);

/* *reason: what is wrong, a short phrase for the boot log; never NULL after an error. */
must_check int unpack(const u8 *in, size_t in_len, u8 *out, size_t out_cap, size_t *out_len,
                      void *work, const char **reason);

#endif
