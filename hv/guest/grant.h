/*
 * A domain's grant table: what it lets others use. The judgement is core/grant.h's.
 *
 *  1. While a grant is in use (pinned) its frame is the granter's and allocated: the first pin
 *     takes a reference and the last one gives it up. What writes through a pin takes a use as
 *     writable besides.
 *  2. The marks in the guest's entry are set before the frame is used and cleared when nobody can
 *     reach it through the pin any more: whoever unpins has flushed.
 *  3. The pages of a table stay until the domain is freed, those shared with the guest until it
 *     is taken apart: from STOP_DYING on, nobody touches them (grant_close()).
 *
 * Pinning takes no lock but the entry's own bit: uses of different grants do not meet. Whoever
 * pins holds a reference to the granter for as long.
 */
#ifndef SERAI_GUEST_GRANT_H
#define SERAI_GUEST_GRANT_H

#include "core/grant.h"
#include "guest/domain.h"
#include "guest/frame.h"

#define GRANT_FRAMES_LIMIT 120
#define GRANTS_PER_FRAME   (PAGE_SIZE / sizeof(grant_entry_v1_t))

struct grant_frame {
    grant_entry_v1_t *entries; /* shared with the guest */
    u64 *pins;                 /* one word an entry */
};

/* A page. */
struct grant_table {
    u32 nr_frames; /* (grant; read by any) those below it are there and stay */
    struct grant_frame frames[GRANT_FRAMES_LIMIT];
};
_Static_assert(sizeof(struct grant_table) <= PAGE_SIZE, "a page");

/* A pin: where the entry and our word beside it are, and the frame. */
struct grant_pin {
    u32 *word;
    u64 *pins;
    mfn_t mfn;
};

/* GNTST_bad_gntref, _bad_domain: it is going; _bad_page; _general_error: the entry says no. */
int grant_pin(struct domain *granter, u32 ref, u16 grantee, bool write,
              struct grant_pin *p) must_check;
void grant_unpin(const struct domain *granter, const struct grant_pin *p, bool write);

/*
 * A use that is over before anybody else may begin or end one of the same grant: for a copy of a page
 * at most. The entry stays locked until then, so whoever holds one waits for no other grant. A frame
 * that may be written to is in use as writable, which keeps it allocated, too.
 */
struct grant_hold {
    struct grant_pin at;
    u64 before; /* what our word was */
};

static inline bool grant_is_dying(const struct domain *d)
{
    return __atomic_load_n(&d->stop, __ATOMIC_SEQ_CST) & STOP_DYING;
}

/* A domain's entries, for who looks up several: there may be more by now, but never fewer. */
struct grant_refs {
    const struct grant_table *table;
    u64 nr;
};

static must_inline struct grant_refs grant_refs_of(const struct domain *d)
{
    const struct grant_table *t = __atomic_load_n(&d->grants, __ATOMIC_ACQUIRE);

    return (struct grant_refs){
        t, likely(t) ? (u64)__atomic_load_n(&t->nr_frames, __ATOMIC_ACQUIRE) * GRANTS_PER_FRAME
                     : 0};
}

/* Where a grant is; false: no such entry. */
static must_inline bool grant_find_in(struct grant_refs all, u32 ref, struct grant_pin *p)
{
    const struct grant_frame *f;
    u64 i = ref, in_range;

    if (unlikely(i >= all.nr))
        return false;
    /* All ones below the limit, also when the branch above is predicted wrong. */
    asm("cmp %1, %2; sbb %0, %0" : "=r"(in_range) : "rm"(all.nr), "r"(i) : "cc");
    i &= in_range;
    f = &all.table->frames[i / GRANTS_PER_FRAME];
    p->word = (u32 *)&f->entries[i % GRANTS_PER_FRAME];
    p->pins = &f->pins[i % GRANTS_PER_FRAME];
    return true;
}

static must_inline bool grant_find(const struct domain *d, u32 ref, struct grant_pin *p)
{
    return grant_find_in(grant_refs_of(d), ref, p);
}

/* The pin of a grant that the caller has pinned. */
static must_inline void grant_pin_find(const struct domain *granter, u32 ref,
                                       struct grant_pin *p)
{
    BUG_ON(!grant_find(granter, ref, p));
    p->mfn = pins_mfn(__atomic_load_n(p->pins, __ATOMIC_RELAXED));
}

/* With the entry's lock: the marks that no use needs any more. */
static inline void grant_unmark(u32 *word, u16 before, u16 after)
{
    if (before & ~after)
        __atomic_fetch_and(&((grant_entry_v1_t *)word)->flags, (u16) ~(before & ~after),
                           __ATOMIC_SEQ_CST);
}

static must_inline must_check bool grant_get_frame(u16 owner, mfn_t mfn, bool typed)
{
    if (!typed)
        return frame_get_try(owner, mfn);
    return likely(mfn.n < max_mfn) && frame_use_again(owner, mfn, TYPE_WRITABLE);
}

static must_inline void grant_put_frame(mfn_t mfn, bool typed)
{
    if (typed)
        frame_type_put(mfn);
    else
        frame_put(mfn);
}

/* Somebody else uses the grant, or something is wrong. */
int grant_begin_slowly(struct domain *granter, u16 grantee, bool write,
                       struct grant_hold *h) must_check;
int grant_hold_slowly(struct domain *granter, u16 grantee, bool write,
                      struct grant_hold *h) must_check;
void grant_release_slowly(struct grant_hold *h, bool write);

/* What is to be done with a grant, and by whom; 'typed': the frame is in use as writable, too. */
struct grant_use {
    u16 grantee;
    bool write, typed;
};

static must_inline must_check int grant_begin(struct domain *granter, struct grant_refs all,
                                              u32 ref, struct grant_use use,
                                              struct grant_hold *h)
{
    /* What another function gets the address of is kept in memory: this one is, *h need not be. */
    struct grant_hold slow __unset;
    u64 unused = 0;
    u32 word;
    int status;

    if (unlikely(!grant_find_in(all, ref, &h->at)))
        return GNTST_bad_gntref;
    if (unlikely(!__atomic_compare_exchange_n(h->at.pins, &unused, PINS_BUSY, false,
                                              __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)))
        goto slowly;
    h->before = 0;
    word = __atomic_load_n(h->at.word, __ATOMIC_RELAXED);
    h->at.mfn =
        MFN(__atomic_load_n(&((grant_entry_v1_t *)h->at.word)->frame, __ATOMIC_RELAXED));
    if (likely(!grant_is_dying(granter) && grant_is_open(word, use.grantee, use.write) &&
               grant_get_frame(granter->id, h->at.mfn, use.typed))) {
        if (likely(__atomic_compare_exchange_n(h->at.word, &word, grant_show(word, use.write),
                                               false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)))
            return GNTST_okay;
        grant_put_frame(h->at.mfn, use.typed);
    }
    __atomic_store_n(h->at.pins, 0, __ATOMIC_RELEASE);
slowly:
    slow.at = h->at;
    status = use.typed ? grant_hold_slowly(granter, use.grantee, use.write, &slow)
                       : grant_begin_slowly(granter, use.grantee, use.write, &slow);
    *h = slow;
    return status;
}

static must_inline must_check int grant_hold_in(struct domain *granter, struct grant_refs all,
                                                u32 ref, u16 grantee, bool write,
                                                struct grant_hold *h)
{
    return grant_begin(granter, all, ref, (struct grant_use){grantee, write, write}, h);
}

static must_inline must_check int grant_hold(struct domain *granter, u32 ref, u16 grantee,
                                             bool write, struct grant_hold *h)
{
    return grant_hold_in(granter, grant_refs_of(granter), ref, grantee, write, h);
}

/* With the entry's lock: the only use, of which the guest's entry tells, is over. */
static must_inline void grant_end(const struct grant_pin *p, bool write, bool typed)
{
    __atomic_fetch_and(&((grant_entry_v1_t *)p->word)->flags,
                       (u16) ~(GTF_reading | (write ? GTF_writing : 0)), __ATOMIC_SEQ_CST);
    __atomic_store_n(p->pins, 0, __ATOMIC_RELEASE);
    grant_put_frame(p->mfn, typed);
}

/* Also of a domain that is dying meanwhile: grant_close() waits for the entry's lock. */
static must_inline void grant_release(const struct domain *granter, const struct grant_hold *h,
                                      bool write)
{
    if (write)
        frame_note_write(granter->id, h->at.mfn);
    if (unlikely(h->before)) {
        struct grant_hold slow = *h;

        grant_release_slowly(&slow, write);
        return;
    }
    grant_end(&h->at, write, write);
}

static must_inline must_check int grant_pin_in(struct domain *granter, struct grant_refs all,
                                               u32 ref, u16 grantee, bool write,
                                               struct grant_pin *p)
{
    struct grant_hold h __unset;
    int status = grant_begin(granter, all, ref, (struct grant_use){grantee, write, false}, &h);

    if (status != GNTST_okay)
        return status;
    __atomic_store_n(h.at.pins, pins_add(h.before, grantee, (u32)h.at.mfn.n, write),
                     __ATOMIC_RELEASE);
    *p = h.at;
    return GNTST_okay;
}

static must_inline must_check int grant_pin_inline(struct domain *granter, u32 ref, u16 grantee,
                                                   bool write, struct grant_pin *p)
{
    return grant_pin_in(granter, grant_refs_of(granter), ref, grantee, write, p);
}

/* grant_unpin() of a grant that is only read, by nobody else as a rule. */
static must_inline void grant_unpin_reader(const struct domain *granter, u16 grantee,
                                           const struct grant_pin *p)
{
    const u64 alone = pins_add(0, grantee, (u32)p->mfn.n, false);
    u64 pins = alone;

    if (likely(__atomic_compare_exchange_n(p->pins, &pins, PINS_BUSY, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED))) {
        if (likely(!grant_is_dying(granter))) {
            grant_end(p, false, false);
            return;
        }
        __atomic_store_n(p->pins, alone, __ATOMIC_RELEASE);
    }
    grant_unpin(granter, p, false);
}

/* Frames that others may write to now are dirty (guest/logdirty.h). */
void grant_note_writers(const struct domain *d);

/*
 * A frame that is nobody's (frame_unassign()) goes to the domain that has asked for it by this
 * entry. When it does not want it from 'giver' or may not have it, it is not taken.
 */
int grant_take_over(struct domain *to, u32 ref, u16 giver, mfn_t mfn) must_check;

/*
 * At least so many pages in the table. -XEN_EINVAL: more than it may have. -XEN_ENOMEM. -XEN_ESRCH:
 * the domain is going.
 */
int grant_grow(struct domain *d, u32 nr) must_check;
/* Pages it has, and the number of one that it has. */
u32 grant_nr_frames(const struct domain *d);
mfn_t grant_frame(const struct domain *d, u32 i);

/* After STOP_DYING: returns when nobody looks at the pages shared with the guest any more. */
void grant_close(struct domain *d);
/* With the domain. */
void grant_free(struct domain *d);

#endif
