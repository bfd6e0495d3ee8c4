/* Frames as their owner's: giving them back, taking a domain's away, the log of what it writes. */
#include "core/dirtymap.h"
#include "guest/frame.h"

u64 *m2p;
u32 frame_logs;

void frame_release(mfn_t mfn, u64 ref)
{
    struct domain *d = NULL;

    BUG_ON(frames[mfn.n].typ & TYP_INUSE);
    BUG_ON(ref & REF_ALLOCATED);
    m2p[mfn.n] = M2P_INVALID;
    /* The frame's own reference keeps the domain until it is given up below. */
    if (ref_owner(ref) < DOMID_FIRST_RESERVED)
        d = domain_get(ref_owner(ref));
    heap_free_frames(mfn, 0);
    if (!d)
        return;
    if (ref & REF_SPECIAL)
        domain_put(d);
    else
        domain_sub_pages(d, 1);
    domain_put(d);
}

static void abandon(struct domain *d, mfn_t mfn)
{
    struct frame *f = &frames[mfn.n];

    if (!frame_get(d->id, mfn))
        return;
    if (__atomic_fetch_and(&f->ref, ~REF_ALLOCATED, __ATOMIC_ACQ_REL) & REF_ALLOCATED)
        frame_put(mfn);
    frame_put(mfn);
}

/* A frame that is allocated and nothing else goes without ceremony: most of them. */
static must_inline bool take_back(struct frame *f, u64 unused)
{
    u64 ref = __atomic_load_n(&f->ref, __ATOMIC_RELAXED);

    return (ref & ~REF_SHARED) == unused &&
           __atomic_compare_exchange_n(&f->ref, &ref, REF_OWNER(DOMID_XEN) | 1, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Takes such frames back, from 'first' on; where the first one is that is something else. */
static must_inline u64 take_back_run(const struct domain *d, u64 first, u64 end)
{
    const u64 unused = REF_OWNER(d->id) | REF_ALLOCATED | 1;
    struct frame *f = &frames[first];
    u64 *name = &m2p[first];

    for (const u64 *stop = &m2p[end]; name < stop && take_back(f, unused); f++)
        *name++ = M2P_INVALID;
    return (u64)(name - m2p);
}

void frames_assign(struct domain *d, mfn_t first, u64 n)
{
    const u64 ref = REF_OWNER(d->id) | REF_ALLOCATED | 1;
    struct frame *f = &frames[first.n];

    for (u64 b = first.n / BLOCK_FRAMES; b * BLOCK_FRAMES < first.n + n; b++)
        frame_note_block(d, b);
    for (const struct frame *end = f + n; f < end; f++)
        __atomic_store_n(&f->ref, ref, __ATOMIC_RELEASE);
}

void frames_unpin(struct domain *d, u64 first, u64 end)
{
    for (const struct frame *f = &frames[first], *stop = &frames[end]; f < stop; f++)
        if (unlikely(f->typ & TYP_PINNED) && ref_owner(f->ref) == d->id)
            (void)!frame_unpin(d->id, MFN((u64)(f - frames)));
}

void frames_abandon(struct domain *d, u64 first, u64 end)
{
    u64 freed = 0;

    for (u64 i = first, run; i < end; i++) {
        run = i;
        i = take_back_run(d, run, end);
        if (i > run)
            heap_add(run, i);
        freed += i - run;
        if (i < end)
            abandon(d, MFN(i));
    }
    domain_sub_pages(d, freed);
}

static void note_write(struct domain *d, u64 pfn)
{
    if (__atomic_load_n(&d->log_dirty, __ATOMIC_ACQUIRE))
        dirty_map_note(d->dirty, pfn);
}

void frame_note_write_slow(u16 owner, mfn_t mfn)
{
    const struct vcpu *me = current_vcpu();
    struct domain *d;

    if (mfn.n >= max_mfn)
        return;
    if (me && me->domain->id == owner) {
        note_write(me->domain, m2p[mfn.n]);
        return;
    }
    d = domain_get(owner);
    if (!d)
        return;
    note_write(d, m2p[mfn.n]);
    domain_put(d);
}
