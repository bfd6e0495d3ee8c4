/*
 * Interrupt lines of the I/O APICs, and those who share them.
 *
 *  1. A line has a vector while somebody is bound to it, and is masked otherwise.
 *  2. A level-triggered line is masked when it fires, and unmasked when all to whom it was told
 *     have said that they dealt with it; so a device that keeps it asserted costs one interrupt
 *     per round. Edges are not masked.
 *  3. On a shared line nobody is waited for longer than PATIENCE: a domain that hangs or is
 *     paused slows its neighbours on the line down, it does not stop them.
 *
 * Locking: a lock of the line's own kind (LOCK_LINE), which the interrupt's handler takes too.
 */
#ifndef SERAI_KERN_LINE_H
#define SERAI_KERN_LINE_H

#include "base/types.h"

#define LINE_MAX_SHARES 8

/* One domain's part in a line. */
struct line_share {
    /* The line fired. From the interrupt's handler, with the line's lock. */
    void (*tell)(struct line_share *s);
    struct line_share *next; /* (line) */
    bool waiting;            /* (line) told, has not answered */
};

/* A line that a guest may have: it exists and the hypervisor does not use it. */
bool line_is_free_for_guests(u32 gsi);

/* -XEN_EINVAL: no such line. -XEN_EEXIST: it is in use. */
int line_set_mode(u32 gsi, bool level, bool active_low) must_check;

/*
 * s->tell() is called from now on. 'share': others may be bound too, if they said so as well.
 * -XEN_EBUSY: they did not, or are too many. -XEN_ENOMEM, -XEN_ENOSPC, -XEN_EINVAL.
 */
int line_bind(u32 gsi, struct line_share *s, bool share) must_check;
/* Afterwards nothing refers to s. */
void line_unbind(u32 gsi, struct line_share *s);

/* The domain has dealt with it. */
void line_done(u32 gsi, struct line_share *s);

bool line_is_level(u32 gsi);
bool line_is_shared(u32 gsi);

#endif
