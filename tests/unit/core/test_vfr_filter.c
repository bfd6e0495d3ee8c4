/*
 * Filters of captures: what is refused, and random ones against an oracle that looks at addresses
 * bit by bit and at everything in words of its own.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/string.h"
#include "core/vfr_filter.h"
#include "core/vfr_wire.h"
#include "unit/random.h"

/* ---- the oracle ---- */

static bool bit_of(u64 high, u64 low, unsigned bit)
{
    return bit < 64 ? high >> (63 - bit) & 1 : low >> (127 - bit) & 1;
}

static bool in_net(struct vfr_addr a, const struct vfr_filter_address *net)
{
    for (unsigned bit = 0; bit < net->length; bit++)
        if (bit_of(a.high, a.low, bit) != bit_of(net->high, net->low, bit))
            return false;
    return net->length > 95 || a.high || a.low >> 32 != 0xffff;
}

static bool oracle(const struct vfr_filter *f, const struct vfr_packet *p, unsigned reason,
                   unsigned way)
{
    static const u8 family[] = {0, VFR_FILTER_ARP, VFR_FILTER_IP4, VFR_FILTER_IP6};
    const bool real =
        p->flags & VFR_P_PORTS && !(p->flags & VFR_P_QUERY) && !(p->flags & VFR_P_ANSWER);

    if (f->ways == VFR_FILTER_IN && way != VFR_FILTER_IN)
        return false;
    if (f->ways == VFR_FILTER_OUT && way != VFR_FILTER_OUT)
        return false;
    if (f->families && !(f->families & family[p->class]))
        return false;
    if (f->reasons && !(f->reasons & 1UL << reason))
        return false;
    if (f->proto && (p->class < VFR_C_IP4 || f->proto != p->tuple.proto + 1))
        return false;
    for (unsigned i = 0; i < VFR_FILTER_TERMS; i++) {
        const struct vfr_filter_address *a = &f->address[i];
        const struct vfr_filter_port *t = &f->port[i];
        bool src = a->ends & VFR_FILTER_SRC && in_net(p->tuple.src, a),
             dst = a->ends & VFR_FILTER_DST && in_net(p->tuple.dst, a);

        if (a->ends && (!p->class || (!src && !dst)))
            return false;
        src = t->ends & VFR_FILTER_SRC && p->tuple.sport >= t->low && p->tuple.sport <= t->high;
        dst = t->ends & VFR_FILTER_DST && p->tuple.dport >= t->low && p->tuple.dport <= t->high;
        if (t->ends && (!real || (!src && !dst)))
            return false;
    }
    return true;
}

/* ---- random ones ---- */

static struct vfr_addr random_address(void)
{
    if (random_below(2))
        return VFR_IP4(0x0a000000 | random_below(8) | random_below(2) << 24);
    return (struct vfr_addr){0x20010db8UL << 32, random_below(8)};
}

static struct vfr_filter random_filter(void)
{
    static const u8 lengths[] = {0, 32, 95, 96, 103, 104, 126, 127, 128};
    struct vfr_filter f = {.ways = (u8)random_below(4)};

    if (random_below(2))
        f.reasons = random_state & ((1UL << VFR_REASON_COUNT) - 1);
    if (random_below(3) == 0)
        f.proto = (u16)(1 + (random_below(2) ? PROTO_TCP : PROTO_UDP));
    if (random_below(3) == 0)
        f.families = random_below(8) << 1;
    for (unsigned i = 0; i < VFR_FILTER_TERMS; i++) {
        const struct vfr_addr a = random_address();
        const u16 low = (u16)random_below(6);

        if (random_below(2)) {
            f.address[i] = (struct vfr_filter_address){
                a.high, a.low, lengths[random_below(sizeof(lengths))], 0, {0}};
            for (unsigned bit = f.address[i].length; bit < 128; bit++) {
                f.address[i].high &= bit < 64 ? ~(1UL << (63 - bit)) : ~0UL;
                f.address[i].low &= bit < 64 ? ~0UL : ~(1UL << (127 - bit));
            }
            f.address[i].ends = (u8)(1 + random_below(3));
        }
        if (random_below(2))
            f.port[i] = (struct vfr_filter_port){
                low, (u16)(low + random_below(4)), (u8)(1 + random_below(3)), {0}};
    }
    return f;
}

static struct vfr_packet random_packet(void)
{
    struct vfr_packet p = {.class = (u8)random_below(4)};

    p.tuple = (struct vfr_tuple){random_address(), random_address(), (u16)random_below(8),
                                 (u16)random_below(8), random_below(2) ? PROTO_TCP : PROTO_UDP};
    p.flags = random_below(4) ? VFR_P_PORTS : 0;
    p.flags |= random_below(8) ? 0 : VFR_P_QUERY;
    p.flags |= random_below(8) ? 0 : VFR_P_ANSWER;
    return p;
}

static void as_the_oracle(void **state)
{
    unsigned wanted = 0;

    for (unsigned i = 0; i < 200000; i++) {
        const struct vfr_filter f = random_filter();
        const struct vfr_packet p = random_packet();
        const enum vfr_reason reason = random_below(VFR_REASON_COUNT);
        const u8 way = (u8)(1 + random_below(2));
        const bool expected = oracle(&f, &p, reason, way);

        assert_int_equal(vfr_filter_check(&f), 0);
        assert_int_equal(vfr_filter_wants(&f, &p, reason, way), expected);
        wanted += expected;
    }
    assert_in_range(wanted, 2000, 198000);
}

/* ---- checking ---- */

static void refused(void **state)
{
    static const struct vfr_filter wrong[] = {
        {.reasons = 1UL << VFR_REASON_COUNT},
        {.proto = 257},
        {.families = 1},
        {.families = 16},
        {.ways = 4},
        {.reserved = 1},
        {.address = {{1, 0, 0, 0, {0}}}},
        {.address = {{0, 0, 1, 0, {0}}}},
        {.address = {{0, 0, 0, 4, {0}}}},
        {.address = {{0, 0, 129, 1, {0}}}},
        {.address = {{0, 1, 127, 1, {0}}}},
        {.address = {{1, 0, 63, 1, {0}}}},
        {.address = {{0}, {0, 0, 0, 1, {0, 0, 0, 0, 0, 1}}}},
        {.port = {{2, 1, 1, {0}}}},
        {.port = {{0, 1, 0, {0}}}},
        {.port = {{0, 1, 4, {0}}}},
        {.port = {{0}, {1, 1, 1, {0, 0, 1}}}},
    };
    const struct vfr_filter all = {.reasons = (1UL << VFR_REASON_COUNT) - 1,
                                   .address = {{0, 0, 0, 3, {0}}, {~0UL, ~0UL, 128, 1, {0}}},
                                   .port = {{0, 65535, 3, {0}}, {65535, 65535, 2, {0}}},
                                   .proto = 256,
                                   .families = VFR_FILTER_ALL,
                                   .ways = 3};

    assert_int_equal(sizeof(struct vfr_filter), 80);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_int_equal(vfr_filter_check(&wrong[i]), -XEN_EINVAL);
    assert_int_equal(vfr_filter_check(&all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_oracle),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
