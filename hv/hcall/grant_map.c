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
    u32 state; /* what is left of it */
    int status;
};

/* Takes the entry away if it is this mapping's. */
static int unmap_host(struct vcpu *v, u64 host_addr, bool is_entry, mfn_t mfn, bool write)
{
    const struct pte_update u = {.table_owner = v->domain->id, .target_owner = v->domain->id};
    mfn_t table;
    u64 *slot = entry_get(v, host_addr, is_entry, &table), old;
    int rc = -XEN_EAGAIN;

    if (!slot)
        return GNTST_general_error;
    old = __atomic_load_n(slot, __ATOMIC_RELAXED);
    /* The CPU marks it used, other vcpus rewrite it: not for ever. */
    for (unsigned try = 0; rc == -XEN_EAGAIN && try < BATCH; try++)
        rc = !(old & GPTE_P) || pte_mfn(old).n != mfn.n || !(old & GPTE_RW) == write
                 ? -XEN_EINVAL
                 : mmu_update_entry(&u, 1, slot, 0, &old);
    frame_type_put(table);
    return rc ? GNTST_general_error : GNTST_okay;
}

/* R5: entries go before what they hold is given up; here all but the references. */
static void unmap_one(struct vcpu *v, const struct gnttab_unmap_grant_ref *op,
                      struct unmapping *u)
{
    mfn_t mfn;

    *u = (struct unmapping){.map = maptrack_claim(v->domain, op->handle),
                            .handle = op->handle,
                            .status = GNTST_okay};
    if (!u->map) {
        u->status = GNTST_bad_handle;
        return;
    }
    u->state = u->map->state & ~MAP_BUSY;
    mfn = grant_pinned_frame(u->map->granter, u->map->ref);
    if (op->dev_bus_addr && u->state & MAP_DEVICE) {
        if (op->dev_bus_addr != mfn.n << PAGE_SHIFT)
            u->status = GNTST_general_error;
        else
            u->state &= ~MAP_DEVICE;
    }
    if (u->status == GNTST_okay && op->host_addr && u->state & MAP_HOST) {
        u->status =
            unmap_host(v, op->host_addr, u->state & MAP_ENTRY, mfn, !(u->state & MAP_READONLY));
        if (u->status == GNTST_okay)
            u->state &= ~MAP_HOST;
    }
}

static void flush_mapper(struct vcpu *v)
{
    switch_flush_vcpus(v->domain, ~0UL >> (64 - v->domain->max_vcpus));
}

/* At most BATCH requests: all entries, one flush, then what they held and the marks. */
static int unmap_batch(struct vcpu *v, struct gnttab_unmap_grant_ref *u_ops, u32 n, u32 *done)
{
    struct unmapping batch[BATCH];
    struct gnttab_unmap_grant_ref op;
    bool flush = false;
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++) {
        rc = copy_from_guest(&op, &u_ops[i], sizeof(op));
        if (rc)
            break;
        unmap_one(v, &op, &batch[i]);
        flush |= batch[i].map && (batch[i].map->state & ~batch[i].state & MAP_HOST);
    }
    n = i;
    if (flush)
        flush_mapper(v);
    for (i = 0; i < n; i++)
        if (batch[i].map)
            maptrack_drop(v->domain, batch[i].handle, batch[i].map, batch[i].state);
    for (i = 0; i < n; i++) {
        s16 status = (s16)batch[i].status;

        if (copy_to_guest(&u_ops[i].status, &status, sizeof(status)))
            rc = -XEN_EFAULT;
    }
    *done += n;
    return rc;
}

s64 grant_unmap_array(struct vcpu *v, u64 u_ops, u32 n)
{
    u32 done = 0;
    int rc = 0;

    while (done < n && !rc) {
        if (done) {
            preempt_point();
            if (hcall_may_stop(v))
                break;
        }
        rc = unmap_batch(v, (struct gnttab_unmap_grant_ref *)u_ops + done,
                         MIN(n - done, (u32)BATCH), &done);
    }
    return rc ? rc : done;
}
