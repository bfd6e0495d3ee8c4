/* Waiting for whoever looks at something that was taken away. */
#ifndef SERAI_GUEST_QUIESCE_H
#define SERAI_GUEST_QUIESCE_H

/*
 * Until no CPU is in the middle of something that it began before: each has been seen with
 * interrupts on, so outside of whatever meets no preemption point. No locks held.
 */
void quiesce_cpus(void);

#endif
