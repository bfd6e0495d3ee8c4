/* Mapping what others grant, and unmapping it. */
#include "core/pte.h"
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "guest/maptrack.h"
#include "guest/mmu.h"
#include "guest/switch.h"
#include "hcall/grant.h"
#include "hcall/hcall.h"
#include "x86/paging.h"

_Static_assert(offsetof(struct gnttab_unmap_grant_ref, handle) ==
                       offsetof(struct gnttab_unmap_and_replace, handle) &&
                   offsetof(struct gnttab_unmap_grant_ref, status) ==
                       offsetof(struct gnttab_unmap_and_replace, status),
               "one layout for both ways to unmap");

/* Requests between two preemption points; for unmapping, those that share a flush. */
#define BATCH 32

/* The guest's page-table entry for a mapping, with a use of its table. NULL: not one. */
static u64 *entry_get(struct vcpu *v, u64 host_addr, bool is_entry, mfn_t *table)
{
    if (!is_entry)
        return mmu_l1_slot_get(v, host_addr, table);
    *table = MFN(host_addr >> PAGE_SHIFT);
    if (host_addr & 7 || table->n >= max_mfn || frame_type_of(*table) != TYPE_L1 ||
        frame_type_get(v->domain->id, *table, TYPE_L1))
        return NULL;
    return (u64 *)((u8 *)mfn_to_virt(*table) + (host_addr & (PAGE_SIZE - 1)));
}

static int map_host(struct vcpu *v, const struct domain *granter,
                    const struct gnttab_map_grant_ref *op, mfn_t mfn)
{
    const struct pte_update u = {.table_owner = v->domain->id, .target_owner = granter->id};
    mfn_t table;
    u64 *slot = entry_get(v, op->host_addr, op->flags & GNTMAP_contains_pte, &table);
    int rc;

    if (!slot)
        return GNTST_general_error;
    rc = mmu_update_entry(&u, 1, slot, grant_map_pte(op->flags, mfn), NULL);
    frame_type_put(table);
    return rc ? GNTST_general_error : GNTST_okay;
}

/* The parts of a mapping: what can be undone first. */
static int map_pinned(struct vcpu *v, const struct domain *granter,
                      const struct gnttab_map_grant_ref *op, mfn_t mfn)
{
    bool write_device = op->flags & GNTMAP_device_map && !(op->flags & GNTMAP_readonly);
    int status = GNTST_okay;

    if (write_device && frame_type_get(granter->id, mfn, TYPE_WRITABLE))
        return GNTST_general_error;
    if (op->flags & GNTMAP_host_map)
        status = map_host(v, granter, op, mfn);
    if (status != GNTST_okay && write_device)
        frame_type_put(mfn);
    return status;
}

static u32 state_of(u32 flags)
{
    return (flags & GNTMAP_host_map ? MAP_HOST : 0) |
           (flags & GNTMAP_device_map ? MAP_DEVICE : 0) |
           (flags & GNTMAP_readonly ? MAP_READONLY : 0) |
           (flags & GNTMAP_contains_pte ? MAP_ENTRY : 0);
}

static int map_one(struct vcpu *v, struct grant_peer *peer, struct gnttab_map_grant_ref *op)
{
    const bool write = !(op->flags & GNTMAP_readonly);
    struct domain *granter, *d = v->domain;
    struct grant_map *m;
    mfn_t mfn;
    u32 handle;
    int status;

    if (!(op->flags & (GNTMAP_host_map | GNTMAP_device_map)))
        return GNTST_bad_gntref;
    granter = grant_peer_find(peer, op->dom);
    if (!granter)
        return GNTST_bad_domain;
    m = maptrack_alloc(d, &handle);
    if (!m)
        return GNTST_no_space;
    status = grant_pin(granter, op->ref, d->id, write, &mfn);
    if (status != GNTST_okay)
        goto free;
    status = map_pinned(v, granter, op, mfn);
    if (status != GNTST_okay)
        goto unpin;
    domain_hold(granter);
    maptrack_commit(m, granter, op->ref, state_of(op->flags));
    op->handle = handle;
    op->dev_bus_addr = mfn.n << PAGE_SHIFT;
    return GNTST_okay;

unpin:
    grant_unpin(granter, op->ref, write);
free:
    maptrack_free(d, handle);
    return status;
}

s64 grant_map_array(struct vcpu *v, u64 u_ops, u32 n)
{
    struct grant_peer peer = {NULL};
    struct gnttab_map_grant_ref op;
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++) {
        if (i && !(i % BATCH)) {
            preempt_point();
            if (hcall_may_stop(v))
                break;
        }
        rc = copy_array_from_guest(&op, (const void *)u_ops, i, sizeof(op));
        if (rc)
            break;
        op.status = (s16)map_one(v, &peer, &op);
        /* A mapping that its maker does not learn of is his loss. */
        rc = copy_array_to_guest((void *)u_ops, i, &op, sizeof(op));
        if (rc)
            break;
    }
    grant_peer_drop(&peer);
    return rc ? rc : i;
}

/* A request whose entry is gone, until everybody has flushed. */
struct unmapping {
    struct grant_map *map; /* claimed; NULL: nothing was unmapped */
    u32 handle;
    u32 left; /* of its state */
    int status;
};

/* Is this the page-table entry of such a mapping? */
static bool is_entry_of(u64 pte, mfn_t mfn, bool write)
{
    return pte & GPTE_P && pte_mfn(pte).n == mfn.n && !(pte & GPTE_RW) == !write;
}

/* Puts 'with' over the entry if that is this mapping's. */
static int unmap_host(struct vcpu *v, u64 host_addr, const struct grant_map *m, mfn_t mfn,
                      u64 with)
{
    const struct pte_update u = {.table_owner = v->domain->id, .target_owner = v->domain->id};
    mfn_t table;
    u64 *slot = entry_get(v, host_addr, m->state & MAP_ENTRY, &table), old;
    int rc = -XEN_EAGAIN;

    if (!slot)
        return GNTST_general_error;
    old = __atomic_load_n(slot, __ATOMIC_RELAXED);
    /* The CPU marks it used, other vcpus rewrite it: not for ever. */
    for (unsigned try = 0; rc == -XEN_EAGAIN && try < BATCH; try++)
        rc = is_entry_of(old, mfn, !(m->state & MAP_READONLY))
                 ? mmu_update_entry(&u, 1, slot, with, &old)
                 : -XEN_EINVAL;
    frame_type_put(table);
    return rc ? GNTST_general_error : GNTST_okay;
}

/* What is mapped at new_addr goes to where the mapping was. */
static int move_host(struct vcpu *v, const struct gnttab_unmap_and_replace *op,
                     const struct grant_map *m, mfn_t mfn)
{
    const struct pte_update u = {.table_owner = v->domain->id, .target_owner = v->domain->id};
    mfn_t table;
    u64 *slot, pte;
    int status;

    if (!op->new_addr)
        return unmap_host(v, op->host_addr, m, mfn, 0);
    slot = m->state & MAP_ENTRY ? NULL : mmu_l1_slot_get(v, op->new_addr, &table);
    if (!slot)
        return GNTST_general_error;
    pte = __atomic_load_n(slot, __ATOMIC_RELAXED);
    status = unmap_host(v, op->host_addr, m, mfn, pte);
    /* Used or changed meanwhile, by another vcpu: then it stays, each entry keeps its frame. */
    if (status == GNTST_okay && mmu_update_entry(&u, 1, slot, 0, &pte))
        status = GNTST_general_error;
    frame_type_put(table);
    return status;
}

static int unmap_device(u64 bus_addr, mfn_t mfn)
{
    return bus_addr == mfn.n << PAGE_SHIFT ? GNTST_okay : GNTST_bad_dev_addr;
}

/* Both kinds of request look alike: addresses, handle, status. */
union unmap_request {
    struct gnttab_unmap_grant_ref unmap;
    struct gnttab_unmap_and_replace replace;
};

/* R5: entries go before what they hold is given up; here all but the references. */
static void unmap_one(struct vcpu *v, const union unmap_request *op, bool replace,
                      struct unmapping *u)
{
    const bool device = !replace && op->unmap.dev_bus_addr;
    mfn_t mfn;

    *u = (struct unmapping){.map = maptrack_claim(v->domain, op->unmap.handle),
                            .handle = op->unmap.handle,
                            .status = GNTST_bad_handle};
    if (!u->map)
        return;
    u->status = GNTST_okay;
    u->left = u->map->state & ~MAP_BUSY;
    mfn = grant_pinned_frame(u->map->granter, u->map->ref);
    if (device && u->left & MAP_DEVICE) {
        u->status = unmap_device(op->unmap.dev_bus_addr, mfn);
        if (u->status == GNTST_okay)
            u->left &= ~MAP_DEVICE;
    }
    if (u->status == GNTST_okay && op->unmap.host_addr && u->left & MAP_HOST) {
        u->status = replace ? move_host(v, &op->replace, u->map, mfn)
                            : unmap_host(v, op->unmap.host_addr, u->map, mfn, 0);
        if (u->status == GNTST_okay)
            u->left &= ~MAP_HOST;
    }
}

static void flush_mapper(struct vcpu *v)
{
    switch_flush_vcpus(v->domain, ~0UL >> (64 - v->domain->max_vcpus));
}

/* At most BATCH requests: all entries, one flush, then what they held and the marks. */
static int unmap_batch(struct vcpu *v, union unmap_request *u_ops, u32 n, bool replace)
{
    struct unmapping batch[BATCH];
    union unmap_request op;
    bool flush = false;
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++) {
        rc = copy_from_guest(&op, &u_ops[i], sizeof(op));
        if (rc)
            break;
        unmap_one(v, &op, replace, &batch[i]);
        flush |= batch[i].map && batch[i].map->state & ~batch[i].left & MAP_HOST;
    }
    n = i;
    if (flush)
        flush_mapper(v);
    for (i = 0; i < n; i++)
        if (batch[i].map)
            maptrack_drop(v->domain, batch[i].handle, batch[i].map, batch[i].left);
    for (i = 0; i < n; i++) {
        s16 status = (s16)batch[i].status;

        if (copy_to_guest(&u_ops[i].unmap.status, &status, sizeof(status)))
            rc = -XEN_EFAULT;
    }
    return rc;
}

static s64 unmap_array(struct vcpu *v, union unmap_request *u_ops, u32 n, bool replace)
{
    for (u32 done = 0; done < n; done += BATCH) {
        int rc;

        if (done) {
            preempt_point();
            if (hcall_may_stop(v))
                return done;
        }
        rc = unmap_batch(v, u_ops + done, MIN(n - done, (u32)BATCH), replace);
        if (rc)
            return rc;
    }
    return n;
}

s64 grant_unmap_array(struct vcpu *v, u64 u_ops, u32 n)
{
    return unmap_array(v, (union unmap_request *)u_ops, n, false);
}

s64 grant_replace_array(struct vcpu *v, u64 u_ops, u32 n)
{
    return unmap_array(v, (union unmap_request *)u_ops, n, true);
}
