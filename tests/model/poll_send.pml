/*
 * SCHEDOP_poll against event sends: a vcpu with its upcalls masked sleeps until one of two
 * masked ports is pending (a spinlock of a paravirtual kernel), or until its timer rings. Port 0
 * is bound to the poller, port 1 to another vcpu.
 *
 *   poller: which ports; POLLING set; fence; mark for the scheduler; look at the ports; sleep
 *   sender: port set pending (a locked operation, so a fence); look at POLLING, at which ports; wake
 *
 *  S1 When nothing can happen any more, no poller sleeps while a port it polls is pending or its
 *     timer has rung.
 *
 * That a wake-up is not lost between the mark and the sleep is sleep_wake.pml's to prove: here
 * the mark and what follows, and a wake, are a step each. Stores that are not locked operations
 * pass through a buffer, from which they get to memory at any later time. Without a -D of an
 * error it must verify:
 *
 *  TIMEOUT          (not an error) the polls have a timer, and senders may not send
 *  UNMASKED         (not an error) port 0 is unmasked, and its selector may be set already
 *  LOOK_FIRST       the ports are looked at before POLLING is set
 *  PORTS_LATE       which ports are polled is written after POLLING and the look
 *  NO_FENCE         POLLING is a plain store with no fence behind it
 *  SENDER_LOOKS_FIRST the sender reads POLLING, then sets the port pending
 *  MASKED_IS_QUIET  a send to a masked port wakes nobody
 *  OWNER_ONLY       only the vcpu that a port is bound to is looked at for POLLING
 *  SELECTOR_ENDS_IT (UNMASKED) with the selector set already a send does not look for pollers
 *  MARK_LAST        the ports are looked at before the mark for the scheduler
 *  RESET_LATE       (TIMEOUT) what says that the timer rang is cleared after the timer is set
 *  TIMER_IS_QUIET   (TIMEOUT) the timer wakes only who has slept already
 *  SENDER_CLEARS    a sender clears POLLING before it wakes: it may be that of the next poll,
 *                   not marked yet
 */
#ifndef SENDS
#define SENDS 2
#endif
#ifndef POLLS
#define POLLS 3
#endif

bool port_pending[2];
bool selector;
bool upcall;

bool polling;       /* in memory */
bool polling_store; /* in the poller's store buffer */

/* Of the scheduler, under its lock. */
bool marked, asleep;

bool timer_set, timed_out;
byte senders = 2;
byte want;   /* ports polled: bit 0, bit 1 */
byte polled; /* the same, for senders */

/* dispatch_wake() */
inline wake()
{
    d_step {
        marked = false;
        asleep = false
    }
}

#define DUE ((want & 1 && port_pending[0]) || (want & 2 && port_pending[1]) || timed_out)

inline set_polling()
{
#ifndef PORTS_LATE
    polled = want;
#endif
#ifdef NO_FENCE
    polling_store = true
#else
    polling = true
#endif
}

inline mark()
{
    atomic {
        /* Taking the lock empties the store buffer of this CPU. */
        if
        :: polling_store -> polling_store = false; polling = true
        :: else
        fi;
        marked = true
    }
}

proctype poller()
{
    byte n;
    bool due;

    do
    :: n < POLLS ->
        n++;
        if
        :: want = 1
        :: want = 2
        :: want = 3
        fi;
        /* The guest: what it polls for is looked at and forgotten first. */
        if
        :: want & 1 -> port_pending[0] = false
        :: else
        fi;
        if
        :: want & 2 -> port_pending[1] = false
        :: else
        fi;
#ifdef TIMEOUT
#ifdef RESET_LATE
        timer_set = true;
        timed_out = false;
#else
        timed_out = false;
        timer_set = true;
#endif
#endif
#ifdef LOOK_FIRST
        due = DUE;
#endif
#ifdef MARK_LAST
        set_polling();
        due = DUE;
        mark();
#elif defined(NO_FENCE)
        /* The mark first: its lock would be the fence otherwise. */
        mark();
        set_polling();
        due = DUE;
#else
        set_polling();
        mark();
#ifndef LOOK_FIRST
        due = DUE;
#endif
#endif
#ifdef PORTS_LATE
        polled = want;
#endif
        if
        :: due -> wake()
        :: else ->
            atomic {
                if
                :: marked -> marked = false; asleep = true
                :: else
                fi
            };
end_asleep:
            !asleep
        fi;
        d_step {
            polling = false;
            polling_store = false;
            timer_set = false;
            due = false
        }
    :: else -> break
    od
}

#ifdef NO_FENCE
proctype store_buffer()
{
end:
    do
    :: atomic { polling_store -> polling_store = false; polling = true }
    od
}
#endif

#ifdef TIMEOUT
proctype timer()
{
end:
    do
    :: atomic { timer_set -> timer_set = false };
        timed_out = true;
#ifdef TIMER_IS_QUIET
        atomic {
            if
            :: asleep -> wake()
            :: else
            fi
        }
#else
        wake()
#endif
    od
}
#endif

inline wake_pollers()
{
    if
#ifdef OWNER_ONLY
    :: port == 0 && polling ->
#elif defined(SENDER_LOOKS_FIRST)
    :: seen ->
#else
    :: polling ->
#endif
#ifdef SENDER_CLEARS
        polling = false;
#endif
        if
        :: polled & (1 << port) -> wake()
        :: else
        fi
    :: else
    fi
}

/* event_set_pending() */
inline set_pending()
{
    seen = polling;
    atomic {
        was = port_pending[port];
        port_pending[port] = true
    };
    if
    :: !was ->
#ifdef UNMASKED
        if
        :: port == 0 ->
            atomic {
                was = selector;
                selector = true
            };
            if
            :: !was -> upcall = true /* the poller's upcalls are masked: no reason to wake */
            :: else
            fi;
#ifdef SELECTOR_ENDS_IT
            if
            :: !was -> wake_pollers()
            :: else
            fi
#else
            wake_pollers()
#endif
        :: else -> wake_pollers()
        fi
#elif defined(MASKED_IS_QUIET)
        skip
#else
        wake_pollers()
#endif
    :: else
    fi;
    d_step {
        was = false;
        seen = false
    }
}

proctype sender()
{
    byte n, port;
    bool was, seen;

    do
    :: n < SENDS ->
        n++;
        if
        :: port = 0; set_pending()
        :: port = 1; set_pending()
#ifdef TIMEOUT
        :: skip
#endif
        fi;
        port = 0
    :: else -> break
    od;
    senders--
}

proctype quiet()
{
    timeout;
    assert(senders == 0);
    assert(!(asleep && DUE));
#ifdef TIMEOUT
    assert(!asleep)
#endif
}

init
{
    atomic {
#ifdef UNMASKED
        if
        :: selector = true
        :: skip
        fi;
#endif
        run poller();
        run sender();
        run sender();
#ifdef NO_FENCE
        run store_buffer();
#endif
#ifdef TIMEOUT
        run timer();
#endif
        run quiet()
    }
}
