#include "guest/grant.h"
#include "guest/frame.h"
#include "kern/heap.h"
#include "x86/paging.h"

/* A guest that keeps rewriting its entry while we mark it gets an error after so many tries. */
#define CLAIM_TRIES 16

u32 grant_nr_frames(const struct domain *d)
{
    const struct grant_table *t = __atomic_load_n(&d->grants, __ATOMIC_ACQUIRE);

    return t ? __atomic_load_n(&t->nr_frames, __ATOMIC_ACQUIRE) : 0;
}

mfn_t grant_frame(const struct domain *d, u32 i)
{
    return virt_to_mfn(d->grants->frames[i].entries);
}

static must_inline bool try_lock_pins(u64 *slot, u64 *pins)
{
    *pins = __atomic_load_n(slot, __ATOMIC_RELAXED);
    return !(*pins & PINS_BUSY) &&
           __atomic_compare_exchange_n(slot, pins, *pins | PINS_BUSY, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

static __noinline u64 wait_for_pins(u64 *slot)
{
    u64 pins;

    while (!try_lock_pins(slot, &pins))
        tlb_relax();
    return pins;
}

static inline u64 lock_pins(u64 *slot)
{
    u64 pins;

    return likely(try_lock_pins(slot, &pins)) ? pins : wait_for_pins(slot);
}

static void unlock_pins(u64 *slot, u64 pins)
{
    __atomic_store_n(slot, pins, __ATOMIC_RELEASE);
}

/* With the entry's lock: marks the guest's word, if it lets us. */
static must_inline int claim(u32 *word, u16 grantee, bool write)
{
    u32 old = __atomic_load_n(word, __ATOMIC_RELAXED), next;

    for (unsigned try = 0; try < CLAIM_TRIES; try++) {
        int status = grant_claim(old, grantee, write, &next);

        if (status != GNTST_okay || next == old ||
            __atomic_compare_exchange_n(word, &old, next, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED))
            return status;
    }
    return GNTST_general_error;
}

/* With the entry's lock: the guest's word is marked, and the frame the granter's as long as it is. */
static must_inline int begin_use(struct domain *granter, u32 *word, u64 pins, u16 grantee,
                                 bool write, u32 *frame)
{
    int status;

    if (grant_is_dying(granter))
        return GNTST_bad_domain;
    status = pins_may_add(pins, grantee, write);
    if (status == GNTST_okay)
        status = claim(word, grantee, write);
    if (status != GNTST_okay)
        return status;
    *frame = (u32)pins_mfn(pins).n;
    if (pins_any(pins))
        return GNTST_okay;
    *frame = __atomic_load_n(&((grant_entry_v1_t *)word)->frame, __ATOMIC_RELAXED);
    if (frame_get(granter->id, MFN(*frame)))
        return GNTST_okay;
    grant_unmark(word, GTF_reading | GTF_writing, 0);
    return GNTST_bad_page;
}

int grant_pin(struct domain *granter, u32 ref, u16 grantee, bool write, struct grant_pin *p)
{
    struct grant_hold h __unset;
    int status;

    if (!grant_find(granter, ref, &h.at))
        return GNTST_bad_gntref;
    status = grant_begin_slowly(granter, grantee, write, &h);
    if (status != GNTST_okay)
        return status;
    unlock_pins(h.at.pins, pins_add(h.before, grantee, (u32)h.at.mfn.n, write));
    *p = h.at;
    return GNTST_okay;
}

void grant_unpin(const struct domain *granter, const struct grant_pin *p, bool write)
{
    const u64 before = lock_pins(p->pins), after = pins_drop(before, write);
    /* The last use is the only one there is. */
    const u16 marks =
        likely(!pins_any(after)) ? GTF_reading | (write ? GTF_writing : 0) : pins_marks(before);

    if (!grant_is_dying(granter))
        grant_unmark(p->word, marks, pins_marks(after));
    unlock_pins(p->pins, after);
    if (write)
        frame_note_write(granter->id, p->mfn);
    if (!pins_any(after))
        frame_put(p->mfn);
}

int grant_begin_slowly(struct domain *granter, u16 grantee, bool write, struct grant_hold *h)
{
    u32 frame = 0;
    int status;

    h->before = lock_pins(h->at.pins);
    status = begin_use(granter, h->at.word, h->before, grantee, write, &frame);
    if (status != GNTST_okay)
        unlock_pins(h->at.pins, h->before);
    h->at.mfn = MFN(frame);
    return status;
}

/* With the entry's lock: what begins a use, undone. */
static must_inline void undo(const struct grant_hold *h, bool write)
{
    grant_unmark(h->at.word, GTF_reading | (write ? GTF_writing : 0), pins_marks(h->before));
    unlock_pins(h->at.pins, h->before);
}

int grant_hold_slowly(struct domain *granter, u16 grantee, bool write, struct grant_hold *h)
{
    int status = grant_begin_slowly(granter, grantee, write, h);

    if (status != GNTST_okay || !write)
        return status;
    if (frame_type_get(granter->id, h->at.mfn, TYPE_WRITABLE)) {
        undo(h, write);
        status = GNTST_general_error;
    }
    if (!pins_any(h->before))
        frame_put(h->at.mfn);
    return status;
}

void grant_release_slowly(struct grant_hold *h, bool write)
{
    undo(h, write);
    if (write)
        frame_type_put(h->at.mfn);
    else if (!pins_any(h->before))
        frame_put(h->at.mfn);
}

void grant_note_writers(const struct domain *d)
{
    u32 nr = grant_nr_frames(d) * GRANTS_PER_FRAME;
    struct grant_pin p;

    for (u32 ref = 0; ref < nr && grant_find(d, ref, &p); ref++) {
        u64 pins = __atomic_load_n(p.pins, __ATOMIC_RELAXED);

        if (pins_writers(pins))
            frame_note_write(d->id, pins_mfn(pins));
        if (!(ref % GRANTS_PER_FRAME))
            preempt_point();
    }
}

/* With the entry's lock: the guest is committed to take a frame from 'giver'. */
static bool commit(u32 *word, u16 giver)
{
    u32 old = __atomic_load_n(word, __ATOMIC_RELAXED), next;

    for (unsigned try = 0; try < CLAIM_TRIES && grant_accept(old, giver, &next); try++)
        if (__atomic_compare_exchange_n(word, &old, next, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED))
            return true;
    return false;
}

static int take_over(struct domain *to, u32 *word, u16 giver, mfn_t mfn)
{
    grant_entry_v1_t *e = (grant_entry_v1_t *)word;

    if (grant_is_dying(to))
        return GNTST_bad_domain;
    if (!domain_add_pages(to, 1))
        return GNTST_general_error;
    if (!commit(word, giver)) {
        domain_sub_pages(to, 1);
        return GNTST_general_error;
    }
    frame_assign(to, mfn, 0);
    __atomic_store_n(&e->frame, (u32)mfn.n, __ATOMIC_RELAXED);
    __atomic_fetch_or(&e->flags, GTF_transfer_completed, __ATOMIC_RELEASE);
    return GNTST_okay;
}

int grant_take_over(struct domain *to, u32 ref, u16 giver, mfn_t mfn)
{
    struct grant_pin p;
    u64 pins;
    int status;

    if (!grant_find(to, ref, &p))
        return GNTST_bad_gntref;
    pins = lock_pins(p.pins);
    /* An entry in use is a grant, whatever the guest makes of it. */
    status = pins_any(pins) ? GNTST_general_error : take_over(to, p.word, giver, mfn);
    unlock_pins(p.pins, pins);
    return status;
}

/* With the grant lock: one more page, and the words beside it. */
static int add_frame(struct domain *d, struct grant_table *t)
{
    struct grant_frame f = {heap_alloc_pages(0), heap_alloc_pages(0)};

    if (!f.entries || !f.pins) {
        if (f.entries)
            heap_free_pages(f.entries, 0);
        if (f.pins)
            heap_free_pages(f.pins, 0);
        return -XEN_ENOMEM;
    }
    frame_assign(d, virt_to_mfn(f.entries), REF_SPECIAL);
    t->frames[t->nr_frames] = f;
    __atomic_store_n(&t->nr_frames, t->nr_frames + 1, __ATOMIC_RELEASE);
    return 0;
}

int grant_grow(struct domain *d, u32 nr)
{
    int rc = 0;

    if (nr <= grant_nr_frames(d))
        return 0;
    if (nr > d->max_grant_frames)
        return -XEN_EINVAL;
    lock(&d->grant_lock);
    if (grant_is_dying(d))
        rc = -XEN_ESRCH;
    if (!rc && !d->grants)
        __atomic_store_n(&d->grants, heap_alloc_pages(0), __ATOMIC_RELEASE);
    if (!rc && !d->grants)
        rc = -XEN_ENOMEM;
    while (!rc && d->grants->nr_frames < nr)
        rc = add_frame(d, d->grants);
    unlock(&d->grant_lock);
    return rc;
}

void grant_close(struct domain *d)
{
    struct grant_pin p;
    u32 nr;

    /* Whoever grows the table from here on sees the domain dying. */
    lock(&d->grant_lock);
    nr = grant_nr_frames(d) * GRANTS_PER_FRAME;
    unlock(&d->grant_lock);
    /* And whoever locks an entry from here on. */
    for (u32 ref = 0; ref < nr && grant_find(d, ref, &p); ref++) {
        while (__atomic_load_n(p.pins, __ATOMIC_SEQ_CST) & PINS_BUSY)
            tlb_relax();
        if (!(ref % GRANTS_PER_FRAME))
            preempt_point();
    }
}

void grant_free(struct domain *d)
{
    struct grant_table *t = d->grants;

    if (!t)
        return;
    for (u32 i = 0; i < t->nr_frames; i++)
        heap_free_pages(t->frames[i].pins, 0);
    heap_free_pages(t, 0);
    d->grants = NULL;
}
