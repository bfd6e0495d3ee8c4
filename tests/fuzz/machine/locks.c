/* The shipped ranks, and a look at them. */
#include "kern/lock.c"

u32 machine_locks_held(unsigned cpu);

u32 machine_locks_held(unsigned cpu)
{
    return held_ranks[cpu];
}
