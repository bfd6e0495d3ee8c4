/*
 * A buddy allocator over the frame table: finds and merges blocks of 2^order frames.
 *
 *  I1 A free block of order o starts at a multiple of 2^o; its first frame's ref word is
 *     FREE | (o + 1), the other frames' words are FREE: its owner is 'owner', and the count o + 1
 *     or 0. Several allocators share a frame table under different owners.
 *  I2 The first frame's typ word links the block into its list: next and previous frame number,
 *     28 bits each (1 TiB), above flag bits that are clear.
 *  I3 No two free blocks are buddies of the same order (they would have been merged).
 *
 * Blocks below 4 GiB are kept apart: devices need them, so others are given away first.
 * Pure; the caller serialises.
 */
#ifndef SERAI_CORE_BUDDY_H
#define SERAI_CORE_BUDDY_H

#include "base/types.h"
#include "core/frame.h"

#define BUDDY_MAX_ORDER 18
#define BUDDY_NONE      0xfffffffU

struct buddy {
    struct frame *frames;
    u64 nr_frames;
    u64 free;
    u64 free_word;
    u32 head[2][BUDDY_MAX_ORDER + 1]; /* [0] below 4 GiB, [1] above */
};

void buddy_init(struct buddy *b, struct frame *frames, u64 nr_frames, u16 owner);

/*
 * First frame of a block of 2^order frames that ends at or below 'limit' (a frame number), or
 * BUDDY_NONE. The frames' words are cleared. Looks at no more than 64 blocks of a list when the
 * limit is below 4 GiB.
 */
u32 buddy_alloc(struct buddy *b, unsigned order, u64 limit);
void buddy_free(struct buddy *b, u32 mfn, unsigned order);
bool buddy_check(const struct buddy *b);

#endif
