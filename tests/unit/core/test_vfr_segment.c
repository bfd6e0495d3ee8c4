/* Stations' names, and what neighbours ask and tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/vfr_segment.h"
#include "unit/core/vfr_frames.h"

static struct frame_bytes f;
static struct vfr_packet p;
static struct vfr_addr about;

static enum vfr_talk talk(u32 have)
{
    assert_int_equal(vfr_packet_parse(&p, f.b, have, f.len), VFR_R_OK);
    return vfr_talk(&p, f.b, have, &about);
}

static void names(void **state)
{
    const struct vfr_addr name = vfr_station(GUEST_MAC);

    assert_false(vfr_addr_equal(name, vfr_station(GUEST_MAC + 1)));
    frame_ip6(&f, GUEST_IP6, name, PROTO_NONE);
    frame_finish(&f);
    assert_int_equal(vfr_packet_parse(&p, f.b, f.len, f.len), VFR_R_BAD_IP);
    frame_ip6(&f, name, PEER_IP6, PROTO_NONE);
    frame_finish(&f);
    assert_int_equal(vfr_packet_parse(&p, f.b, f.len, f.len), VFR_R_BAD_IP);
    assert_false(vfr_addr_is_ip4(name));
    assert_false(vfr_addr_is_link_local(name));
}

static void arp(void **state)
{
    static const struct {
        u16 op;
        u32 spa, tpa;
        enum vfr_talk talk;
        u32 about;
    } cases[] = {
        {ARP_REQUEST, GUEST_IP, PEER_IP, VFR_TALK_ASKS, PEER_IP},
        {ARP_REQUEST, 0, GUEST_IP, VFR_TALK_ASKS, GUEST_IP},
        {ARP_REQUEST, GUEST_IP, GUEST_IP, VFR_TALK_TELLS, GUEST_IP},
        {ARP_REPLY, GUEST_IP, PEER_IP, VFR_TALK_TELLS, GUEST_IP},
        {9, GUEST_IP, PEER_IP, VFR_TALK_TELLS, GUEST_IP},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        frame_arp(&f, cases[i].op, GUEST_MAC, cases[i].spa, 0, cases[i].tpa);
        assert_int_equal(talk(f.len), cases[i].talk);
        assert_true(vfr_addr_equal(about, VFR_IP4(cases[i].about)));
    }
}

static u8 *nd(u8 type, u32 body)
{
    u8 *h = frame_ip6(&f, GUEST_IP6, IP6(0xff02ull << 48, 1), PROTO_ICMP6);

    h[7] = 255;
    h = frame_icmp(&f, type, 0, 0, body);
    if (body >= 16) {
        put_be64(h + 8, PEER_IP6.high);
        put_be64(h + 16, PEER_IP6.low);
    }
    frame_finish(&f);
    return h;
}

static void neighbours(void **state)
{
    nd(ND_SOLICIT, 16);
    assert_int_equal(talk(f.len), VFR_TALK_ASKS);
    assert_true(vfr_addr_equal(about, PEER_IP6));
    nd(ND_ADVERT, 24);
    assert_int_equal(talk(f.len), VFR_TALK_TELLS);
    assert_true(vfr_addr_equal(about, PEER_IP6));
    nd(ND_ROUTER_SOLICIT, 16);
    assert_int_equal(talk(f.len), VFR_TALK_OTHER);
    nd(ND_REDIRECT, 32);
    assert_int_equal(talk(f.len), VFR_TALK_OTHER);
    nd(ICMP6_ECHO, 16);
    assert_int_equal(talk(f.len), VFR_TALK_OTHER);
    assert_int_equal(about.high | about.low, 0);
}

/* Also padding is no part of what is said. */
static void incomplete(void **state)
{
    nd(ND_SOLICIT, 15);
    assert_int_equal(talk(f.len), VFR_TALK_OTHER);
    frame_put(&f, 20);
    assert_int_equal(talk(f.len), VFR_TALK_OTHER);
    nd(ND_SOLICIT, 16);
    assert_int_equal(talk(f.len - 1), VFR_TALK_OTHER);
    assert_int_equal(talk(f.len), VFR_TALK_ASKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(arp),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(incomplete),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
