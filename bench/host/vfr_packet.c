/* What happens to every packet before it has a flow: parsing, the guard, offloads, limits, pieces. */
#include "measure.h"
#include "core/vfr_fragment.h"
#include "core/vfr_guard.h"
#include "core/vfr_offload.h"
#include "core/vfr_shape.h"
#include "unit/core/vfr_frames.h"

static struct frame_bytes f;
static struct vfr_packet p;
static struct vfr_binding b;

static void parse_case(const char *name)
{
    enum vfr_reason why = VFR_R_OK;

    for (unsigned i = 0; i < SAMPLES; i++) {
        measure_begin();
        why = vfr_packet_parse(&p, f.b, MIN(f.len, VFR_SNAPSHOT), f.len);
        measure_keep(name);
    }
    expect(!why, name);
}

static void guard_case(const char *name)
{
    enum vfr_reason why = vfr_packet_parse(&p, f.b, MIN(f.len, VFR_SNAPSHOT), f.len);

    for (unsigned i = 0; i < SAMPLES && !why; i++) {
        measure_begin();
        why = vfr_guard_check(&b, &p, f.b, MIN(f.len, VFR_SNAPSHOT));
        measure_keep(name);
    }
    expect(!why, name);
}

static void udp4(void)
{
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_UDP);
    frame_udp(&f, 4100, 53, 64);
    frame_finish(&f);
}

static void tcp4(void)
{
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_TCP);
    frame_tcp(&f, 4100, 443, TCP_ACK, 1400);
    frame_finish(&f);
}

static void tcp6(void)
{
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_TCP);
    frame_tcp(&f, 4100, 443, TCP_ACK, 1400);
    frame_finish(&f);
}

static void error4(void)
{
    frame_ip4(&f, PEER_IP, GUEST_IP, PROTO_ICMP4);
    frame_icmp(&f, ICMP4_UNREACHABLE, 3, 0, 28);
    f.b[42] = 0x45;
    f.b[51] = PROTO_UDP;
    put_be32(f.b + 54, GUEST_IP);
    put_be32(f.b + 58, PEER_IP);
    frame_finish(&f);
}

static void piece4(void)
{
    put_be16(frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_UDP) + 6, 185);
    frame_put(&f, 600);
    frame_finish(&f);
}

static void neighbour(void)
{
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_ICMP6)[7] = 255;
    frame_icmp(&f, ND_SOLICIT, 0, 0, 16);
    put_be16(frame_put(&f, 8), 0x0101);
    put_mac(f.b + f.len - 6, GUEST_MAC);
    frame_finish(&f);
}

static const struct {
    const char *parsed, *guarded;
    void (*make)(void);
} frames_made[] = {
    {"packet|parse: UDP, IPv4||0", "packet|guard: UDP, IPv4, the first prefix||0", udp4},
    {"packet|parse: TCP, IPv4||0", "packet|guard: TCP, IPv4, the first prefix||0", tcp4},
    {"packet|parse: TCP, IPv6||0", "packet|guard: TCP, IPv6, the first prefix||0", tcp6},
    {"packet|parse: a later piece, IPv4||0", NULL, piece4},
    {"packet|parse: an ICMP error||0", NULL, error4},
    {"packet|parse: a neighbour solicitation||0", "packet|guard: a neighbour solicitation||0",
     neighbour},
};

static void shape_cases(void)
{
    struct vfr_source sources[4] = {0}, *next = NULL;
    struct vfr_limit l;
    struct vfr_ring r;
    u64 due = 0;

    expect(!vfr_limit_set(&l, 62500000, 500000, 65536), "a limit");
    vfr_ring_init(&r, 16384);
    for (unsigned i = 0; i < 4; i++)
        vfr_ring_join(&r, &sources[i]);
    for (unsigned i = 0; i < SAMPLES; i++) {
        measure_begin();
        vfr_limit_take(&l, &due, 64, 1000);
        measure_keep("packet|a limit, not reached||0");
    }
    for (unsigned i = 0; i < SAMPLES; i++) {
        measure_begin();
        next = vfr_ring_take(&r);
        if (vfr_source_charge(next, 64))
            vfr_ring_return(&r, next);
        else
            vfr_ring_join(&r, next);
        measure_keep("packet|round robin: who is next, and what it sent||0");
    }
    expect(due && next, "a limit and a ring");
}

static void fragment_cases(void)
{
    static struct vfr_context contexts[VFR_CONTEXTS];
    static struct vfr_fragments t;
    const struct vfr_origin from = {.vif = 5};
    struct vfr_fragment_answer a = {0};

    vfr_fragment_init(&t, contexts, VFR_CONTEXTS, 1);
    piece4();
    expect(!vfr_packet_parse(&p, f.b, VFR_SNAPSHOT, f.len), "a piece");
    for (unsigned i = 0; i < SAMPLES; i++) {
        p.frag_id = i;
        p.frag_offset = 0;
        p.flags = VFR_P_FRAGMENT | VFR_P_FIRST;
        a = vfr_fragment_offer(&t, &p, from, 0);
        vfr_fragment_decide(&t, a.ticket, (struct vfr_decision){0});
        p.frag_offset = p.frag_len;
        p.flags = VFR_P_FRAGMENT;
        measure_begin();
        a = vfr_fragment_offer(&t, &p, from, 0);
        measure_keep("packet|a piece that follows the first||0");
        expect(a.verdict == VFR_F_RIDE, "a piece that follows");
    }
}

void vfr_packet_cases(void)
{
    b = (struct vfr_binding){.mac = GUEST_MAC, .ip4s = 1, .ip6s = 1};
    b.ip4[0] = (struct vfr_prefix4){GUEST_IP, 0xffffffff};
    b.ip6[0] = (struct vfr_prefix6){IP6(0x20010db800000001, 0), IP6(~0ull, 0)};
    for (unsigned i = 0; i < ARRAY_SIZE(frames_made); i++) {
        frames_made[i].make();
        parse_case(frames_made[i].parsed);
        if (frames_made[i].guarded)
            guard_case(frames_made[i].guarded);
    }
    shape_cases();
    fragment_cases();
}
