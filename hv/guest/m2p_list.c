#include "guest/m2p_list.h"
#include "x86/paging.h"

#define PIECE_FRAMES     BIT(9)
#define FRAMES_END       BIT(40) /* of what a page-table entry can name */
#define ENTRIES_PER_PAGE (PAGE_SIZE / sizeof(u64))

static u64 table_pages(void)
{
    return DIV_ROUND_UP(max_mfn, ENTRIES_PER_PAGE);
}

static mfn_t page_of_table(u64 i)
{
    return MFN(paging_phys_of(M2P_BASE + i * PAGE_SIZE) >> PAGE_SHIFT);
}

u64 m2p_list_length(void)
{
    return DIV_ROUND_UP(table_pages(), PIECE_FRAMES);
}

mfn_t m2p_list_entry(u64 i)
{
    return MFN(FRAMES_END - (m2p_list_length() - i) * PIECE_FRAMES);
}

mfn_t m2p_list_resolve(mfn_t mfn)
{
    u64 i = mfn.n - m2p_list_entry(0).n;

    if (i >= m2p_list_length() * PIECE_FRAMES)
        return mfn;
    /* What is behind the table's end nobody has to read, but it comes with the last piece. */
    return page_of_table(MIN(i, table_pages() - 1));
}

__init void m2p_list_init(void)
{
    for (u64 i = 0; i < table_pages(); i++)
        __atomic_or_fetch(&frames[page_of_table(i).n].ref, REF_SPECIAL, __ATOMIC_RELAXED);
}
