/*
 * Any frame that parses, and every answer to it: it fits, all of it was written, it is a packet in
 * its turn, and no answer makes another error. Layout of an input: flags, the frame; with flag 1
 * the IPv4 header's checksum is repaired.
 */
#include "core/vfr_checksum.h"
#include "core/vfr_reply.h"
#include "core/vfr_wire.h"
#include "fuzz/fuzz.h"

enum answer { ARP, SOLICIT, ADVERT, ECHO, RESET, ERROR, ANSWERS = ERROR + VFR_E_TTL + 1 };

static const struct vfr_self self = {
    .mac = 0x020000000001, .ip4 = 0xa9fe0001, .ip6 = {0xfe80ull << 48, 1}};
static const struct vfr_advert ra = {.prefix = {1ull << 61, 0}, .mtu = 1500, .prefix_len = 64};

static u32 ask(unsigned what, const struct vfr_packet *p, const u8 *frame, u32 have, u8 *out)
{
    switch (what) {
    case ARP:
        return vfr_reply_arp(&self, NULL, p, out);
    case SOLICIT:
        return vfr_reply_solicit(&self, NULL, p, frame, true, out);
    case ADVERT:
        return vfr_reply_advert(&self, &ra, p, out);
    case ECHO:
        return vfr_reply_echo(&self, p, frame, have, out);
    case RESET:
        return vfr_reply_reset(&self, p, frame, out);
    default:
        return vfr_reply_error(&self, p, frame, have, what - ERROR, 1280, out);
    }
}

static void check(unsigned what, const struct vfr_packet *p, const u8 *frame, u32 have)
{
    u8 *copy = malloc(have), *out = malloc(VFR_REPLY_MAX), *again = malloc(VFR_REPLY_MAX);
    struct vfr_packet a;
    u32 len, whole;

    memcpy(copy, frame, have);
    memset(out, 0, VFR_REPLY_MAX);
    memset(again, 0xff, VFR_REPLY_MAX);
    len = ask(what, p, copy, have, out);
    if (len) {
        FUZZ_CHECK(ask(what, p, copy, have, again) == len && !memcmp(out, again, len));
        whole = what == ECHO && p->l3_offset + p->l3_len > have ? p->len : len;
        FUZZ_CHECK(len <= VFR_REPLY_MAX && vfr_packet_parse(&a, out, len, whole) == VFR_R_OK);
        FUZZ_CHECK(a.eth_src == self.mac &&
                   (whole == len || (len == have && a.l3_len == p->l3_len)));
        FUZZ_CHECK(what == ADVERT || a.eth_dst == p->eth_src);
        FUZZ_CHECK(what == ADVERT || vfr_addr_equal(a.tuple.dst, p->tuple.src));
        if (what != ECHO)
            FUZZ_CHECK(!vfr_reply_reset(&self, &a, out, again));
        if (what >= ERROR)
            FUZZ_CHECK(!vfr_reply_error(&self, &a, out, len, VFR_E_TTL, 0, again));
    }
    free(copy);
    free(out);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vfr_packet p;
    u32 len, have;
    u8 *frame;

    if (size < 1 + ETH_HEADER + IP4_HEADER || size > 1024)
        return 0;
    len = size - 1;
    have = MIN(len, VFR_SNAPSHOT);
    frame = malloc(len);
    memcpy(frame, data + 1, len);
    if (data[0] & 1 && frame[14] == 0x45) {
        put_be16(frame + 24, 0);
        put_be16(frame + 24, vfr_checksum(frame + 14, 20));
    }
    if (!vfr_packet_parse(&p, frame, have, len))
        for (unsigned what = 0; what < ANSWERS; what++)
            check(what, &p, frame, have);
    free(frame);
    return 0;
}
