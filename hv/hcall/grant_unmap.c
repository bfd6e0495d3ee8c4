/* Unmapping what others granted. */
#include "core/pte.h"
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "guest/maptrack.h"
#include "guest/mmu.h"
#include "guest/switch.h"
#include "hcall/grant.h"
#include "hcall/grant_entry.h"
#include "hcall/hcall.h"
#include "kern/tlb.h"
#include "x86/guest_mem.h"

_Static_assert(offsetof(struct gnttab_unmap_grant_ref, handle) ==
                       offsetof(struct gnttab_unmap_and_replace, handle) &&
                   offsetof(struct gnttab_unmap_grant_ref, status) ==
                       offsetof(struct gnttab_unmap_and_replace, status),
               "one layout for both ways to unmap");

/* Requests that share a flush, between two preemption points. */
#define BATCH 32

/* A request whose entry is gone, until everybody has flushed. */
struct unmapping {
    struct grant_map *map; /* claimed; NULL: nothing was unmapped */
    struct grant_pin pin;  /* of its grant */
    u32 handle;
    u16 left; /* of its state */
    s16 status;
};

/* Is this the page-table entry of such a mapping? */
static bool is_entry_of(u64 pte, mfn_t mfn, bool write)
{
    return pte & GPTE_P && pte_mfn(pte).n == mfn.n && !(pte & GPTE_RW) == !write;
}

/* Puts 'with' over the entry if that names the frame with this right. */
static __noinline int swap_entry_slowly(u16 id, u64 *slot, mfn_t mfn, bool write, u64 with)
{
    const struct pte_update u = {.table_owner = id, .target_owner = id};
    u64 old = __atomic_load_n(slot, __ATOMIC_RELAXED);
    int rc = -XEN_EAGAIN;

    /* The CPU marks it used, other vcpus rewrite it: not for ever. */
    for (unsigned try = 0; rc == -XEN_EAGAIN && try < BATCH; try++)
        rc = is_entry_of(old, mfn, write) ? mmu_update_entry(&u, 1, slot, with, &old)
                                          : -XEN_EINVAL;
    return rc ? GNTST_general_error : GNTST_okay;
}

static must_inline int unmap_host(struct grant_entries *e, u64 host_addr,
                                  const struct grant_map *m, mfn_t mfn)
{
    const u16 id = e->v->domain->id;
    const bool write = !(m->state & MAP_READONLY);
    u64 *slot = grant_entry_find(e, host_addr, m->state & MAP_ENTRY), old;

    if (!slot)
        return GNTST_general_error;
    old = __atomic_load_n(slot, __ATOMIC_RELAXED);
    if (likely(is_entry_of(old, mfn, write)) && likely(mmu_update_simply(id, id, slot, old, 0)))
        return GNTST_okay;
    return swap_entry_slowly(id, slot, mfn, write, 0);
}

/* What is mapped at new_addr goes to where the mapping was. */
static __noinline int move_host(struct grant_entries *e,
                                const struct gnttab_unmap_and_replace *op,
                                const struct grant_map *m, mfn_t mfn)
{
    const u16 id = e->v->domain->id;
    u64 *at, *slot, pte;
    int status = GNTST_general_error;

    slot = m->state & MAP_ENTRY ? NULL : mmu_l1_slot_get(e->v, op->new_addr);
    if (!slot)
        return GNTST_general_error;
    pte = __atomic_load_n(slot, __ATOMIC_RELAXED);
    at = grant_entry_change(e, op->host_addr, false);
    if (at)
        status = swap_entry_slowly(id, at, mfn, !(m->state & MAP_READONLY), pte);
    /* Changed meanwhile by another vcpu it stays: each entry keeps its own frame. */
    if (status == GNTST_okay && pte & GPTE_P)
        (void)swap_entry_slowly(id, slot, pte_mfn(pte), pte & GPTE_RW, 0);
    mmu_l1_slot_put(slot);
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
    u64 words[3];
};
_Static_assert(sizeof(union unmap_request) == 24, "all of it is read at once");

/* R5: entries go before what they hold is given up; here all but the references. */
static __noinline void unmap_one(struct grant_entries *e, const union unmap_request *op,
                                 bool replace, struct unmapping *u)
{
    const bool device = !replace && op->unmap.dev_bus_addr;

    u->handle = op->unmap.handle;
    u->status = GNTST_bad_handle;
    u->map = maptrack_claim(e->v->domain, u->handle);
    if (!u->map)
        return;
    u->status = GNTST_okay;
    u->left = (u16)u->map->state; /* without MAP_BUSY */
    grant_pin_find(u->map->granter, u->map->ref, &u->pin);
    if (device && u->left & MAP_DEVICE) {
        u->status = (s16)unmap_device(op->unmap.dev_bus_addr, u->pin.mfn);
        if (u->status == GNTST_okay)
            u->left &= (u16)~MAP_DEVICE;
    }
    if (u->status == GNTST_okay && op->unmap.host_addr && u->left & MAP_HOST) {
        u->status = (s16)(replace && op->replace.new_addr
                              ? move_host(e, &op->replace, u->map, u->pin.mfn)
                              : unmap_host(e, op->unmap.host_addr, u->map, u->pin.mfn));
        if (u->status == GNTST_okay)
            u->left &= (u16)~MAP_HOST;
    }
}

static void flush_mapper(struct vcpu *v)
{
    const u64 others = ~0UL >> (64 - v->domain->max_vcpus) & ~BIT(v->id);

    tlb_flush_local();
    if (others)
        switch_flush_vcpus(v->domain, others);
}

static inline bool read_request(const union unmap_request *u_op, union unmap_request *op)
{
    return guest_read_triple(u_op, &op->words[0], &op->words[1], &op->words[2]);
}

/* Has its entry gone? */
static inline bool needs_flush(const struct unmapping *u)
{
    return u->map && u->map->state & ~u->left & MAP_HOST;
}

s64 grant_unmap_single(struct vcpu *v, u64 u_op)
{
    struct grant_entries entries = {.v = v};
    union unmap_request *u_r = (void *)u_op, op __unset;
    struct unmapping u __unset;

    if (!read_request(u_r, &op))
        return -XEN_EFAULT;
    unmap_one(&entries, &op, false, &u);
    grant_entry_end(&entries);
    if (likely(needs_flush(&u)))
        flush_mapper(v);
    if (u.map)
        maptrack_drop(v->domain, u.handle, u.map, &u.pin, u.left);
    return guest_write_u16(&u_r->unmap.status, (u16)u.status) ? 0 : -XEN_EFAULT;
}

/* At most BATCH requests: all entries, one flush, then what they held and the marks. */
static must_inline int unmap_batch(struct vcpu *v, union unmap_request *u_ops, u32 n,
                                   bool replace)
{
    /* Each is written before it is read: zeroing them all would cost more than one request. */
    struct unmapping batch[BATCH] __unset;
    struct grant_entries entries = {.v = v};
    union unmap_request op __unset;
    bool flush = false;
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++) {
        if (!read_request(&u_ops[i], &op)) {
            rc = -XEN_EFAULT;
            break;
        }
        unmap_one(&entries, &op, replace, &batch[i]);
        flush |= needs_flush(&batch[i]);
    }
    n = i;
    grant_entry_release(&entries);
    if (flush)
        flush_mapper(v);
    for (i = 0; i < n; i++)
        if (batch[i].map)
            maptrack_drop(v->domain, batch[i].handle, batch[i].map, &batch[i].pin,
                          batch[i].left);
    for (i = 0; i < n; i++)
        if (!guest_write_u16(&u_ops[i].unmap.status, (u16)batch[i].status))
            rc = -XEN_EFAULT;
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
