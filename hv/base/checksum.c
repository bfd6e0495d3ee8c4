#include "base/checksum.h"
#include "base/unpack_impl.h"
#include "base/string.h"

/*
 * Both CRCs are reflected: the first bit of the message is the lowest bit of its first byte, and
 * a step divides the register by x. table[0][b] is the register after byte b alone,
 * table[k][b] the same followed by k zero bytes, so that eight look-ups advance eight bytes.
 */
#define CRC32_POLY 0xEDB88320U
#define CRC64_POLY 0xC96C5795D7870F42UL

void crc32_init(struct crc32_work *w)
{
    for (u32 b = 0; b < 256; b++) {
        u32 c = b;

        for (int i = 0; i < 8; i++)
            c = (c >> 1) ^ (CRC32_POLY & (0 - (c & 1)));
        w->table[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (u32 b = 0; b < 256; b++) {
            u32 c = w->table[k - 1][b];

            w->table[k][b] = (c >> 8) ^ w->table[0][c & 0xFF];
        }
}

/* Eight message bytes, already combined with the register, to the register after them. */
static inline u32 crc32_word(const struct crc32_work *w, u64 x)
{
    return w->table[7][x & 0xFF] ^ w->table[6][x >> 8 & 0xFF] ^ w->table[5][x >> 16 & 0xFF] ^
           w->table[4][x >> 24 & 0xFF] ^ w->table[3][x >> 32 & 0xFF] ^
           w->table[2][x >> 40 & 0xFF] ^ w->table[1][x >> 48 & 0xFF] ^ w->table[0][x >> 56];
}

/*
 * Long messages are shortened before any table is used. Let y stand for 64 zero bits. Modulo the
 * CRC's polynomial
 *     y^3006 = 1 + y^2215 + y^2866,
 * found by searching the powers of y for four that cancel. So a word may be deleted when it is
 * also added (exclusive or) to the words 3006, 791 and 140 places behind it: five instructions
 * a word where the tables need twenty. Turned round, each word takes in what those three
 * places before it have become; only the last 3006 words then remain to be divided.
 */
#define FOLD_A 140
#define FOLD_B 791
#define FOLD_C 3006

/* How far a ring index runs before it wraps. */
static inline size_t ring_run(size_t i)
{
    return CRC32_RING - i % CRC32_RING;
}

/* Folds n words at p, ring positions from i on, into the ring. */
static void fold_words(u64 *ring, const u8 *p, size_t i, size_t n)
{
    while (n) {
        size_t run = MIN(MIN(ring_run(i), ring_run(i - FOLD_A)),
                         MIN(ring_run(i - FOLD_B), ring_run(i - FOLD_C)));
        u64 *e = ring + i % CRC32_RING;
        const u64 *a = ring + (i - FOLD_A) % CRC32_RING;
        const u64 *b = ring + (i - FOLD_B) % CRC32_RING;
        const u64 *c = ring + (i - FOLD_C) % CRC32_RING;
        size_t k = 0;

        run = MIN(run, n);
        for (; k + 4 <= run; k += 4) {
            e[k] = get_le64(p + 8 * k) ^ a[k] ^ b[k] ^ c[k];
            e[k + 1] = get_le64(p + 8 * k + 8) ^ a[k + 1] ^ b[k + 1] ^ c[k + 1];
            e[k + 2] = get_le64(p + 8 * k + 16) ^ a[k + 2] ^ b[k + 2] ^ c[k + 2];
            e[k + 3] = get_le64(p + 8 * k + 24) ^ a[k + 3] ^ b[k + 3] ^ c[k + 3];
        }
        for (; k < run; k++)
            e[k] = get_le64(p + 8 * k) ^ a[k] ^ b[k] ^ c[k];
        i += run;
        p += 8 * run;
        n -= run;
    }
}

/* A message of 'words' words, more than FOLD_C; the register is inverted on entry and exit. */
static u32 crc32_folded(struct crc32_work *w, u32 crc, const u8 *p, size_t words)
{
    u64 *ring = w->ring;
    size_t fold = words - FOLD_C, i;
    u64 c = 0;

    memset(ring, 0, sizeof(w->ring));
    fold_words(ring, p, CRC32_RING, 1);
    ring[0] ^= crc;
    fold_words(ring, p + 8, CRC32_RING + 1, fold - 1);
    /* The last words take in what was folded, but no longer what lies among themselves. */
    for (i = fold; i < words; i++) {
        u64 x = get_le64(p + 8 * i) ^ c ^ ring[(i - FOLD_C) % CRC32_RING];

        if (i - fold < FOLD_A)
            x ^= ring[(i - FOLD_A) % CRC32_RING];
        if (i - fold < FOLD_B)
            x ^= ring[(i - FOLD_B) % CRC32_RING];
        c = crc32_word(w, x);
    }
    return (u32)c;
}

/* The register after len bytes, however they are. */
static u32 crc32_piece(struct crc32_work *w, u32 crc, const u8 *p, size_t len)
{
    if (len / 8 > CRC32_RING) {
        crc = crc32_folded(w, crc, p, len / 8);
        p += len & ~7UL;
        len &= 7;
    }
    for (; len >= 8; len -= 8, p += 8)
        crc = crc32_word(w, get_le64(p) ^ crc);
    for (; len; len--, p++)
        crc = (crc >> 8) ^ w->table[0][(crc ^ *p) & 0xFF];
    return crc;
}

/* Product of two polynomials modulo the CRC's; the highest bit is the coefficient of 1. */
static u32 crc32_multiply(u32 a, u32 b)
{
    u32 product = 0;

    for (u32 bit = 1U << 31; bit; bit >>= 1) {
        product ^= b & (0 - !!(a & bit));
        b = (b >> 1) ^ (CRC32_POLY & (0 - (b & 1)));
    }
    return product;
}

/* The register after n zero bytes: times x^(8n), by repeated squaring. */
static u32 crc32_zeros(u32 crc, size_t n)
{
    u32 power = 1U << (31 - 8);

    for (; n; n >>= 1) {
        if (n & 1)
            crc = crc32_multiply(crc, power);
        power = crc32_multiply(power, power);
    }
    return crc;
}

/* Kernels hold megabytes of zeros; runs of a few blocks are worth the multiplications. */
#define ZERO_BLOCK (64 * 1024UL)

u32 crc32(struct crc32_work *w, u32 crc, const u8 *p, size_t len)
{
    size_t done = 0, at = 0, zeros;

    crc = ~crc;
    while (len - at >= ZERO_BLOCK) {
        zeros = zero_run(p + at, len - at) & ~(ZERO_BLOCK - 1);
        if (zeros < 4 * ZERO_BLOCK) {
            at += MAX(zeros, ZERO_BLOCK);
            continue;
        }
        crc = crc32_piece(w, crc, p + done, at - done);
        crc = crc32_zeros(crc, zeros);
        at += zeros;
        done = at;
    }
    return ~crc32_piece(w, crc, p + done, len - done);
}

void crc64_init(struct crc64_work *w)
{
    for (u32 b = 0; b < 256; b++) {
        u64 c = b;

        for (int i = 0; i < 8; i++)
            c = (c >> 1) ^ (CRC64_POLY & (0 - (c & 1)));
        w->table[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (u32 b = 0; b < 256; b++) {
            u64 c = w->table[k - 1][b];

            w->table[k][b] = (c >> 8) ^ w->table[0][c & 0xFF];
        }
}

u64 crc64(const struct crc64_work *w, u64 crc, const u8 *p, size_t len)
{
    crc = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        u64 x = get_le64(p) ^ crc;

        crc = w->table[7][x & 0xFF] ^ w->table[6][x >> 8 & 0xFF] ^ w->table[5][x >> 16 & 0xFF] ^
              w->table[4][x >> 24 & 0xFF] ^ w->table[3][x >> 32 & 0xFF] ^
              w->table[2][x >> 40 & 0xFF] ^ w->table[1][x >> 48 & 0xFF] ^ w->table[0][x >> 56];
    }
    for (; len; len--, p++)
        crc = (crc >> 8) ^ w->table[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

/* SHA-256 as FIPS 180-4 gives it; the names are the standard's. */
/* xxHash64: four lanes of 64-bit multiply and rotate, then a mixing of what remains. */
#define XXP1 0x9E3779B185EBCA87UL
#define XXP2 0xC2B2AE3D27D4EB4FUL
#define XXP3 0x165667B19E3779F9UL
#define XXP4 0x85EBCA77C2B2AE63UL
#define XXP5 0x27D4EB2F165667C5UL

static inline u64 rol64(u64 x, int n)
{
    return x << n | x >> (64 - n);
}

static inline u64 xxh_round(u64 acc, u64 lane)
{
    return rol64(acc + lane * XXP2, 31) * XXP1;
}

static inline u64 xxh_merge(u64 h, u64 acc)
{
    return (h ^ xxh_round(0, acc)) * XXP1 + XXP4;
}

static u64 xxh_tail(u64 h, const u8 *p, size_t len)
{
    for (; len >= 8; len -= 8, p += 8)
        h = rol64(h ^ xxh_round(0, get_le64(p)), 27) * XXP1 + XXP4;
    if (len >= 4) {
        h = rol64(h ^ get_le32(p) * XXP1, 23) * XXP2 + XXP3;
        len -= 4;
        p += 4;
    }
    for (; len; len--, p++)
        h = rol64(h ^ *p * XXP5, 11) * XXP1;
    h = (h ^ h >> 33) * XXP2;
    h = (h ^ h >> 29) * XXP3;
    return h ^ h >> 32;
}

u64 xxh64(const u8 *p, size_t len, u64 seed)
{
    u64 h = seed + XXP5;
    size_t rest = len;

    if (len >= 32) {
        u64 v1 = seed + XXP1 + XXP2, v2 = seed + XXP2, v3 = seed, v4 = seed - XXP1;

        for (; rest >= 32; rest -= 32, p += 32) {
            v1 = xxh_round(v1, get_le64(p));
            v2 = xxh_round(v2, get_le64(p + 8));
            v3 = xxh_round(v3, get_le64(p + 16));
            v4 = xxh_round(v4, get_le64(p + 24));
        }
        h = rol64(v1, 1) + rol64(v2, 7) + rol64(v3, 12) + rol64(v4, 18);
        h = xxh_merge(xxh_merge(xxh_merge(xxh_merge(h, v1), v2), v3), v4);
    }
    return xxh_tail(h + len, p, rest);
}
