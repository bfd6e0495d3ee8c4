/*
 * Builds that force the rare path every time (tests/torture): nothing of this is left in the
 * ordinary one.
 */
#ifndef SERAI_KERN_TORTURE_H
#define SERAI_KERN_TORTURE_H

#ifndef TORTURE_PREEMPT
#define TORTURE_PREEMPT 0 /* every preemption point gives the CPU away */
#endif
#ifndef TORTURE_MIGRATE
#define TORTURE_MIGRATE 0 /* a vcpu that leaves a CPU has to go on on the next one */
#endif
#ifndef TORTURE_FLUSH
#define TORTURE_FLUSH 0 /* every flush that may be left out happens */
#endif
#ifndef TORTURE_NO_FLUSH
#define TORTURE_NO_FLUSH 0 /* no CPU is flushed for a change of type: tests must find that */
#endif

#endif
