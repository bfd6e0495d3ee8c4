#include "core/vfr_lease.h"
#include "abi/vfr.h"
#include "base/string.h"

#define NONE   0xffff
#define SECOND 1000000000L
#define NEVER  INT64_MAX

/* Ports that blocks can be in, of both classes. */
#define BLOCK_PORTS (2 * (65536 - VFR_BLOCK_FIRST))

_Static_assert(sizeof(struct vfr_lease) == 64, "one line");
_Static_assert(sizeof(struct vfr_lease_order) == 40, "no holes");
_Static_assert(VFR_VIFS_MAX <= VFR_PORT_VIF + 1, "an interface's number has 12 bits");

size_t vfr_lease_memory(const struct vfr_lease_sizes *n)
{
    if (n->addresses > VFR_SHARED_MAX || n->leases > VFR_LEASES_MAX ||
        n->leaves > VFR_LEAVES_MAX)
        return 0;
    return n->addresses * sizeof(struct vfr_shared) + n->leases * sizeof(struct vfr_lease) +
           n->leaves * (sizeof(struct vfr_leaf) + 512) + ROUND_UP(n->leases, 4U) * sizeof(u16);
}

void vfr_lease_init(struct vfr_leases *l, const struct vfr_lease_sizes *n, void *memory,
                    const u64 key[2], ns_t now)
{
    struct vfr_shared *shared = memory;
    struct vfr_lease *lease = (void *)(shared + n->addresses);
    struct vfr_leaf *leaves = (void *)(lease + n->leases);
    u16(*leaf)[256] = (void *)(leaves + n->leaves);

    memset(l, 0, sizeof(*l)); /* too large for the stack */
    l->lease = lease;
    l->queue = (void *)(leaf + n->leaves);
    l->max = n->leases;
    l->free = n->leases ? 0 : NONE;
    l->key[0] = key[0];
    l->key[1] = key[1];
    l->started = now;
    vfr_ports_init(&l->ports, shared, n->addresses, leaf, leaves, n->leaves);
    for (u32 i = 0; i < n->leases; i++)
        lease[i].next = (u16)(i + 1 < n->leases ? i + 1 : NONE);
    for (u32 i = 0; i < VFR_LEASE_CHAINS; i++)
        l->chain[i] = NONE;
}

/* ---- domains ---- */

static u64 mix(u64 a, u64 b)
{
    unsigned __int128 m = (unsigned __int128)a * b;

    return (u64)m ^ (u64)(m >> 64);
}

static u64 hash(const struct vfr_leases *l, const u8 uuid[16], u64 salt)
{
    u64 h =
        mix(get_le64(uuid) ^ l->key[0], get_le64(uuid + 8) ^ l->key[1] ^ 0x9e3779b97f4a7c15);

    return mix(h ^ salt ^ l->key[1], h ^ l->key[0] ^ 0xd1b54a32d192ed03);
}

static u32 chain_of(const struct vfr_leases *l, const u8 uuid[16])
{
    return hash(l, uuid, 0) % VFR_LEASE_CHAINS;
}

static bool is_of(const struct vfr_lease *r, const u8 uuid[16])
{
    return memcmp(r->uuid, uuid, sizeof(r->uuid)) == 0;
}

static u32 count_of(const struct vfr_leases *l, const u8 uuid[16])
{
    u32 n = 0;

    for (u16 i = l->chain[chain_of(l, uuid)]; i != NONE; i = l->lease[i].next)
        n += is_of(&l->lease[i], uuid);
    return n;
}

static void unchain(struct vfr_leases *l, u16 i)
{
    u16 *link = &l->chain[chain_of(l, l->lease[i].uuid)];

    while (*link != i)
        link = &l->lease[*link].next;
    *link = l->lease[i].next;
}

/* ---- the queue: ends[0] is the earliest ---- */

static void put_at(struct vfr_leases *l, u32 at, u16 i)
{
    l->queue[at] = i;
    l->lease[i].queue = (u16)at;
}

static void sift(struct vfr_leases *l, u32 at, u16 i)
{
    ns_t ends = l->lease[i].ends;

    for (u32 up; at && l->lease[l->queue[up = (at - 1) / 2]].ends > ends; at = up)
        put_at(l, at, l->queue[up]);
    for (u32 down; (down = 2 * at + 1) < l->queued; at = down) {
        if (down + 1 < l->queued &&
            l->lease[l->queue[down + 1]].ends < l->lease[l->queue[down]].ends)
            down++;
        if (l->lease[l->queue[down]].ends >= ends)
            break;
        put_at(l, at, l->queue[down]);
    }
    put_at(l, at, i);
}

static void set_end(struct vfr_leases *l, u16 i, ns_t ends)
{
    struct vfr_lease *r = &l->lease[i];
    bool was = r->ends != NEVER;
    u16 last;

    r->ends = ends;
    if (ends != NEVER) {
        sift(l, was ? r->queue : l->queued++, i);
    } else if (was) {
        last = l->queue[--l->queued];
        if (last != i)
            sift(l, r->queue, last);
    }
}

static ns_t end_in(ns_t now, u32 seconds)
{
    return seconds ? now + seconds * SECOND : NEVER;
}

/* ---- what an order asks for ---- */

static struct vfr_port_range range_of(const struct vfr_lease_order *o)
{
    return (struct vfr_port_range){o->start, o->log2};
}

static bool single_ok(const struct vfr_lease_order *o)
{
    if (o->start == 0)
        return false;
    if (o->classes == VFR_PC_BIT(VFR_PC_SPI))
        return true;
    if (o->classes == VFR_PC_BIT(VFR_PC_PROTO))
        return o->start < 256 && vfr_lease_class((u8)o->start) == VFR_PC_PROTO;
    return o->classes && !(o->classes & ~VFR_PC_BLOCK);
}

static bool block_ok(const struct vfr_lease_order *o)
{
    u32 size;

    if (o->classes != VFR_PC_BLOCK || o->log2 < VFR_BLOCK_LOG2_MIN ||
        o->log2 > VFR_BLOCK_LOG2_MAX)
        return false;
    size = 1U << o->log2;
    return o->start == 0 || (o->start % size == 0 && o->start >= VFR_BLOCK_FIRST);
}

/* What the domain gave back itself, and nobody has had since. */
static struct vfr_lease *find_own(const struct vfr_leases *l, const struct vfr_lease_order *o,
                                  const struct vfr_shared *s)
{
    struct vfr_lease *best = NULL;

    for (u16 i = l->chain[chain_of(l, o->uuid)]; i != NONE; i = l->lease[i].next) {
        struct vfr_lease *r = &l->lease[i];

        if (r->state != VFR_LEASE_RESTING || r->revoked || !is_of(r, o->uuid) ||
            r->log2 != o->log2 || r->classes != o->classes ||
            &l->ports.shared[r->shared] != s || (o->start && r->start != o->start))
            continue;
        /* Of several its first one, as in its last life. */
        if (!best || r->since < best->since || (r->since == best->since && r->id < best->id))
            best = r;
    }
    return best;
}

static int check_range(const struct vfr_leases *l, const struct vfr_lease_order *o,
                       const struct vfr_shared *s, ns_t now)
{
    u32 leaves = 0;

    for (u32 c = 0; c < VFR_PORT_CLASSES; c++) {
        u16 word;

        if (!(o->classes & VFR_PC_BIT(c)))
            continue;
        word = vfr_ports_taken(&l->ports, s, c, range_of(o));
        if (word != VFR_PORT_NOBODY)
            return word >> VFR_PORT_STATE_SHIFT == VFR_PORT_RESTING ? -XEN_EAGAIN : -XEN_EBUSY;
        leaves += vfr_ports_needs(s, c, range_of(o));
    }
    return vfr_ports_has(&l->ports, leaves, now) ? 0 : -XEN_ENOMEM;
}

static u32 common_divisor(u32 a, u32 b)
{
    while (b) {
        u32 rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* The domain's own order over the blocks of a size: each comes once, a step apart. */
static int choose(const struct vfr_leases *l, struct vfr_lease_order *o,
                  const struct vfr_shared *s, ns_t now)
{
    u32 base = MAX(VFR_BLOCK_FIRST >> o->log2, 1), n = (65536 >> o->log2) - base;
    u64 h = hash(l, o->uuid, (u64)o->log2 << 32 | s->ip);
    u32 at = (u32)h % n, step = (u32)(h >> 32) % n + 1;
    int rc = -XEN_ENOSPC;

    while (common_divisor(n, step) != 1)
        step++;
    for (u32 i = 0; i < n && rc && rc != -XEN_ENOMEM; i++, at = (at + step) % n) {
        o->start = (u16)((base + at) << o->log2);
        rc = check_range(l, o, s, now);
    }
    return !rc || rc == -XEN_ENOMEM ? rc : -XEN_ENOSPC;
}

static u32 next_id(const struct vfr_leases *l, const struct vfr_lease *r)
{
    u32 id = (r->id & ~VFR_LEASE_INDEX) + VFR_LEASE_INDEX + 1;

    /* 0 is no lease's number, so the count begins at 1, at its end as well. */
    return (id ? id : VFR_LEASE_INDEX + 1) | (u32)(r - l->lease);
}

static int check_grant(const struct vfr_leases *l, struct vfr_lease_order *o, ns_t now)
{
    const struct vfr_shared *s;
    const struct vfr_lease *own;
    int rc;

    if (o->vif >= VFR_VIFS_MAX || o->seconds > VFR_LEASE_S_MAX ||
        !(o->log2 ? block_ok(o) : single_ok(o)))
        return -XEN_EINVAL;
    s = vfr_ports_find(&l->ports, o->ip);
    if (!s)
        return -XEN_EADDRNOTAVAIL;
    own = find_own(l, o, s);
    if (own) {
        o->start = own->start;
        o->id = next_id(l, own);
        return 0;
    }
    if (count_of(l, o->uuid) >= VFR_LEASES_PER_DOMAIN)
        return -XEN_E2BIG;
    if (l->free == NONE)
        return -XEN_ENOMEM;
    rc = o->start ? check_range(l, o, s, now) : choose(l, o, s, now);
    if (!rc)
        o->id = next_id(l, &l->lease[l->free]);
    return rc;
}

static const struct vfr_lease *find(const struct vfr_leases *l, u32 id)
{
    const struct vfr_lease *r = &l->lease[id & VFR_LEASE_INDEX];

    return (id & VFR_LEASE_INDEX) < l->max && r->state != VFR_LEASE_NONE && r->id == id ? r
                                                                                        : NULL;
}

static void fill_in(const struct vfr_leases *l, const struct vfr_lease *r,
                    struct vfr_lease_order *o)
{
    o->classes = r->classes;
    o->log2 = r->log2;
    o->start = r->start;
    o->vif = r->vif;
    o->ip = l->ports.shared[r->shared].ip;
    o->id = r->id;
    memcpy(o->uuid, r->uuid, sizeof(o->uuid));
}

static int check_held(const struct vfr_leases *l, struct vfr_lease_order *o)
{
    const struct vfr_lease *r = find(l, o->id);

    if (!r || r->state == VFR_LEASE_RESTING)
        return -XEN_ENOENT;
    if (o->op == VFR_LEASE_EXTEND && o->seconds > VFR_LEASE_S_MAX)
        return -XEN_EINVAL;
    if (o->op == VFR_LEASE_REVOKE && o->seconds > VFR_DRAIN_S_MAX)
        return -XEN_EINVAL;
    if (o->op == VFR_LEASE_EXTEND && r->state == VFR_LEASE_DRAINING)
        return -XEN_EPERM;
    fill_in(l, r, o);
    return 0;
}

static int check_unshare(const struct vfr_leases *l, const struct vfr_lease_order *o)
{
    const struct vfr_shared *s = vfr_ports_find(&l->ports, o->ip);

    if (!s)
        return -XEN_EADDRNOTAVAIL;
    return s->leases ? -XEN_EBUSY : 0;
}

int vfr_lease_check(const struct vfr_leases *l, struct vfr_lease_order *o, ns_t now)
{
    if (o->origin >= VFR_ORIGINS || o->spare)
        return -XEN_EINVAL;
    switch (o->op) {
    case VFR_LEASE_GRANT:
        return check_grant(l, o, now);
    case VFR_LEASE_EXTEND:
    case VFR_LEASE_FREE:
    case VFR_LEASE_REVOKE:
        return check_held(l, o);
    case VFR_LEASE_SHARE:
        return vfr_ports_check_share(&l->ports, o->ip, now);
    case VFR_LEASE_UNSHARE:
        return check_unshare(l, o);
    default:
        return -XEN_EINVAL;
    }
}

/* ---- what becomes of it ---- */

static void set_ports(struct vfr_leases *l, const struct vfr_lease *r, u16 word, ns_t now)
{
    struct vfr_shared *s = &l->ports.shared[r->shared];

    for (u32 c = 0; c < VFR_PORT_CLASSES; c++)
        if (r->classes & VFR_PC_BIT(c))
            vfr_ports_set(&l->ports, s, c, (struct vfr_port_range){r->start, r->log2}, word,
                          now);
}

/* Ports that blocks could be in. */
static u32 block_ports(const struct vfr_lease *r)
{
    bool stream = r->classes & VFR_PC_BIT(VFR_PC_STREAM);
    bool datagram = r->classes & VFR_PC_BIT(VFR_PC_DATAGRAM);

    return r->start < VFR_BLOCK_FIRST ? 0 : (u32)(stream + datagram) << r->log2;
}

static u32 crossed(u32 before, u32 after, u32 all, u32 at_80)
{
    u32 bits = 0;

    if (before * 5 < all * 4 && after * 5 >= all * 4)
        bits |= at_80;
    if (before * 20 < all * 19 && after * 20 >= all * 19)
        bits |= at_80 << 1;
    return bits;
}

/* A place for a new one, in its domain's chain and with the address's counts. */
static u32 occupy(struct vfr_leases *l, u16 i, const struct vfr_lease_order *o)
{
    struct vfr_shared *s = vfr_ports_find(&l->ports, o->ip);
    struct vfr_lease *r = &l->lease[i];
    u16 *chain = &l->chain[chain_of(l, o->uuid)];
    u32 ports, events;

    if (!s) /* not in an order that was checked */
        return 0;
    l->free = r->next;
    *r = (struct vfr_lease){
        .ends = NEVER,
        .start = o->start,
        .log2 = o->log2,
        .classes = o->classes,
        .shared = (u8)(s - l->ports.shared),
        .next = *chain,
    };
    *chain = i;
    ports = block_ports(r);
    events = crossed(s->used, s->used + ports, BLOCK_PORTS, VFR_LEASE_PORTS_80) |
             crossed(l->used, l->used + 1, l->max, VFR_LEASE_LEASES_80);
    s->used += ports;
    s->leases++;
    l->used++;
    return events;
}

static u32 grant(struct vfr_leases *l, const struct vfr_lease_order *o, ns_t now)
{
    u16 i = o->id & VFR_LEASE_INDEX;
    struct vfr_lease *r = &l->lease[i];
    u32 events = r->state == VFR_LEASE_NONE ? occupy(l, i, o) : 0;

    memcpy(r->uuid, o->uuid, sizeof(r->uuid));
    r->id = o->id;
    r->vif = o->vif;
    r->origin = o->origin;
    r->state = VFR_LEASE_HELD;
    r->since = now;
    set_end(l, i, end_in(now, o->seconds));
    set_ports(l, r, VFR_PORT(VFR_PORT_OWNED, r->vif), now);
    return events;
}

static void rest(struct vfr_leases *l, struct vfr_lease *r, ns_t now)
{
    r->state = VFR_LEASE_RESTING;
    set_end(l, (u16)(r - l->lease), end_in(now, VFR_QUARANTINE_S));
    set_ports(l, r, VFR_PORT(VFR_PORT_RESTING, r->vif), now);
}

static void revoke(struct vfr_leases *l, struct vfr_lease *r, u32 seconds, ns_t now)
{
    r->revoked = true;
    if (!seconds) {
        rest(l, r, now);
        return;
    }
    r->state = VFR_LEASE_DRAINING;
    set_end(l, (u16)(r - l->lease), MIN(r->ends, end_in(now, seconds)));
    set_ports(l, r, VFR_PORT(VFR_PORT_DRAINING, r->vif), now);
}

static void release(struct vfr_leases *l, struct vfr_lease *r, ns_t now)
{
    struct vfr_shared *s = &l->ports.shared[r->shared];
    u16 i = (u16)(r - l->lease);

    set_ports(l, r, VFR_PORT_NOBODY, now);
    set_end(l, i, NEVER);
    unchain(l, i);
    s->used -= block_ports(r);
    s->leases--;
    l->used--;
    r->state = VFR_LEASE_NONE;
    r->next = l->free;
    l->free = i;
}

u32 vfr_lease_commit(struct vfr_leases *l, const struct vfr_lease_order *o, ns_t now)
{
    struct vfr_lease *r = &l->lease[o->id & VFR_LEASE_INDEX];

    l->changes++;
    switch (o->op) {
    case VFR_LEASE_GRANT:
        return grant(l, o, now);
    case VFR_LEASE_EXTEND:
        set_end(l, (u16)(r - l->lease), end_in(now, o->seconds));
        break;
    case VFR_LEASE_FREE:
    case VFR_LEASE_EXPIRE:
        rest(l, r, now);
        break;
    case VFR_LEASE_REVOKE:
        revoke(l, r, o->seconds, now);
        break;
    case VFR_LEASE_RELEASE:
        release(l, r, now);
        break;
    case VFR_LEASE_SHARE:
        vfr_ports_share(&l->ports, o->ip, now);
        break;
    case VFR_LEASE_UNSHARE:
        vfr_ports_unshare(&l->ports, vfr_ports_find(&l->ports, o->ip), now);
        break;
    default:
        break;
    }
    return 0;
}

/* ---- the clock ---- */

ns_t vfr_lease_next(const struct vfr_leases *l)
{
    return l->queued ? l->lease[l->queue[0]].ends : NEVER;
}

bool vfr_lease_due(const struct vfr_leases *l, ns_t now, struct vfr_lease_order *o)
{
    const struct vfr_lease *r;

    if (vfr_lease_next(l) > now)
        return false;
    r = &l->lease[l->queue[0]];
    *o = (struct vfr_lease_order){
        .op = r->state == VFR_LEASE_RESTING ? VFR_LEASE_RELEASE : VFR_LEASE_EXPIRE,
        .origin = VFR_BY_HYPERVISOR,
    };
    fill_in(l, r, o);
    return true;
}

bool vfr_lease_of_vif(const struct vfr_leases *l, const u8 uuid[16], u16 vif,
                      struct vfr_lease_order *o)
{
    for (u16 i = l->chain[chain_of(l, uuid)]; i != NONE; i = l->lease[i].next) {
        const struct vfr_lease *r = &l->lease[i];

        if (r->state == VFR_LEASE_RESTING || r->vif != vif || !is_of(r, uuid))
            continue;
        *o = (struct vfr_lease_order){.op = VFR_LEASE_FREE, .origin = VFR_BY_HYPERVISOR};
        fill_in(l, r, o);
        return true;
    }
    return false;
}

/* ---- for those who ask ---- */

static void describe(const struct vfr_leases *l, const struct vfr_lease *r,
                     struct vfr_lease_info *out)
{
    *out = (struct vfr_lease_info){
        .id = r->id,
        .ip = l->ports.shared[r->shared].ip,
        .start = r->start,
        .vif = r->vif,
        .log2 = r->log2,
        .classes = r->classes,
        .state = r->state,
        .origin = r->origin,
        .since = r->since,
        .ends = r->ends,
    };
    memcpy(out->uuid, r->uuid, sizeof(out->uuid));
}

u32 vfr_lease_list(const struct vfr_leases *l, u32 *cursor, struct vfr_lease_info *out, u32 n)
{
    u32 filled = 0;

    for (; *cursor < l->max && filled < n; ++*cursor)
        if (l->lease[*cursor].state != VFR_LEASE_NONE)
            describe(l, &l->lease[*cursor], &out[filled++]);
    return filled;
}
