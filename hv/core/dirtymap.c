#include "core/dirtymap.h"

static u64 *word_of(struct dirty_map *m, u64 page)
{
    return &m->leaf[page / DIRTY_LEAF_PAGES][page % DIRTY_LEAF_PAGES / 64];
}

void dirty_map_note(struct dirty_map *m, u64 page)
{
    u64 *word;

    if (page >= m->limit)
        return;
    word = word_of(m, page);
    if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & BIT(page & 63)))
        __atomic_fetch_or(word, BIT(page & 63), __ATOMIC_RELAXED);
}

static u64 take_word(struct dirty_map *m, u64 page, bool clear)
{
    u64 *word, bits;

    if (page >= m->limit)
        return ~0UL;
    word = word_of(m, page);
    bits = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    return clear && bits ? __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL) : bits;
}

static u32 count_bits(u64 word)
{
    u32 n = 0;

    for (; word; word &= word - 1)
        n++;
    return n;
}

u32 dirty_map_read(struct dirty_map *m, u64 page, u64 end, bool clear, u64 *words)
{
    bool all = __atomic_load_n(&m->all, __ATOMIC_ACQUIRE);
    u32 n = 0;

    for (unsigned i = 0; i < DIRTY_WORDS; i++, page += 64) {
        words[i] = page < end ? take_word(m, page, clear) : 0;
        if (all && page < end)
            words[i] = ~0UL;
        if (page < end && end - page < 64)
            words[i] &= BIT(end - page) - 1;
        n += count_bits(words[i]);
    }
    return n;
}

void dirty_map_return(struct dirty_map *m, u64 page, const u64 *words)
{
    for (unsigned i = 0; i < DIRTY_WORDS; i++, page += 64)
        if (words[i] && page < m->limit)
            __atomic_fetch_or(word_of(m, page), words[i], __ATOMIC_RELAXED);
}
