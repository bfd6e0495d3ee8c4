#include "svc/vfr.h"
#include "base/string.h"
#include "core/vfr_segment.h"
#include "guest/access.h"
#include "guest/quiesce.h"
#include "kern/heap.h"
#include "kern/random.h"
#include "svc/vfr_leases.h"
#include "svc/vfr_log.h"
#include "svc/vfr_ways.h"

#define ROUTES_SIZE 4096 /* a power of two */
#define VIFS_ORDER  3    /* pages for VFR_VIFS_MAX pointers */
#define FLOWS_SHARE 256  /* of RAM, for flows */

static struct spinlock vfr_lock = SPINLOCK(LOCK_VFR);
static struct vif **vifs; /* (vfr; read by any) VFR_VIFS_MAX; what is there stays */
static bool changing;     /* (atomic) */

/* Routes twice: one table is looked into, the other one changed, then they change places. */
static struct vfr_routes tables[2];

struct vfr vfr = {
    .routes = &tables[0],
    .uplink = VFR_NOBODY,
    .flow_lock = SPINLOCK(LOCK_VFR_FLOWS),
};

struct vif *vfr_find(u16 index)
{
    struct vif **table = __atomic_load_n(&vifs, __ATOMIC_ACQUIRE);

    return table && index < VFR_VIFS_MAX ? __atomic_load_n(&table[index], __ATOMIC_ACQUIRE)
                                         : NULL;
}

/* With the lock: one that is not in use, made if there is none. */
static struct vif *find_free(void)
{
    for (u32 i = 0; i < VFR_VIFS_MAX; i++) {
        struct vif *f = vifs[i];

        if (f && f->state == VIF_FREE)
            return f;
        if (f)
            continue;
        f = heap_alloc_pages(0);
        if (!f)
            return NULL;
        f->index = (u16)i;
        f->neighbour = VFR_NOBODY;
        __atomic_store_n(&vifs[i], f, __ATOMIC_RELEASE);
        return f;
    }
    return NULL;
}

static bool exists(u16 domid, u16 handle)
{
    for (u32 i = 0; i < VFR_VIFS_MAX && vifs[i]; i++)
        if (vifs[i]->state != VIF_FREE && vifs[i]->domid == domid && vifs[i]->handle == handle)
            return true;
    return false;
}

/* One for the handle, that nobody else touches until its state is changed again. */
int vfr_reserve(struct domain *d, u16 handle, struct vif **f)
{
    int rc = -XEN_ENOMEM;

    lock(&vfr_lock);
    if (!vifs)
        __atomic_store_n(&vifs, heap_alloc_pages(VIFS_ORDER), __ATOMIC_RELEASE);
    if (vifs && exists(d->id, handle)) {
        rc = -XEN_EEXIST;
    } else if (vifs) {
        *f = find_free();
        rc = *f ? 0 : -XEN_ENOSPC;
    }
    if (!rc) {
        (*f)->state = VIF_BUSY;
        (*f)->d = d;
        (*f)->domid = d->id;
        memcpy((*f)->uuid, d->handle, sizeof(d->handle));
        (*f)->handle = handle;
    }
    unlock(&vfr_lock);
    return rc;
}

void vfr_set_state(struct vif *f, enum vif_state state)
{
    lock(&vfr_lock);
    f->state = state;
    unlock(&vfr_lock);
}

bool vfr_take(struct vif *f)
{
    bool up;

    lock(&vfr_lock);
    up = f->state == VIF_UP;
    if (up)
        f->state = VIF_BUSY;
    unlock(&vfr_lock);
    return up;
}

void vfr_change_begin(void)
{
    while (__atomic_exchange_n(&changing, true, __ATOMIC_ACQUIRE))
        preempt_point();
}

bool vfr_change_try(void)
{
    return !__atomic_exchange_n(&changing, true, __ATOMIC_ACQUIRE);
}

void vfr_change_end(void)
{
    __atomic_store_n(&changing, false, __ATOMIC_RELEASE);
}

/* Memory that the router keeps, in pages; what was had before is in 'all' for giving back. */
struct pieces {
    unsigned nr;
    bool missing;
    struct {
        void *at;
        unsigned order;
    } all[8];
};

static void *take_pages(struct pieces *p, u64 bytes)
{
    unsigned order = heap_order(bytes);
    void *at = p->missing ? NULL : heap_alloc_pages(order);

    p->missing |= !at;
    if (at) {
        p->all[p->nr].at = at;
        p->all[p->nr++].order = order;
    }
    return at;
}

static void give_back(struct pieces *p)
{
    while (p->nr--)
        heap_free_pages(p->all[p->nr].at, p->all[p->nr].order);
}

/* Flows whose time is over make room, a part of the table at a time. */
#define SWEEP_EVERY  100000000 /* ns */
#define SWEEP_BUDGET 1024
#define REKEY_BUDGET 64

static struct timer sweep_timer;

/* An interface that is gone owes records: now there may be room. */
static void settle(struct vif *f)
{
    if (f->unlogged && vfr_log_disconnect(f, VFR_BY_HYPERVISOR))
        return;
    f->unlogged = false;
    if (!vfr_leases_free_all(f->uuid, f->index))
        vfr_set_state(f, VIF_FREE);
}

static void settle_all(void)
{
    struct vif *f;

    for (u16 i = 0; (f = vfr_find(i)); i++)
        if (__atomic_load_n(&f->state, __ATOMIC_ACQUIRE) == VIF_OWES)
            settle(f);
}

static void sweep(void *arg)
{
    const u64 keys[4] = {random_u64(), random_u64(), random_u64(), random_u64()};
    ns_t now = time_now();

    lock(&vfr.flow_lock);
    (void)vfr_flow_sweep(&vfr.flows, now, SWEEP_BUDGET);
    if (vfr_flow_wants_rekey(&vfr.flows))
        (void)!vfr_flow_rekey(&vfr.flows, keys);
    (void)!vfr_flow_rekey_step(&vfr.flows, REKEY_BUDGET);
    unlock(&vfr.flow_lock);
    settle_all();
    timer_set(&sweep_timer, now + SWEEP_EVERY);
}

static void flow_ended(void *arg, const struct vfr_flow *f, enum vfr_flow_end why)
{
    if (f->log & VFR_LOG_END)
        vfr_log_ended(f, why);
}

static int make_flows(struct pieces *p)
{
    struct vfr_flow_memory m = {
        .nr_flows = VFR_FLOWS_MIN, .nr_vifs = VFR_VIFS_MAX, .ended = flow_ended};
    const u64 keys[4] = {random_u64(), random_u64(), random_u64(), random_u64()};
    u64 room = max_mfn * PAGE_SIZE / FLOWS_SHARE;

    while (2 * m.nr_flows * sizeof(*m.flow) <= room && 2 * m.nr_flows <= VFR_FLOWS_MAX)
        m.nr_flows *= 2;
    m.flow = take_pages(p, m.nr_flows * sizeof(*m.flow));
    m.bucket = take_pages(p, (VFR_FLOW_BUCKETS(m.nr_flows) + VFR_FLOW_OVERFLOW(m.nr_flows)) *
                                 sizeof(*m.bucket));
    m.vif = take_pages(p, VFR_VIFS_MAX * sizeof(*m.vif));
    return p->missing ? -XEN_ENOMEM : vfr_flow_init(&vfr.flows, &m, keys);
}

/* At the first interface. */
static int make_tables(void)
{
    struct pieces p = {.nr = 0};
    struct vfr_route *routes[2];
    int rc;

    if (tables[0].table)
        return 0;
    routes[0] = take_pages(&p, ROUTES_SIZE * sizeof(*routes[0]));
    routes[1] = take_pages(&p, ROUTES_SIZE * sizeof(*routes[1]));
    rc = make_flows(&p);
    if (rc) {
        give_back(&p);
        return rc;
    }
    vfr_routes_init(&tables[0], routes[0], ROUTES_SIZE, random_u64());
    vfr_routes_init(&tables[1], routes[1], ROUTES_SIZE, random_u64());
    timer_init(&sweep_timer, sweep, NULL);
    timer_set(&sweep_timer, time_now() + SWEEP_EVERY);
    return 0;
}

/* The table that nobody looks into; or the other one becomes that. */
static struct vfr_routes *other_table(void)
{
    return vfr.routes == &tables[0] ? &tables[1] : &tables[0];
}

static void swap_tables(void)
{
    __atomic_store_n(&vfr.routes, other_table(), __ATOMIC_SEQ_CST);
    vfr_ways_changed();
    quiesce_cpus();
}

static u64 get_mac_number(const struct vfr_binding *b, unsigned i)
{
    return i ? b->extra_mac[i - 1] : b->mac;
}

/*
 * The binding's i'th prefix, IPv4 ones first, then stations' names and link-local addresses; false:
 * others share that one.
 */
static bool get_route(const struct vfr_binding *b, unsigned i, struct vfr_addr *a, u8 *length)
{
    const unsigned prefixes = (unsigned)b->ip4s + b->ip6s, beyond = i - prefixes;
    struct vfr_addr mask;

    if (i >= prefixes) {
        const u64 mac = get_mac_number(b, beyond / 2);

        *a = beyond % 2 ? vfr_link_local(mac) : vfr_station(mac);
        *length = 128;
        return true;
    }
    if (i < b->ip4s && b->shared >> i & 1)
        return false;
    *a = i < b->ip4s ? VFR_IP4(b->ip4[i].addr) : b->ip6[i - b->ip4s].addr;
    mask = i < b->ip4s ? vfr_ip4_mask(b->ip4[i].mask) : b->ip6[i - b->ip4s].mask;
    *length = (u8)vfr_addr_mask_length(mask);
    return true;
}

static void remove_first(struct vfr_routes *r, const struct vif *f, unsigned n)
{
    struct vfr_addr a;
    u8 length;

    for (unsigned i = 0; i < n; i++)
        if (get_route(&f->binding, i, &a, &length))
            (void)!vfr_route_remove(r, a, length, f->index);
}

static unsigned nr_routes(const struct vif *f)
{
    const unsigned stations = f->segment[0] ? 1U + f->binding.macs : 0;

    return (unsigned)f->binding.ip4s + f->binding.ip6s + 2 * stations;
}

/* All of its addresses or none. */
static int add_all(struct vfr_routes *r, const struct vif *f)
{
    struct vfr_addr a;
    int rc = 0;
    u8 length;

    for (unsigned i = 0; !rc && i < nr_routes(f); i++) {
        if (get_route(&f->binding, i, &a, &length))
            rc = vfr_route_add(r, a, length, f->index);
        if (rc)
            remove_first(r, f, i);
    }
    return rc;
}

/* Some interface in the ring of this one's segment, and whether one more is too many. */
static struct vif *find_neighbour(const struct vif *f, bool *full)
{
    struct vif *found = NULL, *other;
    unsigned nr = 0;

    for (u16 i = 0; (other = vfr_find(i)); i++)
        if (vif_is_neighbour(f, other) && other->neighbour != VFR_NOBODY) {
            found = other;
            nr++;
        }
    *full = nr >= VFR_SEGMENT_MAX;
    return found;
}

static void enter_segment(struct vif *f, struct vif *neighbour)
{
    if (!f->segment[0])
        return;
    f->neighbour = neighbour ? neighbour->neighbour : f->index;
    if (neighbour)
        __atomic_store_n(&neighbour->neighbour, f->index, __ATOMIC_RELEASE);
}

/* Who looks at it still finds the way out. */
static void leave_segment(const struct vif *f)
{
    struct vif *before = vfr_find(f->neighbour); /* NULL: it is in none */

    while (before && before->neighbour != f->index)
        before = vfr_find(before->neighbour);
    if (before && before != f)
        __atomic_store_n(&before->neighbour, f->neighbour, __ATOMIC_RELEASE);
}

static int attach(struct vif *f, const struct serai_vfr_vif *op)
{
    struct vif *neighbour;
    bool full;
    int rc = make_tables();

    if (rc)
        return rc;
    neighbour = find_neighbour(f, &full);
    if (full)
        return -XEN_ENOSPC;
    if (op->generation != vfr_generation())
        return -XEN_EBUSY;
    if (f->kind == VFR_UPLINK && vfr.uplink != VFR_NOBODY)
        return -XEN_EEXIST;
    rc = add_all(other_table(), f);
    if (rc)
        return rc;
    rc = vfr_log_connect(f);
    if (rc) {
        remove_first(other_table(), f, nr_routes(f));
        return rc;
    }
    vfr_zones_set(&f->zones[op->generation & 1], op->zones);
    vfr_zones_set(&f->zones[!(op->generation & 1)], op->zones_before);
    swap_tables();
    BUG_ON(add_all(other_table(), f));
    enter_segment(f, neighbour);
    if (f->kind == VFR_UPLINK) {
        __atomic_store_n(&vfr.uplink, f->index, __ATOMIC_RELEASE);
        vfr_ways_changed();
    }
    return 0;
}

int vfr_attach(struct vif *f, const struct serai_vfr_vif *op)
{
    int rc;

    vfr_change_begin();
    rc = attach(f, op);
    vfr_change_end();
    return rc;
}

/* Steps between two preemption points. */
#define KILL_BUDGET 256

static void kill_flows(const struct vif *f)
{
    const struct vfr_flow_match of_vif = {.vif = f->index};
    bool done = false;
    u32 at = 0;

    while (!done) {
        lock(&vfr.flow_lock);
        done = vfr_flow_kill_some(&vfr.flows, &of_vif, &at, KILL_BUDGET);
        unlock(&vfr.flow_lock);
        preempt_point();
    }
}

int vfr_detach(struct vif *f)
{
    vfr_change_begin();
    if (vfr.uplink == f->index)
        __atomic_store_n(&vfr.uplink, VFR_NOBODY, __ATOMIC_RELEASE);
    leave_segment(f);
    remove_first(other_table(), f, nr_routes(f));
    swap_tables();
    f->neighbour = VFR_NOBODY;
    remove_first(other_table(), f, nr_routes(f));
    vfr_change_end();
    kill_flows(f);
    return vfr_leases_free_all(f->uuid, f->index);
}
