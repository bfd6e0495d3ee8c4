/*
 * CPUs that run out of work against those who bring some, on two run queues with a lock each, as
 * core/sched.c and core/sched_place.c have it: a CPU says that it is idle, then looks at the
 * other queue; who inserts looks for an idle CPU afterwards and claims it ('kicked').
 *
 *  S1 When nothing can happen any more, no unit waits while a CPU idles.
 *
 * The other queue is entered only if its lock is free; whether it holds anything is read without
 * it, from a bit that changes when the queue ceases or begins to be empty. CPU 0 and 1 belong to queue 1; queue 0 has units, but no CPU that would look at it first.
 * A unit ends at once or runs for ever. Without a -D it must verify; seeded errors:
 *
 *  LOOK_THEN_IDLE the CPU looks at the other queue, then says that it is idle
 *  NO_FENCE       the bit is seen by others only after the look for an idle CPU: the store waits
 *                 in a buffer while the load is done
 *  GIVE_UP        the other queue's lock is taken: the CPU halts instead of trying again
 *  CLAIM_STAYS    a pick leaves the claim: nobody kicks this CPU again
 *  OWN_QUEUE_ONLY a CPU that was claimed for one unit and found another one does not kick for
 *                 units that wait in the other queue
 */
#define CPUS 2
#ifndef UNITS
#define UNITS 3
#endif

#define NOBODY CPUS

byte ready[2]; /* units in the queue, seen by who has the lock */
bool waiting[2]; /* there are some, seen by all */
bool locked[2];
bool idle[CPUS], kicked[CPUS], interrupt[CPUS];
bool halted[CPUS];
byte units;
byte running_wakers = 2;

inline lock(q)
{
    atomic { !locked[q] -> locked[q] = true }
}

/* Look, then claim; whoever finds that another one was faster kicks nobody. */
inline place()
{
    if
    :: idle[0] && !kicked[0] -> k = 0
    :: idle[1] && !kicked[1] -> k = 1
    :: else
    fi;
    atomic {
        if
        :: k != NOBODY && !kicked[k] -> kicked[k] = true
        :: else -> k = NOBODY
        fi
    }
}

inline kick()
{
    if
    :: k != NOBODY -> interrupt[k] = true
    :: else
    fi;
    k = NOBODY
}

proctype waker()
{
    byte q, k = NOBODY;

    do
    :: atomic { units < UNITS -> units++ };
        if
        :: q = 0
        :: q = 1
        fi;
        lock(q);
        ready[q]++;
#ifdef NO_FENCE
        place();
        waiting[q] = true;
#else
        if
        :: ready[q] == 1 -> waiting[q] = true
        :: else
        fi;
        place();
#endif
        locked[q] = false;
        kick();
        q = 0
    :: atomic { units == UNITS -> break }
    od;
    running_wakers--
}

inline take(q)
{
    ready[q]--;
    if
    :: !ready[q] -> waiting[q] = false
    :: else
    fi;
    got = true
}

/* place_steal() */
inline steal()
{
    again = false;
    if
    :: !waiting[0]
    :: else ->
        atomic {
            if
            :: locked[0] -> again = true
            :: else -> locked[0] = true
            fi
        };
        if
        :: again
        :: else ->
            if
            :: ready[0] -> take(0)
            :: else
            fi;
            locked[0] = false
        fi
    fi
}

#ifdef OWN_QUEUE_ONLY
#define LEFT (ready[1])
#else
#define LEFT (waiting[0] || ready[1])
#endif

inline pass_on()
{
    if
    :: LEFT -> place()
    :: else
    fi
}

/* What the last pick and kicks since said about this CPU. */
inline awake()
{
#ifndef CLAIM_STAYS
    kicked[me] = false;
#endif
    idle[me] = false
}

inline find_work()
{
#ifdef LOOK_THEN_IDLE
    steal();
    if
    :: !got -> idle[me] = true
    :: else
    fi
#else
    idle[me] = true;
    steal();
    if
    :: got -> idle[me] = false
    :: else
    fi
#endif
}

proctype cpu(byte me)
{
    byte k = NOBODY;
    bool got, again;

pick:
    lock(1);
    awake();
    if
    :: ready[1] -> take(1)
    :: else -> find_work()
    fi;
    if
    :: got -> pass_on()
    :: else
    fi;
    locked[1] = false;
    kick();
    if
    :: got -> got = false; goto pick /* it ends at once */
    :: got -> got = false; again = false; goto busy
#ifndef GIVE_UP
    :: !got && again -> again = false; goto pick
#endif
    :: else
    fi;
    again = false;
    halted[me] = true;
end_halt:
    atomic {
        interrupt[me];
        interrupt[me] = false;
        halted[me] = false
    };
    goto pick;

busy:
    /* For ever; but a kick makes it pick. */
end_busy:
    atomic {
        interrupt[me];
        interrupt[me] = false
    };
    lock(1);
    awake();
    pass_on();
    locked[1] = false;
    kick();
    goto busy
}

proctype quiet()
{
    timeout;
    assert(running_wakers == 0);
    assert(!((ready[0] || ready[1]) && (halted[0] || halted[1])))
}

init
{
    atomic {
        run cpu(0);
        run cpu(1);
        run waker();
        run waker();
        run quiet()
    }
}
