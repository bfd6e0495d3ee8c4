#include "guest/frame.h"
#include "guest/mmu.h"
#include "kern/tlb.h"

u64 *m2p;

void frame_release(mfn_t mfn, u64 ref)
{
    BUG_ON(frames[mfn.n].typ & TYP_INUSE);
    BUG_ON(ref & REF_ALLOCATED);
    m2p[mfn.n] = M2P_INVALID;
    heap_free_frames(mfn, 0);
}

int frame_type_get_slow(u16 owner, mfn_t mfn, enum frame_type t)
{
    struct frame *f = &frames[mfn.n];
    u64 typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED), next;
    int rc;

    for (;;) {
        enum take_verdict verdict = typ_take(typ, t, &next);

        if (verdict == TAKE_CONFLICT)
            return -XEN_EBUSY;
        if (verdict == TAKE_BUSY) {
            cpu_relax();
            typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED);
            continue;
        }
        if (!__atomic_compare_exchange_n(&f->typ, &typ, next, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
            continue;
        if (verdict == TAKE_OK)
            return 0;
        break;
    }
    /* R1: the frame is ours alone until it is marked valid. */
    if (typ_crossing(typ, t))
        tlb_flush_since(typ_stamp(typ));
    if (t == TYPE_WRITABLE)
        return 0;
    rc = t == TYPE_SEGDESC ? mmu_validate_descriptors(mfn) : mmu_validate_table(owner, mfn, t);
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
}

int frame_pin(u16 owner, mfn_t mfn, enum frame_type t)
{
    int rc = frame_get_typed(owner, mfn, t);

    if (rc)
        return rc;
    if (__atomic_fetch_or(&frames[mfn.n].typ, TYP_PINNED, __ATOMIC_ACQ_REL) & TYP_PINNED) {
        frame_put_typed(mfn);
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
        frame_put_typed(mfn);
        rc = 0;
    }
    frame_put(mfn);
    return rc;
}

int frame_unassign(u16 owner, mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];
    u64 expect = REF_OWNER(owner) | REF_ALLOCATED | 1;

    if (mfn.n >= max_mfn)
        return -XEN_EINVAL;
    /* Exactly the allocation's reference: nothing maps it, nothing types it. */
    if (!__atomic_compare_exchange_n(&f->ref, &expect, REF_OWNER(DOMID_XEN) | 1, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return ref_owner(expect) == owner ? -XEN_EBUSY : -XEN_EINVAL;
    return 0;
}
