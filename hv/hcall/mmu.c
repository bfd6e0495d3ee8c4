#include "base/string.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/m2p_list.h"
#include "guest/mmu.h"
#include "guest/segments.h"
#include "guest/switch.h"
#include "hcall/hcall.h"
#include "kern/tlb.h"
#include "x86/guest_mem.h"
#include "x86/paging.h"

/* The table that a batch is working on, with a use of it held from request to request. */
struct held_table {
    mfn_t mfn;
    enum frame_type type; /* TYPE_NONE: none held */
};

static void release_table(struct held_table *t)
{
    if (t->type != TYPE_NONE)
        frame_type_put(t->mfn);
    t->type = TYPE_NONE;
}

static int hold_table(struct held_table *t, u16 owner, mfn_t mfn)
{
    enum frame_type type;

    if (t->type != TYPE_NONE && t->mfn.n == mfn.n)
        return 0;
    release_table(t);
    if (mfn.n >= max_mfn)
        return -XEN_EINVAL;
    type = frame_type_of(mfn);
    /* A frame that is no table may be written as the data it is. */
    if (!type_is_table(type))
        type = TYPE_WRITABLE;
    if (frame_type_get(owner, mfn, type))
        return -XEN_EINVAL;
    *t = (struct held_table){mfn, type};
    return 0;
}

/* Another domain, which domain 0 may name. */
static int foreign_owner(const struct vcpu *v, u16 id, u16 *owner)
{
    struct domain *d = domain_get(id);

    if (!d)
        return -XEN_ESRCH;
    domain_put(d);
    *owner = id;
    return v->domain->is_hardware ? 0 : -XEN_EPERM;
}

/* Who owns the tables and who the frames of a request; -XEN_ESRCH for an unknown domain. */
static int owners_of(const struct vcpu *v, u64 foreign, struct pte_update *u)
{
    u16 target = (u16)foreign, table = (u16)(foreign >> 16);

    u->table_owner = v->domain->id;
    if (table && table - 1 != v->domain->id)
        return -XEN_ESRCH;
    if (target == DOMID_SELF || target == v->domain->id)
        u->target_owner = v->domain->id;
    else if (target == DOMID_IO || (target == DOMID_XEN && v->domain->is_hardware))
        u->target_owner = target;
    else
        return foreign_owner(v, target, &u->target_owner);
    return 0;
}

/* Into a frame in use as writable: to the guest it may become a table later. */
static int write_data(u16 owner, mfn_t mfn, u64 *slot, u64 val)
{
    __atomic_store_n(slot, val, __ATOMIC_RELAXED);
    frame_note_write(owner, mfn);
    return 0;
}

static int update_one(struct held_table *t, struct pte_update *u, const struct mmu_update *req)
{
    u64 *slot, val = req->val;
    unsigned index = (req->ptr & (PAGE_SIZE - 1)) >> 3;
    int level, rc;

    if (req->ptr & 4)
        return -XEN_EINVAL;
    u->preserve_ad = (req->ptr & 3) == MMU_PT_UPDATE_PRESERVE_AD;
    rc = hold_table(t, u->table_owner, MFN(req->ptr >> PAGE_SHIFT));
    if (rc)
        return rc;
    slot = (u64 *)mfn_to_virt(t->mfn) + index;
    if (t->type == TYPE_WRITABLE)
        return write_data(u->table_owner, t->mfn, slot, val);
    if (u->target_owner == DOMID_XEN)
        val = (val & ~GPTE_ADDR) | m2p_list_resolve(pte_mfn(val)).n << PAGE_SHIFT;
    level = t->type - TYPE_L1 + 1;
    if (likely(level == 1 && !u->preserve_ad) &&
        likely(mmu_update_simply(u->table_owner, u->target_owner, slot,
                                 __atomic_load_n(slot, __ATOMIC_RELAXED), val)))
        return 0;
    if (level == 4 && !l4_slot_is_guest(index))
        return -XEN_EINVAL;
    return mmu_update_entry(u, level, slot, val, NULL);
}

static int machphys_update(u16 owner, const struct mmu_update *req)
{
    mfn_t mfn = MFN(req->ptr >> PAGE_SHIFT);

    if (!frame_get(owner, mfn))
        return -XEN_EINVAL;
    m2p[mfn.n] = req->val;
    frame_note_write(owner, mfn);
    frame_put(mfn);
    return 0;
}

/* An L1 entry with frames of the table's own domain. */
static must_inline int update_own(u16 id, u64 *slot, u64 val, bool preserve_ad)
{
    const struct pte_update u = {
        .table_owner = id, .target_owner = id, .preserve_ad = preserve_ad};

    if (likely(!preserve_ad) &&
        likely(mmu_update_simply(id, id, slot, __atomic_load_n(slot, __ATOMIC_RELAXED), val)))
        return 0;
    return mmu_update_entry(&u, 1, slot, val, NULL);
}

/*
 * One update of an L1 entry, or of a table to be, with frames of the caller's own and nobody to
 * count for: what page faults need, without the set-up of a batch. False: not that, nothing done.
 */
static bool update_single(struct vcpu *v, u64 u_req, int *rc)
{
    const u16 id = v->domain->id;
    u64 ptr, val, *slot;
    mfn_t mfn;

    if (!guest_range_ok(u_req, sizeof(struct mmu_update)) ||
        !guest_read_pair((const void *)u_req, &ptr, &val))
        return false;
    mfn = MFN(ptr >> PAGE_SHIFT);
    if (ptr & 5 || mfn.n >= max_mfn)
        return false;
    slot = (u64 *)((u8 *)mfn_to_virt(mfn) + (ptr & 0xff8));
    if (likely(frame_use_again(id, mfn, TYPE_L1))) {
        *rc = update_own(id, slot, val, ptr & MMU_PT_UPDATE_PRESERVE_AD);
    } else if (frame_use_again(id, mfn, TYPE_WRITABLE)) {
        *rc = write_data(id, mfn, slot, val);
    } else {
        return false;
    }
    frame_type_put_inline(mfn);
    count(COUNT_PTE_MMU_UPDATE);
    return true;
}

/* One request of an array that lies in the guest's addresses as a whole, or perhaps not. */
static inline bool read_request(const struct mmu_update *u_reqs, u32 i, bool whole,
                                struct mmu_update *req)
{
    return likely(whole) ? guest_read_pair(&u_reqs[i], &req->ptr, &req->val)
                         : !copy_array_from_guest(req, u_reqs, i, sizeof(*req));
}

/* Apart, because its frame on the stack would cost a single update something too. */
static __noinline s64 update_batch(struct vcpu *v, u64 a1, u64 a2, u64 a3, u64 a4)
{
    struct mmu_update *u_reqs = (void *)a1, req;
    struct held_table table = {.type = TYPE_NONE};
    struct pte_update u = {0};
    u32 nr = (u32)a2, i;
    const bool whole = guest_range_ok(a1, (u64)nr * sizeof(req));
    s64 again = 0;
    int rc;

    if (nr > HCALL_MAX_ELEMENTS)
        return -XEN_EINVAL;
    rc = owners_of(v, a4, &u);

    for (i = hcall_first(a2); i < nr && !rc; i++) {
        if (!read_request(u_reqs, i, whole, &req))
            rc = -XEN_EFAULT;
        else if ((req.ptr & 3) == MMU_MACHPHYS_UPDATE)
            rc = machphys_update(u.target_owner, &req);
        else
            rc = update_one(&table, &u, &req);
        if (rc)
            break;
        if ((i & 63) == 63) {
            release_table(&table);
            preempt_point();
            if (hcall_may_stop(v)) {
                again = hcall_again_from(v, __HYPERVISOR_mmu_update, ++i);
                break;
            }
        }
    }
    release_table(&table);
    this_cpu()->counters[COUNT_PTE_MMU_UPDATE] += i - MIN(i, hcall_first(a2));
    /* The guest resumes after the request that failed: it must learn which one. */
    if (a3 && copy_to_guest((void *)a3, &i, sizeof(i)))
        return -XEN_EFAULT;
    return again ? again : rc;
}

HYPERCALL(mmu_update)
{
    int rc;

    if (likely((u32)a2 == 1 && !a3 && a4 == DOMID_SELF && update_single(v, a1, &rc)))
        return rc;
    return update_batch(v, a1, a2, a3, a4);
}

static u64 all_vcpus(const struct domain *d)
{
    return d->max_vcpus >= 64 ? ~0UL : BIT(d->max_vcpus) - 1;
}

/* The vcpus of a bitmap in guest memory; those that do not exist are left out. */
static int copy_mask(const struct vcpu *v, u64 u_mask, u64 *mask)
{
    *mask = 0;
    if (copy_from_guest(mask, (const void *)u_mask, DIV_ROUND_UP(v->domain->max_vcpus, 8)))
        return -XEN_EFAULT;
    *mask &= all_vcpus(v->domain);
    return 0;
}

/*
 * Flushes what the guest asked for on these vcpus: one page on the caller's CPU is cheap, any
 * other is asked to flush everything.
 */
static inline void flush_vcpus(struct vcpu *v, u64 vcpus, u64 va, u64 type)
{
    if (type == UVMF_NONE)
        return;
    if (type == UVMF_INVLPG && vcpus & BIT(v->id)) {
        vcpus &= ~BIT(v->id);
        count(COUNT_INVLPG);
        invlpg((void *)va);
    }
    if (vcpus)
        switch_flush_vcpus(v->domain, vcpus);
}

HYPERCALL(update_va_mapping)
{
    u64 *slot, vcpus = BIT(v->id), who = a3 & ~UVMF_FLUSHTYPE_MASK;
    int rc;

    if (unlikely(who == UVMF_ALL))
        vcpus = all_vcpus(v->domain);
    else if (unlikely(who) && a3 & UVMF_FLUSHTYPE_MASK && copy_mask(v, who, &vcpus))
        return -XEN_EFAULT;
    slot = mmu_l1_slot_get(v, a1);
    if (!slot)
        return -XEN_EINVAL;
    rc = update_own(v->domain->id, slot, a2, false);
    mmu_l1_slot_put(slot);
    count(COUNT_PTE_VA_MAPPING);
    if (!rc)
        flush_vcpus(v, vcpus, a1, a3 & UVMF_FLUSHTYPE_MASK);
    return rc;
}

static int page_op(u16 owner, mfn_t dst, const mfn_t *src)
{
    int rc;

    if (src && !frame_get(owner, *src))
        return -XEN_EINVAL;
    rc = frame_type_get(owner, dst, TYPE_WRITABLE);
    if (!rc) {
        if (src)
            memcpy(mfn_to_virt(dst), mfn_to_virt(*src), PAGE_SIZE);
        else
            memset(mfn_to_virt(dst), 0, PAGE_SIZE);
        frame_note_write(owner, dst);
        frame_type_put(dst);
    }
    if (src)
        frame_put(*src);
    return rc ? -XEN_EINVAL : 0;
}

static int flush_multi(struct vcpu *v, const struct mmuext_op *op)
{
    u64 vcpus;

    if (copy_mask(v, (u64)op->arg2.vcpumask.p, &vcpus))
        return -XEN_EFAULT;
    flush_vcpus(v, vcpus, op->arg1.linear_addr,
                op->cmd == MMUEXT_TLB_FLUSH_MULTI ? UVMF_TLB_FLUSH : UVMF_INVLPG);
    return 0;
}

/* Frames named by 'op' are those of the domain 'id'; whatever concerns a CPU is the caller's. */
static int mmuext_one(struct vcpu *v, const struct mmuext_op *op, u16 id)
{
    mfn_t mfn = MFN(op->arg1.mfn), src = MFN(op->arg2.src_mfn);
    int rc;

    switch (op->cmd) {
    case MMUEXT_PIN_L1_TABLE:
    case MMUEXT_PIN_L2_TABLE:
    case MMUEXT_PIN_L3_TABLE:
    case MMUEXT_PIN_L4_TABLE:
        return frame_pin(id, mfn, (enum frame_type)(TYPE_L1 + op->cmd - MMUEXT_PIN_L1_TABLE));
    case MMUEXT_UNPIN_TABLE:
        return frame_unpin(id, mfn);
    case MMUEXT_NEW_BASEPTR:
        rc = mmu_set_kernel_table(v, mfn);
        if (!rc)
            segments_forget_ldt_pages(v);
        return rc;
    case MMUEXT_NEW_USER_BASEPTR:
        return mmu_set_user_table(v, mfn);
    case MMUEXT_TLB_FLUSH_MULTI:
    case MMUEXT_INVLPG_MULTI:
        return flush_multi(v, op);
    case MMUEXT_TLB_FLUSH_LOCAL:
        tlb_flush_local();
        return 0;
    case MMUEXT_TLB_FLUSH_ALL:
        flush_vcpus(v, all_vcpus(v->domain), 0, UVMF_TLB_FLUSH);
        return 0;
    case MMUEXT_INVLPG_LOCAL:
        flush_vcpus(v, BIT(v->id), op->arg1.linear_addr, UVMF_INVLPG);
        return 0;
    case MMUEXT_INVLPG_ALL:
        flush_vcpus(v, all_vcpus(v->domain), op->arg1.linear_addr, UVMF_INVLPG);
        return 0;
    case MMUEXT_FLUSH_CACHE:
    case MMUEXT_FLUSH_CACHE_GLOBAL:
        if (!v->domain->is_hardware)
            return -XEN_EINVAL;
        asm volatile("wbinvd" : : : "memory");
        return 0;
    case MMUEXT_SET_LDT:
        return segments_set_ldt(v, op->arg1.linear_addr, op->arg2.nr_ents);
    case MMUEXT_CLEAR_PAGE:
        return page_op(id, mfn, NULL);
    case MMUEXT_COPY_PAGE:
        return page_op(id, mfn, &src);
    case MMUEXT_MARK_SUPER:
    case MMUEXT_UNMARK_SUPER:
        return -XEN_EOPNOTSUPP;
    default:
        return -XEN_ENOSYS;
    }
}

union mmuext_request {
    struct mmuext_op op;
    u64 words[3];
};
_Static_assert(sizeof(struct mmuext_op) == 24, "all of it is read at once");

static inline bool read_mmuext(const union mmuext_request *u_r, u32 i, bool whole,
                               union mmuext_request *r)
{
    return likely(whole) ? guest_read_triple(&u_r[i], &r->words[0], &r->words[1], &r->words[2])
                         : !copy_array_from_guest(r, u_r, i, sizeof(*r));
}

HYPERCALL(mmuext_op)
{
    union mmuext_request *u_ops = (void *)a1, r __unset;
    u32 nr = (u32)a2, i;
    const bool whole = guest_range_ok(a1, (u64)nr * sizeof(r));
    u16 id = v->domain->id;
    s64 again = 0;
    int rc = 0;

    if (nr > HCALL_MAX_ELEMENTS)
        return -XEN_EINVAL;
    if ((u16)a4 != DOMID_SELF && (u16)a4 != id)
        rc = foreign_owner(v, (u16)a4, &id);
    if (rc)
        return rc;
    for (i = hcall_first(a2); i < nr; i++) {
        if (!read_mmuext(u_ops, i, whole, &r)) {
            rc = -XEN_EFAULT;
            break;
        }
        rc = mmuext_one(v, &r.op, id);
        if (rc)
            break;
        preempt_point();
        if (hcall_may_stop(v)) {
            again = hcall_again_from(v, __HYPERVISOR_mmuext_op, ++i);
            break;
        }
    }
    if (a3 && copy_to_guest((void *)a3, &i, sizeof(i)))
        return -XEN_EFAULT;
    return again ? again : rc;
}
