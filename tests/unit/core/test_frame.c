/* The two words of a frame: every verdict, and the ends of every count. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/frame.h"

static const enum frame_type all_types[] = {TYPE_WRITABLE, TYPE_L1, TYPE_L2,
                                            TYPE_L3,       TYPE_L4, TYPE_SEGDESC};

#define FOR_TYPES(t)                                                                           \
    for (unsigned i_##t = 0; i_##t < ARRAY_SIZE(all_types); i_##t++)                           \
        for (enum frame_type t = all_types[i_##t], once_##t = TYPE_L1; once_##t;               \
             once_##t = TYPE_NONE)

static u64 word(enum frame_type t, u64 flags, u64 count)
{
    return t | flags | count << TYP_SHIFT;
}

static void fields_do_not_overlap(void **state)
{
    assert_int_equal(TYPE_SEGDESC & ~TYP_TYPE, 0);
    assert_int_equal(TYP_TYPE & (TYP_VALID | TYP_PINNED | TYP_STAMPING | TYP_INUSE | TYP_ONE),
                     0);
    assert_int_equal(REF_OWNER(0xffff) & (REF_ALLOCATED | REF_SPECIAL | REF_COUNT), 0);
    assert_int_equal(REF_COUNT & (REF_ALLOCATED | REF_SPECIAL), 0);
    assert_true(REF_COUNT_MAX <= REF_COUNT);
    assert_int_equal(REF_PARTS & (REF_ALLOCATED | REF_SPECIAL | REF_SHARED | REF_COUNT), 0);
    assert_int_equal(REF_PART(0) | REF_PART(7) | REF_PARTS, REF_PARTS);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(ref_parts(REF_OWNER(0xffff) | REF_COUNT | REF_PART(i)), 1U << i);
        assert_true(ref_has_part(REF_PART(i), i));
        assert_false(
            ref_has_part(REF_OWNER(0xffff) | REF_COUNT | (REF_PARTS & ~REF_PART(i)), i));
    }
    assert_false(ref_any(REF_OWNER(3) | REF_PARTS));
    assert_false(ref_may_get(REF_OWNER(3) | REF_PARTS, 3));
    assert_true(ref_may_get(REF_OWNER(3) | REF_PARTS | 1, 3));
    assert_int_equal(TYP_ONE, 1UL << TYP_SHIFT);
    /* One more than the largest count still leaves the flags alone. */
    assert_true(TYP_COUNT_MAX < ~0UL >> TYP_SHIFT);
}

static void get_needs_owner_and_a_live_count(void **state)
{
    assert_true(ref_may_get(REF_OWNER(3) | REF_ALLOCATED | 1, 3));
    assert_true(ref_may_get(REF_OWNER(3) | 1, 3));
    assert_true(ref_may_get(REF_OWNER(3) | REF_SPECIAL | 7, 3));
    assert_false(ref_may_get(REF_OWNER(3) | REF_ALLOCATED | 1, 4));
    assert_false(ref_may_get(REF_OWNER(3), 3)); /* on its way to the heap */
    assert_false(ref_may_get(REF_OWNER(3) | REF_ALLOCATED, 3));
    assert_true(ref_may_get(REF_OWNER(0xffff) | 1, 0xffff));
    assert_false(ref_may_get(0, 0));
}

static void get_stops_at_the_maximum(void **state)
{
    u64 owner = REF_OWNER(5) | REF_ALLOCATED;

    assert_true(ref_may_get(owner | (REF_COUNT_MAX - 1), 5));
    assert_false(ref_may_get(owner | REF_COUNT_MAX, 5));
    assert_false(ref_may_get(owner | (REF_COUNT_MAX + 1), 5));
    assert_false(ref_may_get(owner | REF_COUNT, 5));
}

static void first_use(void **state)
{
    FOR_TYPES(t)
    {
        FOR_TYPES(last)
        {
            u64 next = 0, unused = word(last, 0, 12345);

            assert_int_equal(typ_take(unused, t, &next), TAKE_NEW);
            /* R1: only what needs neither flush nor validation is valid by being taken. */
            assert_int_equal(
                next,
                word(t, TYP_INUSE | (t == TYPE_WRITABLE && last == t ? TYP_VALID : 0), 1));
            assert_int_equal(typ_count(next), 1);
            assert_int_equal(typ_count(unused), 0);
            assert_int_equal(typ_crossing(unused, t), t != last);
        }
        assert_false(typ_crossing(0, t)); /* fresh from the heap */
    }
}

static void more_uses(void **state)
{
    FOR_TYPES(t)
    {
        FOR_TYPES(other)
        {
            u64 next = 77, typ = word(t, TYP_INUSE | TYP_VALID, 5);

            if (t == other) {
                assert_int_equal(typ_take(typ, other, &next), TAKE_OK);
                assert_int_equal(next, word(t, TYP_INUSE | TYP_VALID, 6));
                assert_int_equal(typ_take(typ | TYP_PINNED, other, &next), TAKE_OK);
                assert_int_equal(next, word(t, TYP_INUSE | TYP_VALID | TYP_PINNED, 6));
            } else {
                assert_int_equal(typ_take(typ, other, &next), TAKE_CONFLICT);
                assert_int_equal(typ_take(typ | TYP_PINNED, other, &next), TAKE_CONFLICT);
                /* Being validated as something else will not end well for us either. */
                assert_int_equal(typ_take(typ & ~TYP_VALID, other, &next), TAKE_CONFLICT);
                assert_int_equal(next, 77);
            }
        }
    }
}

static void nobody_passes_stamping_or_validation(void **state)
{
    FOR_TYPES(t)
    {
        u64 next = 77;

        FOR_TYPES(last)
        assert_int_equal(typ_take(word(last, TYP_STAMPING, 0), t, &next), TAKE_BUSY);
        assert_int_equal(typ_take(word(t, TYP_INUSE, 1), t, &next), TAKE_BUSY);
        assert_int_equal(next, 77);
    }
}

static void uses_stop_at_the_maximum(void **state)
{
    FOR_TYPES(t)
    {
        u64 next, flags = TYP_INUSE | TYP_VALID;

        assert_int_equal(typ_take(word(t, flags, TYP_COUNT_MAX - 1), t, &next), TAKE_OK);
        assert_int_equal(typ_count(next), TYP_COUNT_MAX);
        assert_int_equal(typ_take(next, t, &next), TAKE_CONFLICT);
        assert_int_equal(typ_drop(word(t, flags, TYP_COUNT_MAX), &next), DROP_DONE);
        assert_int_equal(next, word(t, flags, TYP_COUNT_MAX - 1));
    }
}

/* The short form says yes exactly when the long one does, with the same word. */
static void usual_uses(void **state)
{
    const u64 counts[] = {0, 1, 2, TYP_COUNT_MAX - 1, TYP_COUNT_MAX, TYP_COUNT_MAX + 1};

    (void)state;
    for (unsigned low = 0; low < 256; low++)
        for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
            for (unsigned t = TYPE_WRITABLE; t <= TYPE_SEGDESC; t++) {
                u64 typ = counts[c] << TYP_SHIFT | low, next = 0, more = 0;
                bool usual = typ_take_more(typ, (enum frame_type)t, &more);

                assert_int_equal(usual, typ_take(typ, (enum frame_type)t, &next) == TAKE_OK);
                if (usual)
                    assert_int_equal(more, next);
            }
}

static void drops(void **state)
{
    FOR_TYPES(t)
    {
        u64 next, flags = TYP_INUSE | TYP_VALID;

        assert_int_equal(typ_drop(word(t, flags, 2), &next), DROP_DONE);
        assert_int_equal(next, word(t, flags, 1));
        if (t == TYPE_WRITABLE) {
            assert_int_equal(typ_drop(word(t, flags, 1), &next), DROP_STAMP);
        } else {
            assert_int_equal(typ_drop(word(t, flags, 1), &next), DROP_TABLE);
            assert_int_equal(next, word(t, TYP_INUSE, 1));
            /* Devalidated, or never validated: the second drop ends it. */
            assert_int_equal(typ_drop(next, &next), DROP_STAMP);
        }
        /* R2: not in use, and nobody takes it before the stamp is there. */
        assert_int_equal(next, word(t, TYP_STAMPING, 0));
        assert_int_equal(typ_count(next), 0);
    }
}

static void stamps(void **state)
{
    FOR_TYPES(t)
    {
        u64 next, clock = (1UL << 56) - 1, typ = typ_stamped(word(t, TYP_STAMPING, 0), clock);

        assert_int_equal(typ, word(t, 0, clock));
        assert_int_equal(typ_stamp(typ), clock);
        assert_int_equal(typ_count(typ), 0);
        assert_int_equal(typ_take(typ, t, &next), TAKE_NEW);
        assert_false(typ_crossing(typ, t));
    }
}

static void life_of_a_table(void **state)
{
    struct frame f = {REF_OWNER(1) | REF_ALLOCATED | 2, 0};

    assert_int_equal(typ_take(f.typ, TYPE_L2, &f.typ), TAKE_NEW);
    assert_true(frame_check(&f));
    f.typ = typ_validated(f.typ);
    assert_int_equal(typ_take(f.typ, TYPE_L2, &f.typ), TAKE_OK);
    f.typ |= TYP_PINNED;
    assert_true(frame_check(&f));
    assert_int_equal(typ_drop(f.typ, &f.typ), DROP_DONE);
    assert_true(frame_check(&f));
    f.typ &= ~TYP_PINNED;
    assert_int_equal(typ_drop(f.typ, &f.typ), DROP_TABLE);
    assert_true(frame_check(&f));
    assert_int_equal(typ_drop(f.typ, &f.typ), DROP_STAMP);
    f.typ = typ_stamped(f.typ, 9);
    assert_true(frame_check(&f));
    assert_int_equal(typ_stamp(f.typ), 9);
    assert_true(typ_crossing(f.typ, TYPE_WRITABLE));
    assert_true(typ_crossing(f.typ, TYPE_L1));
}

static void check_refuses_what_cannot_be(void **state)
{
    const u64 bad[] = {
        word(7, 0, 0),                              /* no such type */
        word(TYPE_L1, TYP_VALID, 0),                /* valid, not in use */
        word(TYPE_L1, TYP_PINNED, 3),               /* pinned, not in use */
        word(TYPE_L1, TYP_INUSE, 0),                /* no uses */
        word(TYPE_L1, TYP_INUSE | TYP_STAMPING, 1), /* both */
        word(TYPE_WRITABLE, TYP_INUSE | TYP_VALID | TYP_PINNED, 1),
        word(TYPE_SEGDESC, TYP_INUSE | TYP_VALID | TYP_PINNED, 1),
    };
    struct frame f = {REF_OWNER(1) | REF_ALLOCATED | 1, 0};

    assert_true(frame_check(&f));
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        f.typ = bad[i];
        assert_false(frame_check(&f));
    }
    f = (struct frame){REF_OWNER(1), word(TYPE_L1, TYP_INUSE | TYP_VALID, 1)};
    assert_false(frame_check(&f)); /* a use holds a reference */
}

static void tables(void **state)
{
    for (enum frame_type t = TYPE_NONE; t <= TYPE_SEGDESC; t++)
        assert_int_equal(type_is_table(t),
                         t == TYPE_L1 || t == TYPE_L2 || t == TYPE_L3 || t == TYPE_L4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_do_not_overlap),
        cmocka_unit_test(get_needs_owner_and_a_live_count),
        cmocka_unit_test(get_stops_at_the_maximum),
        cmocka_unit_test(first_use),
        cmocka_unit_test(more_uses),
        cmocka_unit_test(nobody_passes_stamping_or_validation),
        cmocka_unit_test(uses_stop_at_the_maximum),
        cmocka_unit_test(usual_uses),
        cmocka_unit_test(drops),
        cmocka_unit_test(stamps),
        cmocka_unit_test(life_of_a_table),
        cmocka_unit_test(check_refuses_what_cannot_be),
        cmocka_unit_test(tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
