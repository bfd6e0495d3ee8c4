#include "core/buddy.h"

#define LOW_FRAMES (GIB(4) >> PAGE_SHIFT)

static unsigned zone_of(u64 mfn)
{
    return mfn >= LOW_FRAMES;
}

/*
 * A free frame's type word holds its links, 28 bits each above the flags, which stay clear: to
 * somebody who looks at the frame without owning it, it is in use as nothing.
 */
#define LINK_BITS 28
_Static_assert(BUDDY_NONE == BIT(LINK_BITS) - 1, "BUDDY_NONE is the largest link");

static u32 next_of(const struct buddy *b, u32 mfn)
{
    return (u32)(b->frames[mfn].typ >> (TYP_SHIFT + LINK_BITS));
}

static u32 prev_of(const struct buddy *b, u32 mfn)
{
    return (u32)(b->frames[mfn].typ >> TYP_SHIFT) & BUDDY_NONE;
}

static void set_links(struct buddy *b, u32 mfn, u32 next, u32 prev)
{
    b->frames[mfn].typ = ((u64)next << LINK_BITS | prev) << TYP_SHIFT;
}

static void link_block(struct buddy *b, u32 mfn, unsigned order)
{
    u32 *head = &b->head[zone_of(mfn)][order];

    b->frames[mfn].ref = b->free_word | (order + 1);
    set_links(b, mfn, *head, BUDDY_NONE);
    if (*head != BUDDY_NONE)
        set_links(b, *head, next_of(b, *head), mfn);
    *head = mfn;
}

static void unlink_block(struct buddy *b, u32 mfn, unsigned order)
{
    u32 next = next_of(b, mfn), prev = prev_of(b, mfn);

    if (prev == BUDDY_NONE)
        b->head[zone_of(mfn)][order] = next;
    else
        set_links(b, prev, next, prev_of(b, prev));
    if (next != BUDDY_NONE)
        set_links(b, next, next_of(b, next), prev);
    b->frames[mfn].ref = b->free_word;
    b->frames[mfn].typ = 0;
}

void buddy_init(struct buddy *b, struct frame *frames, u64 nr_frames, u16 owner)
{
    *b =
        (struct buddy){.frames = frames, .nr_frames = nr_frames, .free_word = REF_OWNER(owner)};
    for (unsigned z = 0; z < 2; z++)
        for (unsigned o = 0; o <= BUDDY_MAX_ORDER; o++)
            b->head[z][o] = BUDDY_NONE;
}

static u32 find_block(const struct buddy *b, unsigned zone, unsigned order, u64 limit)
{
    u64 need = BIT(order);
    u32 mfn = b->head[zone][order];

    for (unsigned tries = 0; mfn != BUDDY_NONE && tries < 64; tries++) {
        if (mfn + need <= limit)
            return mfn;
        mfn = next_of(b, mfn);
    }
    return BUDDY_NONE;
}

static void fill(struct buddy *b, u32 mfn, unsigned order, u64 ref)
{
    struct frame *f = &b->frames[mfn];

    for (const struct frame *end = f + BIT(order); f < end; f++)
        *f = (struct frame){.ref = ref};
}

static u32 alloc_in(struct buddy *b, unsigned zone, unsigned order, u64 limit)
{
    for (unsigned o = order; o <= BUDDY_MAX_ORDER; o++) {
        /* Only the first 2^order frames of a larger block have to lie below the limit. */
        u32 mfn = find_block(b, zone, o, limit > BIT(63) ? limit : limit - BIT(order) + BIT(o));

        if (mfn == BUDDY_NONE)
            continue;
        unlink_block(b, mfn, o);
        while (o > order) {
            o--;
            link_block(b, mfn + (u32)BIT(o), o);
        }
        fill(b, mfn, order, 0);
        b->free -= BIT(order);
        return mfn;
    }
    return BUDDY_NONE;
}

u32 buddy_alloc(struct buddy *b, unsigned order, u64 limit)
{
    u32 mfn = BUDDY_NONE;

    if (order > BUDDY_MAX_ORDER || limit < BIT(order))
        return BUDDY_NONE;
    if (limit > LOW_FRAMES)
        mfn = alloc_in(b, 1, order, limit);
    if (mfn == BUDDY_NONE)
        mfn = alloc_in(b, 0, order, limit);
    return mfn;
}

void buddy_free(struct buddy *b, u32 mfn, unsigned order)
{
    b->free += BIT(order);
    fill(b, mfn, order, b->free_word);

    while (order < BUDDY_MAX_ORDER) {
        u32 other = mfn ^ (u32)BIT(order);

        if (other + BIT(order) > b->nr_frames ||
            b->frames[other].ref != (b->free_word | (order + 1)))
            break;
        unlink_block(b, other, order);
        mfn &= ~(u32)BIT(order);
        order++;
    }
    link_block(b, mfn, order);
}

bool buddy_check(const struct buddy *b)
{
    u64 total = 0;

    for (unsigned z = 0; z < 2; z++) {
        for (unsigned o = 0; o <= BUDDY_MAX_ORDER; o++) {
            u32 prev = BUDDY_NONE;

            for (u32 m = b->head[z][o]; m != BUDDY_NONE; prev = m, m = next_of(b, m)) {
                u32 other = m ^ (u32)BIT(o);

                if (m & (BIT(o) - 1) || prev_of(b, m) != prev || zone_of(m) != z ||
                    b->frames[m].ref != (b->free_word | (o + 1)))
                    return false;
                if (o < BUDDY_MAX_ORDER && other + BIT(o) <= b->nr_frames &&
                    b->frames[other].ref == (b->free_word | (o + 1)))
                    return false;
                total += BIT(o);
            }
        }
    }
    return total == b->free;
}
