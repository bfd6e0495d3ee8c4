#include "guest/frame.h"
#include "guest/mmu.h"
#include "kern/tlb.h"

/*
 * Swaps the type word for one more use; *old is what it was. Whoever validates a table of level
 * 2 or above may have lost the CPU in the middle, to us for instance: then it gets it back.
 */
static int take_use(struct frame *f, enum frame_type t, u64 *old)
{
    u64 typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED), next;
    enum take_verdict verdict;

    do {
        while ((verdict = typ_take(typ, t, &next)) == TAKE_BUSY) {
            if (t > TYPE_L1 && type_is_table(t))
                vcpu_yield(NULL);
            tlb_relax();
            typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED);
        }
        if (verdict == TAKE_CONFLICT)
            return -XEN_EINVAL;
    } while (!__atomic_compare_exchange_n(&f->typ, &typ, next, false, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    *old = typ;
    return 0;
}

static int validate(u16 owner, mfn_t mfn, enum frame_type t)
{
    if (t == TYPE_SEGDESC)
        return mmu_validate_descriptors(mfn);
    return mmu_validate_table(owner, mfn, t);
}

int frame_type_get_slow(u16 owner, mfn_t mfn, enum frame_type t)
{
    struct frame *f = &frames[mfn.n];
    u64 old;
    int rc;

    if (t == TYPE_WRITABLE && frame_write_first(owner, mfn))
        return 0;
    if (!frame_get(owner, mfn))
        return -XEN_EINVAL;
    /* The hypervisor writes such a page itself: it must never become a table. */
    if (t != TYPE_WRITABLE && f->ref & REF_SPECIAL) {
        frame_put(mfn);
        return -XEN_EINVAL;
    }
    rc = take_use(f, t, &old);
    if (rc || old & TYP_INUSE) {
        /* No new use, or one of a frame that has its reference already. */
        frame_put(mfn);
        return rc;
    }
    /* R1: the frame is ours alone until it is marked valid. */
    if (typ_crossing(old, t))
        tlb_flush_since(typ_stamp(old), f->ref & REF_SHARED ? NO_OWNER : owner,
                        type_is_table(typ_type(old)));
    rc = t == TYPE_WRITABLE ? 0 : validate(owner, mfn, t);
    if (rc) {
        frame_type_put_slow(mfn);
        return rc;
    }
    __atomic_or_fetch(&f->typ, TYP_VALID, __ATOMIC_RELEASE);
    return 0;
}

void frame_type_put_slow(mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];
    u64 typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED), next;

    for (;;) {
        enum drop_verdict verdict = typ_drop(typ, &next);

        if (!__atomic_compare_exchange_n(&f->typ, &typ, next, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED))
            continue;
        if (verdict == DROP_DONE)
            return;
        typ = next;
        if (verdict == DROP_STAMP)
            break;
        if (type_is_table(typ_type(typ)))
            mmu_devalidate_table(mfn, typ_type(typ));
    }
    /* R2: the clock is read after the swap that ended the last use. */
    __atomic_store_n(&f->typ, typ_stamped(typ, tlb_clock()), __ATOMIC_RELEASE);
    frame_put(mfn);
}

int frame_pin(u16 owner, mfn_t mfn, enum frame_type t)
{
    int rc = frame_type_get(owner, mfn, t);

    if (rc)
        return rc;
    if (__atomic_fetch_or(&frames[mfn.n].typ, TYP_PINNED, __ATOMIC_ACQ_REL) & TYP_PINNED) {
        frame_type_put(mfn);
        return -XEN_EINVAL;
    }
    return 0;
}

int frame_unpin(u16 owner, mfn_t mfn)
{
    int rc = -XEN_EINVAL;

    if (!frame_get(owner, mfn))
        return -XEN_EINVAL;
    if (__atomic_fetch_and(&frames[mfn.n].typ, ~TYP_PINNED, __ATOMIC_ACQ_REL) & TYP_PINNED) {
        frame_type_put(mfn);
        rc = 0;
    }
    frame_put(mfn);
    return rc;
}

int frame_unassign(u16 owner, mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];
    u64 expect;

    if (mfn.n >= max_mfn)
        return -XEN_EINVAL;
    expect = REF_OWNER(owner) | REF_ALLOCATED | 1 |
             (__atomic_load_n(&f->ref, __ATOMIC_RELAXED) & REF_SHARED);
    /* Exactly the allocation's reference: nothing maps it, nothing types it. */
    if (!__atomic_compare_exchange_n(&f->ref, &expect,
                                     REF_OWNER(DOMID_XEN) | 1 | (expect & REF_SHARED), false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return ref_owner(expect) == owner ? -XEN_EBUSY : -XEN_EINVAL;
    return 0;
}
