/*
 * Flushes against CPUs that change what they run: kern/tlb.c and guest/switch.c, with one frame
 * that is a writable page, a table, or a vcpu's top-level table in turn, and goes to another
 * domain at last. vcpus 0 and 1 are of domain 1, vcpu 2 of domain 2.
 *
 * A CPU that idles keeps the page table and the registers of its last vcpu. Flush requests are
 * taken in the guest, in the idle loop, and while a CPU waits for another one (tlb_relax()).
 *
 *  P1 The frame becomes a valid table only while no CPU that runs a guest has a writable
 *     translation of it.
 *  P2 It becomes writable only while no CPU that runs a guest may walk it as a table. With STRICT
 *     no CPU at all may walk it, because CPUs walk ahead of what they execute, and write accessed
 *     bits; then idle CPUs are interrupted when tables go.
 *  P3 ... and while no CPU has it as its top-level table.
 *  P4 It goes to another domain only while no CPU that runs a guest has anything of it.
 *  P5 (GUEST_FLUSH) A flush that a guest asked for, of another vcpu, is done when it returns.
 *  P6 Nobody waits for ever.
 *
 * CPUs load what they may at once (EAGER in shootdown.pml says why). Seeded errors:
 *
 *  KEEP_TABLE     registers are given up while their page table stays loaded
 *  OWNER_LATE     R6: a CPU says whose table it loads after it has loaded it
 *  OWNER_EARLY    R6: a CPU says that it has nobody's table before that is so
 *  STALE_IGNORED  back from idleness the mark is not looked at
 *  STALE_FIRST    the mark is looked at before the CPU stops to say that it idles
 *  NO_SECOND_LOOK the initiator does not look again whether the CPU idles after it has marked it
 *  DEAF           who waits for another CPU does not serve its own requests
 *  DEAF_SPIN      nor does who waits for the frame
 *  ASKED_LATE     the request is cleared after the flush instead of before
 *  NEW_OWNER_ONLY at allocation only CPUs of the new owner are flushed
 *  DEFER_TABLES   (STRICT) idle CPUs are not interrupted when tables go
 *  PENDING_FIRST  (GUEST_FLUSH) the vcpu's mark is looked at before others see where it runs
 *  PENDING_LATE   (GUEST_FLUSH) the initiator looks where the vcpu runs, then marks it
 */
#ifndef CPUS
#define CPUS 2
#endif
#ifndef OPS
#define OPS 2
#endif
#ifndef SWITCHES
#define SWITCHES 3
#endif

#define VCPUS  3
#define NOBODY 7 /* no vcpu, no CPU */

#define DOMAIN(v) ((v) == 2 -> 2 : 1)
#define ANY       3

/* What CR3 points to. */
#define HV    0
#define D1    1
#define D2    2
#define FRAME 3 /* the frame, as vcpu 0's top-level table */

/* The frame, and what names it. */
bool busy, writable, upper, is_root, gone;
bool entry = true; /* another translation of domain 1 (GUEST_FLUSH) */

byte clock = 1;

byte unit[CPUS], guest[CPUS], owner[CPUS], cr3[CPUS], flushed_at[CPUS];
bool idle[CPUS], stale[CPUS], asked[CPUS], unload_asked[CPUS];
bool in_guest[CPUS];
bool may_write[CPUS], may_walk[CPUS], has_entry[CPUS];

byte placed[VCPUS];              /* runs there, or is not saved yet */
byte loaded_cpu[VCPUS], on_cpu[VCPUS];
bool flush_pending[VCPUS];

byte ops = OPS, switches = SWITCHES;
byte waiting;

#define OF_1(k) (cr3[k] == D1 || cr3[k] == FRAME)

inline learn_one(k)
{
    may_write[k] = may_write[k] || (OF_1(k) && writable);
    may_walk[k] = may_walk[k] || (OF_1(k) && upper);
    has_entry[k] = has_entry[k] || (OF_1(k) && entry)
}

inline learn()
{
    learn_one(0);
    learn_one(1);
#if CPUS > 2
    learn_one(2)
#endif
}

/* tlb_load_cr3() */
inline load_cr3(to)
{
#ifndef ASKED_LATE
    asked[me] = false;
#endif
    d_step {
        clock++;
        tick = clock
    };
    d_step {
        cr3[me] = to;
        may_write[me] = false;
        may_walk[me] = false;
        has_entry[me] = false;
        learn_one(me)
    };
    d_step {
        flushed_at[me] = tick;
        tick = 0
    };
#ifdef ASKED_LATE
    asked[me] = false
#endif
}

/* tlb_relax(), until 'done' holds. */
inline wait_for(done)
{
    if
    :: done
    :: else ->
        waiting++;
        do
        :: done -> break
#ifndef DEAF
        :: !(done) && asked[me] -> load_cr3(cr3[me])
#endif
        od;
        waiting--
    fi
}

inline wait_for_frame()
{
#ifdef DEAF_SPIN
    if
    :: atomic { !busy -> busy = true }
    :: else -> waiting++;
        atomic { !busy -> busy = true; waiting-- }
    fi
#else
    do
    :: atomic { !busy -> busy = true; break }
    :: busy && asked[me] -> load_cr3(cr3[me])
    od
#endif
}

/* May this CPU hold something of 'whose' from before the stamp, and must it be interrupted? */
inline look_at(k, whose)
{
    if
    :: owner[k] == 0 || (whose != ANY && owner[k] != whose)
    :: else ->
        if
        :: flushed_at[k] > stamp
        :: else ->
            if
            :: !may_defer || !idle[k] -> need = need | (1 << k)
            :: else ->
                stale[k] = true;
#ifndef NO_SECOND_LOOK
                if
                :: !idle[k] -> need = need | (1 << k)
                :: else
                fi
#endif
            fi
        fi
    fi
}

/* tlb_flush_since() */
inline flush_since(whose)
{
    i = 0;
    do
    :: i < CPUS ->
        if
        :: i != me -> look_at(i, whose)
        :: else
        fi;
        i++
    :: else -> break
    od;
    if
    :: flushed_at[me] <= stamp -> load_cr3(cr3[me])
    :: else
    fi;
    wait_for_need()
}

/* flush_and_wait() */
inline wait_for_need()
{
    i = 0;
    do
    :: i < CPUS ->
        if
        :: need & (1 << i) -> asked[i] = true
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < CPUS ->
        if
        :: need & (1 << i) -> wait_for(flushed_at[i] > stamp)
        :: else
        fi;
        i++
    :: else -> break
    od;
    atomic {
        i = 0;
        need = 0
    }
}

#define WRITES(k) (in_guest[k] && may_write[k])
#ifdef STRICT
#define WALKS(k) (may_walk[k])
#else
#define WALKS(k) (in_guest[k] && may_walk[k])
#endif
#if CPUS > 2
#define SOME(what) (what(0) || what(1) || what(2))
#else
#define SOME(what) (what(0) || what(1))
#endif
#define TOP(k) (cr3[k] == FRAME)
/* in_guest: this CPU, in a hypercall, uses its guest's translations too. */
#define HAS(k) (in_guest[k] && (may_write[k] || may_walk[k]))

inline drop()
{
    stamp = clock
}

inline become_writable()
{
    atomic {
        assert(!SOME(WALKS));
        assert(!SOME(TOP));
        writable = true;
        learn()
    }
}

#ifdef STRICT
#ifdef DEFER_TABLES
#define DEFER_THEM true
#else
#define DEFER_THEM false
#endif
#else
#define DEFER_THEM true
#endif

/* A vcpu of domain 1 changes what the frame is. */
inline change_type()
{
    wait_for_frame();
    may_defer = true;
    if
    :: writable ->
        writable = false;
        drop();
        flush_since(1);
        atomic {
            assert(!SOME(WRITES));
            if
            :: upper = true
            :: unit[me] == 0 -> is_root = true
            fi;
            learn()
        };
        if
        :: is_root -> load_cr3(FRAME)
        :: else
        fi
    :: upper ->
        may_defer = DEFER_THEM;
        upper = false;
        drop();
        flush_since(1);
        become_writable()
    :: is_root && unit[me] == 0 ->
        may_defer = DEFER_THEM;
        is_root = false;
        load_cr3(D1);
        drop();
        flush_since(1);
        become_writable()
    :: writable || upper ->
        may_defer = DEFER_THEM;
        atomic {
            writable = false;
            upper = false
        };
        drop();
#ifdef NEW_OWNER_ONLY
        flush_since(2);
#else
        flush_since(ANY);
#endif
        atomic {
            assert(!SOME(HAS));
            assert(!SOME(TOP));
            gone = true
        }
    :: gone || (is_root && unit[me] != 0)
    fi;
    d_step {
        busy = false;
        stamp = 0;
        may_defer = false
    }
}

/* switch_flush_vcpus() for one vcpu, whose table lost an entry. */
inline guest_flush()
{
    entry = false;
    if
    :: other = 0
    :: other = 1
    fi;
#ifdef PENDING_LATE
    i = on_cpu[other];
    flush_pending[other] = true;
#else
    flush_pending[other] = true;
    i = on_cpu[other];
#endif
    if
    :: i == NOBODY
    :: else ->
        need = 1 << i;
        stamp = clock;
        if
        :: i == me -> load_cr3(cr3[me])
        :: else
        fi;
        wait_for_need()
    fi;
    atomic {
        assert(!(in_guest[0] && guest[0] == other && has_entry[0]));
        assert(!(in_guest[1] && guest[1] == other && has_entry[1]));
        i = 0;
        other = 0;
        stamp = 0
    }
}

/* unload() */
inline unload()
{
    if
    :: guest[me] != NOBODY ->
        i = guest[me];
        guest[me] = NOBODY;
        loaded_cpu[i] = NOBODY;
        i = 0
    :: else
    fi
}

inline leave_table()
{
#ifdef OWNER_EARLY
    owner[me] = 0;
    load_cr3(HV)
#else
    load_cr3(HV);
    owner[me] = 0
#endif
}

#define TABLE_OF(v) ((v) == 2 -> D2 : ((v) == 0 && is_root -> FRAME : D1))

inline load(v)
{
    guest[me] = v;
    loaded_cpu[v] = me;
#ifndef OWNER_LATE
    owner[me] = DOMAIN(v);
#endif
    flush_pending[v] = false;
    load_cr3(TABLE_OF(v));
#ifdef OWNER_LATE
    owner[me] = DOMAIN(v)
#endif
}

inline look_at_marks(v)
{
    atomic {
        due = stale[me];
        stale[me] = false
    };
    atomic {
        due = due || flush_pending[v];
        flush_pending[v] = false
    };
    if
#ifndef STALE_IGNORED
    :: due -> load_cr3(cr3[me])
#endif
    :: else
    fi;
    due = false
}

/* switch_in() */
inline switch_in(v)
{
#ifdef STALE_FIRST
    look_at_marks(v);
#endif
    idle[me] = false;
#ifdef PENDING_FIRST
    look_at_marks(v);
#endif
    on_cpu[v] = me;
    if
    :: guest[me] != v ->
        if
        :: guest[me] != NOBODY ->
#ifndef KEEP_TABLE
            leave_table();
#endif
            unload()
        :: else
        fi;
        /* fetch() */
        i = loaded_cpu[v];
        if
        :: i != NOBODY ->
            unload_asked[i] = true;
            i = 0;
            wait_for(loaded_cpu[v] == NOBODY)
        :: else -> i = 0
        fi;
        load(v)
    :: else
    fi;
#if !defined(STALE_FIRST) && !defined(PENDING_FIRST)
    look_at_marks(v)
#endif
}

inline take_interrupts()
{
    if
    :: asked[me] -> load_cr3(cr3[me])
    :: unload_asked[me] ->
        unload_asked[me] = false;
        if
        :: unit[me] == NOBODY -> leave_table(); unload()
        :: else
        fi
    fi
}

/* sched_pick() gives anything that nobody else runs. */
inline pick()
{
    atomic {
        switches > 0 ->
        switches--;
        prev = unit[me];
        if
        :: placed[0] == NOBODY -> next = 0; placed[0] = me
        :: placed[1] == NOBODY -> next = 1; placed[1] = me
        :: placed[2] == NOBODY -> next = 2; placed[2] = me
        :: prev != NOBODY -> next = NOBODY
        fi;
        unit[me] = next;
        in_guest[me] = false
    }
}

proctype cpu(byte me)
{
    byte i, tick, stamp, need, prev, next, other;
    bool due, may_defer;

#ifdef GUEST_FLUSH
#define OPERATION guest_flush()
#else
#define OPERATION change_type()
#endif

end_guest:
    do
    :: asked[me] || unload_asked[me] -> take_interrupts()
    :: atomic { ops > 0 && unit[me] != 2 -> ops-- }; OPERATION
    :: pick();
        on_cpu[prev] = NOBODY;
        goto switch
    od;

switch:
    if
    :: next != NOBODY -> switch_in(next)
    :: else
    fi;
    atomic {
        if
        :: prev != NOBODY -> placed[prev] = NOBODY
        :: else
        fi;
        prev = 0
    };
    if
    :: next != NOBODY ->
        atomic {
            next = 0;
            in_guest[me] = true
        };
        goto end_guest
    :: else -> next = 0
    fi;

    idle[me] = true;
end_idle:
    do
    :: asked[me] || unload_asked[me] -> take_interrupts()
    :: pick(); goto switch
    od
}

proctype quiet()
{
    timeout;
    assert(waiting == 0)
}

init
{
    atomic {
        byte n = 0;

        if
        :: writable = true
        :: upper = true
        :: is_root = true
        fi;
        do
        :: n < VCPUS ->
            placed[n] = NOBODY;
            loaded_cpu[n] = NOBODY;
            on_cpu[n] = NOBODY;
            n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < CPUS ->
            unit[n] = n;
            guest[n] = n;
            owner[n] = DOMAIN(n);
            cr3[n] = TABLE_OF(n);
            in_guest[n] = true;
            placed[n] = n;
            loaded_cpu[n] = n;
            on_cpu[n] = n;
            run cpu(n);
            n++
        :: else -> break
        od;
        learn();
        run quiet()
    }
}
