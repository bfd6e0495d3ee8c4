/* Checksums against a slow sum of 16-bit words; segments against cutting the packet by hand. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <xen/io/netif.h>

#include "core/vfr_offload.h"
#include "unit/core/vfr_frames.h"
#include "unit/random.h"

static struct frame_bytes f;
static struct vfr_packet p;
static void random_bytes(u8 *at, u32 n)
{
    while (n--)
        *at++ = random64();
}

/* RFC 1071, word by word. */
static u16 slow(const u8 *at, u32 len, u32 sum)
{
    for (u32 i = 0; i < len; i += 2) {
        sum += at[i] << 8 | (i + 1 < len ? at[i + 1] : 0);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return ~sum;
}

/* A transport checksum, with its pseudo-header put together as the RFCs draw it. */
static u16 slow_l4(const u8 *frame, u32 l4, u32 end, u8 proto)
{
    u8 pseudo[40 + 2048] = {0};
    u32 n = 0;

    if (frame[14] >> 4 == 4) {
        memcpy(pseudo, frame + 26, 8);
        pseudo[9] = proto;
        put_be16(pseudo + 10, end - l4);
        n = 12;
    } else {
        memcpy(pseudo, frame + 22, 32);
        put_be32(pseudo + 32, end - l4);
        pseudo[39] = proto;
        n = 40;
    }
    memcpy(pseudo + n, frame + l4, end - l4);
    return slow(pseudo, n + end - l4, 0);
}

static void sums(void **state)
{
    u8 bytes[300];

    for (unsigned i = 0; i < 2000; i++) {
        u32 len = random64() % sizeof(bytes), at = 0;
        struct vfr_sum s = {0};

        random_bytes(bytes, sizeof(bytes));
        if (i % 5 == 0)
            memset(bytes, i % 2 ? 0xff : 0, sizeof(bytes));
        assert_int_equal(vfr_checksum(bytes, len), slow(bytes, len, 0));
        while (at < len) {
            u32 n = MIN(len - at, 1 + random64() % 40);

            vfr_sum_add(&s, bytes + at, n);
            at += n;
        }
        assert_int_equal(vfr_sum_finish(s), slow(bytes, len, 0));
    }
}

/* RFC 1624's own example, then random changes; a sum of anything but zeros is never "0000". */
static void updates(void **state)
{
    u8 bytes[40];

    assert_int_equal(vfr_checksum_update(0xdd2f, 0x5555, 0x3285), 0x0000);
    for (unsigned i = 0; i < 100000; i++) {
        u32 at = random64() % 20 * 2;
        u16 before, after = random64() % 4 ? random64() : (random64() % 2 ? 0xffff : 0);

        random_bytes(bytes, sizeof(bytes));
        bytes[0] |= 1;
        bytes[2] |= 1;
        before = get_be16(bytes + at);
        u16 check = vfr_checksum(bytes, sizeof(bytes));
        put_be16(bytes + at, after);
        assert_int_equal(vfr_checksum_update(check, before, after),
                         vfr_checksum(bytes, sizeof(bytes)));
    }
}

static struct vfr_offload request(bool blank, u8 type, u16 size)
{
    return (struct vfr_offload){blank, type, size};
}

static enum vfr_reason check(struct vfr_offload o)
{
    assert_int_equal(frame_parse(&f, &p), VFR_R_OK);
    return vfr_offload_check(&o, &p, f.b, MIN(f.len, VFR_SNAPSHOT));
}

static void tcp(bool v6, u32 options, u32 payload)
{
    u8 *h;

    if (v6)
        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_TCP);
    else
        put_be16(frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_TCP) + 4, 0xfffe);
    h = frame_tcp(&f, 4100, 443, TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR, 0);
    h[12] = (20 + options) / 4 << 4;
    random_bytes(frame_put(&f, options), options);
    random_bytes(frame_put(&f, payload), payload);
    frame_finish(&f);
}

static void udp(bool v6, u32 payload)
{
    if (v6)
        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_UDP);
    else
        frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_UDP);
    random_bytes(frame_udp(&f, 4100, 53, payload) + 8, payload);
    frame_finish(&f);
}

static void legal(void **state)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        u8 right = v6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
        u8 wrong = v6 ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6;

        tcp(v6, 12, 1000);
        assert_int_equal(check(request(false, 0, 0)), VFR_R_OK);
        assert_int_equal(check(request(true, 0, 0)), VFR_R_OK);
        assert_int_equal(check(request(true, right, 500)), VFR_R_OK);
        assert_int_equal(check(request(true, right, 5000)), VFR_R_OK);
        assert_int_equal(check(request(true, right, VFR_GSO_MIN)), VFR_R_OK);
        assert_int_equal(check(request(true, right, VFR_GSO_MIN - 1)), VFR_R_GSO_BAD);
        assert_int_equal(check(request(true, right, 0)), VFR_R_GSO_BAD);
        assert_int_equal(check(request(true, wrong, 500)), VFR_R_GSO_BAD);
        assert_int_equal(check(request(true, 3, 500)), VFR_R_GSO_BAD);
        assert_int_equal(check(request(true, 255, 500)), VFR_R_GSO_BAD);
        assert_int_equal(check(request(false, right, 500)), VFR_R_GSO_BAD);
        f.len++;
        assert_int_equal(check(request(true, right, 500)), VFR_R_GSO_BAD); /* padding */
        tcp(v6, 12, 0);
        assert_int_equal(check(request(true, right, 500)), VFR_R_GSO_BAD);
        udp(v6, 1000);
        assert_int_equal(check(request(true, 0, 0)), VFR_R_OK);
        assert_int_equal(check(request(true, right, 500)), VFR_R_GSO_BAD);
        frame_put(&f, 1);
        frame_finish(&f);
        assert_int_equal(check(request(true, 0, 0)), VFR_R_CSUM_UNSUPP); /* UDP ends early */
    }
}

static void illegal(void **state)
{
    frame_arp(&f, ARP_REQUEST, GUEST_MAC, GUEST_IP, 0, PEER_IP);
    assert_int_equal(check(request(true, 0, 0)), VFR_R_CSUM_UNSUPP);
    assert_int_equal(check(request(false, 0, 0)), VFR_R_OK);
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_SCTP);
    frame_put(&f, 40);
    frame_finish(&f);
    assert_int_equal(check(request(true, 0, 0)), VFR_R_CSUM_UNSUPP);
    udp(false, 24);
    put_be16(f.b + ETH_HEADER + 6, IP4_MF);
    frame_resum(&f);
    assert_int_equal(check(request(true, 0, 0)), VFR_R_CSUM_UNSUPP);
    put_be16(f.b + ETH_HEADER + 6, 8);
    frame_resum(&f);
    assert_int_equal(check(request(true, 0, 0)), VFR_R_CSUM_UNSUPP);
    tcp(false, 0, 100);
    put_be16(f.b + ETH_HEADER + 6, IP4_MF | 10);
    frame_resum(&f);
    f.len -= 4;
    put_be16(f.b + ETH_HEADER + 2, f.len - ETH_HEADER - 4);
    frame_resum(&f);
    assert_int_equal(check(request(true, XEN_NETIF_GSO_TYPE_TCPV4, 500)), VFR_R_CSUM_UNSUPP);
    /* Options of TCP that end behind the snapshot. */
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_DSTOPT);
    frame_extension(&f, PROTO_TCP, 176);
    frame_tcp(&f, 1, 2, 0, 44)[12] = 0x80;
    frame_finish(&f);
    assert_int_equal(check(request(true, 0, 0)), VFR_R_CSUM_UNSUPP);
    f.b[54 + 176 + 12] = 0x60;
    assert_int_equal(check(request(true, 0, 0)), VFR_R_OK);
    /* No ports were seen. */
    tcp(false, 0, 100);
    assert_int_equal(frame_parse(&f, &p), VFR_R_OK);
    p.flags &= ~VFR_P_PORTS;
    assert_int_equal(
        vfr_offload_check(&(struct vfr_offload){.csum_blank = true}, &p, f.b, f.len),
        VFR_R_CSUM_UNSUPP);
    tcp(false, 0, 100);
    assert_int_equal(frame_parse(&f, &p), VFR_R_OK);
    p.len = VFR_FRAME_MAX + 1;
    assert_int_equal(vfr_offload_check(&(struct vfr_offload){0}, &p, f.b, f.len),
                     VFR_R_GSO_BAD);
}

/* Segment k as a whole frame. */
static u32 segment(const struct vfr_segment_plan *plan, unsigned k, u8 *out, u32 *offset)
{
    struct vfr_segment seg;

    vfr_segment_header(plan, f.b, k, out, &seg);
    vfr_sum_add(&seg.sum, f.b + plan->header + seg.offset, seg.len);
    vfr_segment_finish(plan, &seg, out);
    memcpy(out + plan->header, f.b + plan->header + seg.offset, seg.len);
    *offset = seg.offset;
    return plan->header + seg.len;
}

static void check_segment(const struct vfr_segment_plan *plan, unsigned k, u32 offset,
                          const u8 *out, u32 len)
{
    bool v6 = out[ETH_HEADER] >> 4 == 6;
    u32 l4 = v6 ? 54 : 34;
    struct vfr_packet again;
    u8 flags = out[l4 + 13];

    assert_int_equal(vfr_packet_parse(&again, out, MIN(len, VFR_SNAPSHOT), len), VFR_R_OK);
    assert_int_equal(again.l3_len, len - ETH_HEADER);
    assert_int_equal(slow_l4(out, l4, len, PROTO_TCP), 0);
    if (!v6)
        assert_int_equal(get_be16(out + 18), (u16)(0xfffe + k));
    assert_int_equal(get_be32(out + l4 + 4), 0x10203040 + offset);
    assert_int_equal(!!(flags & TCP_FIN), k + 1 == plan->count);
    assert_int_equal(!!(flags & TCP_PSH), k + 1 == plan->count);
    assert_int_equal(!!(flags & TCP_CWR), k == 0);
    assert_true(flags & TCP_ACK);
    assert_memory_equal(out + l4 + 20, f.b + l4 + 20, plan->header - l4 - 20);
    assert_memory_equal(out, f.b, ETH_HEADER);
    assert_memory_equal(out + plan->header, f.b + plan->header + offset, len - plan->header);
}

static void segments(void **state)
{
    static u8 out[2048];

    for (unsigned i = 0; i < 600; i++) {
        bool v6 = i & 1;
        u32 options = random64() % 11 * 4, payload = 1 + random64() % 1500;
        struct vfr_offload o = request(true, v6 ? 2 : 1, 32 + random64() % 700);
        struct vfr_segment_plan plan;
        u32 next = 0, offset, longest = 0;

        if (i % 7 == 0)
            payload = o.gso_size * (1 + i % 2);
        tcp(v6, options, payload);
        assert_int_equal(check(o), VFR_R_OK);
        vfr_segment_plan(&plan, &o, &p, f.b);
        assert_int_equal(plan.count, (payload + o.gso_size - 1) / o.gso_size);
        for (unsigned k = 0; k < plan.count; k++) {
            u32 len = segment(&plan, k, out, &offset);

            assert_int_equal(offset, next);
            check_segment(&plan, k, offset, out, len);
            next += len - plan.header;
            longest = MAX(longest, len);
        }
        assert_int_equal(next, payload);
        assert_int_equal(vfr_offload_wire_len(&o, &p, f.b), longest - ETH_HEADER);
    }
}

/* A blank checksum alone: one "segment" that differs in nothing else. */
static void only_sums(void **state)
{
    static u8 out[2048];

    for (unsigned i = 0; i < 400; i++) {
        struct vfr_offload o = request(true, 0, 77);
        struct vfr_segment_plan plan;
        bool v6 = i & 1, is_udp = i & 2;
        u32 len, offset, at = (v6 ? 54 : 34) + (is_udp ? 6 : 16);

        if (is_udp)
            udp(v6, random64() % 1400);
        else
            tcp(v6, 8, random64() % 1400);
        put_be16(f.b + at, random64()); /* what was there is nothing */
        assert_int_equal(check(o), VFR_R_OK);
        assert_int_equal(vfr_offload_wire_len(&o, &p, f.b), p.l3_len);
        vfr_segment_plan(&plan, &o, &p, f.b);
        assert_int_equal(plan.count, 1);
        len = segment(&plan, 0, out, &offset);
        assert_int_equal(len, f.len);
        assert_int_equal(slow_l4(out, v6 ? 54 : 34, len, is_udp ? PROTO_UDP : PROTO_TCP), 0);
        put_be16(out + at, get_be16(f.b + at));
        assert_memory_equal(out, f.b, len);
    }
}

/* A sum of zero is written as 0xffff by UDP, for which 0 means that there is none. */
static void zero_of_udp(void **state)
{
    struct vfr_offload o = request(true, 0, 0);
    struct vfr_segment_plan plan;
    static u8 out[2048];
    u32 offset;

    udp(false, 2);
    put_be16(f.b + 42, 0);
    assert_int_equal(check(o), VFR_R_OK);
    vfr_segment_plan(&plan, &o, &p, f.b);
    segment(&plan, 0, out, &offset);
    put_be16(f.b + 42, get_be16(out + 40)); /* now all of it adds up to ffff */
    segment(&plan, 0, out, &offset);
    assert_int_equal(get_be16(out + 40), 0xffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),        cmocka_unit_test(updates),  cmocka_unit_test(legal),
        cmocka_unit_test(illegal),     cmocka_unit_test(segments), cmocka_unit_test(only_sums),
        cmocka_unit_test(zero_of_udp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
