/*
 * References to machine frames and their uses as a type: the acting half of core/frame.h.
 *
 * A frame in use as a type holds one general reference for as long as that lasts, however many
 * uses there are: so one more use of a frame that is in use already costs one atomic operation.
 * frame_get() and frame_type_get() may fail, frame_put() and frame_type_put() cannot. Taking a
 * frame as a page table validates it (guest/mmu.c), which may run for long and meets
 * preempt_point(); no lock may be held then.
 */
#ifndef SERAI_GUEST_FRAME_H
#define SERAI_GUEST_FRAME_H

#include "core/frame.h"
#include "guest/domain.h"
#include "kern/heap.h"

/* Frames that are not RAM: device memory and holes below max_mfn. */
static inline bool mfn_is_ram(mfn_t mfn)
{
    return mfn.n < max_mfn &&
           ref_owner(__atomic_load_n(&frames[mfn.n].ref, __ATOMIC_RELAXED)) != DOMID_IO;
}

/* As frame_get(), but also false if somebody else does so, too. */
static must_inline must_check bool frame_get_try(u16 owner, mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];
    u64 ref;

    if (unlikely(mfn.n >= max_mfn))
        return false;
    ref = __atomic_load_n(&f->ref, __ATOMIC_RELAXED);
    return likely(ref_may_get(ref, owner)) &&
           likely(__atomic_compare_exchange_n(&f->ref, &ref, ref + 1, false, __ATOMIC_ACQUIRE,
                                              __ATOMIC_RELAXED));
}

/* One more reference to a frame of 'd' (its id); false when it is not the domain's. */
static inline must_check bool frame_get(u16 owner, mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];
    u64 ref;

    if (unlikely(mfn.n >= max_mfn))
        return false;
    ref = __atomic_load_n(&f->ref, __ATOMIC_RELAXED);
    do {
        if (unlikely(!ref_may_get(ref, owner)))
            return false;
    } while (!__atomic_compare_exchange_n(&f->ref, &ref, ref + 1, true, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    return true;
}

/* The last reference is gone: back to the heap. */
void frame_release(mfn_t mfn, u64 ref);

static inline void frame_put(mfn_t mfn)
{
    u64 ref = __atomic_sub_fetch(&frames[mfn.n].ref, 1, __ATOMIC_ACQ_REL);

    if (unlikely(!ref_any(ref)))
        frame_release(mfn, ref);
}

/*
 * The first writable use of a frame below max_mfn that was not in use as something else before: its
 * reference is taken, nothing has to be flushed or looked at. False: it is not that simple, nothing is done.
 */
static must_inline must_check bool frame_write_first(u16 owner, mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];
    u64 typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED), next;

    if (typ_take(typ, TYPE_WRITABLE, &next) != TAKE_NEW || !(next & TYP_VALID) ||
        !frame_get(owner, mfn))
        return false;
    if (likely(__atomic_compare_exchange_n(&f->typ, &typ, next, false, __ATOMIC_ACQUIRE,
                                           __ATOMIC_RELAXED)))
        return true;
    frame_put(mfn);
    return false;
}

/*
 * First use, a change of type, contention. -XEN_EINVAL: another domain's, or in use as another
 * type; else what its validation says.
 */
int frame_type_get_slow(u16 owner, mfn_t mfn, enum frame_type t) must_check;
void frame_type_put_slow(mfn_t mfn);

enum use {
    USE_NONE,
    USE_TAKEN,
    USE_LOST, /* taken, but the frame is another domain's now: to be given back */
};

/* As frame_use_again(), for functions that have something rare to do last only. */
static must_inline must_check enum use frame_use_try(u16 owner, mfn_t mfn, enum frame_type t)
{
    struct frame *f = &frames[mfn.n];
    u64 typ, next;

    /* Not ours, perhaps free: its words are somebody else's. */
    if (unlikely(ref_owner(__atomic_load_n(&f->ref, __ATOMIC_RELAXED)) != owner))
        return USE_NONE;
    typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED);
    if (unlikely(!typ_take_more(typ, t, &next)) ||
        unlikely(!__atomic_compare_exchange_n(&f->typ, &typ, next, false, __ATOMIC_ACQUIRE,
                                              __ATOMIC_RELAXED)))
        return USE_NONE;
    /* The owner cannot change any more: the use keeps the frame allocated. */
    return likely(ref_owner(__atomic_load_n(&f->ref, __ATOMIC_RELAXED)) == owner) ? USE_TAKEN
                                                                                  : USE_LOST;
}

/*
 * One more use as 't' of a frame below max_mfn that is in use so already; false: it is not that
 * simple, ask frame_type_get().
 */
static inline must_check bool frame_use_again(u16 owner, mfn_t mfn, enum frame_type t)
{
    const enum use use = frame_use_try(owner, mfn, t);

    if (unlikely(use == USE_LOST))
        frame_type_put_slow(mfn);
    return use == USE_TAKEN;
}

/*
 * One more use as 't' of a frame that belongs to 'owner'. -XEN_EINVAL: it does not, or it is a
 * table that is not valid. -XEN_EBUSY: it is in use as something else.
 */
static inline must_check int frame_type_get(u16 owner, mfn_t mfn, enum frame_type t)
{
    if (unlikely(mfn.n >= max_mfn))
        return -XEN_EINVAL;
    return likely(frame_use_again(owner, mfn, t)) ? 0 : frame_type_get_slow(owner, mfn, t);
}

static must_inline void frame_type_put_inline(mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];
    u64 typ = __atomic_load_n(&f->typ, __ATOMIC_RELAXED), next;

    if (likely(typ_drop(typ, &next) == DROP_DONE) &&
        likely(__atomic_compare_exchange_n(&f->typ, &typ, next, false, __ATOMIC_RELEASE,
                                           __ATOMIC_RELAXED)))
        return;
    frame_type_put_slow(mfn);
}

static inline void frame_type_put(mfn_t mfn)
{
    frame_type_put_inline(mfn);
}

static inline enum frame_type frame_type_of(mfn_t mfn)
{
    u64 typ = __atomic_load_n(&frames[mfn.n].typ, __ATOMIC_RELAXED);

    return typ & TYP_INUSE ? typ_type(typ) : TYPE_NONE;
}

/* Pins: one typed use that the guest holds by name. */
int frame_pin(u16 owner, mfn_t mfn, enum frame_type t) must_check;
int frame_unpin(u16 owner, mfn_t mfn) must_check;

/* The domain has, or will have, frames of this block. */
static inline void frame_note_block(struct domain *d, u64 block)
{
    if (!(__atomic_load_n(&d->blocks[block / 64], __ATOMIC_RELAXED) & BIT(block & 63)))
        __atomic_or_fetch(&d->blocks[block / 64], BIT(block & 63), __ATOMIC_RELAXED);
}

/*
 * Gives a frame to a domain: one reference, the allocation's own. The type word stays: fresh
 * from the heap it is clear, and a frame that changes hands in place keeps its flush stamp, and
 * REF_SHARED.
 * A page shared with it (REF_SPECIAL) keeps the domain from being freed.
 */
static inline void frame_assign(struct domain *d, mfn_t mfn, u64 flags)
{
    frame_note_block(d, mfn.n / BLOCK_FRAMES);
    if (flags & REF_SPECIAL)
        domain_hold(d);
    flags |= __atomic_load_n(&frames[mfn.n].ref, __ATOMIC_RELAXED) & REF_SHARED;
    __atomic_store_n(&frames[mfn.n].ref, REF_OWNER(d->id) | REF_ALLOCATED | flags | 1,
                     __ATOMIC_RELEASE);
}

/* The same with 'n' frames that the heap gave just now. */
void frames_assign(struct domain *d, mfn_t first, u64 n);

/*
 * Takes the allocation's reference away, for giving the frame back. Only when nothing else uses
 * it: -XEN_EBUSY. The caller holds no other reference.
 */
int frame_unassign(u16 owner, mfn_t mfn) must_check;

/*
 * A domain that is taken apart gives up what it holds of the frames [first, end), those that are
 * its own: first the pins of all, then the allocations. What others still map stays until they
 * let go.
 */
void frames_unpin(struct domain *d, u64 first, u64 end);
void frames_abandon(struct domain *d, u64 first, u64 end);

/*
 * Others than its owner may have translations of the frame from now on: flushes for it ask every
 * CPU. Before the first such translation.
 */
static inline void frame_mark_shared(mfn_t mfn)
{
    if (!(__atomic_load_n(&frames[mfn.n].ref, __ATOMIC_RELAXED) & REF_SHARED))
        __atomic_or_fetch(&frames[mfn.n].ref, REF_SHARED, __ATOMIC_SEQ_CST);
}

/* How many domains have the log of their dirty pages on (guest/logdirty.h). */
extern u32 frame_logs;

void frame_note_write_slow(u16 owner, mfn_t mfn);

/*
 * A frame of the domain with this id has other contents now, or may have from now on: whoever
 * changes one through the hypervisor's own map, or lets another domain write to it, says so
 * afterwards. Any context.
 */
static inline void frame_note_write(u16 owner, mfn_t mfn)
{
    if (unlikely(__atomic_load_n(&frame_logs, __ATOMIC_RELAXED)))
        frame_note_write_slow(owner, mfn);
}

/* Machine-to-physical table: one word per frame. */
extern u64 *m2p;
#define M2P_INVALID (~0UL)

#endif
