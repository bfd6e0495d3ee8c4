/*
 * Type changes of one frame against the TLBs of several CPUs: rules R1 to R5 as core/frame.h,
 * guest/frame.c and kern/tlb.h have them, one interleaving point for each access to shared
 * memory. What a compare-and-swap decides on the very word that it replaces is one step.
 *
 *  P1 A table is validated, and is valid, only while no CPU has a writable translation of it.
 *  P2 (CHECK_WALKS) No writable entry names the frame while a CPU may still walk it as a table.
 *
 * A CPU may load a translation at any time that one exists. With EAGER it does so at the first
 * moment: nothing that software does depends on what a CPU holds, so to hold all it may is the
 * worst case, and far fewer states. Remote flushes run between any two
 * steps of the CPU they interrupt. Without a -D below this is the protocol that must verify;
 * each -D seeds one error, which must be found:
 *
 *  FLUSH_BEFORE_SWAP  R1 the taker flushes, then swaps
 *  NO_FLUSH           R1 the taker does not flush
 *  STAMP_BEFORE_DROP  R2 the stamp is stored first, outside the word that the last drop swaps
 *  IGNORE_STAMPING    R2 a taker does not wait for the stamp
 *  TICK_AFTER_FLUSH   R3
 *  PUBLISH_FIRST      R3 the flush is published before it is done
 *  EQUAL_IS_FLUSHED   R4 a CPU that flushed at the stamp itself is skipped
 *  DROP_BEFORE_REMOVE R5 the use is dropped, then the entry removed
 *  WRITABLE_AT_ONCE   R1 a former table is open to a second writable use before the first one's
 *                     flush is done (needs CHECK_WALKS). This is what typ_take() does: sound only
 *                     while the guests' CPUs are one.
 */
#ifndef CPUS
#define CPUS 2
#endif
#ifndef OPS
#define OPS 3
#endif

#define NONE     0
#define WRITABLE 1
#define TABLE    2

/* The type word. */
byte type, uses, stamp;
bool in_use, valid, stamping;

byte clock = 1;
byte flushed_at[CPUS];
bool asked[CPUS];
/* Interrupts are off during a flush: an older tick published after a newer one would undo it. */
bool flushing[CPUS];

/* Entries that name the frame, and what of them the CPUs hold. */
byte writable_entries, upper_entries;
bool may_write[CPUS], may_walk[CPUS];

inline check()
{
    d_step {
        assert(!(in_use && type == TABLE && valid && (may_write[0] || may_write[1])));
#if CPUS > 2
        assert(!(in_use && type == TABLE && valid && may_write[2]));
#endif
#ifdef CHECK_WALKS
        assert(!(writable_entries && (may_walk[0] || may_walk[1])));
#if CPUS > 2
        assert(!(writable_entries && may_walk[2]));
#endif
#endif
    }
}

#ifdef EAGER
#define HOLDS(entries) (entries > 0)
#else
#define HOLDS(entries) false
#endif

inline forget(k)
{
    d_step {
        may_write[k] = HOLDS(writable_entries);
        may_walk[k] = HOLDS(upper_entries)
    }
}

/* A new entry: EAGER CPUs load it at once. */
inline learn()
{
    d_step {
        may_write[0] = may_write[0] || HOLDS(writable_entries);
        may_write[1] = may_write[1] || HOLDS(writable_entries);
        may_walk[0] = may_walk[0] || HOLDS(upper_entries);
        may_walk[1] = may_walk[1] || HOLDS(upper_entries);
#if CPUS > 2
        may_write[2] = may_write[2] || HOLDS(writable_entries);
        may_walk[2] = may_walk[2] || HOLDS(upper_entries)
#endif
    }
}

inline tick(t)
{
    d_step {
        clock++;
        t = clock;
    }
}

/* A complete flush of CPU k, by itself. */
inline flush(k, t)
{
    atomic { !flushing[k] -> flushing[k] = true };
#if defined(TICK_AFTER_FLUSH)
    forget(k);
    tick(t);
    flushed_at[k] = t;
#elif defined(PUBLISH_FIRST)
    tick(t);
    flushed_at[k] = t;
    forget(k);
#else
    tick(t);
    forget(k);
    flushed_at[k] = t;
#endif
    d_step {
        t = 0;
        flushing[k] = false
    }
}

#ifdef EQUAL_IS_FLUSHED
#define SKIP(k) (flushed_at[k] >= since)
#else
#define SKIP(k) (flushed_at[k] > since)
#endif

/* tlb_flush_since() for all CPUs. */
inline flush_since()
{
#ifdef NO_FLUSH
    skip
#else
    k = 0;
    do
    :: k < CPUS ->
        if
        :: SKIP(k)
        :: else ->
            if
            :: k == me -> flush(k, t)
            :: else ->
                asked[k] = true;
                flushed_at[k] > since
            fi
        fi;
        k++
    :: else -> break
    od;
    k = 0
#endif
}

#ifdef IGNORE_STAMPING
#define BUSY (in_use && type == want && !valid)
#else
#define BUSY (stamping || (in_use && type == want && !valid))
#endif
#define CONFLICT (in_use && type != want)
#define CROSSING (type != NONE && type != want)

inline swap_new()
{
    since = stamp;
    crossing = CROSSING;
    stamp = 0;
    type = want;
    in_use = true;
    uses = 1;
#ifdef IGNORE_STAMPING
    stamping = false;
#endif
#ifdef WRITABLE_AT_ONCE
    valid = want == WRITABLE;
#else
    valid = want == WRITABLE && !crossing;
#endif
}

/* frame_type_get(); got says whether there is a use. */
inline take()
{
    crossing = false;
    fresh = false;
#ifdef FLUSH_BEFORE_SWAP
    atomic {
        since = stamp;
        crossing = !in_use && !stamping && CROSSING
    };
    if
    :: crossing -> flush_since(); crossing = false
    :: else
    fi;
#endif
    atomic {
        !BUSY;
        if
        :: CONFLICT -> got = false
        :: !CONFLICT && in_use -> uses++; got = true
        :: !CONFLICT && !in_use -> swap_new(); got = true; fresh = true
        fi
    };
    if
    :: fresh ->
#ifndef FLUSH_BEFORE_SWAP
        if
        :: crossing -> flush_since()
        :: else
        fi;
#endif
        /* Validation reads the contents: they may not change from here on. */
        atomic {
            valid = true;
            check()
        }
    :: else
    fi;
    d_step {
        since = 0;
        crossing = false;
        fresh = false
    }
}

/* frame_type_put() */
inline drop()
{
#ifdef STAMP_BEFORE_DROP
    t = clock;
    if
    :: uses == 1 -> stamp = t
    :: else
    fi;
    atomic {
        uses--;
        if
        :: uses == 0 -> in_use = false; valid = false
        :: else
        fi
    };
    t = 0
#else
    last = false;
    atomic {
        if
        :: uses > 1 -> uses--
        :: else ->
            last = true;
            if
            :: type == TABLE -> valid = false
            :: else -> uses = 0; in_use = false; valid = false; stamping = true
            fi
        fi
    };
    if
    :: last ->
        atomic {
            if
            :: !stamping -> uses = 0; in_use = false; stamping = true
            :: else
            fi
        };
        t = clock;
        d_step {
            stamp = t;
            stamping = false;
            t = 0;
            last = false
        }
    :: else
    fi
#endif
}

proctype cpu(byte me)
{
    byte n, k, t, since, want;
    bool got, fresh, crossing, last;

    do
    :: n < OPS ->
        n++;
        if
        :: want = WRITABLE;
            take();
            if
            :: got ->
                atomic {
                    writable_entries++;
                    learn();
                    check()
                }
            :: else
            fi
        :: want = TABLE;
            take();
            if
            :: got ->
                atomic {
                    upper_entries++;
                    learn();
                    check()
                }
            :: else
            fi
#ifdef DROP_BEFORE_REMOVE
        :: atomic { writable_entries > 0 && uses >= writable_entries -> skip };
            drop();
            atomic {
                writable_entries > 0 -> writable_entries--
            }
#else
        :: atomic { writable_entries > 0 -> writable_entries-- };
            drop()
#endif
        :: atomic { upper_entries > 0 -> upper_entries-- };
            drop()
        :: flush(me, t)
        fi;
        d_step {
            want = 0;
            got = false
        }
    :: else -> break
    od
}

/* The interrupt that a CPU takes when another one asks for a flush. */
proctype interrupt(byte me)
{
    byte t;

end:
    do
    :: asked[me] ->
        asked[me] = false;
        flush(me, t)
    od
}

/* Speculation: any CPU, any time. */
#ifndef EAGER
proctype speculate(byte me)
{
end:
    do
    :: atomic { writable_entries > 0 && !may_write[me] -> may_write[me] = true; check() }
    :: atomic { upper_entries > 0 && !may_walk[me] -> may_walk[me] = true; check() }
    od
}
#endif

init
{
    atomic {
        byte i = 0;

        do
        :: i < CPUS ->
            run cpu(i);
            run interrupt(i);
#ifndef EAGER
            run speculate(i);
#endif
            i++
        :: else -> break
        od
    }
}
