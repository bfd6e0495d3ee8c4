/*
 * Leases of ports: what is refused and why, the life of one, and long random lives of many against
 * an oracle that knows each port's owner and nothing of maps, leaves, chains and queues.
 */
#include "core/vfr_lease.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define S      1000000000L
#define X      0xc0000201U /* 192.0.2.1 */
#define Y      0xc6336401U
#define BLOCK  VFR_PC_BLOCK
#define STREAM VFR_PC_BIT(VFR_PC_STREAM)
#define DGRAM  VFR_PC_BIT(VFR_PC_DATAGRAM)
#define SPI    VFR_PC_BIT(VFR_PC_SPI)
#define PROTO  VFR_PC_BIT(VFR_PC_PROTO)

static const u64 key[2] = {0x0123456789abcdef, 0xfedcba9876543210};

struct world {
    struct vfr_leases l;
    void *memory;
    size_t bytes;
    ns_t now;
    u32 events; /* of the last change */
};

static struct world *create(u32 addresses, u32 leases, u32 leaves)
{
    const struct vfr_lease_sizes n = {addresses, leases, leaves};
    struct world *w = calloc(1, sizeof(*w));

    w->bytes = vfr_lease_memory(&n);
    assert_true(w->bytes);
    w->memory = calloc(1, w->bytes);
    w->now = 1000 * S;
    vfr_lease_init(&w->l, &n, w->memory, key, w->now);
    assert_int_equal(vfr_lease_check_all(&w->l), 0);
    return w;
}

static void destroy(struct world *w)
{
    assert_int_equal(vfr_lease_check_all(&w->l), 0);
    free(w->memory);
    free(w);
}

/* A refused order leaves everything as it was. */
static int change(struct world *w, struct vfr_lease_order *o)
{
    void *before = malloc(w->bytes);
    struct vfr_leases l = w->l;
    int rc;

    memcpy(before, w->memory, w->bytes);
    rc = vfr_lease_check(&w->l, o, w->now);
    assert_memory_equal(before, w->memory, w->bytes);
    assert_memory_equal(&l, &w->l, sizeof(l));
    free(before);
    if (rc)
        return rc;
    w->events = vfr_lease_commit(&w->l, o, w->now);
    assert_int_equal(vfr_lease_check_all(&w->l), 0);
    return 0;
}

static int share(struct world *w, u32 ip)
{
    struct vfr_lease_order o = {.op = VFR_LEASE_SHARE, .ip = ip};

    return change(w, &o);
}

static int unshare(struct world *w, u32 ip)
{
    struct vfr_lease_order o = {.op = VFR_LEASE_UNSHARE, .ip = ip};

    return change(w, &o);
}

/* Domain d's interface d * 2; .start is what it got. */
static struct vfr_lease_order wish(u8 d, u8 classes, u16 start, u8 log2)
{
    return (struct vfr_lease_order){
        .op = VFR_LEASE_GRANT,
        .ip = X,
        .vif = d * 2,
        .classes = classes,
        .start = start,
        .log2 = log2,
        .uuid = {d, [7] = 1, [15] = (u8)(d * 17)},
    };
}

static int grant(struct world *w, u8 d, u8 classes, u16 start, u8 log2)
{
    struct vfr_lease_order o = wish(d, classes, start, log2);

    return change(w, &o);
}

static u32 granted(struct world *w, u8 d, u8 classes, u16 start, u8 log2)
{
    struct vfr_lease_order o = wish(d, classes, start, log2);

    assert_int_equal(change(w, &o), 0);
    return o.id;
}

static int act(struct world *w, u8 op, u32 id, u32 seconds)
{
    struct vfr_lease_order o = {.op = op, .id = id, .seconds = seconds};

    return change(w, &o);
}

/* Time goes on; returns what the clock did, each a decimal digit. */
static u32 pass(struct world *w, u32 seconds)
{
    ns_t end = w->now + seconds * S;
    struct vfr_lease_order o;
    u32 did = 0;

    for (; vfr_lease_next(&w->l) <= end; assert_int_equal(vfr_lease_check_all(&w->l), 0)) {
        w->now = MAX(w->now, vfr_lease_next(&w->l));
        assert_true(vfr_lease_due(&w->l, w->now, &o));
        assert_int_equal(vfr_lease_commit(&w->l, &o, w->now), 0);
        did = did * 10 + o.op;
    }
    w->now = end;
    assert_false(vfr_lease_due(&w->l, w->now, &o));
    return did;
}

static u16 owner(const struct world *w, enum vfr_port_class c, u16 port)
{
    return vfr_lease_owner(&w->l, VFR_IP4(X), c, port);
}

static void memory(void **state)
{
    struct vfr_lease_sizes n = {VFR_SHARED_MAX, VFR_LEASES_MAX, VFR_LEAVES_MAX};

    assert_true(vfr_lease_memory(&n) > VFR_LEASES_MAX * 64);
    assert_int_equal(vfr_lease_memory(&n) % 8, 0);
    n.addresses++;
    assert_int_equal(vfr_lease_memory(&n), 0);
    n = (struct vfr_lease_sizes){1, VFR_LEASES_MAX + 1, 1};
    assert_int_equal(vfr_lease_memory(&n), 0);
    n = (struct vfr_lease_sizes){1, 1, VFR_LEAVES_MAX + 1};
    assert_int_equal(vfr_lease_memory(&n), 0);
}

static void senseless(void **state)
{
    struct world *w = create(2, 8, 8);
    struct vfr_lease_order o;

    assert_int_equal(grant(w, 1, BLOCK, 4096, 12), -XEN_EADDRNOTAVAIL);
    assert_int_equal(share(w, X), 0);
    assert_int_equal(grant(w, 1, BLOCK, 4096, 5), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, BLOCK, 4096, 16), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, BLOCK, 4096, 1), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, BLOCK, 4097, 6), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, BLOCK, 4096 + 2048, 12), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, BLOCK, 2048, 11), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, STREAM, 4096, 12), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, SPI, 4096, 12), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, BLOCK, 0, 0), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, 0, 80, 0), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, 0x10, 80, 0), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, STREAM | SPI, 80, 0), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, SPI | PROTO, 47, 0), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, SPI, 0, 0), -XEN_EINVAL);
    assert_int_equal(grant(w, 1, PROTO, 256, 0), -XEN_EINVAL);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(grant(w, 1, PROTO, (const u8[]){6, 17, 1, 50, 51, 33, 132, 136}[i], 0),
                         -XEN_EINVAL);
    o = wish(1, BLOCK, 4096, 12);
    o.vif = 4096;
    assert_int_equal(change(w, &o), -XEN_EINVAL);
    o = wish(1, BLOCK, 4096, 12);
    o.seconds = VFR_LEASE_S_MAX + 1;
    assert_int_equal(change(w, &o), -XEN_EINVAL);
    o = wish(1, BLOCK, 4096, 12);
    o.origin = VFR_ORIGINS;
    assert_int_equal(change(w, &o), -XEN_EINVAL);
    o = wish(1, BLOCK, 4096, 12);
    o.spare = 1;
    assert_int_equal(change(w, &o), -XEN_EINVAL);
    for (u32 op = 0; op < 256; op++) {
        o = wish(1, BLOCK, 4096, 12);
        o.op = (u8)op;
        if (op == 0 || op == VFR_LEASE_EXPIRE || op == VFR_LEASE_RELEASE ||
            op > VFR_LEASE_UNSHARE)
            assert_int_equal(change(w, &o), -XEN_EINVAL);
    }
    destroy(w);
}

static void addresses(void **state)
{
    struct world *w = create(3, 8, 8);

    assert_int_equal(share(w, 0), -XEN_EINVAL);
    assert_int_equal(share(w, 0x7f000001), -XEN_EINVAL);
    assert_int_equal(share(w, 0xe0000001), -XEN_EINVAL);
    assert_int_equal(share(w, 0xffffffff), -XEN_EINVAL);
    assert_int_equal(share(w, X), 0);
    assert_int_equal(share(w, X), -XEN_EEXIST);
    assert_int_equal(unshare(w, Y), -XEN_EADDRNOTAVAIL);
    assert_int_equal(share(w, Y), 0);
    assert_int_equal(share(w, 0x01000001), 0);
    assert_int_equal(share(w, 0x01000002), -XEN_ENOSPC);
    assert_int_equal(grant(w, 1, BLOCK, 4096, 12), 0);
    assert_true(vfr_lease_is_shared(&w->l, VFR_IP4(X)));
    assert_false(vfr_lease_is_shared(&w->l, VFR_IP4(X + 1)));
    assert_false(vfr_lease_is_shared(&w->l, (struct vfr_addr){0, X}));
    assert_false(vfr_lease_is_shared(&w->l, (struct vfr_addr){1, VFR_IP4(X).low}));
    assert_true(vfr_lease_owns(&w->l, 2, VFR_IP4(X), VFR_PC_STREAM, 5000));
    assert_false(vfr_lease_owns(&w->l, 2, VFR_IP4(Y), VFR_PC_STREAM, 5000));
    assert_false(vfr_lease_owns(&w->l, 2, (struct vfr_addr){9, X}, VFR_PC_STREAM, 5000));
    assert_int_equal(unshare(w, X), -XEN_EBUSY);
    assert_int_equal(unshare(w, Y), 0);
    assert_false(vfr_lease_is_shared(&w->l, VFR_IP4(Y)));
    /* Its place must rest, for there may be readers. */
    assert_int_equal(share(w, Y), -XEN_ENOSPC);
    pass(w, 1);
    assert_int_equal(share(w, Y), 0);
    destroy(w);
}

/* Addresses that fall on one place of the table, going and coming in any order. */
static void many_addresses(void **state)
{
    struct world *w = create(VFR_SHARED_MAX, 1, 1);
    u32 ips[VFR_SHARED_MAX], n = 0;
    bool is[VFR_SHARED_MAX] = {false};

    for (u32 ip = 0x0a000000; n < VFR_SHARED_MAX; ip++)
        if (n >= 32 || vfr_ports_hash(ip) >= 254)
            ips[n++] = ip;
    srand(1);
    for (u32 k = 0; k < 5000; k++) {
        u32 i = (u32)rand() % VFR_SHARED_MAX;

        assert_int_equal(is[i] ? unshare(w, ips[i]) : share(w, ips[i]), 0);
        is[i] = !is[i];
        for (i = 0; i < VFR_SHARED_MAX; i++)
            assert_int_equal(vfr_lease_is_shared(&w->l, VFR_IP4(ips[i])), is[i]);
        w->now += S;
    }
    destroy(w);
}

static void life(void **state)
{
    struct world *w = create(1, 8, 8);
    struct vfr_lease_order o = wish(1, BLOCK, 8192, 12);
    u32 id;

    assert_int_equal(share(w, X), 0);
    o.seconds = 600;
    assert_int_equal(change(w, &o), 0);
    id = o.id;
    assert_int_equal(owner(w, VFR_PC_STREAM, 8191), VFR_PORT_NOBODY);
    assert_int_equal(owner(w, VFR_PC_STREAM, 8192), 2);
    assert_int_equal(owner(w, VFR_PC_DATAGRAM, 12287), 2);
    assert_int_equal(owner(w, VFR_PC_DATAGRAM, 12288), VFR_PORT_NOBODY);
    assert_int_equal(owner(w, VFR_PC_SPI, 8192), VFR_PORT_NOBODY);
    assert_true(vfr_port_may_open(2));
    assert_int_equal(grant(w, 2, BLOCK, 8192, 12), -XEN_EBUSY);
    assert_int_equal(grant(w, 1, BLOCK, 8192, 12), -XEN_EBUSY);
    assert_int_equal(grant(w, 2, BLOCK, 8192, 6), -XEN_EBUSY);
    assert_int_equal(grant(w, 2, BLOCK, 8192, 13), -XEN_EBUSY);
    assert_int_equal(grant(w, 2, STREAM, 12287, 0), -XEN_EBUSY);
    assert_int_equal(pass(w, 599), 0);
    assert_int_equal(act(w, VFR_LEASE_EXTEND, id, 600), 0);
    assert_int_equal(act(w, VFR_LEASE_EXTEND, id, VFR_LEASE_S_MAX + 1), -XEN_EINVAL);
    assert_int_equal(pass(w, 599), 0);
    assert_int_equal(pass(w, 1), VFR_LEASE_EXPIRE);
    assert_int_equal(owner(w, VFR_PC_STREAM, 8192), VFR_PORT(VFR_PORT_RESTING, 2));
    assert_false(vfr_port_is_of(owner(w, VFR_PC_STREAM, 8192), 2));
    assert_int_equal(act(w, VFR_LEASE_EXTEND, id, 600), -XEN_ENOENT);
    assert_int_equal(act(w, VFR_LEASE_FREE, id, 0), -XEN_ENOENT);
    assert_int_equal(act(w, VFR_LEASE_REVOKE, id, 0), -XEN_ENOENT);
    assert_int_equal(pass(w, 119), 0);
    assert_int_equal(grant(w, 2, BLOCK, 8192, 12), -XEN_EAGAIN);
    assert_int_equal(unshare(w, X), -XEN_EBUSY);
    assert_int_equal(pass(w, 1), VFR_LEASE_RELEASE);
    assert_int_equal(owner(w, VFR_PC_STREAM, 8192), VFR_PORT_NOBODY);
    assert_int_equal(grant(w, 2, BLOCK, 8192, 12), 0);
    assert_int_equal(unshare(w, X), -XEN_EBUSY);
    destroy(w);
}

static void reclaim(void **state)
{
    struct world *w = create(1, 8, 8);
    struct vfr_lease_order o = wish(1, BLOCK, 0, 12), again = o;
    u32 id;

    assert_int_equal(share(w, X), 0);
    assert_int_equal(change(w, &o), 0);
    assert_int_equal(act(w, VFR_LEASE_FREE, o.id, 0), 0);
    assert_int_equal(pass(w, 60), 0);
    again.vif = 77;
    assert_int_equal(change(w, &again), 0);
    assert_int_equal(again.start, o.start);
    assert_int_not_equal(again.id, o.id);
    assert_int_equal(owner(w, VFR_PC_STREAM, o.start), 77);
    assert_int_equal(pass(w, 1000), 0);
    assert_int_equal(act(w, VFR_LEASE_FREE, o.id, 0), -XEN_ENOENT);

    /* A part of it, or more than it, is something else. */
    id = granted(w, 3, BLOCK, 32768, 12);
    assert_int_equal(act(w, VFR_LEASE_FREE, id, 0), 0);
    assert_int_equal(grant(w, 3, BLOCK, 32768, 6), -XEN_EAGAIN);
    assert_int_equal(grant(w, 3, BLOCK, 32768, 13), -XEN_EAGAIN);
    assert_int_equal(grant(w, 3, STREAM, 32768, 0), -XEN_EAGAIN);
    assert_int_equal(grant(w, 4, BLOCK, 32768, 12), -XEN_EAGAIN);
    assert_int_equal(grant(w, 3, BLOCK, 32768, 12), 0);
    destroy(w);
}

/* Two blocks, given back in either order, come back as first and second. */
static void reclaim_in_order(void **state)
{
    struct world *w = create(1, 8, 8);
    struct vfr_lease_order a = wish(1, BLOCK, 0, 12), b = a, again;

    assert_int_equal(share(w, X), 0);
    assert_int_equal(change(w, &a), 0);
    pass(w, 5);
    assert_int_equal(change(w, &b), 0);
    for (int k = 0; k < 4; k++) {
        assert_int_equal(act(w, VFR_LEASE_FREE, k & 1 ? a.id : b.id, 0), 0);
        pass(w, 1);
        assert_int_equal(act(w, VFR_LEASE_FREE, k & 1 ? b.id : a.id, 0), 0);
        again = wish(1, BLOCK, 0, 12);
        assert_int_equal(change(w, &again), 0);
        assert_int_equal(again.start, a.start);
        a.id = again.id;
        again = wish(1, BLOCK, 0, 12);
        assert_int_equal(change(w, &again), 0);
        assert_int_equal(again.start, b.start);
        b.id = again.id;
    }
    destroy(w);
}

static void draining(void **state)
{
    struct world *w = create(1, 8, 8);
    u32 id;
    u16 word;

    assert_int_equal(share(w, X), 0);
    id = granted(w, 1, BLOCK, 4096, 6);
    assert_int_equal(act(w, VFR_LEASE_REVOKE, id, VFR_DRAIN_S_MAX + 1), -XEN_EINVAL);
    assert_int_equal(act(w, VFR_LEASE_REVOKE, id, 60), 0);
    word = owner(w, VFR_PC_STREAM, 4100);
    assert_int_equal(word, VFR_PORT(VFR_PORT_DRAINING, 2));
    assert_true(vfr_port_is_of(word, 2));
    assert_false(vfr_port_may_open(word));
    assert_int_equal(act(w, VFR_LEASE_EXTEND, id, 100), -XEN_EPERM);
    assert_int_equal(grant(w, 1, BLOCK, 4096, 6), -XEN_EBUSY);
    /* It can be made shorter, never longer. */
    assert_int_equal(act(w, VFR_LEASE_REVOKE, id, 100), 0);
    assert_int_equal(pass(w, 60), VFR_LEASE_EXPIRE);
    assert_int_equal(pass(w, 120), VFR_LEASE_RELEASE);
    id = granted(w, 1, STREAM, 80, 0);
    assert_int_equal(act(w, VFR_LEASE_REVOKE, id, 0), 0);
    assert_int_equal(owner(w, VFR_PC_STREAM, 80), VFR_PORT(VFR_PORT_RESTING, 2));
    /* Its domain does not get it back, either. */
    assert_int_equal(grant(w, 1, STREAM, 80, 0), -XEN_EAGAIN);
    id = granted(w, 1, STREAM, 81, 0);
    assert_int_equal(act(w, VFR_LEASE_REVOKE, id, 60), 0);
    assert_int_equal(act(w, VFR_LEASE_FREE, id, 0), 0);
    assert_int_equal(grant(w, 1, STREAM, 81, 0), -XEN_EAGAIN);
    assert_int_equal(pass(w, 120), VFR_LEASE_RELEASE * 11);
    assert_int_equal(grant(w, 1, STREAM, 81, 0), 0);
    destroy(w);
}

/* Any port of a class at all? */
static void any(void **state)
{
    struct world *w = create(1, 8, 8);
    const struct vfr_shared *x;
    u32 id;

    assert_int_equal(share(w, X), 0);
    x = vfr_lease_shared(&w->l, VFR_IP4(X));
    assert_non_null(x);
    assert_null(vfr_lease_shared(&w->l, VFR_IP4(Y)));
    assert_null(vfr_lease_shared(&w->l, (struct vfr_addr){1, VFR_IP4(X).low}));
    assert_int_equal(grant(w, 1, BLOCK, 61440, 12), 0);
    assert_int_equal(grant(w, 2, SPI, 0xffff, 0), 0);
    id = granted(w, 3, SPI, 1, 0);
    for (u16 d = 0; d < 5; d++) {
        assert_int_equal(vfr_ports_has_any(&w->l.ports, x, VFR_PC_STREAM, d * 2), d == 1);
        assert_int_equal(vfr_ports_has_any(&w->l.ports, x, VFR_PC_SPI, d * 2),
                         d == 2 || d == 3);
    }
    assert_int_equal(act(w, VFR_LEASE_REVOKE, id, 10), 0);
    assert_true(vfr_ports_has_any(&w->l.ports, x, VFR_PC_SPI, 6));
    assert_int_equal(act(w, VFR_LEASE_FREE, id, 0), 0);
    assert_false(vfr_ports_has_any(&w->l.ports, x, VFR_PC_SPI, 6));
    destroy(w);
}

static void singles(void **state)
{
    struct world *w = create(1, 8, 3);
    u32 id;

    assert_int_equal(share(w, X), 0);
    assert_int_equal(grant(w, 1, STREAM, 80, 0), 0);
    assert_int_equal(grant(w, 2, DGRAM, 80, 0), 0);
    assert_int_equal(grant(w, 3, BLOCK, 80, 0), -XEN_EBUSY);
    id = granted(w, 3, PROTO, 47, 0);
    assert_int_equal(owner(w, VFR_PC_STREAM, 80), 2);
    assert_int_equal(owner(w, VFR_PC_DATAGRAM, 80), 4);
    assert_int_equal(owner(w, VFR_PC_PROTO, 47), 6);
    assert_int_equal(owner(w, VFR_PC_SPI, 47), VFR_PORT_NOBODY);
    /* All leaves are in use; one that comes back rests. */
    assert_int_equal(grant(w, 4, SPI, 0xc123, 0), -XEN_ENOMEM);
    assert_int_equal(grant(w, 4, BLOCK, 0, 6), -XEN_ENOMEM);
    assert_int_equal(grant(w, 4, STREAM, 81, 0), 0);
    assert_int_equal(act(w, VFR_LEASE_FREE, id, 0), 0);
    assert_int_equal(pass(w, 120), VFR_LEASE_RELEASE);
    assert_int_equal(grant(w, 4, SPI, 0xc123, 0), -XEN_ENOMEM);
    assert_int_equal(pass(w, 1), 0);
    assert_int_equal(grant(w, 4, SPI, 0xc123, 0), 0);
    assert_int_equal(owner(w, VFR_PC_SPI, 0xc123), 8);
    destroy(w);
}

static void quota(void **state)
{
    struct world *w = create(1, 200, 300);
    u32 id = 0;

    assert_int_equal(share(w, X), 0);
    for (u16 p = 1; p <= VFR_LEASES_PER_DOMAIN; p++)
        id = granted(w, 1, STREAM, p, 0);
    assert_int_equal(grant(w, 1, STREAM, 999, 0), -XEN_E2BIG);
    assert_int_equal(grant(w, 2, STREAM, 999, 0), 0);
    /* What rests counts. */
    assert_int_equal(act(w, VFR_LEASE_FREE, id, 0), 0);
    assert_int_equal(grant(w, 1, STREAM, 998, 0), -XEN_E2BIG);
    assert_int_equal(grant(w, 1, STREAM, VFR_LEASES_PER_DOMAIN, 0), 0);
    destroy(w);
}

static void exhaustion(void **state)
{
    struct world *w = create(1, 20, 4);
    u32 taken = 0, events = 0;

    assert_int_equal(share(w, X), 0);
    for (u8 d = 0; d < 15; d++) {
        struct vfr_lease_order o = wish(d, BLOCK, 0, 12);

        assert_int_equal(change(w, &o), 0);
        assert_false(taken & 1U << (o.start >> 12));
        taken |= 1U << (o.start >> 12);
        events = events << 4 | w->events;
    }
    assert_int_equal(taken, 0xfffe);
    /* 12 of 15 are 80 percent, 15 are 95. */
    assert_int_equal(events, VFR_LEASE_PORTS_80 << 12 | VFR_LEASE_PORTS_95);
    assert_int_equal(grant(w, 20, BLOCK, 0, 12), -XEN_ENOSPC);
    assert_int_equal(grant(w, 20, BLOCK, 0, 6), -XEN_ENOSPC);
    assert_int_equal(grant(w, 20, STREAM, 1, 0), 0);
    assert_int_equal(w->events, VFR_LEASE_LEASES_80);
    for (u16 p = 2; p <= 4; p++)
        assert_int_equal(grant(w, 20, STREAM, p, 0), 0);
    assert_int_equal(w->events, VFR_LEASE_LEASES_95);
    assert_int_equal(grant(w, 20, STREAM, 5, 0), 0);
    assert_int_equal(grant(w, 20, STREAM, 6, 0), -XEN_ENOMEM);
    destroy(w);
}

/* Who asks alone gets the same block at each boot; another host's key gives another order. */
static void deterministic(void **state)
{
    struct vfr_lease_sizes n = {1, 8, 8};
    u16 first[64], second[64], differ = 0;

    for (int boot = 0; boot < 3; boot++) {
        for (u8 d = 0; d < 64; d++) {
            struct world *w = create(1, 8, 8);
            struct vfr_lease_order o = wish(d, BLOCK, 0, 6);

            if (boot == 2) {
                memset(w->memory, 0, w->bytes);
                vfr_lease_init(&w->l, &n, w->memory, (const u64[]){1, 2}, w->now);
            }
            assert_int_equal(share(w, X), 0);
            assert_int_equal(change(w, &o), 0);
            if (boot == 0)
                first[d] = o.start;
            else if (boot == 1)
                assert_int_equal(first[d], o.start);
            else
                second[d] = o.start;
            destroy(w);
        }
    }
    for (int d = 0; d < 64; d++)
        differ += first[d] != second[d];
    assert_true(differ > 56);
}

/* A domain's interface goes. */
static void domain_death(void **state)
{
    struct world *w = create(1, 16, 16);
    struct vfr_lease_order o;
    u32 n = 0;

    assert_int_equal(share(w, X), 0);
    for (u16 p = 1; p <= 4; p++)
        assert_int_equal(grant(w, 5, STREAM, p, 0), 0);
    assert_int_equal(grant(w, 6, STREAM, 9, 0), 0);
    o = wish(5, BLOCK, 0, 12);
    o.vif = 99;
    assert_int_equal(change(w, &o), 0);
    for (; vfr_lease_of_vif(&w->l, o.uuid, 10, &o); n++) {
        assert_int_equal(o.op, VFR_LEASE_FREE);
        vfr_lease_commit(&w->l, &o, w->now);
        assert_int_equal(vfr_lease_check_all(&w->l), 0);
    }
    assert_int_equal(n, 4);
    assert_int_equal(owner(w, VFR_PC_STREAM, 9), 12);
    assert_int_equal(owner(w, VFR_PC_STREAM, 4), VFR_PORT(VFR_PORT_RESTING, 10));
    assert_int_equal(pass(w, 120), VFR_LEASE_RELEASE * 1111);
    destroy(w);
}

static void listing(void **state)
{
    struct world *w = create(1, 16, 16);
    struct vfr_lease_info info[3];
    u32 cursor = 0, n, sum = 0;

    assert_int_equal(share(w, X), 0);
    assert_int_equal(vfr_lease_list(&w->l, &cursor, info, 3), 0);
    cursor = 0;
    for (u16 p = 1; p <= 5; p++)
        granted(w, 5, STREAM, p, 0);
    for (; (n = vfr_lease_list(&w->l, &cursor, info, 3)); sum += n)
        for (u32 i = 0; i < n; i++) {
            assert_int_equal(info[i].start, sum + i + 1);
            assert_int_equal(info[i].ip, X);
            assert_int_equal(info[i].vif, 10);
            assert_int_equal(info[i].state, VFR_LEASE_HELD);
            assert_int_equal(info[i].uuid[0], 5);
        }
    assert_int_equal(sum, 5);
    cursor = UINT32_MAX;
    assert_int_equal(vfr_lease_list(&w->l, &cursor, info, 3), 0);
    destroy(w);
}

/* ---- against the oracle ---- */

#define ADDRESSES 3
#define LEASES    90
#define LEAVES    14
#define PER       VFR_LEASES_PER_DOMAIN

static const u32 ips[ADDRESSES + 1] = {X, Y, 0x08080808, 0x09090909};

/* What an independent mind would note down: a list of leases in the order they came. */
struct note {
    struct vfr_lease_order o;
    u32 state;
    ns_t ends;
    bool revoked;
};

static struct note notes[LEASES];
static u32 nr_notes;
static ns_t leaf_back[4096]; /* when leaves went back */
static u32 nr_back;

static bool overlap(const struct vfr_lease_order *a, const struct vfr_lease_order *b)
{
    return a->ip == b->ip && a->classes & b->classes && a->start < b->start + (1 << b->log2) &&
           b->start < a->start + (1 << a->log2);
}

static bool same(const struct vfr_lease_order *a, const struct vfr_lease_order *b)
{
    return a->ip == b->ip && a->classes == b->classes && a->start == b->start &&
           a->log2 == b->log2 && !memcmp(a->uuid, b->uuid, 16);
}

/* Distinct (address, class, 256 ports) that a small lease is in. */
static u32 leaves_in_use(void)
{
    static u32 seen[LEASES * 2];
    u32 n = 0;

    for (u32 i = 0; i < nr_notes; i++)
        for (u32 c = 0; c < VFR_PORT_CLASSES; c++) {
            const struct vfr_lease_order *o = &notes[i].o;
            u32 name = o->ip << 10 ^ o->ip >> 20 ^ c << 8 ^ o->start >> 8, k = 0;

            if (o->log2 >= 8 || !(o->classes & 1 << c))
                continue;
            while (k < n && seen[k] != name)
                k++;
            if (k == n)
                seen[n++] = name;
        }
    return n;
}

static bool leaves_short(const struct vfr_lease_order *o, ns_t now)
{
    u32 before = leaves_in_use(), resting = 0, needs;

    for (u32 i = 0; i < nr_back; i++)
        resting += now - leaf_back[i] < S;
    notes[nr_notes++] = (struct note){.o = *o};
    needs = leaves_in_use() - before;
    nr_notes--;
    return before + resting + needs > LEAVES;
}

/* What must be answered to a wish with a start that makes sense. */
static int expect(const struct vfr_lease_order *o, ns_t now)
{
    u32 own = 0, held = 0, resting = 0;

    for (u32 i = 0; i < nr_notes; i++) {
        const struct note *n = &notes[i];

        if (n->state == VFR_LEASE_RESTING && !n->revoked && same(&n->o, o))
            return 0;
        own += !memcmp(n->o.uuid, o->uuid, 16);
        if (overlap(&n->o, o))
            *(n->state == VFR_LEASE_RESTING ? &resting : &held) += 1;
    }
    if (own >= PER)
        return -XEN_E2BIG;
    if (nr_notes == LEASES)
        return -XEN_ENOMEM;
    if (held || resting)
        return held && !resting ? -XEN_EBUSY : held ? 1 : -XEN_EAGAIN;
    return leaves_short(o, now) ? -XEN_ENOMEM : 0;
}

static void forget(u32 i, ns_t now)
{
    u32 before = leaves_in_use();

    memmove(&notes[i], &notes[i + 1], (--nr_notes - i) * sizeof(notes[0]));
    for (u32 n = before - leaves_in_use(); n; n--)
        leaf_back[nr_back++ % 4096] = now;
}

static void note_grant(const struct vfr_lease_order *o, ns_t now)
{
    ns_t ends = o->seconds ? now + o->seconds * S : INT64_MAX;
    u32 i = 0;

    while (i < nr_notes && !same(&notes[i].o, o))
        i++;
    notes[i] = (struct note){*o, VFR_LEASE_HELD, ends, false};
    nr_notes += i == nr_notes;
}

static u16 expected_word(u32 ip, u32 c, u16 port)
{
    for (u32 i = 0; i < nr_notes; i++) {
        const struct vfr_lease_order *o = &notes[i].o;

        if (o->ip == ip && o->classes & 1 << c && port >= o->start &&
            port < o->start + (1 << o->log2))
            return (u16)((notes[i].state - 1) << 12 | o->vif);
    }
    return VFR_PORT_NOBODY;
}

static u32 pick(u32 n)
{
    return (u32)rand() % n;
}

static struct vfr_lease_order random_wish(void)
{
    static const u16 small[] = {80, 81, 443, 255, 256, 4096, 4159, 4160, 65535};
    static const u8 sizes[] = {6, 7, 8, 9, 12, 13, 15};
    struct vfr_lease_order o = wish((u8)pick(4), 0, 0, 0);

    o.vif = (u16)(o.vif + pick(2));
    o.ip = ips[pick(ADDRESSES)];
    o.seconds = pick(3) * 50;
    if (pick(2)) {
        o.classes = (u8[]){STREAM, DGRAM, BLOCK, SPI, PROTO}[pick(5)];
        o.start = o.classes == PROTO ? (u16)(40 + pick(10)) : small[pick(ARRAY_SIZE(small))];
    } else {
        o.classes = BLOCK;
        o.log2 = sizes[pick(ARRAY_SIZE(sizes))];
        o.start = (u16)(MAX(4096U >> o.log2, 1U) << o.log2);
        o.start = (u16)(o.start + (pick(3) << o.log2) % (65536U - o.start));
    }
    return o;
}

static void try_grant(struct world *w)
{
    struct vfr_lease_order o = random_wish();
    bool any = o.log2 && pick(4) == 0;
    int want, rc;

    if (any)
        o.start = 0;
    want = any ? 0 : expect(&o, w->now);
    rc = change(w, &o);
    if (any && !rc)
        assert_int_equal(expect(&o, w->now), 0);
    else if (want == 1)
        assert_true(rc == -XEN_EBUSY || rc == -XEN_EAGAIN);
    else if (!any)
        assert_int_equal(rc, want);
    if (!rc)
        note_grant(&o, w->now);
}

static void try_held(struct world *w)
{
    u8 op = (u8[]){VFR_LEASE_FREE, VFR_LEASE_EXTEND, VFR_LEASE_REVOKE}[pick(3)];
    u32 seconds = pick(3) * 40, i = pick(nr_notes);
    struct note *n = &notes[i];
    int rc = act(w, op, n->o.id, seconds);

    n->revoked |= op == VFR_LEASE_REVOKE && n->state != VFR_LEASE_RESTING;
    if (n->state == VFR_LEASE_RESTING) {
        assert_int_equal(rc, -XEN_ENOENT);
    } else if (op == VFR_LEASE_EXTEND) {
        assert_int_equal(rc, n->state == VFR_LEASE_DRAINING ? -XEN_EPERM : 0);
        if (!rc)
            n->ends = seconds ? w->now + seconds * S : INT64_MAX;
    } else if (op == VFR_LEASE_REVOKE && seconds) {
        assert_int_equal(rc, 0);
        n->state = VFR_LEASE_DRAINING;
        n->ends = MIN(n->ends, w->now + seconds * S);
    } else {
        assert_int_equal(rc, 0);
        n->state = VFR_LEASE_RESTING;
        n->ends = w->now + 120 * S;
    }
}

/* The clock, a tenth of a second at a time; every change at its moment. */
static void tick(struct world *w)
{
    struct vfr_lease_order o;
    u32 due = 0;

    w->now += S / 10;
    for (u32 i = 0; i < nr_notes; i++)
        due += notes[i].ends <= w->now;
    for (; vfr_lease_due(&w->l, w->now, &o); due--) {
        u32 i = 0;

        while (i < nr_notes && notes[i].o.id != o.id)
            i++;
        assert_true(i < nr_notes && notes[i].ends <= w->now);
        assert_int_equal(o.op, notes[i].state == VFR_LEASE_RESTING ? VFR_LEASE_RELEASE
                                                                   : VFR_LEASE_EXPIRE);
        vfr_lease_commit(&w->l, &o, w->now);
        if (o.op == VFR_LEASE_RELEASE) {
            forget(i, w->now);
        } else {
            notes[i].state = VFR_LEASE_RESTING;
            notes[i].ends = w->now + 120 * S;
        }
    }
    assert_int_equal(due, 0);
}

static void compare(struct world *w, bool all)
{
    for (u32 a = 0; a <= ADDRESSES; a++)
        for (u32 c = 0; c < VFR_PORT_CLASSES; c++)
            for (u32 k = 0; k < (all ? 65536 : 6); k++) {
                u16 port = (u16)(all ? k : pick(2) ? pick(65536) : pick(12288));

                assert_int_equal(vfr_lease_owner(&w->l, VFR_IP4(ips[a]), c, port),
                                 expected_word(ips[a], c, port));
            }
}

static void oracle(void **state)
{
    struct world *w = create(ADDRESSES, LEASES, LEAVES);

    srand(3);
    nr_notes = nr_back = 0;
    for (u32 a = 0; a < ADDRESSES; a++)
        assert_int_equal(share(w, ips[a]), 0);
    for (u32 k = 0; k < 12000; k++) {
        u32 what = pick(10);

        if (what < 4)
            try_grant(w);
        else if (what < 6 && nr_notes)
            try_held(w);
        else
            tick(w);
        compare(w, false);
        if (k % 4000 == 3999)
            compare(w, true);
    }
    destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory),        cmocka_unit_test(senseless),
        cmocka_unit_test(addresses),     cmocka_unit_test(many_addresses),
        cmocka_unit_test(life),          cmocka_unit_test(reclaim),
        cmocka_unit_test(draining),      cmocka_unit_test(reclaim_in_order),
        cmocka_unit_test(singles),       cmocka_unit_test(any),
        cmocka_unit_test(quota),         cmocka_unit_test(exhaustion),
        cmocka_unit_test(deterministic), cmocka_unit_test(domain_death),
        cmocka_unit_test(listing),       cmocka_unit_test(oracle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
