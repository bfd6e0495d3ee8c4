#include "base/sha256.h"
#include "base/string.h"

static const u32 sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
};

static must_inline u32 ror32(u32 x, int n)
{
    return x >> n | x << (32 - n);
}

static void sha256_schedule(u32 w[64], const u8 *block)
{
    for (int t = 0; t < 16; t++)
        w[t] = __builtin_bswap32(get_le32(block + 4 * t));
    for (int t = 16; t < 64; t++) {
        const u32 x = w[t - 15], y = w[t - 2];

        w[t] = w[t - 16] + w[t - 7] + (ror32(ror32(x, 11) ^ x, 7) ^ x >> 3) +
               (ror32(ror32(y, 2) ^ y, 17) ^ y >> 10);
    }
}

/* A round, without its word; b_c is b ^ c, and the next round's is returned. */
static must_inline u32 sha256_round(u32 a, u32 b, u32 b_c, u32 *d, u32 e, u32 f, u32 g, u32 *h)
{
    const u32 a_b = a ^ b;

    *h += (((f ^ g) & e) ^ g) + ror32(ror32(ror32(e, 14) ^ e, 5) ^ e, 6);
    *d += *h;
    *h += ((a_b & b_c) ^ b) + ror32(ror32(ror32(a, 9) ^ a, 11) ^ a, 2);
    return a_b;
}

static void sha256_block(u32 h[8], const u8 *block)
{
    u32 v[8], w[64] __unset, m;

    sha256_schedule(w, block);
    memcpy(v, h, sizeof(v));
    m = v[1] ^ v[2];
    for (int t = 0; t < 64; t += 8) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
#define V(n) v[((n)-i + 8) % 8]
            V(7) += sha256_k[t + i] + w[t + i];
            m = sha256_round(V(0), V(1), m, &V(3), V(4), V(5), V(6), &V(7));
#undef V
        }
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

void sha256_begin(struct sha256 *s)
{
    *s = (struct sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                               0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *s, const void *p, size_t len)
{
    const u8 *from = p;
    size_t held = s->len % SHA256_BLOCK;

    s->len += len;
    if (held) {
        size_t n = MIN(len, SHA256_BLOCK - held);

        memcpy(s->block + held, from, n);
        from += n;
        len -= n;
        if (held + n < SHA256_BLOCK)
            return;
        sha256_block(s->h, s->block);
    }
    for (; len >= SHA256_BLOCK; len -= SHA256_BLOCK, from += SHA256_BLOCK)
        sha256_block(s->h, from);
    memcpy(s->block, from, len);
}

void sha256_end(struct sha256 *s, u8 digest[SHA256_SIZE])
{
    static const u8 padding[SHA256_BLOCK] = {0x80};
    const u64 bits = __builtin_bswap64(s->len * 8);

    sha256_add(s, padding, SHA256_BLOCK - (s->len + 8) % SHA256_BLOCK);
    sha256_add(s, &bits, 8);
    for (int i = 0; i < 8; i++) {
        u32 be = __builtin_bswap32(s->h[i]);

        memcpy(digest + 4 * i, &be, 4);
    }
}

void sha256(const u8 *p, size_t len, u8 digest[SHA256_SIZE])
{
    struct sha256 s;

    sha256_begin(&s);
    sha256_add(&s, p, len);
    sha256_end(&s, digest);
}
