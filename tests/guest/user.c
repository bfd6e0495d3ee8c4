/*
 * Guest user mode: a second L4 that shares the kernel's L3 of slot 0, which holds one page of
 * code and one of data.
 */
#include "guest.h"

u64 user_l4;
static u64 *l4_page;

bool user_ready(void)
{
    return l4_page != NULL;
}

void user_map(u64 va, u64 pte)
{
    u64 *entry = pte_make(l4_table(), va), slot = va >> 39 & 511;

    if (mmu_write(entry, pte) || mmu_write(l4_page + slot, l4_table()[slot]))
        die("cannot map a user page");
}

void user_init(void)
{
    u64 *l4;

    if (l4_page)
        return;
    l4 = page_alloc();
    if (make_table(4, l4) || mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4), 0))
        die("cannot make a user page table");
    l4_page = l4;
    user_l4 = mfn_of(l4);
    user_map(USER_CODE, maddr_of(page_alloc()) | PTE_USER);
    user_map(USER_DATA, maddr_of(page_alloc()) | PTE_USER);
}

void user_exec(const void *code, size_t len, u64 rdi, u64 rsi, u64 rdx, u64 rflags)
{
    struct iret_context c = {.rip = USER_CODE,
                             .cs = FLAT_USER_CS,
                             .rflags = rflags,
                             .rsp = USER_DATA + PAGE_SIZE,
                             .ss = FLAT_USER_SS};

    user_load(code, len);
    trap_clear();
    enter_context(&c, rdi, rsi, rdx, __HYPERVISOR_iret);
}

void user_load(const void *code, size_t len)
{
    user_init();
    memset((void *)USER_CODE, 0xcc, PAGE_SIZE);
    memcpy((void *)USER_CODE, code, len);
}
