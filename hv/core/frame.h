/*
 * One machine frame: who owns it, how often it is used, and as what.
 *
 * Two packed words, each changed by compare-and-swap; the functions here compute the next value
 * of one word and a verdict, and the glue (guest/frame.c) swaps and acts.
 *
 *   ref  63....48 47..44 43....36 35....0      typ  63............8  7   6  5  4  3  2..0
 *        owner    flags  parts    count             count or stamp  -  IN ST PI VA  type
 *
 * ref: 'count' references: one for each read-only mapping, one while the frame is in use as a
 * type (however often), and one for the allocation itself (REF_ALLOCATED). The frame goes back
 * to the heap at 0. 'parts' of a valid page table: those eighths of it that a present entry was in
 * since it became one; 0 otherwise.
 *
 * typ: all current uses have the one type 'type'. While IN (in use) is set the upper part counts
 * them; otherwise 'type' names the last use and the upper part is the flush clock at its end, so
 * that a later change of type knows which CPUs may hold a stale translation.
 *
 * Rules (tests/model checks them; R3 to R6 concern flushes, see kern/tlb.h)
 *  R1 A change of type is one swap that leaves VA clear; flush and validation come after it and
 *     before VA is set. Nobody else may use the frame in between (TAKE_BUSY).
 *  R2 The drop of the last use sets ST in the same swap; the dropper then reads the flush clock
 *     and stores it with ST clear. Nobody takes the frame in between.
 *  R8 A table is validated and devalidated while IN is set, VA clear, with count 1: the use of
 *     the CPU that does it.
 *  Only tables carry PI: one use that the guest holds by name.
 *
 * Pure on one word; any context.
 */
#ifndef SERAI_CORE_FRAME_H
#define SERAI_CORE_FRAME_H

#include "base/types.h"

struct frame {
    u64 ref;
    u64 typ;
};

enum frame_type {
    TYPE_NONE,
    TYPE_WRITABLE,
    TYPE_L1,
    TYPE_L2,
    TYPE_L3,
    TYPE_L4,
    TYPE_SEGDESC,
};

#define REF_COUNT     (BIT(36) - 1)
#define REF_PART(i)   (BIT(36) << (i)) /* i from 0 to 7 */
#define REF_PARTS     (0xffUL << 36)
#define REF_ALLOCATED BIT(44) /* the owner's own reference is still held */
/* Hypervisor page shared with its owner: write-back mappings only. */
#define REF_SPECIAL   BIT(45)
#define REF_SHARED    BIT(46) /* other domains map or mapped it */
#define REF_OWNER(id) ((u64)(u16)(id) << 48)
/* Counts stop well before they could wrap: a get beyond this fails. */
#define REF_COUNT_MAX (BIT(35))
_Static_assert(REF_COUNT_MAX << 28 == BIT(63), "see ref_may_get()");

#define TYP_TYPE      7UL
#define TYP_VALID     BIT(3)
#define TYP_PINNED    BIT(4)
#define TYP_STAMPING  BIT(5)
#define TYP_INUSE     BIT(6)
#define TYP_ONE       BIT(8)
#define TYP_SHIFT     8
#define TYP_COUNT_MAX (BIT(54))

static inline u16 ref_owner(u64 ref)
{
    return (u16)(ref >> 48);
}

static inline u64 ref_count(u64 ref)
{
    return ref & REF_COUNT;
}

static inline unsigned ref_parts(u64 ref)
{
    return ref >> 36 & 0xff;
}

static inline bool ref_has_part(u64 ref, unsigned i)
{
    return ref >> (36 + i) & 1;
}

static inline bool ref_any(u64 ref)
{
    return ref << 28;
}

/* May 'owner's frame with this word get one more reference? The new word is ref + 1. */
static inline bool ref_may_get(u64 ref, u16 owner)
{
    /* Its count alone, as a signed number: neither 0 nor REF_COUNT_MAX or more. */
    return ref_owner(ref) == owner && (s64)(ref << 28) > 0;
}

static inline enum frame_type typ_type(u64 typ)
{
    return (enum frame_type)(typ & TYP_TYPE);
}

static inline u64 typ_count(u64 typ)
{
    return typ & TYP_INUSE ? typ >> TYP_SHIFT : 0;
}

static inline u64 typ_stamp(u64 typ)
{
    return typ >> TYP_SHIFT;
}

static inline bool type_is_table(enum frame_type t)
{
    return t >= TYPE_L1 && t <= TYPE_L4;
}

enum take_verdict {
    TAKE_OK,       /* swap in *next; the use is yours */
    TAKE_NEW,      /* swap in *next; then typ_crossing() flush, validate, typ_validated() */
    TAKE_BUSY,     /* stamping or validation under way: look again later */
    TAKE_CONFLICT, /* in use as something else, or the count is full */
};

/*
 * Did this frame, unused with word 'typ', last serve as something else? Then translations (and
 * page-walk caches, which would read an L2 as the L1 it was) from before its stamp must go first.
 */
static inline bool typ_crossing(u64 typ, enum frame_type t)
{
    return typ_type(typ) != TYPE_NONE && typ_type(typ) != t;
}

/* One more use of a frame in use as 't' already, as is usual: TAKE_OK by one comparison. */
static inline bool typ_take_more(u64 typ, enum frame_type t, u64 *next)
{
    const u64 too_many = ~((TYP_COUNT_MAX << TYP_SHIFT) - 1);

    _Static_assert(!(TYP_COUNT_MAX & (TYP_COUNT_MAX - 1)), "a bit");
    *next = typ + TYP_ONE;
    return (typ & (too_many | TYP_STAMPING | TYP_INUSE | TYP_VALID | TYP_TYPE)) ==
           (TYP_INUSE | TYP_VALID | (u64)t);
}

/* One more use of the frame as 't'. */
static inline enum take_verdict typ_take(u64 typ, enum frame_type t, u64 *next)
{
    if (typ & TYP_STAMPING)
        return TAKE_BUSY;
    if (!(typ & TYP_INUSE)) {
        *next = TYP_ONE | TYP_INUSE | (u64)t;
        if (t == TYPE_WRITABLE && !typ_crossing(typ, t))
            *next |= TYP_VALID;
        return TAKE_NEW;
    }
    if (typ_type(typ) != t || (typ >> TYP_SHIFT) >= TYP_COUNT_MAX)
        return TAKE_CONFLICT;
    if (!(typ & TYP_VALID))
        return TAKE_BUSY;
    *next = typ + TYP_ONE;
    return TAKE_OK;
}

static inline u64 typ_validated(u64 typ)
{
    return typ | TYP_VALID;
}

enum drop_verdict {
    DROP_DONE,  /* swap in *next; other uses remain */
    DROP_TABLE, /* swap in *next (VA clear); devalidate, then drop again */
    DROP_STAMP, /* swap in *next (ST set); then store typ_stamped(next, clock) */
};

/* One use less. The caller holds one. */
static inline enum drop_verdict typ_drop(u64 typ, u64 *next)
{
    if ((typ >> TYP_SHIFT) > 1) {
        *next = typ - TYP_ONE;
        return DROP_DONE;
    }
    if (typ & TYP_VALID && typ_type(typ) != TYPE_WRITABLE) {
        *next = typ & ~TYP_VALID;
        return DROP_TABLE;
    }
    *next = typ_type(typ) | TYP_STAMPING;
    return DROP_STAMP;
}

static inline u64 typ_stamped(u64 typ, u64 clock)
{
    return typ_type(typ) | clock << TYP_SHIFT;
}

/* The invariants above that one frame alone can show: true when they hold. */
static inline bool frame_check(const struct frame *f)
{
    u64 typ = f->typ;

    if (typ_type(typ) > TYPE_SEGDESC)
        return false;
    if (!(typ & TYP_INUSE))
        return !(typ & (TYP_VALID | TYP_PINNED));
    if (typ & TYP_STAMPING || !(typ >> TYP_SHIFT))
        return false;
    if (typ & TYP_PINNED && !type_is_table(typ_type(typ)))
        return false;
    return ref_count(f->ref) > 0;
}

#endif
