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

#define GRANT_FRAMES_LIMIT 120
#define GRANTS_PER_FRAME   (PAGE_SIZE / sizeof(grant_entry_v1_t))

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
/* The pin of a grant that the caller has pinned. */
struct grant_pin grant_pin_find(const struct domain *granter, u32 ref);

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
