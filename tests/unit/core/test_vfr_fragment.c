/*
 * Pieces of datagrams in all orders against an oracle that keeps a bit for each byte that passed:
 * none passes twice, all that come pass if the first piece may, and none if it may not.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/vfr_checksum.h"
#include "core/vfr_fragment.h"
#include "core/vfr_wire.h"
#include "unit/random.h"

#define GUEST  VFR_IP4(0xc0000201)
#define PEER   VFR_IP4(0xc6336402)
#define SECOND ((ns_t)1000000000)

static struct vfr_fragments t;
static struct vfr_context contexts[VFR_CONTEXTS];
static const struct vfr_origin inside = {.vif = 5}, outside = {.vif = 1, .uplink = true};
static int reset(void **state)
{
    vfr_fragment_init(&t, contexts, VFR_CONTEXTS, 0x1234567890abcdef);
    assert_int_equal(vfr_fragment_check(&t), 0);
    return 0;
}

static struct vfr_packet piece(u32 id, u32 from, u32 to, bool more)
{
    return (struct vfr_packet){.class = VFR_C_IP4,
                               .tuple = {GUEST, PEER, .proto = PROTO_UDP},
                               .len = 34 + to - from,
                               .frag_id = id,
                               .frag_offset = from,
                               .frag_len = to - from,
                               .flags = VFR_P_FRAGMENT | (from ? 0 : VFR_P_FIRST) |
                                        (more ? 0 : VFR_P_LAST)};
}

static struct vfr_fragment_answer offer(struct vfr_packet p, struct vfr_origin from, ns_t now)
{
    struct vfr_fragment_answer a = vfr_fragment_offer(&t, &p, from, now);

    assert_int_equal(vfr_fragment_check(&t), 0);
    return a;
}

static struct vfr_decision pass_to(u16 out)
{
    return (struct vfr_decision){.out = out};
}

static struct vfr_decision refuse(enum vfr_reason why)
{
    return (struct vfr_decision){.why = why};
}

static bool decide(u32 ticket, struct vfr_decision d)
{
    bool held = vfr_fragment_decide(&t, ticket, d);

    assert_int_equal(vfr_fragment_check(&t), 0);
    return held;
}

static void expect_drop(struct vfr_fragment_answer a, enum vfr_reason why)
{
    assert_int_equal(a.verdict, VFR_F_DROP);
    assert_int_equal(a.decision.why, why);
}

static void in_order(void **state)
{
    struct vfr_fragment_answer a = offer(piece(7, 0, 1480, true), inside, 0);

    assert_int_equal(a.verdict, VFR_F_JUDGE);
    assert_int_equal(a.new_id, 7);
    assert_false(decide(a.ticket, pass_to(3)));
    a = offer(piece(7, 1480, 2960, true), inside, 1);
    assert_int_equal(a.verdict, VFR_F_RIDE);
    assert_int_equal(a.decision.out, 3);
    assert_int_equal(t.used, 1);
    a = offer(piece(7, 2960, 3001, false), inside, 2);
    assert_int_equal(a.verdict, VFR_F_RIDE);
    assert_int_equal(a.decision.out, 3);
    assert_int_equal(t.used, 0);
}

static u16 way(const struct vfr_packet *p, struct vfr_origin from)
{
    const struct vfr_decision *d = vfr_fragment_way(&t, p, from);

    return d ? d->out : VFR_NOBODY;
}

/* Where pieces go is known without offering them. */
static void ways(void **state)
{
    struct vfr_packet later = piece(7, 1480, 2960, true), other = piece(8, 1480, 2960, true);
    struct vfr_fragment_answer a;

    assert_int_equal(way(&later, inside), VFR_NOBODY);
    a = offer(piece(7, 0, 1480, true), inside, 0);
    assert_int_equal(way(&later, inside), VFR_NOBODY);
    decide(a.ticket, pass_to(3));
    assert_int_equal(way(&later, inside), 3);
    assert_int_equal(way(&later, outside), VFR_NOBODY);
    assert_int_equal(way(&other, inside), VFR_NOBODY);
    a = offer(piece(8, 0, 1480, true), inside, 0);
    decide(a.ticket, refuse(VFR_R_RULE));
    assert_int_equal(way(&other, inside), VFR_NOBODY);
    expect_drop(offer(piece(7, 8, 1488, true), inside, 0), VFR_R_FRAG_OVERLAP);
    assert_int_equal(way(&later, inside), VFR_NOBODY);
    assert_int_equal(t.used, 2);
}

/* An interface goes: what it sent, and what went to it; nothing else. */
static void forgotten(void **state)
{
    const struct vfr_origin third = {.vif = 9};
    struct vfr_packet later = piece(1, 1480, 2960, true);
    u32 ticket;

    decide(offer(piece(1, 0, 1480, true), inside, 0).ticket, pass_to(3));
    decide(offer(piece(2, 0, 1480, true), outside, 0).ticket, pass_to(5));
    decide(offer(piece(3, 0, 1480, true), third, 0).ticket, pass_to(3));
    ticket = offer(piece(4, 8, 1480, true), inside, 0).ticket;
    offer(piece(5, 8, 1480, true), third, 0);
    assert_int_equal(t.used, 5);
    assert_int_equal(vfr_fragment_forget(&t, 77), VFR_NO_TICKET);
    assert_int_equal(t.used, 5);
    assert_int_equal(vfr_fragment_forget(&t, 5), ticket);
    vfr_fragment_release(&t, ticket);
    assert_int_equal(vfr_fragment_forget(&t, 5), VFR_NO_TICKET);
    assert_int_equal(vfr_fragment_check(&t), 0);
    assert_int_equal(t.used, 2);
    assert_int_equal(t.held_bytes, 34 + 1472);
    assert_int_equal(way(&later, inside), VFR_NOBODY);
    later = piece(3, 1480, 2960, true);
    assert_int_equal(way(&later, third), 3);
}

static void refused(void **state)
{
    struct vfr_fragment_answer a = offer(piece(7, 0, 1480, true), inside, 0);

    decide(a.ticket, refuse(VFR_R_RULE));
    a = offer(piece(7, 1480, 2960, true), inside, 1);
    expect_drop(a, VFR_R_RULE);
    assert_true(a.ticket == VFR_NO_TICKET);
    expect_drop(offer(piece(7, 2960, 3000, false), inside, 1), VFR_R_RULE);
    assert_int_equal(t.used, 0);
}

static void followers_first(void **state)
{
    struct vfr_fragment_answer a = offer(piece(7, 2960, 3000, false), inside, 0), first;

    assert_int_equal(a.verdict, VFR_F_HOLD);
    assert_int_equal(t.held_bytes, 74);
    first = offer(piece(7, 1480, 2960, true), inside, 0);
    assert_int_equal(first.verdict, VFR_F_HOLD);
    assert_int_equal(first.ticket, a.ticket);
    assert_int_equal(t.held_bytes, 74 + 1514);
    first = offer(piece(7, 0, 1480, true), inside, 0);
    assert_int_equal(first.verdict, VFR_F_JUDGE);
    assert_true(decide(first.ticket, pass_to(3)));
    assert_int_equal(t.used, 1);
    vfr_fragment_release(&t, first.ticket);
    assert_int_equal(t.held_bytes | t.used, 0);
    assert_int_equal(vfr_fragment_check(&t), 0);
    /* A late judgement, or a second release, of what is gone changes nothing. */
    a = offer(piece(8, 2960, 3000, false), inside, 0);
    assert_int_equal(vfr_ticket_slot(a.ticket), vfr_ticket_slot(first.ticket));
    assert_int_not_equal(a.ticket, first.ticket);
    assert_false(decide(first.ticket, pass_to(3)));
    vfr_fragment_release(&t, first.ticket);
    assert_int_equal(t.held_bytes, 74);
    /* Nor one before there is a first piece. */
    assert_false(decide(a.ticket, pass_to(3)));
    assert_int_equal(offer(piece(8, 1480, 2960, true), inside, 0).verdict, VFR_F_HOLD);
}

static void whole(void **state)
{
    struct vfr_fragment_answer a = offer(piece(9, 0, 100, false), inside, 0);

    assert_int_equal(a.verdict, VFR_F_JUDGE);
    assert_true(a.ticket == VFR_NO_TICKET);
    assert_int_equal(t.used, 0);
    assert_false(decide(a.ticket, pass_to(1)));
    vfr_fragment_release(&t, a.ticket);
}

static void overlaps(void **state)
{
    const struct {
        u32 from, to;
        bool more, dies;
    } cases[] = {
        {1480, 2960, true, false},  /* the same again */
        {1488, 2952, true, false},  /* within */
        {3992, 4000, false, false}, /* the last one again */
        {1472, 1488, true, true},   {2952, 2968, true, true},  {1472, 2968, true, true},
        {1480, 2968, true, true},   {1480, 2960, false, true}, /* the end is elsewhere */
        {4000, 4008, true, true},   {3000, 3008, false, true}, {2960, 2968, false, true},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct vfr_fragment_answer a;
        u32 ticket;

        reset(NULL);
        a = offer(piece(7, 0, 1472, true), inside, 0);
        ticket = a.ticket;
        assert_int_equal(offer(piece(7, 1480, 2960, true), inside, 0).verdict, VFR_F_HOLD);
        assert_int_equal(offer(piece(7, 3992, 4000, false), inside, 0).verdict, VFR_F_HOLD);
        a = offer(piece(7, cases[i].from, cases[i].to, cases[i].more), inside, 0);
        expect_drop(a, VFR_R_FRAG_OVERLAP);
        if (!cases[i].dies) {
            assert_true(a.ticket == VFR_NO_TICKET);
            assert_true(decide(ticket, pass_to(3)));
            continue;
        }
        assert_true(a.ticket == ticket);
        vfr_fragment_release(&t, a.ticket);
        assert_int_equal(t.held_bytes, 0);
        /* Dead: its judgement comes too late, its pieces stay away. */
        assert_false(decide(ticket, pass_to(3)));
        expect_drop(offer(piece(7, 1472, 1480, true), inside, 1), VFR_R_FRAG_OVERLAP);
        expect_drop(offer(piece(7, 0, 1472, true), inside, 1), VFR_R_FRAG_OVERLAP);
        assert_int_equal(offer(piece(7, 0, 1472, true), inside, 2 * SECOND).verdict,
                         VFR_F_JUDGE);
    }
}

static void too_many_pieces(void **state)
{
    struct vfr_fragment_answer a = offer(piece(7, 0, 8, true), inside, 0);

    decide(a.ticket, pass_to(3));
    for (u32 i = 1; i < VFR_PIECES_MAX; i++)
        assert_int_equal(offer(piece(7, i * 8, i * 8 + 8, true), inside, 0).verdict,
                         VFR_F_RIDE);
    expect_drop(offer(piece(7, 8 * VFR_PIECES_MAX, 8 * VFR_PIECES_MAX + 8, true), inside, 0),
                VFR_R_FRAG_LIMIT);
    /* So do more holes than ranges. */
    a = offer(piece(8, 0, 8, true), inside, 0);
    decide(a.ticket, pass_to(3));
    for (u32 i = 1; i < VFR_RANGES; i++)
        assert_int_equal(offer(piece(8, i * 16, i * 16 + 8, true), inside, 0).verdict,
                         VFR_F_RIDE);
    expect_drop(offer(piece(8, 160, 168, true), inside, 0), VFR_R_FRAG_LIMIT);
}

/* One payer's flood leaves room for others: sharers of one address, and the other direction. */
static void floods(void **state)
{
    const struct vfr_origin sharer = {.vif = 6, .sharer = true};
    u32 i, taken = 0;

    for (i = 0; i < 200; i++) {
        struct vfr_packet p = piece(i, 8, 16, true);

        p.tuple.dst.low += i; /* whoever it is for */
        taken += vfr_fragment_offer(&t, &p, inside, 0).verdict == VFR_F_HOLD;
    }
    assert_int_equal(taken, VFR_PAYER_CONTEXTS);
    assert_int_equal(offer(piece(3, 0, 8, true), sharer, 0).verdict, VFR_F_JUDGE);
    for (u32 dst = 0; dst < 100; dst++)
        for (i = 0; i < 70; i++) {
            struct vfr_packet p = piece(i, 8, 16, true);

            p.tuple.dst = VFR_IP4(0xcb007100 + dst);
            taken += vfr_fragment_offer(&t, &p, outside, 0).verdict == VFR_F_HOLD;
        }
    assert_int_equal(vfr_fragment_check(&t), 0);
    assert_int_equal(taken, VFR_PAYER_CONTEXTS + VFR_CONTEXTS / 2);
    for (u16 vif = 100; vif < 120; vif++)
        for (i = 0; i < 70; i++) {
            struct vfr_packet p = piece(i, 8, 16, true);

            vfr_fragment_offer(&t, &p, (struct vfr_origin){.vif = vif}, 0);
        }
    assert_int_equal(vfr_fragment_check(&t), 0);
    assert_int_equal(t.used, VFR_CONTEXTS);
    expect_drop(offer(piece(9999, 0, 8, true), (struct vfr_origin){.vif = 130}, 0),
                VFR_R_FRAG_LIMIT);
}

static void held_bytes(void **state)
{
    u64 held = 0;
    u32 id = 0;

    for (;; id++) {
        struct vfr_fragment_answer a;
        bool full = false;

        for (u32 k = 1; k <= 20 && !full; k++) {
            a = offer(piece(id, k * 3000, k * 3000 + 3000, true), inside, 0);
            full = a.verdict != VFR_F_HOLD;
            held += full ? 0 : 3034;
        }
        if (full)
            break;
    }
    assert_in_range(held, VFR_HELD_MAX / 8 - 3034, VFR_HELD_MAX / 8);
    assert_int_equal(t.held_bytes, held);
    /* The other payers have the rest. */
    for (u16 vif = 10; vif < 30; vif++)
        for (u32 k = 1; k < 60000; k++) {
            struct vfr_packet p = piece(k / 20, 3000 * (k % 20 + 1), 3000 * (k % 20 + 2), true);

            if (vfr_fragment_offer(&t, &p, (struct vfr_origin){.vif = vif}, 0).verdict ==
                VFR_F_DROP)
                break;
        }
    assert_int_equal(vfr_fragment_check(&t), 0);
    assert_in_range(t.held_bytes, VFR_HELD_MAX - 8 * 3034, VFR_HELD_MAX);
}

static void ages(void **state)
{
    struct vfr_fragment_answer a;
    u32 ticket;

    assert_int_equal(vfr_fragment_deadline(&t), 0);
    assert_true(vfr_fragment_expire(&t, 100 * SECOND) == VFR_NO_TICKET);
    a = offer(piece(1, 8, 16, true), inside, SECOND);
    offer(piece(2, 0, 8, true), inside, 2 * SECOND);
    assert_int_equal(vfr_fragment_deadline(&t), 3 * SECOND);
    assert_true(vfr_fragment_expire(&t, 3 * SECOND - 1) == VFR_NO_TICKET);
    assert_int_equal(t.used, 2);
    /* Too old, though nobody looked: it is not gone on with. */
    expect_drop(offer(piece(1, 0, 8, true), inside, 3 * SECOND), VFR_R_FRAG_ORPHAN);
    ticket = vfr_fragment_expire(&t, 3 * SECOND);
    assert_true(ticket == a.ticket);
    vfr_fragment_release(&t, ticket);
    assert_int_equal(t.held_bytes, 0);
    assert_true(vfr_fragment_expire(&t, 3 * SECOND) == VFR_NO_TICKET);
    assert_int_equal(t.used, 1);
    assert_true(vfr_fragment_expire(&t, 4 * SECOND) == VFR_NO_TICKET);
    assert_int_equal(t.used, 0);
    assert_int_equal(vfr_fragment_check(&t), 0);
    /* Room made from outside is room for the outside again. */
    for (u32 i = 0; i < 20 * VFR_CONTEXTS; i++) {
        struct vfr_packet p = piece(i, 0, 8, true);

        p.tuple.dst.low = i;
        assert_int_equal(vfr_fragment_offer(&t, &p, outside, (i / 64 + 10) * SECOND).verdict,
                         VFR_F_JUDGE);
    }
    assert_int_equal(vfr_fragment_check(&t), 0);
    reset(NULL);
    /* Clocks of two CPUs may disagree a little. */
    offer(piece(3, 0, 8, true), inside, 5 * SECOND);
    offer(piece(4, 0, 8, true), inside, 5 * SECOND - 10);
}

/* Three sharers of one address to one peer, with equal identifiers (T12). */
static void sharers(void **state)
{
    u16 ids[60];

    for (u16 i = 0; i < 60; i++) {
        struct vfr_origin from = {.vif = 10 + i % 3, .sharer = true};
        struct vfr_fragment_answer a = offer(piece(i / 3, 0, 8, true), from, 0), b;

        assert_int_equal(a.verdict, VFR_F_JUDGE);
        ids[i] = a.new_id;
        decide(a.ticket, pass_to(i));
        b = offer(piece(i / 3, 8, 16, i % 2), from, 0);
        assert_int_equal(b.verdict, VFR_F_RIDE);
        assert_int_equal(b.new_id, a.new_id);
        assert_int_equal(b.decision.out, i);
        for (u16 k = 0; k < i; k++)
            assert_int_not_equal(ids[k], ids[i]);
    }
}

static void identifiers(void **state)
{
    struct vfr_origin sharer = {.vif = 9, .sharer = true};
    struct vfr_packet p = piece(77, 0, 8, true);
    u8 frame[34] = {0};
    u16 check, id = vfr_fragment_new_id(&t, &p.tuple);

    assert_int_equal(vfr_fragment_new_id(&t, &p.tuple), (u16)(id + 1));
    assert_int_equal(vfr_fragment_offer(&t, &p, sharer, 0).new_id, (u16)(id + 2));
    p.tuple.proto = PROTO_AH;
    assert_int_equal(vfr_fragment_offer(&t, &p, sharer, 0).new_id, 77);
    p.class = VFR_C_IP6;
    p.tuple.src = (struct vfr_addr){1, 1};
    assert_int_equal(vfr_fragment_offer(&t, &p, sharer, 0).new_id, 77);
    for (u32 i = 0; i < 65536; i += 77) {
        frame[14] = 0x45;
        put_be16(frame + 18, random64());
        put_be16(frame + 24, 0);
        put_be16(frame + 24, vfr_checksum(frame + 14, 20));
        vfr_fragment_set_id(frame, i);
        assert_int_equal(get_be16(frame + 18), i);
        check = vfr_checksum(frame + 14, 20);
        assert_int_equal(check, 0);
    }
}

/* IPv6's pieces may name different next headers; IPv4's protocol is part of the name. */
static void names(void **state)
{
    struct vfr_packet p = piece(7, 0, 8, true), q = piece(7, 8, 16, false);

    q.tuple.proto = PROTO_TCP;
    decide(offer(p, inside, 0).ticket, pass_to(1));
    assert_int_equal(offer(q, inside, 0).verdict, VFR_F_HOLD);
    p.class = q.class = VFR_C_IP6;
    decide(offer(p, inside, 0).ticket, pass_to(2));
    assert_int_equal(offer(q, inside, 0).verdict, VFR_F_RIDE);
    q = piece(7, 8, 16, false);
    q.tuple.dst.low++;
    assert_int_equal(offer(q, inside, 0).verdict, VFR_F_HOLD);
    q = piece(7, 8, 16, false);
    q.tuple.src.low++;
    assert_int_equal(offer(q, inside, 0).verdict, VFR_F_HOLD);
    assert_int_equal(offer(piece(7, 8, 16, false), outside, 0).verdict, VFR_F_HOLD);
    assert_int_equal(offer(piece(7, 8, 16, false), inside, 0).verdict, VFR_F_RIDE);
}

/* ---- against the oracle ---- */

#define LEN 4000

struct world {
    u8 passed[LEN];
    u32 held_from[VFR_PIECES_MAX + 1], held_to[VFR_PIECES_MAX + 1];
    unsigned held;
    bool judged, may, dead;
};

static struct world w;

static void let_pass(u32 from, u32 to)
{
    assert_true(w.may);
    for (u32 i = from; i < to; i++)
        assert_int_equal(w.passed[i]++, 0);
}

static void handle(struct vfr_packet *p, struct vfr_fragment_answer a)
{
    u32 from = p->frag_offset, to = from + p->frag_len;

    switch (a.verdict) {
    case VFR_F_JUDGE:
        assert_false(w.judged);
        w.judged = true;
        if (w.may)
            let_pass(from, to);
        if (decide(a.ticket, w.may ? pass_to(1) : refuse(VFR_R_RULE))) {
            for (unsigned i = 0; i < w.held && w.may; i++)
                let_pass(w.held_from[i], w.held_to[i]);
            w.held = 0;
            vfr_fragment_release(&t, a.ticket);
        }
        break;
    case VFR_F_RIDE:
        assert_true(w.judged);
        let_pass(from, to);
        break;
    case VFR_F_HOLD:
        assert_false(w.judged);
        w.held_from[w.held] = from;
        w.held_to[w.held++] = to;
        break;
    default:
        assert_true(a.ticket == VFR_NO_TICKET || w.held);
        if (a.ticket != VFR_NO_TICKET) {
            vfr_fragment_release(&t, a.ticket);
            w.held = 0;
        }
    }
    assert_int_equal(vfr_fragment_check(&t), 0);
}

/* A datagram cut at random and shuffled; in every other run with false pieces among them. */
static void shuffled(void **state)
{
    for (unsigned run = 0; run < 4000; run++) {
        struct vfr_packet p[VFR_PIECES_MAX];
        u32 n = 0, at = 0, sum = 0, len = 8 + random64() % (LEN - 64);
        bool honest = run & 1;

        reset(NULL);
        w = (struct world){.may = run & 2};
        while (at < len) {
            u32 to = MIN(len, at + 8 * (1 + random64() % 60) + 8);

            if (n == 14)
                to = len;
            p[n++] = piece(7, at, to, to < len);
            at = to;
        }
        if (n == 1)
            continue;
        for (u32 i = n; i-- > 1;) {
            u32 k = random64() % (i + 1);
            struct vfr_packet swap = p[i];

            p[i] = p[k];
            p[k] = swap;
        }
        for (u32 i = 0; i < n; i++) {
            if (!honest && random64() % 4 == 0) {
                u32 from = random64() % 300 * 8 + 8;
                struct vfr_packet lie = piece(7, from, from + 8 + random64() % 60 * 8, true);

                lie.flags |= random64() % 8 ? 0 : VFR_P_LAST;
                handle(&lie, vfr_fragment_offer(&t, &lie, inside, 0));
            }
            handle(&p[i], vfr_fragment_offer(&t, &p[i], inside, 0));
        }
        for (u32 i = 0; i < len; i++)
            sum += w.passed[i];
        if (honest) {
            assert_int_equal(sum, w.may ? len : 0);
            assert_int_equal(t.used | t.held_bytes, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(in_order, reset),
        cmocka_unit_test_setup(ways, reset),
        cmocka_unit_test_setup(forgotten, reset),
        cmocka_unit_test_setup(refused, reset),
        cmocka_unit_test_setup(followers_first, reset),
        cmocka_unit_test_setup(whole, reset),
        cmocka_unit_test_setup(overlaps, reset),
        cmocka_unit_test_setup(too_many_pieces, reset),
        cmocka_unit_test_setup(floods, reset),
        cmocka_unit_test_setup(held_bytes, reset),
        cmocka_unit_test_setup(ages, reset),
        cmocka_unit_test_setup(sharers, reset),
        cmocka_unit_test_setup(identifiers, reset),
        cmocka_unit_test_setup(names, reset),
        cmocka_unit_test_setup(shuffled, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
