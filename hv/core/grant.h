/*
 * One grant: a guest's permission for another to use one of its frames, as two words.
 *
 * The guest's own (version 1; flags and domid of struct grant_entry_v1 of xen/grant_table.h as
 * one word of 32 bits, so that both are judged and marked by the same compare-and-swap):
 *
 *      31.......16 15.....5    4        3        2       1..0
 *        grantee       -    writing  reading  readonly   type
 *
 * Ours, beside it, which the guest never sees: who uses the grant how often, and the frame that
 * was granted when the first use began.
 *
 *      63.....56 55.....48  47  46......32 31.......0
 *       writers   readers  busy   grantee     frame
 *
 *  I1 While there are uses, the word names their frame and grantee; without, it is 0 but for
 *     'busy'. What the guest writes into its entry meanwhile changes neither.
 *  I2 Uses are counted once: one that writes is a writer and no reader.
 *  I3 'busy' is a lock on both words: one CPU at a time begins and ends uses.
 *
 * Pure on one word; any context. Results are GNTST_ values.
 */
#ifndef SERAI_CORE_GRANT_H
#define SERAI_CORE_GRANT_H

#include "base/types.h"
#include <xen/xen.h>
#include <xen/grant_table.h>

#define PINS_FRAME   0xffffffffUL
#define PINS_BUSY    BIT(47)
#define PINS_READER  BIT(48)
#define PINS_WRITER  BIT(56)
#define PINS_MAX     255
#define PINS_GRANTEE 0x7fffUL

static inline unsigned pins_readers(u64 pins)
{
    return pins >> 48 & 0xff;
}

static inline unsigned pins_writers(u64 pins)
{
    return (unsigned)(pins >> 56);
}

static inline bool pins_any(u64 pins)
{
    return pins >= PINS_READER;
}

static inline mfn_t pins_mfn(u64 pins)
{
    return MFN(pins & PINS_FRAME);
}

static inline u16 pins_grantee(u64 pins)
{
    return pins >> 32 & PINS_GRANTEE;
}

/* May 'grantee' (a domain's id) begin one more use, as far as our word knows? */
static inline int pins_may_add(u64 pins, u16 grantee, bool write)
{
    if (pins_any(pins) && pins_grantee(pins) != grantee)
        return GNTST_general_error;
    if ((write ? pins_writers(pins) : pins_readers(pins)) == PINS_MAX)
        return GNTST_general_error;
    return GNTST_okay;
}

/* One more use; 'frame' counts for the first only. */
static inline u64 pins_add(u64 pins, u16 grantee, u32 frame, bool write)
{
    if (!pins_any(pins))
        pins |= (u64)grantee << 32 | frame;
    return pins + (write ? PINS_WRITER : PINS_READER);
}

/* One use less: there is one of this kind. */
static inline u64 pins_drop(u64 pins, bool write)
{
    pins -= write ? PINS_WRITER : PINS_READER;
    return pins_any(pins) ? pins : pins & PINS_BUSY;
}

/* How the guest's entry shows these uses. */
static inline u16 pins_marks(u64 pins)
{
    return (pins_any(pins) ? GTF_reading : 0) | (pins_writers(pins) ? GTF_writing : 0);
}

/* How the guest's word shows that a use has begun. */
static inline u32 grant_show(u32 word, bool write)
{
    return word | GTF_reading | (write ? GTF_writing : 0);
}

/* Does the guest's word let 'grantee' begin a use? Then *next is the word that shows it. */
static inline int grant_claim(u32 word, u16 grantee, bool write, u32 *next)
{
    /* One comparison: the type, the grantee, and that it is not read-only, if that matters. */
    const u32 mask = 0xffff0000U | GTF_type_mask | (write ? GTF_readonly : 0);

    if ((word & mask) != ((u32)grantee << 16 | GTF_permit_access))
        return GNTST_general_error;
    *next = grant_show(word, write);
    return GNTST_okay;
}

/* A word that shows no use yet lets 'grantee' begin one: what is usual, by one comparison. */
static inline bool grant_is_open(u32 word, u16 grantee, bool write)
{
    const u32 mask =
        0xffff0000U | GTF_type_mask | GTF_reading | GTF_writing | (write ? GTF_readonly : 0);

    return (word & mask) == ((u32)grantee << 16 | GTF_permit_access);
}

/* May 'giver' hand over a frame for this word? Then *next commits the guest to take it. */
static inline bool grant_accept(u32 word, u16 giver, u32 *next)
{
    if ((word & 0xffff) != GTF_accept_transfer || word >> 16 != giver)
        return false;
    *next = word | GTF_transfer_committed;
    return true;
}

/* The bits of a page-table entry that GNTMAP_ flags ask for. */
static inline u64 grant_map_pte(u32 flags, mfn_t mfn)
{
    const u32 avail = flags >> _GNTMAP_guest_avail0;
    const u64 pte = mfn.n << PAGE_SHIFT | 0x8000000000000065UL; /* NX, D, A, US, P */

    return pte | (flags & GNTMAP_readonly ? 0 : 2) | (u64)(avail & 7) << 9 |
           (u64)(avail >> 3 & 0x7ff) << 52;
}

#endif
