/*
 * A vcpu that sleeps, those who wake it, and CPUs that idle, as kern/dispatch.c has them.
 *
 * The sleeper marks itself under the scheduler's lock, looks once more whether something is
 * pending, and leaves its CPU at the next pick; wakers set 'pending' first, then take the lock.
 * A CPU whose pick finds nothing is idle in the eyes of those who hold the lock; a kick is an
 * interrupt, whose handler raises a softirq on the CPU itself. A vcpu that was taken off its CPU
 * is not for others before its registers are saved (on_cpu); who wakes it meanwhile kicks nobody,
 * saved() does.
 *
 *  S1 When nothing can happen any more the vcpu has seen every 'pending', and is not READY.
 *
 * Sections under the lock are one step each: all they touch is touched under it only. With SPLIT
 * the lock is given back between the mark, the second look and the pick, which core/sched.h
 * allows; dispatch_sleep() keeps it. With MWAIT an idle CPU watches a word instead of halting and
 * says so ('watching'): then a kick is a store to that word. With FLAG wakers take the lock only if
 * the vcpu says 'sleeping'; otherwise, if it runs somewhere, they interrupt that CPU, because a
 * guest that does not sleep may run for ever without looking. Seeded errors:
 *
 *  NO_SECOND_LOOK     pending is looked at before the mark only
 *  WAKE_MARKED_LOST   (SPLIT) a wake has no effect between the mark and the pick
 *  NO_KICK            a waker makes the vcpu READY and kicks no CPU
 *  IDLE_AFTER_PICK    the CPU counts as idle only after the section in which it found nothing
 *  SAVED_KICKS_NOBODY woken between pick and saved: nobody is told
 *  WAKE_FIRST         the waker wakes, then sets pending
 *  OPEN_BEFORE_HALT   interrupts are open between the look at the softirqs and the halt
 *  SOFTIRQ_LATE       (MWAIT) the softirq's bit is cleared after the pick instead of before
 *  LOOK_THEN_WATCH    (MWAIT) the softirq is looked at before the word is watched
 *  SLEEPING_LATE      (FLAG) 'sleeping' is set after the second look
 *  NO_EVENT_KICK      (FLAG) who does not sleep is not interrupted
 *  RUNS_ON_LATE       (FLAG) others learn where the vcpu runs after it has looked for events
 *  NO_SELF_KICK       a kick of the CPU itself does nothing
 */
#ifndef CPUS
#define CPUS 2
#endif
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef WAKES
#define WAKES 2
#endif

#define NOBODY CPUS

#define BLOCKED 0
#define READY   1
#define RUNNING 2

/* The vcpu; at first CPU 0 runs it. */
bool pending;
byte state = RUNNING;
bool marked;
byte on_cpu = 0;
bool sleeping;    /* read without the lock, like runs_on */
byte runs_on = 0;

bool locked;

bool idle[CPUS];
bool interrupt[CPUS];
bool softirq[CPUS];
bool watching[CPUS]; /* for everybody to see */
bool armed[CPUS];    /* the watched word has not changed since */

byte running_wakers = WAKERS;

#ifdef SPLIT
#define UNLOCK locked = false
#else
#define UNLOCK skip
#endif

#ifdef FLAG
#define RUNS_ON(k) runs_on = k
#else
#define RUNS_ON(k) skip
#endif

/* Any idle CPU; nobody when there is none: the next to pick will see the queue. */
inline choose(k)
{
    k = NOBODY;
    if
    :: idle[0] -> k = 0
    :: idle[1] -> k = 1
#if CPUS > 2
    :: idle[2] -> k = 2
#endif
    :: else
    fi
}

inline send_kick(k, self)
{
#ifdef NO_KICK
    skip
#else
    if
    :: k == NOBODY
    :: k != NOBODY && k == self ->
#ifndef NO_SELF_KICK
        softirq[self] = true
#else
        skip
#endif
    :: k != NOBODY && k != self ->
#ifdef MWAIT
        /* The store is a locked one: it is seen before 'watching' is read. */
        atomic {
            softirq[k] = true;
            armed[k] = false
        };
        if
        :: watching[k]
        :: else -> interrupt[k] = true
        fi
#else
        interrupt[k] = true
#endif
    fi
#endif
}

/* vcpu_wake() */
inline wake(k, self)
{
#ifdef FLAG
    if
    :: sleeping -> wake_sleeper(k, self)
    :: else ->
#ifndef NO_EVENT_KICK
        k = runs_on;
        send_kick(k, self)
#endif
    fi
#else
    wake_sleeper(k, self)
#endif
}

/* dispatch_wake() */
inline wake_sleeper(k, self)
{
    atomic {
        !locked;
        k = NOBODY;
        if
        :: state == BLOCKED ->
            state = READY;
            if
            :: on_cpu == NOBODY -> choose(k)
            :: else
            fi
#ifndef WAKE_MARKED_LOST
        :: state == RUNNING && marked -> marked = false
#endif
        :: else
        fi
    };
    send_kick(k, self)
}

/* Interrupts are open for a moment. */
inline window()
{
    atomic {
        if
        :: interrupt[me] ->
            interrupt[me] = false;
            softirq[me] = true
        :: else
        fi
    }
}

inline pick()
{
    if
    :: mine && marked -> marked = false; state = BLOCKED
    :: else
    fi;
    next = false;
    if
    :: mine && state == RUNNING -> next = true
    :: state == READY && (on_cpu == NOBODY || on_cpu == me) ->
        next = true;
        state = RUNNING;
        on_cpu = me;
        idle[me] = false
    :: else ->
#ifndef IDLE_AFTER_PICK
        idle[me] = true
#endif
    fi
}

inline leave()
{
    RUNS_ON(NOBODY);
    /* Its registers are saved here. */
    skip;
    atomic {
        !locked;
        mine = false;
        on_cpu = NOBODY;
        k = NOBODY;
        if
        :: state == READY ->
#ifndef SAVED_KICKS_NOBODY
            choose(k)
#else
            skip
#endif
        :: else
        fi
    };
    send_kick(k, me)
}

proctype cpu(byte me)
{
    bool mine, next;
    byte k;

    if
    :: me == 0 -> mine = true; goto guest
    :: else -> goto schedule
    fi;

guest:
    window();
    if
    :: softirq[me] -> goto schedule
    :: pending -> pending = false; goto guest
    :: else
    fi;
#ifdef RUNS_ON_LATE
    RUNS_ON(me);
#endif
#ifdef FLAG
    if
    :: true ->
        /* The guest computes until it is interrupted. */
end_guest:
        interrupt[me];
        goto guest
    :: true
    fi;
#endif

    /* SCHEDOP_block */
    if
    :: pending -> goto guest
    :: else
    fi;
#if defined(FLAG) && !defined(SLEEPING_LATE)
    sleeping = true;
#endif
    atomic {
        !locked;
#ifndef SPLIT
        locked = true;
#endif
        marked = true
    };
#ifndef NO_SECOND_LOOK
    if
    :: pending ->
        atomic {
#ifdef SPLIT
            !locked;
#endif
            marked = false;
            locked = false
        };
        sleeping = false;
        goto guest
    :: else
    fi;
#endif
#ifdef SLEEPING_LATE
    sleeping = true;
#endif
#ifndef SPLIT
    atomic {
        pick();
        locked = false
    };
    goto picked;
#endif

schedule:
#ifndef SOFTIRQ_LATE
    softirq[me] = false;
#endif
    atomic {
        !locked;
        pick()
    };
#ifdef SOFTIRQ_LATE
    softirq[me] = false;
#endif
picked:
    if
    :: mine && !next -> leave()
    :: else
    fi;
    if
    :: next ->
        mine = true;
        d_step {
            next = false;
            k = 0
        };
#ifndef RUNS_ON_LATE
        RUNS_ON(me);
#endif
#ifdef FLAG
        sleeping = false;
#endif
        goto guest
    :: else -> k = 0
    fi;

halt:
#ifdef IDLE_AFTER_PICK
    idle[me] = true;
#endif
#ifdef MWAIT
#ifdef LOOK_THEN_WATCH
    if
    :: softirq[me] -> goto schedule
    :: else
    fi;
#endif
    watching[me] = true;
    armed[me] = true;
#ifndef LOOK_THEN_WATCH
    if
    :: softirq[me] -> watching[me] = false; goto schedule
    :: else
    fi;
#endif
end_watch:
    atomic { !armed[me] || interrupt[me] -> skip };
    watching[me] = false;
#else
    if
    :: softirq[me] -> goto schedule
    :: else
    fi;
#ifdef OPEN_BEFORE_HALT
    window();
#endif
end_halt:
    interrupt[me];
#endif
    window();
    goto halt
}

proctype waker()
{
    byte n, k;

    do
    :: n < WAKES ->
        n++;
#ifdef WAKE_FIRST
        wake(k, NOBODY);
        pending = true
#else
        atomic {
            if
            :: pending -> pending = true; k = 1
            :: else -> pending = true; k = 0
            fi
        };
        /* Who finds it set leaves the rest to the one who set it. */
        if
        :: k == 1 -> k = 0
        :: else -> wake(k, NOBODY); k = 0
        fi
#endif
    :: else -> break
    od;
    running_wakers--
}

/* Nothing moves any more. */
proctype quiet()
{
    timeout;
    assert(running_wakers == 0);
    assert(!pending);
    assert(state != READY)
}

init
{
    atomic {
        byte i = 0;

        do
        :: i < CPUS -> run cpu(i); i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < WAKERS -> run waker(); i++
        :: else -> break
        od;
        run quiet()
    }
}
