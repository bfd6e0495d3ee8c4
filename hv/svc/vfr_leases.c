#include "svc/vfr_leases.h"
#include "kern/heap.h"
#include "kern/lock.h"
#include "kern/random.h"
#include "kern/timer.h"
#include "svc/vfr_log.h"
#include "svc/vfr_ways.h"

/* Leases that end between two looks at the clock. */
#define DUE_AT_ONCE 64

struct vfr_leases vfr_leases;

static struct spinlock leases_lock = SPINLOCK(LOCK_VFR_LEASES);
static struct timer clock_timer; /* (leases lock) */

/* When the audit log was full. */
#define TRY_AGAIN 1000000000 /* ns */

/* With the lock: the next end is due then, at 'earliest'. */
static void set_clock(ns_t earliest)
{
    ns_t next = vfr_lease_next(&vfr_leases);

    if (next != INT64_MAX)
        timer_set(&clock_timer, MAX(next, earliest));
}

/* With the lock: an order that was checked is written down, then carried out. */
static int commit(const struct vfr_lease_order *o, ns_t now, u32 *events)
{
    const struct vfr_lease *r = &vfr_leases.lease[o->id & VFR_LEASE_INDEX];
    const struct vfr_lease_info before = {
        .state = r->state, .since = r->since, .ends = r->ends};
    const bool is_new = o->op == VFR_LEASE_GRANT || o->op >= VFR_LEASE_SHARE;
    int rc = vfr_log_lease(o, is_new ? NULL : &before);

    if (!rc)
        *events = vfr_lease_commit(&vfr_leases, o, now);
    return rc;
}

static void tick(void *arg)
{
    struct vfr_lease_order o;
    ns_t now = time_now();
    u32 events;
    int rc = 0;

    lock(&leases_lock);
    for (unsigned n = 0; !rc && n < DUE_AT_ONCE && vfr_lease_due(&vfr_leases, now, &o); n++)
        rc = commit(&o, now, &events);
    set_clock(rc ? now + TRY_AGAIN : now);
    unlock(&leases_lock);
}

/* At the first order. */
static int make(void)
{
    const struct vfr_lease_sizes sizes = {.addresses = 8, .leases = 1024, .leaves = 256};
    const u64 key[2] = {random_u64(), random_u64()};
    void *memory;

    if (vfr_leases.max)
        return 0;
    memory = heap_alloc_pages(heap_order(vfr_lease_memory(&sizes)));
    if (!memory)
        return -XEN_ENOMEM;
    vfr_lease_init(&vfr_leases, &sizes, memory, key, time_now());
    return 0;
}

int vfr_leases_change(struct vfr_lease_order *o, bool check_only, u32 *events)
{
    ns_t now;
    int rc;

    lock(&leases_lock);
    rc = make();
    now = time_now();
    if (!rc)
        rc = vfr_lease_check(&vfr_leases, o, now);
    if (!rc && !check_only)
        rc = commit(o, now, events);
    if (!rc && !check_only) {
        set_clock(now);
        if (o->op == VFR_LEASE_SHARE || o->op == VFR_LEASE_UNSHARE)
            vfr_ways_changed();
    }
    unlock(&leases_lock);
    return rc;
}

bool vfr_leases_list(u32 *cursor, struct vfr_lease_info *info)
{
    u32 n;

    lock(&leases_lock);
    n = vfr_leases.max ? vfr_lease_list(&vfr_leases, cursor, info, 1) : 0;
    unlock(&leases_lock);
    return n;
}

void vfr_leases_clock(ns_t *now, ns_t *epoch)
{
    lock(&leases_lock);
    *now = time_now();
    *epoch = vfr_leases.started;
    unlock(&leases_lock);
}

int vfr_leases_free_all(const u8 uuid[16], u16 vif)
{
    struct vfr_lease_order o;
    bool more = true;
    u32 events;
    int rc = 0;

    while (more && !rc) {
        ns_t now;

        lock(&leases_lock);
        now = time_now();
        more = vfr_leases.max && vfr_lease_of_vif(&vfr_leases, uuid, vif, &o);
        if (more)
            rc = commit(&o, now, &events);
        if (more && !rc)
            set_clock(now);
        unlock(&leases_lock);
    }
    return rc;
}

__init void vfr_leases_init(void)
{
    timer_init(&clock_timer, tick, NULL);
}
