/*
 * The integrity checks that boot-time payloads carry: CRC32 (IEEE 802.3, reflected), CRC64
 * (ECMA-182, reflected) and xxHash64; SHA-256 has a file of its own.
 *
 * Pure: tables are built by the caller into memory it owns. Nothing here fails. None of this is
 * meant to resist an attacker; it tells a damaged file from a whole one.
 */
#ifndef SERAI_BASE_CHECKSUM_H
#define SERAI_BASE_CHECKSUM_H

#include "base/types.h"

/* The ring holds the last words of a long message while it is folded; see checksum.c. */
#define CRC32_RING 4096

struct crc32_work {
    u32 table[8][256];
    u64 ring[CRC32_RING];
};

struct crc64_work {
    u64 table[8][256];
};

/* Once before any crc32(). */
void crc32_init(struct crc32_work *w);

/* CRC of 'len' bytes continued from 'crc', which is 0 for the first piece. */
u32 crc32(struct crc32_work *w, u32 crc, const u8 *p, size_t len);

void crc64_init(struct crc64_work *w);
u64 crc64(const struct crc64_work *w, u64 crc, const u8 *p, size_t len);

u64 xxh64(const u8 *p, size_t len, u64 seed);

#endif
