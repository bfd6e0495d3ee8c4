/*
 * The buddy allocator against a map with one byte a frame, through random requests on a window
 * of frames around 4 GiB, buddy_check() after each step. The frame table is as large as the
 * real one would be; what is not touched takes no memory.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/buddy.h"
#include "unit/random.h"

#define OWNER_FREE 0x7ffe

#define LOW_END    (GIB(4) >> PAGE_SHIFT)
#define WINDOW     2048UL /* frames on either side of 4 GiB */
#define FIRST      (LOW_END - WINDOW)
#define END        (LOW_END + WINDOW)
#define NO_LIMIT   (~0UL)
#define MAX_BLOCKS 4096

struct block {
    u32 mfn;
    unsigned order;
};

struct world {
    struct buddy b;
    struct frame *frames;
    u8 is_free[2 * WINDOW];
    u64 free;
    struct block blocks[MAX_BLOCKS];
    unsigned nr_blocks;
};

static struct world *make_world(u64 nr_frames)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->frames = calloc(nr_frames, sizeof(*w->frames));
    assert_non_null(w->frames);
    /* What was never given to the heap belongs to somebody. */
    for (u64 f = FIRST; f < END && f < nr_frames; f++)
        w->frames[f].ref = REF_OWNER(7) | 1;
    buddy_init(&w->b, w->frames, nr_frames, OWNER_FREE);
    assert_true(buddy_check(&w->b));
    assert_int_equal(buddy_alloc(&w->b, 0, NO_LIMIT), BUDDY_NONE);
    return w;
}

static void end_world(struct world *w)
{
    free(w->frames);
    free(w);
}

static void give(struct world *w, u64 mfn, unsigned order)
{
    for (u64 f = mfn; f < mfn + BIT(order); f++) {
        assert_false(w->is_free[f - FIRST]);
        w->is_free[f - FIRST] = 1;
    }
    w->free += BIT(order);
    buddy_free(&w->b, (u32)mfn, order);
    assert_true(buddy_check(&w->b));
    assert_int_equal(w->b.free, w->free);
}

/* Is there a free aligned block in [from, to)? */
static bool exists(const struct world *w, unsigned order, u64 from, u64 to)
{
    for (u64 f = ROUND_UP(from, BIT(order)); f + BIT(order) <= to; f += BIT(order)) {
        u64 k = 0;

        while (k < BIT(order) && w->is_free[f + k - FIRST])
            k++;
        if (k == BIT(order))
            return true;
    }
    return false;
}

static unsigned longest_list(const struct buddy *b)
{
    unsigned longest = 0;

    for (unsigned i = 0; i < 2 * (BUDDY_MAX_ORDER + 1); i++) {
        unsigned n = 0;

        for (u32 m = b->head[i / (BUDDY_MAX_ORDER + 1)][i % (BUDDY_MAX_ORDER + 1)];
             m != BUDDY_NONE; m = (u32)(b->frames[m].typ >> 36))
            n++;
        longest = MAX(longest, n);
    }
    return longest;
}

static bool take(struct world *w, unsigned order, u64 limit)
{
    u64 top = MIN(limit, END);
    bool found_high = top > LOW_END && exists(w, order, LOW_END, top);
    bool found = found_high || exists(w, order, FIRST, MIN(top, LOW_END));
    /* The search gives up after 64 blocks of a list. */
    bool exact = limit >= END || longest_list(&w->b) <= 64;
    u32 mfn = buddy_alloc(&w->b, order, limit);

    assert_true(buddy_check(&w->b));
    if (mfn == BUDDY_NONE) {
        assert_false(exact && found);
        return false;
    }
    assert_true(found);
    assert_int_equal(mfn & (BIT(order) - 1), 0);
    assert_true(mfn + BIT(order) <= limit);
    /* Memory that devices need is given away last. */
    assert_true(mfn >= LOW_END || !(exact && found_high));
    for (u64 f = mfn; f < mfn + BIT(order); f++) {
        assert_true(w->is_free[f - FIRST]);
        w->is_free[f - FIRST] = 0;
        assert_int_equal(w->frames[f].ref | w->frames[f].typ, 0);
        /* The owner's words are anything but free. */
        w->frames[f] =
            (struct frame){REF_OWNER(random64() % 0x7ff0) | random64() % BIT(44), random64()};
    }
    w->free -= BIT(order);
    assert_int_equal(w->b.free, w->free);
    if (w->nr_blocks < MAX_BLOCKS)
        w->blocks[w->nr_blocks++] = (struct block){mfn, order};
    return true;
}

/* A block, whole or in pieces: the allocator does not mind. */
static void give_random_block(struct world *w)
{
    unsigned i = (unsigned)(random64() % w->nr_blocks), pieces;
    struct block block = w->blocks[i];

    w->blocks[i] = w->blocks[--w->nr_blocks];
    pieces = block.order ? (unsigned)(random64() % (block.order + 1)) : 0;
    if (random64() & 1)
        pieces = 0;
    for (u64 k = 0; k < BIT(pieces); k++)
        give(w, block.mfn + (k << (block.order - pieces)), block.order - pieces);
}

static void churn(u64 seed, unsigned max_order, unsigned steps, unsigned give_percent)
{
    struct world *w = make_world(END);

    random_state = seed;
    for (u64 f = END; f > FIRST; f -= 64)
        give(w, f - 64, 6);
    for (unsigned i = 0; i < steps; i++) {
        if (w->nr_blocks == MAX_BLOCKS || (w->nr_blocks && random64() % 100 < give_percent)) {
            give_random_block(w);
        } else {
            u64 limit = random64() % 3 ? NO_LIMIT : FIRST + random64() % (2 * WINDOW + 100);

            take(w, (unsigned)(random64() % (max_order + 1)), limit);
        }
    }
    /* All back: everything merges into the two large blocks. */
    while (w->nr_blocks)
        give_random_block(w);
    assert_int_equal(w->free, 2 * WINDOW);
    assert_true(take(w, 11, NO_LIMIT));
    assert_true(take(w, 11, NO_LIMIT));
    assert_int_equal(w->free, 0);
    end_world(w);
}

static void random_small(void **state)
{
    churn(1, 3, 6000, 45);
}

static void random_large(void **state)
{
    churn(2, 9, 6000, 50);
}

static void random_exhausted(void **state)
{
    churn(3, 2, 6000, 30);
}

static void limits_by_steps(void **state)
{
    for (unsigned order = 0; order <= 4; order++) {
        for (u64 limit = FIRST; limit <= FIRST + 40; limit++) {
            struct world *w = make_world(END);

            give(w, FIRST, 11);
            /* The first frames of a large block are found below a limit inside it. */
            assert_int_equal(take(w, order, limit), limit >= FIRST + BIT(order));
            if (limit >= FIRST + BIT(order))
                assert_int_equal(w->blocks[0].mfn, FIRST);
            end_world(w);
        }
    }
}

static void limits_above_4_gib(void **state)
{
    struct world *w = make_world(END);

    give(w, LOW_END, 11);
    assert_false(take(w, 0, LOW_END));
    assert_true(take(w, 0, LOW_END + 1));
    assert_false(take(w, 0, LOW_END + 1));
    assert_true(take(w, 1, LOW_END + 4));
    assert_int_equal(w->blocks[1].mfn, LOW_END + 2);
    end_world(w);
}

static void nonsense(void **state)
{
    struct world *w = make_world(END);

    give(w, FIRST, 11);
    assert_int_equal(buddy_alloc(&w->b, BUDDY_MAX_ORDER + 1, NO_LIMIT), BUDDY_NONE);
    assert_int_equal(buddy_alloc(&w->b, ~0U, NO_LIMIT), BUDDY_NONE);
    assert_int_equal(buddy_alloc(&w->b, BUDDY_MAX_ORDER, NO_LIMIT), BUDDY_NONE);
    assert_int_equal(buddy_alloc(&w->b, 0, 0), BUDDY_NONE);
    assert_int_equal(buddy_alloc(&w->b, 4, 15), BUDDY_NONE);
    assert_int_equal(buddy_alloc(&w->b, 4, 16), BUDDY_NONE);
    for (u64 limit = BIT(63) - 2; limit < BIT(63) + 3; limit++)
        assert_true(take(w, 0, limit));
    assert_true(buddy_check(&w->b));
    end_world(w);
}

/* The last block has no buddy: the table ends before it. */
static void end_of_the_table(void **state)
{
    struct world *w = make_world(FIRST + 24);

    give(w, FIRST + 16, 3);
    give(w, FIRST, 4);
    assert_false(exists(w, 5, FIRST, END));
    assert_int_equal(buddy_alloc(&w->b, 5, NO_LIMIT), BUDDY_NONE);
    assert_true(take(w, 4, NO_LIMIT));
    assert_true(take(w, 3, NO_LIMIT));
    end_world(w);
}

/* Blocks of the largest order stay apart, and so do the two zones. */
static void largest_order(void **state)
{
    u64 size = BIT(BUDDY_MAX_ORDER), nr = LOW_END + 2 * size;
    struct frame *frames = calloc(nr, sizeof(*frames));
    struct buddy b;

    assert_non_null(frames);
    buddy_init(&b, frames, nr, OWNER_FREE);
    for (u64 f = LOW_END - 2 * size; f < nr; f += size)
        buddy_free(&b, (u32)f, BUDDY_MAX_ORDER);
    assert_true(buddy_check(&b));
    assert_int_equal(b.free, 4 * size);
    for (unsigned i = 0; i < 4; i++) {
        u32 mfn = buddy_alloc(&b, BUDDY_MAX_ORDER, NO_LIMIT);

        assert_int_not_equal(mfn, BUDDY_NONE);
        assert_int_equal(mfn >= LOW_END, i < 2);
    }
    assert_int_equal(buddy_alloc(&b, 0, NO_LIMIT), BUDDY_NONE);
    assert_true(buddy_check(&b));
    free(frames);
}

static void check_sees_damage(void **state)
{
    struct world *w = make_world(END);
    struct frame *f = &w->frames[FIRST];

    give(w, FIRST, 4);
    f->ref++;
    assert_false(buddy_check(&w->b));
    f->ref--;
    f->typ ^= BIT(TYP_SHIFT);
    assert_false(buddy_check(&w->b));
    f->typ ^= BIT(TYP_SHIFT);
    w->b.free++;
    assert_false(buddy_check(&w->b));
    w->b.free--;
    assert_true(buddy_check(&w->b));
    end_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_small),       cmocka_unit_test(random_large),
        cmocka_unit_test(random_exhausted),   cmocka_unit_test(limits_by_steps),
        cmocka_unit_test(limits_above_4_gib), cmocka_unit_test(nonsense),
        cmocka_unit_test(end_of_the_table),   cmocka_unit_test(largest_order),
        cmocka_unit_test(check_sees_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
