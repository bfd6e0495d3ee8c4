/* Mapping what others grant. */
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "guest/maptrack.h"
#include "guest/mmu.h"
#include "hcall/grant.h"
#include "hcall/grant_entry.h"
#include "hcall/hcall.h"
#include "x86/guest_mem.h"

/* Requests between two preemption points. */
#define BATCH 32

/* What the requests of a call have in common. */
struct mapping {
    struct grant_peer peer; /* the granter */
    struct grant_entries entries;
};

/* Over an entry that is there, or what is not simply one more use of the frame. */
static __noinline int put_entry_slowly(u16 id, u16 granter, u64 *slot, u64 pte)
{
    const struct pte_update u = {.table_owner = id, .target_owner = granter};

    return mmu_update_entry(&u, 1, slot, pte, NULL) ? GNTST_general_error : GNTST_okay;
}

static must_inline int map_host(struct grant_entries *e, const struct domain *granter,
                                const struct gnttab_map_grant_ref *op, mfn_t mfn)
{
    const u16 id = e->v->domain->id;
    u64 *slot = grant_entry_find(e, op->host_addr, op->flags & GNTMAP_contains_pte);
    const u64 pte = grant_map_pte(op->flags, mfn);

    if (!slot)
        return GNTST_general_error;
    if (likely(mmu_update_simply(id, granter->id, slot, __atomic_load_n(slot, __ATOMIC_RELAXED),
                                 pte)))
        return GNTST_okay;
    return put_entry_slowly(id, granter->id, slot, pte);
}

/* The parts of a mapping: what can be undone first. */
static must_inline int map_pinned(struct grant_entries *e, const struct domain *granter,
                                  const struct gnttab_map_grant_ref *op, mfn_t mfn)
{
    bool write_device = op->flags & GNTMAP_device_map && !(op->flags & GNTMAP_readonly);
    int status = GNTST_okay;

    if (write_device && frame_type_get(granter->id, mfn, TYPE_WRITABLE))
        return GNTST_general_error;
    if (op->flags & GNTMAP_host_map)
        status = map_host(e, granter, op, mfn);
    if (status != GNTST_okay && write_device)
        frame_type_put(mfn);
    return status;
}

/* With a reference to the granter for the handle: given up when nothing comes of it. */
static __noinline int map_held(struct grant_entries *e, struct domain *granter,
                               struct gnttab_map_grant_ref *op)
{
    const bool write = !(op->flags & GNTMAP_readonly);
    struct domain *d = e->v->domain;
    struct grant_pin pin __unset;
    u32 handle;
    struct grant_map *m = maptrack_alloc(d, &handle);
    int status = GNTST_no_space;

    if (!m)
        goto put;
    status = grant_pin_inline(granter, op->ref, d->id, write, &pin);
    if (status != GNTST_okay)
        goto free;
    status = map_pinned(e, granter, op, pin.mfn);
    if (status != GNTST_okay)
        goto unpin;
    maptrack_commit(m, granter, op->ref, op->flags & MAP_KEPT);
    op->handle = handle;
    op->dev_bus_addr = pin.mfn.n << PAGE_SHIFT;
    return GNTST_okay;

unpin:
    grant_unpin(granter, &pin, write);
free:
    maptrack_free(d, handle, m);
put:
    domain_put(granter);
    return status;
}

static inline bool is_for_something(const struct gnttab_map_grant_ref *op)
{
    return op->flags & (GNTMAP_host_map | GNTMAP_device_map);
}

static must_inline int map_one(struct mapping *x, struct gnttab_map_grant_ref *op)
{
    struct domain *granter;

    if (!is_for_something(op))
        return GNTST_bad_gntref;
    granter = grant_peer_find(&x->peer, op->dom);
    if (!granter)
        return GNTST_bad_domain;
    domain_hold(granter);
    return map_held(&x->entries, granter, op);
}

/* The results are in the last two words. */
union map_request {
    struct gnttab_map_grant_ref op;
    u64 words[4];
};
_Static_assert(offsetof(struct gnttab_map_grant_ref, dom) == 16 &&
                   offsetof(struct gnttab_map_grant_ref, dev_bus_addr) == 24,
               "the words of a request");

static must_inline bool read_request(const union map_request *u_op, union map_request *r)
{
    return guest_read_pair(u_op, &r->words[0], &r->words[1]) &&
           guest_read_pair(&u_op->words[2], &r->words[2], &r->words[3]);
}

/* When false, a mapping that its maker does not learn of is his loss. */
static must_inline bool write_result(union map_request *u_op, const union map_request *r)
{
    return guest_write_pair(&u_op->words[2], r->words[2], r->words[3]);
}

s64 grant_map_single(struct vcpu *v, u64 u_op)
{
    struct grant_entries entries = {.v = v};
    union map_request r __unset;
    struct domain *granter;
    int status = GNTST_bad_gntref;

    if (!read_request((void *)u_op, &r))
        return -XEN_EFAULT;
    if (likely(is_for_something(&r.op))) {
        granter = grant_domain_get(r.op.dom);
        status = likely(granter) ? map_held(&entries, granter, &r.op) : GNTST_bad_domain;
        grant_entry_end(&entries);
    }
    r.op.status = (s16)status;
    return write_result((void *)u_op, &r) ? 0 : -XEN_EFAULT;
}

s64 grant_map_array(struct vcpu *v, u64 u_ops, u32 n)
{
    struct mapping x = {.entries.v = v};
    union map_request *u_op = (void *)u_ops, r __unset;
    u32 i;
    int rc = 0;

    for (i = 0; i < n; i++) {
        if (i && !(i % BATCH)) {
            grant_entry_release(&x.entries);
            preempt_point();
            if (hcall_may_stop(v))
                break;
        }
        rc = -XEN_EFAULT;
        if (!read_request(&u_op[i], &r))
            break;
        r.op.status = (s16)map_one(&x, &r.op);
        if (!write_result(&u_op[i], &r))
            break;
        rc = 0;
    }
    grant_entry_release(&x.entries);
    grant_peer_drop(&x.peer);
    return rc ? rc : i;
}
