#include "core/vfr_ports.h"

#define NO_LEAF 0xffff

void vfr_ports_init(struct vfr_ports *p, struct vfr_shared *shared, u32 nr_shared,
                    u16 (*leaf)[256], struct vfr_leaf *leaves, u32 nr_leaves)
{
    *p = (struct vfr_ports){
        .shared = shared,
        .leaf = leaf,
        .leaves = leaves,
        .nr_shared = MIN(nr_shared, VFR_SHARED_MAX),
        .nr_leaves = MIN(nr_leaves, VFR_LEAVES_MAX),
        .first = NO_LEAF,
        .last = NO_LEAF,
    };
    for (u32 i = 0; i < p->nr_shared; i++)
        shared[i].gone = -VFR_PORTS_REST;
    for (u32 i = 0; i < p->nr_leaves; i++)
        leaves[i] = (struct vfr_leaf){.next = (u16)(i + 1), .gone = -VFR_PORTS_REST};
    if (p->nr_leaves) {
        p->first = 0;
        p->last = (u16)(p->nr_leaves - 1);
        leaves[p->last].next = NO_LEAF;
    }
    p->pool = p->nr_leaves;
}

/* ---- the pool ---- */

static void store(u16 *word, u16 value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* What rests longest is first, so the first and its next tell about all. */
bool vfr_ports_has(const struct vfr_ports *p, u32 n, ns_t now)
{
    u16 i = p->first;

    for (u32 k = 0; k < n; k++, i = p->leaves[i].next)
        if (i == NO_LEAF || now - p->leaves[i].gone < VFR_PORTS_REST)
            return false;
    return true;
}

static u16 take_leaf(struct vfr_ports *p)
{
    u16 i = p->first;

    p->first = p->leaves[i].next;
    if (p->first == NO_LEAF)
        p->last = NO_LEAF;
    p->leaves[i].taken = 0;
    p->pool--;
    for (u16 *port = p->leaf[i], *end = port + 256; port < end; port++)
        *port = VFR_PORT_NOBODY;
    return i;
}

static void drop_leaf(struct vfr_ports *p, u16 i, ns_t now)
{
    p->leaves[i] = (struct vfr_leaf){.next = NO_LEAF, .gone = now};
    if (p->last == NO_LEAF)
        p->first = i;
    else
        p->leaves[p->last].next = i;
    p->last = i;
    p->pool++;
}

/* ---- ranges ---- */

bool vfr_ports_has_any(const struct vfr_ports *p, const struct vfr_shared *s,
                       enum vfr_port_class class, u16 vif)
{
    const u16 draining = VFR_PORT(VFR_PORT_DRAINING, 0);

    for (u32 port = 0; port < 65536; port++) {
        if ((vfr_ports_look(p, s, class, (u16)port) & ~draining) == vif)
            return true;
        if (!(__atomic_load_n(&s->map[class][port >> 8], __ATOMIC_RELAXED) & VFR_PORT_LEAF))
            port |= 255;
    }
    return false;
}

u16 vfr_ports_taken(const struct vfr_ports *p, const struct vfr_shared *s,
                    enum vfr_port_class class, struct vfr_port_range r)
{
    u32 end = r.start + (1U << r.log2);

    for (u32 port = r.start; port < end;) {
        u16 word = vfr_ports_look(p, s, class, (u16)port);

        if (word != VFR_PORT_NOBODY)
            return word;
        port =
            s->map[class][port >> 8] & VFR_PORT_LEAF ? port + 1 : ROUND_DOWN(port, 256U) + 256;
    }
    return VFR_PORT_NOBODY;
}

u32 vfr_ports_needs(const struct vfr_shared *s, enum vfr_port_class class,
                    struct vfr_port_range r)
{
    return r.log2 < 8 && !(s->map[class][r.start >> 8] & VFR_PORT_LEAF);
}

static void set_in_leaf(struct vfr_ports *p, u16 *place, struct vfr_port_range r, u16 word,
                        ns_t now)
{
    u32 n = 1U << r.log2;
    struct vfr_leaf *leaf;
    u16 i, *first;

    if (!(*place & VFR_PORT_LEAF))
        store(place, VFR_PORT_LEAF | take_leaf(p));
    i = *place ^ VFR_PORT_LEAF;
    leaf = &p->leaves[i];
    first = &p->leaf[i][r.start & 255];
    if (*first == VFR_PORT_NOBODY)
        leaf->taken += (u16)n;
    for (u16 *port = first; port < first + n; port++)
        store(port, word);
    if (word != VFR_PORT_NOBODY)
        return;
    leaf->taken -= (u16)n;
    if (leaf->taken == 0) {
        store(place, VFR_PORT_NOBODY);
        drop_leaf(p, i, now);
    }
}

void vfr_ports_set(struct vfr_ports *p, struct vfr_shared *s, enum vfr_port_class class,
                   struct vfr_port_range r, u16 word, ns_t now)
{
    u16 *place = &s->map[class][r.start >> 8];

    if (r.log2 < 8) {
        set_in_leaf(p, place, r, word, now);
        return;
    }
    for (u32 k = 0; k < 1U << (r.log2 - 8); k++)
        store(&place[k], word);
}

/* ---- addresses ---- */

/* Places of by_ip at which a search ends. */
static u32 count_ends(const struct vfr_ports *p)
{
    u32 n = 0;

    for (u32 at = 0; at < 256; at++)
        n += p->by_ip[at] == 0;
    return n;
}

static struct vfr_shared *free_place(const struct vfr_ports *p, ns_t now)
{
    for (u32 i = 0; i < p->nr_shared; i++)
        if (!p->shared[i].ip && now - p->shared[i].gone >= VFR_PORTS_REST)
            return &p->shared[i];
    return NULL;
}

int vfr_ports_check_share(const struct vfr_ports *p, u32 ip, ns_t now)
{
    /* This network, loopback, and all from multicast on are no host's. */
    if (ip >> 24 == 0 || ip >> 24 == 127 || ip >> 29 == 7)
        return -XEN_EINVAL;
    if (vfr_ports_find(p, ip))
        return -XEN_EEXIST;
    return count_ends(p) > 1 && free_place(p, now) ? 0 : -XEN_ENOSPC;
}

void vfr_ports_share(struct vfr_ports *p, u32 ip, ns_t now)
{
    struct vfr_shared *s = free_place(p, now);
    u32 at = vfr_ports_hash(ip);

    if (!s) /* not after vfr_ports_check_share() */
        return;
    s->leases = s->used = 0;
    for (u32 c = 0; c < VFR_PORT_CLASSES; c++)
        for (u32 k = 0; k < 256; k++)
            s->map[c][k] = VFR_PORT_NOBODY;
    s->ip = ip;
    while (p->by_ip[at] > 1)
        at = (at + 1) % 256;
    __atomic_store_n(&p->by_ip[at], (u8)(s - p->shared + 2), __ATOMIC_RELEASE);
}

void vfr_ports_unshare(struct vfr_ports *p, struct vfr_shared *s, ns_t now)
{
    u8 mine = (u8)(s - p->shared + 2);
    u32 at = vfr_ports_hash(s->ip);

    while (p->by_ip[at] != mine)
        at = (at + 1) % 256;
    __atomic_store_n(&p->by_ip[at], 1, __ATOMIC_RELEASE);
    /* Nothing is behind this one: who came as far may stop earlier from now on. */
    for (; p->by_ip[at] == 1 && !p->by_ip[(at + 1) % 256]; at = (at + 255) % 256)
        __atomic_store_n(&p->by_ip[at], 0, __ATOMIC_RELEASE);
    __atomic_store_n(&s->ip, 0, __ATOMIC_RELEASE);
    s->gone = now;
}

/* ---- the invariants ---- */

static int check_leaf(const struct vfr_ports *p, u16 i)
{
    u32 taken = 0;

    if (i >= p->nr_leaves)
        return 1;
    for (u32 k = 0; k < 256; k++) {
        if (p->leaf[i][k] & VFR_PORT_LEAF)
            return 1;
        taken += p->leaf[i][k] != VFR_PORT_NOBODY;
    }
    return taken && taken == p->leaves[i].taken ? 0 : 1;
}

/* Leaves in use are counted; with the pool's that must be all, so none is in two places. */
static int check_map(const struct vfr_ports *p, const u16 *map, u32 *in_use)
{
    for (u32 k = 0; k < 256; k++) {
        if (!(map[k] & VFR_PORT_LEAF))
            continue;
        ++*in_use;
        if (check_leaf(p, map[k] ^ VFR_PORT_LEAF))
            return 1;
        for (u32 j = 0; j < k; j++)
            if (map[j] == map[k])
                return 1;
    }
    return 0;
}

int vfr_ports_check(const struct vfr_ports *p)
{
    u32 in_use = 0, pool = 0, named = 0;

    if (!count_ends(p))
        return 3;
    for (u32 i = 0; i < p->nr_shared; i++) {
        const struct vfr_shared *s = &p->shared[i];

        if (!s->ip)
            continue;
        named++;
        if (vfr_ports_find(p, s->ip) != s)
            return 3;
        for (u32 c = 0; c < VFR_PORT_CLASSES; c++)
            if (check_map(p, s->map[c], &in_use))
                return 1;
    }
    for (u32 at = 0; at < 256; at++)
        named -= p->by_ip[at] > 1;
    if (named)
        return 3;
    for (u16 i = p->first; i != NO_LEAF && pool <= p->nr_leaves; i = p->leaves[i].next, pool++)
        if (p->leaves[i].taken)
            return 1;
    return pool == p->pool && pool + in_use == p->nr_leaves ? 0 : 1;
}
