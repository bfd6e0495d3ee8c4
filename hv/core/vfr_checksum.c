#include "core/vfr_checksum.h"
#include "core/vfr_wire.h"

static u16 fold(u64 words)
{
    words = (words & 0xffffffff) + (words >> 32);
    words = (words & 0xffff) + (words >> 16 & 0xffff) + (words >> 32);
    words = (words & 0xffff) + (words >> 16);
    return words + (words >> 16);
}

static u64 add_words(const u8 *bytes, u32 len)
{
    u64 sum = 0;
    u32 i = 0;

    for (; len - i >= 16; i += 16)
        sum += (u64)get_le32(bytes + i) + get_le32(bytes + i + 4) + get_le32(bytes + i + 8) +
               get_le32(bytes + i + 12);
    for (; len - i >= 2; i += 2)
        sum += get_le16(bytes + i);
    return i < len ? sum + bytes[i] : sum;
}

void vfr_sum_add(struct vfr_sum *s, const uint8_t *bytes, uint32_t len)
{
    u16 chunk = fold(add_words(bytes, len));

    /* Behind an odd number of bytes each byte stands in the other half of its word. */
    s->words += s->odd ? __builtin_bswap16(chunk) : chunk;
    s->odd ^= len & 1;
}

uint16_t vfr_sum_finish(struct vfr_sum s)
{
    return ~__builtin_bswap16(fold(s.words));
}

uint16_t vfr_checksum(const uint8_t *bytes, uint32_t len)
{
    struct vfr_sum s = {0};

    vfr_sum_add(&s, bytes, len);
    return vfr_sum_finish(s);
}

struct vfr_sum vfr_sum_pseudo(struct vfr_addr src, struct vfr_addr dst, uint8_t proto,
                              uint32_t len)
{
    struct vfr_sum s = {0};
    u8 header[IP6_HEADER];

    /* The upper half of a mapped IPv4 address adds 0xffff, which is nothing, to the sum. */
    put_be64(header, src.high);
    put_be64(header + 8, src.low);
    put_be64(header + 16, dst.high);
    put_be64(header + 24, dst.low);
    put_be32(header + 32, len);
    put_be32(header + 36, proto);
    vfr_sum_add(&s, header, sizeof(header));
    return s;
}
