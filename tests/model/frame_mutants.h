/*
 * The shipped rules of frames, with seeded errors in front: each function of core/frame.h goes
 * through one here that errs when 'mutant' says so. At the end comes guest/frame.c itself.
 */
#ifndef SERAI_TESTS_FRAME_MUTANTS_H
#define SERAI_TESTS_FRAME_MUTANTS_H

#include "core/frame.h"

/* name, what is wrong */
#define MUTANTS(X)                                                                             \
    X(NONE, "the rules as shipped")                                                            \
    X(TAKE_ANY_TYPE, "a use is given although the frame is in use as another type")            \
    X(TAKE_STALE_VALID, "a table is marked valid by the swap that takes it")                   \
    X(NO_CROSSING_FLUSH, "a change of type does not flush")                                    \
    X(CROSSING_NOT_TO_WRITABLE, "a change from table to writable does not flush")              \
    X(CROSSING_NOT_BETWEEN_TABLES, "a change from L2 to L1 does not flush")                    \
    X(STAMP_LOST, "the last drop stores no clock")                                             \
    X(STAMP_BEFORE_TICK, "the last drop stores an old clock")                                  \
    X(TYPE_FORGOTTEN, "the last drop forgets the type it ends")                                \
    X(DROP_NO_DEVALIDATE, "the last drop of a table keeps its entries' uses")                  \
    X(DROP_EARLY, "a drop with one more use left ends the use")                                \
    X(DROP_LATE, "the last drop is taken for one of several")                                  \
    X(FOREIGN_GET, "a reference to another domain's frame is given")                           \
    X(GET_UNCOUNTED, "a read-only entry takes no reference")                                   \
    X(PUT_FORGOTTEN_RO, "removing a read-only entry drops nothing")                            \
    X(PUT_FORGOTTEN_RW, "removing a writable entry drops nothing")                             \
    X(L2_NAMES_L2, "an L2 entry may name an L2")                                               \
    X(RW_UNTYPED, "a writable entry takes a reference but no use")                             \
    X(PARTIAL_LEAK, "a failed validation keeps what it took")                                  \
    X(PARTIAL_OVERDROP, "a failed validation drops one entry too many")                        \
    X(UNPIN_TWICE, "an unpin does not look whether there is a pin")                            \
    X(SPECIAL_TABLE, "a page that the hypervisor writes itself may become a table")            \
    X(FREE_IN_USE, "a frame that is in use is freed")                                          \
    X(ALLOC_NO_FLUSH, "an allocation does not flush")

#define MUTANT_ENUM(id, text) M_##id,
#define MUTANT_TEXT(id, text) {#id, text},
enum mutant { MUTANTS(MUTANT_ENUM) NR_MUTANTS };
static const struct {
    const char *name, *text;
} mutants[] = {MUTANTS(MUTANT_TEXT)};

static enum mutant mutant;

/* ---- the shipped rules, with the seeded errors in front ---- */

static inline enum take_verdict model_take(u64 typ, enum frame_type t, u64 *next)
{
    enum take_verdict v = typ_take(typ, t, next);

    if (mutant == M_TAKE_ANY_TYPE && v == TAKE_CONFLICT) {
        *next = typ + TYP_ONE;
        return TAKE_OK;
    }
    if (mutant == M_TAKE_STALE_VALID && v == TAKE_NEW)
        *next |= TYP_VALID;
    return v;
}

static inline enum drop_verdict model_drop(u64 typ, u64 *next)
{
    enum drop_verdict v = typ_drop(typ, next);

    if (mutant == M_DROP_NO_DEVALIDATE && v == DROP_TABLE) {
        *next = typ_type(typ) | TYP_STAMPING;
        return DROP_STAMP;
    }
    if (mutant == M_DROP_EARLY && v == DROP_DONE && typ_count(typ) == 2) {
        *next = typ_type(typ) | TYP_STAMPING;
        return DROP_STAMP;
    }
    if (mutant == M_DROP_LATE && v != DROP_DONE) {
        *next = typ - TYP_ONE;
        return DROP_DONE;
    }
    return v;
}

static inline bool model_crossing(u64 typ, enum frame_type t)
{
    enum frame_type last = typ_type(typ);

    if (mutant == M_NO_CROSSING_FLUSH)
        return false;
    if (mutant == M_CROSSING_NOT_TO_WRITABLE && t == TYPE_WRITABLE)
        return false;
    if (mutant == M_CROSSING_NOT_BETWEEN_TABLES && type_is_table(last) && type_is_table(t))
        return false;
    return typ_crossing(typ, t);
}

static inline u64 model_stamped(u64 typ, u64 clock)
{
    if (mutant == M_STAMP_LOST)
        clock = 0;
    if (mutant == M_STAMP_BEFORE_TICK)
        clock--;
    if (mutant == M_TYPE_FORGOTTEN)
        typ = TYPE_NONE;
    return typ_stamped(typ, clock);
}

static inline bool model_may_get(u64 ref, u16 owner)
{
    return ref_may_get(ref, mutant == M_FOREIGN_GET ? ref_owner(ref) : owner);
}

#define typ_take     model_take
#define typ_drop     model_drop
#define typ_crossing model_crossing
#define typ_stamped  model_stamped
#define ref_may_get  model_may_get
#undef REF_SPECIAL
#define REF_SPECIAL (mutant == M_SPECIAL_TABLE ? 0 : BIT(45))
#include "../../hv/guest/frame.c"
#undef REF_SPECIAL
#define REF_SPECIAL BIT(45)

#endif
