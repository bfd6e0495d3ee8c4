/* Direct writes to level-1 tables, which the hypervisor emulates. */
#include "guest.h"

USER_CODE_TEXT(u_store, "mov %rsi, (%rdi); ud2");

static volatile u64 *entry;                   /* in a live table, read-only mapped */
static u64 good;                              /* a value that is always acceptable */
static u64 soft = PTE_US | PTE_G | 1UL << 52; /* bits the hypervisor may add */

static void set(u64 val)
{
    if (mmu_write(entry, val))
        die("ptwr: cannot set the entry");
}

static void expect(u64 want, const char *what)
{
    u64 ignore = want & PTE_P ? soft : 0;

    ok(trap.vec == VEC_NONE && ((*entry ^ want) & ~ignore) == 0, "%s", what);
    if (trap.vec != VEC_NONE || ((*entry ^ want) & ~ignore))
        note("  vector %lu, entry %lx, want %lx", (u64)trap.vec, *entry, want);
}

static void moves(void)
{
    set(0);
    EX("movq %1, (%0)", : : "r"(entry), "r"(good) : "memory");
    expect(good, "mov r64");
    EX("movq $0, (%0)", : : "r"(entry) : "memory");
    expect(0, "mov imm32");
    EX("movq %1, 64(%0, %2, 8)", : : "r"(entry - 10), "r"(good), "r"(2UL) : "memory");
    expect(good, "mov, base + index * 8 + 64");
    EX("movabs %%rax, %c1", : : "a"(0UL), "i"(0UL) : "memory");
    ok(trap.vec == 14, "moffs form at 0 is a plain fault");
    EX("movq %%r9, (%0)", : : "r"(entry), "r"(0UL) : "memory");
    set(good);
    EX("movl %1, (%0)", : : "r"(entry), "r"((u32)good & ~PTE_RW) : "memory");
    expect(good & ~(u64)PTE_RW, "mov r32 to the low half");
    EX("movl %1, 4(%0)", : : "r"(entry), "r"((u32)(good >> 32) | 1U << 31) : "memory");
    expect((good & ~(u64)PTE_RW) | PTE_NX, "mov r32 to the high half");
    set(good);
    EX("movw %1, (%0)", : : "r"(entry), "r"((u16)(good | PTE_AVL)) : "memory");
    expect(good | PTE_AVL, "mov r16");
    EX("movb %1, (%0)", : : "r"(entry), "q"((u8)(good & ~PTE_RW)) : "memory");
    expect((good & ~(u64)PTE_RW) | PTE_AVL, "mov r8");
    EX("movb $0, (%0)", : : "r"(entry) : "memory");
    ok(trap.vec == VEC_NONE && !(*entry & PTE_P), "mov imm8 clears the low byte");
    EX("movb $0x7f, 7(%0)", : : "r"(entry) : "memory");
    is(*entry >> 56, 0x7f, "mov imm8 to the high byte of a non-present entry");
}

static void exchanges(void)
{
    u64 reg = 0;

    set(good);
    EX("xchgq %1, (%0)", : "+r"(entry), "+r"(reg) : : "memory");
    expect(0, "xchg");
    is((reg ^ good) & ~soft, 0, "xchg returns the old entry");
    reg = good;
    EX("xchgq (%0), %1", : "+r"(entry), "+r"(reg) : : "memory");
    expect(good, "xchg, back");
    reg = *entry;
    EX("lock cmpxchgq %2, (%0)", : : "r"(entry), "a"(reg), "r"(good | PTE_AVL) : "memory");
    expect(good | PTE_AVL, "lock cmpxchg that succeeds");
    EX("lock cmpxchgq %2, (%1); setz %%cl; movzbq %%cl, %%rcx",
       : "+a"(reg)
       : "r"(entry), "r"(0UL)
       : "rcx", "memory");
    expect(good | PTE_AVL, "lock cmpxchg that fails");
    is(reg, *entry, "it returns the entry");
    set(good & ~(u64)PTE_P);
    reg = PTE_P;
    EX("lock xaddq %1, (%0)", : "+r"(entry), "+r"(reg) : : "memory");
    expect(good, "lock xadd");
    is(reg, good & ~(u64)PTE_P, "it returns the old entry");
}

static void bits(void)
{
    set(good);
    EX("lock andb $0xfd, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good & ~(u64)PTE_RW, "lock andb, write protection");
    EX("lock orb $2, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good, "lock orb");
    EX("lock btrq $1, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good & ~(u64)PTE_RW, "lock btr imm8");
    EX("lock btsq $1, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good, "lock bts imm8");
    EX("lock btrl $5, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good & ~(u64)PTE_A, "lock btr imm8, 32 bit");
    EX("lock btsq %1, (%0)", : : "r"(entry - 4), "r"(4 * 64 + 5UL) : "memory", "cc");
    expect(good, "lock bts r64, offset four entries up");
    EX("lock btrq %1, (%0)", : : "r"(entry + 4), "r"(-4 * 64 + 5L) : "memory", "cc");
    expect(good & ~(u64)PTE_A, "lock btr r64, offset four entries down");
    EX("lock btcq $5, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good, "lock btc");
    EX("lock orq %1, (%0)", : : "r"(entry), "r"((u64)PTE_AVL) : "memory", "cc");
    expect(good | PTE_AVL, "lock or r64");
    EX("lock andq %1, (%0)", : : "r"(entry), "r"(~(u64)PTE_AVL) : "memory", "cc");
    expect(good, "lock and r64");
    EX("andl $0xfffffffd, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good & ~(u64)PTE_RW, "and imm8, 32 bit, no lock");
    EX("orq $2, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good, "or imm8, no lock");
    EX("lock xorq $0x200, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good ^ 0x200, "lock xor");
    EX("lock addq $0x200, (%0)", : : "r"(entry) : "memory", "cc");
    expect((good ^ 0x200) + 0x200, "lock add");
    EX("lock subq $0x400, (%0)", : : "r"(entry) : "memory", "cc");
    expect(good, "lock sub");
}

/* Stock Linux does not use these on tables: a fault that changes nothing will do. */
static void string_result(u64 was, u64 want, const char *what)
{
    if (trap.vec == 14)
        ok(*entry == was, "%s is not emulated", what);
    else
        expect(want, what);
}

static void strings(void)
{
    u64 vals[2] = {good, good | PTE_AVL}, n = 1;
    volatile u64 *to = entry;
    const u64 *from = vals;

    set(0);
    EX("movsq", : "+D"(to), "+S"(from) : : "memory");
    string_result(0, good, "movsq");
    set(good);
    to = entry;
    EX("stosq", : "+D"(to) : "a"(0UL) : "memory");
    string_result(*entry, 0, "stosq");
    mmu_write(entry, good);
    mmu_write(entry + 1, good);
    to = entry, n = 2;
    EX("rep stosq", : "+D"(to), "+c"(n) : "a"(0UL) : "memory");
    string_result(*entry, 0, "rep stosq");
    ok(trap.vec == 14 || (n == 0 && entry[1] == 0), "rep stosq cleared both");
    mmu_write(entry + 1, 0);
}

static void segments(void)
{
    set(0);
    hc_segment_base(SEGBASE_FS, (u64)entry - 0x100);
    EX("movq %0, %%fs:0x100", : : "r"(good) : "memory");
    if (trap.vec == 14)
        ok(*entry == 0, "mov with an FS base is not emulated");
    else
        expect(good, "mov with an FS base");
    hc_segment_base(SEGBASE_FS, 0);
}

/* What must not get through: the entry stays, the guest gets the fault. */
static void still(u64 was, const char *what)
{
    bool faulted = trap.vec == 14 || trap.vec == 13;

    ok(faulted && *entry == was, "%s is refused", what);
    if (!faulted || *entry != was)
        note("  vector %lu, entry %lx, was %lx", (u64)trap.vec, *entry, was);
}

static void refusals(void)
{
    u64 table = mfn_of(entry) << 12, was, reg, l4 = mfn_of(l4_table()) << 12;

    set(0);
    try_write((u64)entry, table | PTE_KERN);
    still(0, "writable mapping of the table itself by mov");
    is(trap.r.ec, 3, "with a protection fault");
    is(trap.cr2, (u64)entry, "at its address");
    try_write((u64)entry, l4 | PTE_KERN);
    still(0, "writable mapping of the L4");
    reg = l4 | PTE_KERN;
    EX("xchgq %1, (%0)", : "+r"(entry), "+r"(reg) : : "memory");
    still(0, "writable mapping by xchg");
    is(reg, l4 | PTE_KERN, "xchg left the register");
    EX("lock cmpxchgq %2, (%0)", : : "r"(entry), "a"(0UL), "r"(table | PTE_KERN) : "memory");
    still(0, "writable mapping by cmpxchg");
    reg = table | PTE_KERN;
    EX("lock xaddq %1, (%0)", : "+r"(entry), "+r"(reg) : : "memory");
    still(0, "writable mapping by xadd");
    EX("lock orq %1, (%0)", : : "r"(entry), "r"(table | PTE_KERN) : "memory");
    still(0, "writable mapping by or");
    set(table | PTE_RO);
    was = *entry;
    EX("lock orb $2, (%0)", : : "r"(entry) : "memory");
    still(was, "RW turned on in a read-only mapping of a table by or");
    EX("lock btsq $1, (%0)", : : "r"(entry) : "memory");
    still(was, "the same by bts");
    EX("movb $0x67, (%0)", : : "r"(entry) : "memory");
    still(was, "the same by a byte move");
    EX("incq (%0)", : : "r"(entry) : "memory");
    if (trap.vec == VEC_NONE)
        set(was);
    set(0);
    try_write((u64)entry, (max_mfn + 7) << 12 | PTE_KERN);
    ok(trap.vec != VEC_NONE || !mfn_is_ours(max_mfn + 7), "a frame past the end");
    set(0);
    try_write((u64)entry, 0xfee00000UL | PTE_KERN);
    still(0, "the local APIC");
    try_write((u64)entry, good | 1UL << 51);
    still(0, "reserved address bits");
}

static void alignment(void)
{
    static const u8 offs[] = {1, 2, 3, 4, 5, 6, 7};
    u64 was;

    set(good);
    was = *entry;
    for (unsigned i = 0; i < sizeof(offs); i++) {
        EX("movq %1, (%0)", : : "r"((u64)entry + offs[i]), "r"(0UL) : "memory");
        still(was, "an unaligned move");
    }
    /* XSA-195: bit offsets far away must not wrap into another table or the hypervisor. */
    EX("lock btsq %1, (%0)", : : "r"(entry), "r"(1UL << 63) : "memory");
    still(was, "bts with bit offset -2^63");
    EX("lock btsq %1, (%0)", : : "r"(entry), "r"(~0UL >> 1) : "memory");
    still(was, "bts with bit offset 2^63 - 1");
    EX("movq %1, (%0)", : : "r"((u64)entry | 0xffc), "r"(0UL) : "memory");
    ok(trap.vec == 14, "an operand that crosses the page is refused");
}

static void from_user(void)
{
    u64 va = USER_DATA + 3 * PAGE_SIZE, was;

    user_init();
    user_map(va, maddr_of((void *)((u64)entry & ~0xfffUL)) | PTE_RO);
    set(good);
    was = *entry;
    USER_RUN(u_store, va | ((u64)entry & 0xfff), 0, 0);
    ok(trap.vec == 14 && trap.r.ec == 7, "a write from user mode is a user fault");
    is(*entry, was, "and changes nothing");
}

static void switched_off(void)
{
    set(good);
    is(hc_vm_assist(VMASST_CMD_disable, VMASST_TYPE_writable_pagetables), 0, "vm_assist off");
    try_write((u64)entry, 0);
    /* Stock Xen emulates regardless. */
    ok(trap.vec == 14 || trap.vec == VEC_NONE, "a write without the assist: %s",
       vec_name(trap.vec));
    is(hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables), 0, "vm_assist on");
    try_write((u64)entry, 0);
    expect(0, "a write with the assist");
}

/* A table that no one uses as such is just a read-only page; a pinned one is a table. */
static void detached(void)
{
    u64 *table = page_alloc();

    set_ro(table);
    is(try_write((u64)table, good), 14, "a read-only page that is no table faults");
    is(pin(1, table), 0, "pin it");
    is(try_write((u64)table, good), VEC_NONE, "now the write is emulated");
    is((table[0] ^ good) & ~soft, 0, "with its value");
    is(try_write((u64)table, maddr_of(table) | PTE_KERN), 14, "checks included");
    drop_table(table);
}

static bool writes_to(const volatile u64 *at, u64 val, const volatile u64 *table)
{
    EX("movq %1, (%0)", : : "r"(at), "r"(val) : "memory");
    return trap.vec == VEC_NONE && *table == val;
}

static void show_at(volatile u64 *l2, const void *l1)
{
    if (mmu_write(l2, maddr_of(l1) | PTE_USER))
        die("ptwr: cannot hook a table in");
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
}

/* What a write reaches changes with the tables above it, however often it went there before. */
static void moved_tables(void)
{
    u64 *first = page_alloc(), *second = page_alloc(), *l1[2] = {page_alloc(), page_alloc()};
    const u64 va = UNMAPPED + 0x5000;
    volatile u64 *l2;
    u64 old;

    pte_make(l4_table(), va);
    l2 = pte_at(va, 2);
    old = *l2;
    l1[0][va >> 12 & 511] = maddr_of(first) | PTE_RO;
    l1[1][va >> 12 & 511] = maddr_of(second) | PTE_RO;
    if (make_table(1, first) || make_table(1, second) || make_table(1, l1[0]) ||
        make_table(1, l1[1]))
        die("ptwr: no tables");
    show_at(l2, l1[0]);
    ok(writes_to((void *)va, 0x1110, first), "a write by way of one table");
    ok(writes_to((void *)va, 0x2220, first), "once more");
    show_at(l2, l1[1]);
    ok(writes_to((void *)va, 0x3330, second), "by way of another that replaced it");
    is(*first, 0x2220, "not where the first one led");
    show_at(l2, l1[0]);
    ok(writes_to((void *)va, 0x4440, first), "and by the first again");
    is(*second, 0x3330, "not where the second one led");
    if (mmu_write(l2, old))
        die("ptwr: cannot restore the entry");
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
    drop_table(l1[0]);
    drop_table(l1[1]);
    drop_table(first);
    drop_table(second);
}

void test_ptwr(void)
{
    volatile u64 *page = page_alloc();

    entry = pte_at(window(40), 1);
    good = maddr_of(page) | PTE_KERN;
    hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
    moves();
    exchanges();
    bits();
    strings();
    segments();
    refusals();
    alignment();
    from_user();
    switched_off();
    detached();
    moved_tables();
    set(good);
    mmuext(MMUEXT_INVLPG_LOCAL, window(40), 0);
    *page = 4711;
    is(*(volatile u64 *)window(40), 4711, "the entry maps the page");
    ok(tables_are_readonly(), "no table is mapped writable");
}
