/*
 * Mode strict: at no time do two threads of a core run units of different domains, if one of the
 * domains is strict; an unsaved unit counts as running. Domains that are not strict may share.
 *
 * A core changes over when the most urgent unit goes before everything that runs on the core:
 * all its threads are emptied, and none starts a unit of the new kind before the others' old
 * ones are saved. Threads that find nobody who fits stay idle; that time is counted at the
 * domain beside them.
 *
 * Internal to core/sched_*. The caller holds the lock of the core's cluster.
 */
#ifndef SERAI_CORE_SCHED_STRICT_H
#define SERAI_CORE_SCHED_STRICT_H

#include "core/sched_choose.h"

/* With any strict domain around: who runs next, NULL: nobody. *soon: pick again then. */
struct sched_unit *strict_choose(struct sched *s, unsigned cpu, ns_t now, bool done, ns_t *soon,
                                 cpuset_t *kick);

/* A unit started on 'cpu': whoever was promised a thread beside it may be out of luck. */
void strict_started(struct sched *s, unsigned cpu, cpuset_t *kick);

/* A unit's state was saved on 'cpu': threads beside it may be free to do something now. */
void strict_saved(struct sched *s, unsigned cpu, cpuset_t *kick);

/* The CPU was idle for 'd' because of this mode. */
void strict_account(struct sched *s, unsigned cpu, ns_t d);

#endif
