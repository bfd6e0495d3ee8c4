/*
 * SHA-256 (FIPS 180-4), of a whole message or of one that comes in pieces. Pure; nothing fails.
 */
#ifndef SERAI_BASE_SHA256_H
#define SERAI_BASE_SHA256_H

#include "base/types.h"

#define SHA256_SIZE  32
#define SHA256_BLOCK 64

struct sha256 {
    u32 h[8];
    u64 len; /* of what came so far */
    u8 block[SHA256_BLOCK];
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t len);
void sha256_end(struct sha256 *s, u8 digest[SHA256_SIZE]);

void sha256(const u8 *p, size_t len, u8 digest[SHA256_SIZE]);

#endif
