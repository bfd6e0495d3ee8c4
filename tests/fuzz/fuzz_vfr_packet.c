/*
 * Any frame through the parser, the guard and the check of offloads. Exact-size heap copies let the
 * address sanitizer see a read past the end. Layout of an input: flags, request, the frame. With
 * flag 1 the IPv4 header's checksum is repaired, which is too hard to guess; flag 2: bytes behind
 * the snapshot were promised; the rest is the interface's configuration.
 */
#include "core/vfr_guard.h"
#include "core/vfr_offload.h"
#include "core/vfr_segment.h"
#include "core/vfr_wire.h"
#include "fuzz/fuzz.h"

static void repair(u8 *frame, u32 len)
{
    u8 *h = frame + ETH_HEADER;
    u32 header;

    if (len < ETH_HEADER + IP4_HEADER || get_be16(frame + 12) != ETHERTYPE_IP4)
        return;
    header = (h[0] & 15) * 4;
    if (header < IP4_HEADER || len < ETH_HEADER + header)
        return;
    put_be16(h + 10, 0);
    put_be16(h + 10, vfr_checksum(h, header));
}

static bool same_tuple(const struct vfr_tuple *a, const struct vfr_tuple *b)
{
    return vfr_addr_equal(a->src, b->src) && vfr_addr_equal(a->dst, b->dst) &&
           a->sport == b->sport && a->dport == b->dport && a->proto == b->proto;
}

/* Field by field, for there is padding between them. */
static bool same(const struct vfr_packet *a, const struct vfr_packet *b)
{
    return a->len == b->len && a->flags == b->flags && a->class == b->class &&
           a->l4_offset == b->l4_offset && a->l3_offset == b->l3_offset && a->ttl == b->ttl &&
           a->dscp == b->dscp && a->tcp_flags == b->tcp_flags && a->icmp_type == b->icmp_type &&
           a->icmp_code == b->icmp_code && a->arp_op == b->arp_op && a->eth_src == b->eth_src &&
           a->eth_dst == b->eth_dst && same_tuple(&a->tuple, &b->tuple) &&
           a->frag_id == b->frag_id && a->frag_offset == b->frag_offset &&
           a->l3_len == b->l3_len && a->frag_len == b->frag_len &&
           same_tuple(&a->inner, &b->inner);
}

static enum vfr_reason parse(const u8 *frame, u32 have, u32 len, struct vfr_packet *p)
{
    u8 *copy = malloc(have ? have : 1);
    struct vfr_packet long_way;
    enum vfr_reason why;

    memcpy(copy, frame, have);
    memset(p, 0, sizeof(*p));
    memset(&long_way, 0, sizeof(long_way));
    why = vfr_packet_parse(p, have ? copy : copy + 1, have, len);
    FUZZ_CHECK(vfr_packet_parse_any(&long_way, have ? copy : copy + 1, have, len) == why);
    FUZZ_CHECK(same(p, &long_way));
    free(copy);
    return why;
}

/* The numbered invariants of the header, as far as a parsed packet shows them. */
static void check_fields(const struct vfr_packet *p, u32 have)
{
    const struct vfr_tuple none = {0};
    bool piece = p->flags & VFR_P_FRAGMENT, later = piece && !(p->flags & VFR_P_FIRST);

    FUZZ_CHECK(p->class >= VFR_C_ARP && p->class <= VFR_C_IP6 && p->l3_offset == ETH_HEADER);
    FUZZ_CHECK(p->flags & VFR_P_PORTS || !(p->tuple.sport | p->tuple.dport));
    FUZZ_CHECK(p->flags & VFR_P_INNER || same_tuple(&p->inner, &none));
    FUZZ_CHECK(!(p->flags & VFR_P_INNER) || vfr_addr_equal(p->inner.src, p->tuple.dst));
    FUZZ_CHECK(piece || !(p->flags & (VFR_P_FIRST | VFR_P_LAST)));
    FUZZ_CHECK(piece || !(p->frag_offset | p->frag_len));
    FUZZ_CHECK(later == !!p->frag_offset);
    FUZZ_CHECK(!later || !(p->flags & (VFR_P_PORTS | VFR_P_INNER | VFR_P_ND)));
    FUZZ_CHECK((p->class == VFR_C_ARP) == !!(p->l3_len == 0));
    FUZZ_CHECK((p->class == VFR_C_IP6) == !vfr_addr_is_ip4(p->tuple.src));
    FUZZ_CHECK((p->class == VFR_C_IP6) == !vfr_addr_is_ip4(p->tuple.dst));
    FUZZ_CHECK(p->l3_offset + p->l3_len <= p->len);
    FUZZ_CHECK(p->l4_offset <= have && (p->class == VFR_C_ARP || p->l4_offset >= 34));
    FUZZ_CHECK(later || p->l4_offset <= p->l3_offset + p->l3_len);
}

static void bind(struct vfr_binding *b, const struct vfr_packet *p, u8 flags)
{
    *b = (struct vfr_binding){.mac = 2, .kind = flags >> 2 & 3};
    b->flags = flags >> 4 & 0xf;
    if (p->eth_src && !(p->eth_src & ETH_GROUP))
        b->mac = p->eth_src;
    b->ip4[b->ip4s++] = (struct vfr_prefix4){0x0a000000, 0xff000000};
    b->ip6[b->ip6s++] = (struct vfr_prefix6){{0x20010db800000000, 0}, {0xffffffff00000000, 0}};
    FUZZ_CHECK(!vfr_binding_check(b));
}

static void check_guard(const struct vfr_packet *p, const u8 *frame, u32 have, u8 flags)
{
    struct vfr_binding b;
    u8 *copy = malloc(have);
    enum vfr_reason why;

    memcpy(copy, frame, have);
    bind(&b, p, flags);
    why = vfr_guard_check(&b, p, copy, have);
    free(copy);
    FUZZ_CHECK(why == VFR_R_OK || (why >= VFR_R_SPOOF_MAC && why <= VFR_R_SPOOF_DHCP));
    if (why || b.kind == VFR_UPLINK || b.flags & VFR_B_ANY_IP)
        return;
    FUZZ_CHECK(vfr_binding_owns(&b, p->tuple.src) || !p->tuple.src.low ||
               p->tuple.src.low == VFR_IP4(0).low);
}

/* Another one that is nearly the same: if it may follow, then it is what parsing says it is. */
static void check_follower(const struct vfr_packet *p, const u8 *frame, u32 have, u8 request)
{
    const struct vfr_offload o = {.csum_blank = request & 1};
    struct vfr_packet next = *p, parsed;
    struct vfr_binding b;
    u8 *copy = malloc(have);
    u64 kept[VFR_KEPT];

    bind(&b, p, 0);
    memcpy(copy, frame, have);
    vfr_packet_keep(kept, copy);
    for (u32 k = 0; k < 3; k++)
        copy[frame[have - 1 - k] % 64 % have] ^= frame[have - 4 - k];
    repair(copy, have);
    if (vfr_packet_follow(&next, kept, copy, have, p->len)) {
        FUZZ_CHECK(parse(copy, have, p->len, &parsed) == VFR_R_OK && same(&next, &parsed));
        FUZZ_CHECK(!vfr_offload_is_simple(&o, &next, copy, have) ||
                   !vfr_offload_check(&o, &next, copy, have));
        FUZZ_CHECK(!vfr_guard_is_plain(&b, p) || !vfr_guard_check(&b, &next, copy, have));
    }
    free(copy);
}

/* What is asked or told is in the packet. */
static void check_talk(const struct vfr_packet *p, const u8 *frame, u32 have)
{
    u8 *copy = malloc(have);
    struct vfr_addr about;
    enum vfr_talk talk;

    memcpy(copy, frame, have);
    talk = vfr_talk(p, copy, have, &about);
    free(copy);
    FUZZ_CHECK(talk == VFR_TALK_OTHER || p->class == VFR_C_ARP || p->flags & VFR_P_ND);
    FUZZ_CHECK(talk != VFR_TALK_OTHER || !(about.high | about.low));
    FUZZ_CHECK(p->class != VFR_C_ARP || vfr_addr_is_ip4(about));
}

/* All segments together are the payload, and each one is again a packet that parses. */
static void check_offload(const struct vfr_packet *p, const u8 *frame, u32 have, u8 request)
{
    struct vfr_offload o = {request & 1, request >> 1 & 3, (request >> 3) * 64 + 1};
    struct vfr_segment_plan plan;
    struct vfr_segment seg;
    struct vfr_packet again;
    u8 header[VFR_SNAPSHOT];
    u32 next = 0;

    if (vfr_offload_check(&o, p, frame, have) || !(o.csum_blank || o.gso_type))
        return;
    vfr_segment_plan(&plan, &o, p, frame);
    FUZZ_CHECK(plan.header <= have && plan.count >= 1);
    for (unsigned k = 0; k < plan.count; k++) {
        u32 len;

        vfr_segment_header(&plan, frame, k, header, &seg);
        vfr_segment_finish(&plan, &seg, header);
        len = plan.header + seg.len;
        FUZZ_CHECK(seg.offset == next);
        FUZZ_CHECK(vfr_packet_parse(&again, header, plan.header, len) == VFR_R_OK);
        FUZZ_CHECK(again.l3_len == len - ETH_HEADER);
        FUZZ_CHECK(again.l3_len <= vfr_offload_wire_len(&o, p, frame));
        next += seg.len;
    }
    FUZZ_CHECK(plan.header + next == ETH_HEADER + p->l3_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vfr_packet p, shorter;
    enum vfr_reason why, less;
    u32 len, have;
    u8 *frame;

    if (size < 2 || size > 2048)
        return 0;
    len = size - 2;
    frame = malloc(len + 1);
    memcpy(frame, data + 2, len);
    if (data[0] & 1)
        repair(frame, len);
    have = MIN(len, VFR_SNAPSHOT);
    if (data[0] & 2)
        len += 40000;
    why = parse(frame, have, len, &p);
    FUZZ_CHECK(why < VFR_REASON_COUNT && p.len == len);
    /* Fewer bytes give the same answer, or that they are too few. */
    less = parse(frame, have / 2, len, &shorter);
    FUZZ_CHECK(less == VFR_R_SHORT || less == VFR_R_EXT_HDR || less == why ||
               (why == VFR_R_EXT_HDR && less == VFR_R_OK));
    if (!why) {
        check_fields(&p, have);
        check_guard(&p, frame, have, data[0]);
        check_talk(&p, frame, have);
        if (vfr_packet_may_lead(&p) && have >= 8 * VFR_KEPT)
            check_follower(&p, frame, have, data[1]);
        check_offload(&p, frame, have, data[1]);
    }
    free(frame);
    return 0;
}
