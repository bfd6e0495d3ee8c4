/*
 * Instructions to domains about their memory: acts out what core/memtarget.h decides.
 *
 * At the deadline a timer of the domain's applies the consequence, with nobody in domain 0 having
 * to do anything: its CPU time is capped, it is paused, or it ends as if it had crashed, and
 * domain 0 does with it what it does with crashed domains. Domain 0 is told by SERAI_VIRQ_MEMORY
 * that an instruction has ended. Cap and pause are lifted when the domain complies late (a paused
 * one cannot), when another instruction comes or this one is cancelled; and by domain 0 directly.
 *
 * The domain's memory lock guards domain.memtarget. Giving and cancelling is done by who is alone
 * in control of the domain (lifecycle_control_begin()).
 */
#ifndef SERAI_GUEST_BALLOON_H
#define SERAI_GUEST_BALLOON_H

#include "guest/domain.h"

/* What balloon_order() would say. */
int balloon_check(const struct domain *d, const struct memtarget_order *o) must_check;

/*
 * A new instruction; what was before it is as if it had been cancelled. -XEN_EINVAL: see
 * memtarget_check_order(), and for domain 0 any consequence; -XEN_ESRCH: the domain is dying.
 */
int balloon_order(struct domain *d, const struct memtarget_order *o) must_check;

/*
 * The consequence is lifted, and the limit that complying lowered is what it was, unless others
 * changed it since. -XEN_ENOENT: there is no instruction.
 */
int balloon_cancel(struct domain *d) must_check;

/* It has given pages back, or may have. */
void balloon_look(struct domain *d);

static inline void balloon_given_back(struct domain *d)
{
    if (unlikely(memtarget_is_open(&d->memtarget)))
        balloon_look(d);
}

/* Domain 0 has taken a pause away: when it was the last one, the consequence went with it. */
void balloon_unpaused(struct domain *d);

/* A copy of what there is to say; the limit that balloon_cancel() would leave. */
u64 balloon_report(struct domain *d, struct memtarget *out);

#endif
