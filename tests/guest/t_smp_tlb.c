/*
 * Flushes that reach other vcpus. Vcpu 0 changes a mapping and flushes by one of many ways; the
 * others, which had the old translation loaded, must see the new one. Between the two looks they
 * wait without entering the hypervisor, so nothing but that flush can have helped them; who is
 * not needed sleeps.
 */
#include "guest.h"

#define GONE 0 /* what a reader finds in place of a value: the fault */

enum order { READ, READ_AND_REST, END };

static struct slot slot;
static u64 *page[3]; /* page[i] holds i in its first word; page[0] is none */

/* What vcpu 0 asks of a reader, and its answer. */
static struct {
    volatile u32 asked, answered;
    volatile enum order order;
    volatile u64 found;
} readers[MAX_CPUS] __attribute__((aligned(128)));

/* --- readers --- */

static u64 find(struct cpu *c)
{
    u64 got = ~0UL;

    if (EX_ON(c, "movq (%1), %0", : "+r"(got) : "r"(slot.va) : "memory") != VEC_NONE)
        return GONE;
    return got;
}

static void until_asked(struct cpu *c, u32 last, bool asleep)
{
    u64 rounds = 0, end = 0;

    while (readers[c->id].asked == last) {
        asm volatile("pause" : : : "memory");
        if (asleep) {
            port_clear(c->kick);
            if (readers[c->id].asked == last)
                poll_port(c->kick, 0);
        } else if ((++rounds & 0xffff) == 0) {
            end = end ? end : smp_clock(c) + 90000000000;
            if (smp_clock(c) > end)
                die("a reader is asked nothing");
        }
    }
}

static void reader(struct cpu *c)
{
    bool asleep = true;

    for (u32 last = readers[c->id].answered;; last++) {
        enum order order;

        until_asked(c, last, asleep);
        order = readers[c->id].order;
        if (order == READ || order == READ_AND_REST)
            readers[c->id].found = find(c);
        asleep = order != READ;
        __atomic_store_n(&readers[c->id].answered, last + 1, __ATOMIC_SEQ_CST);
        if (order == END)
            return;
    }
}

static void ask(unsigned id, enum order order)
{
    readers[id].order = order;
    __atomic_store_n(&readers[id].asked, readers[id].asked + 1, __ATOMIC_SEQ_CST);
    port_send(cpus[id].kick);
    WAIT_FOR(&cpus[0], readers[id].answered == readers[id].asked, "a reader's answer");
}

/* It stays awake, with the translation. */
static u64 seen_by(unsigned id)
{
    ask(id, READ);
    return readers[id].found;
}

static u64 seen_last(unsigned id)
{
    ask(id, READ_AND_REST);
    return readers[id].found;
}

/* --- ways to change the mapping and flush --- */

static u64 mask[128] __attribute__((aligned(PAGE_SIZE)));

static u64 pte(unsigned n)
{
    return n ? maddr_of(page[n]) | PTE_KERN : 0;
}

static long by_va(unsigned n, u64 flags)
{
    return hc_update_va((void *)slot.va, pte(n), flags);
}

static long va_invlpg_all(unsigned n)
{
    return by_va(n, UVMF_INVLPG | UVMF_ALL);
}

static long va_flush_all(unsigned n)
{
    return by_va(n, UVMF_TLB_FLUSH | UVMF_ALL);
}

static long va_invlpg_mask(unsigned n)
{
    return by_va(n, UVMF_INVLPG | (u64)mask);
}

static long va_flush_mask(unsigned n)
{
    return by_va(n, UVMF_TLB_FLUSH | (u64)mask);
}

static long update_then(unsigned n, unsigned cmd, u64 arg1, u64 arg2)
{
    long rc = mmu_write_type(slot.maddr, pte(n), MMU_NORMAL_PT_UPDATE, DOMID_SELF);

    return rc ? rc : mmuext(cmd, arg1, arg2);
}

static long op_flush_all(unsigned n)
{
    return update_then(n, MMUEXT_TLB_FLUSH_ALL, 0, 0);
}

static long op_invlpg_all(unsigned n)
{
    return update_then(n, MMUEXT_INVLPG_ALL, slot.va, 0);
}

static long op_flush_mask(unsigned n)
{
    return update_then(n, MMUEXT_TLB_FLUSH_MULTI, 0, (u64)mask);
}

static long op_invlpg_mask(unsigned n)
{
    return update_then(n, MMUEXT_INVLPG_MULTI, slot.va, (u64)mask);
}

static long in_multicall(unsigned n)
{
    struct mmu_update req = {.ptr = slot.maddr, .val = pte(n)};
    struct mmuext_op op = {.cmd = MMUEXT_INVLPG_MULTI, .arg1.linear_addr = slot.va};
    struct multicall_entry mc[2] = {
        {.op = __HYPERVISOR_mmu_update, .args = {(u64)&req, 1, 0, DOMID_SELF}},
        {.op = __HYPERVISOR_mmuext_op, .args = {(u64)&op, 1, 0, DOMID_SELF}}};
    long rc;

    set_xen_guest_handle(op.arg2.vcpumask, (void *)mask);
    rc = hc_multicall(mc, 2);
    return rc ? rc : mc[0].result ? (long)mc[0].result : (long)mc[1].result;
}

static const struct {
    const char *name;
    long (*change)(unsigned n);
} ways[] = {
    {"update_va_mapping, INVLPG, all", va_invlpg_all},
    {"update_va_mapping, FLUSH, all", va_flush_all},
    {"update_va_mapping, INVLPG, mask", va_invlpg_mask},
    {"update_va_mapping, FLUSH, mask", va_flush_mask},
    {"TLB_FLUSH_ALL", op_flush_all},
    {"INVLPG_ALL", op_invlpg_all},
    {"TLB_FLUSH_MULTI", op_flush_mask},
    {"INVLPG_MULTI", op_invlpg_mask},
    {"multicall with INVLPG_MULTI", in_multicall},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* --- the checks --- */

static void set_mask(u64 first, u64 rest)
{
    mask[0] = first;
    for (unsigned i = 1; i < 128; i++)
        mask[i] = rest;
}

/* Everybody has page `from` loaded; the readers in `who` must find page `to` after it. */
static unsigned change(long (*how)(unsigned), unsigned from, unsigned to, u64 who)
{
    unsigned wrong = 0;

    va_flush_all(from);
    for (u64 w = who; w; w &= w - 1)
        wrong += seen_by(__builtin_ctzl(w)) != from;
    wrong += how(to) != 0;
    for (u64 w = who; w; w &= w - 1)
        wrong += seen_last(__builtin_ctzl(w)) != to;
    return wrong;
}

static void every_way(unsigned n, unsigned rounds)
{
    u64 everyone = (1UL << n) - 2;

    for (unsigned i = 0; i < WAYS; i++) {
        unsigned wrong = 0;

        for (unsigned r = 0; r < rounds; r++) {
            u64 who = r ? 1UL << (1 + r % (n - 1)) : everyone;

            set_mask(who, 0);
            wrong += change(ways[i].change, 1, 2, who);
            wrong += change(ways[i].change, 2, GONE, who);
            wrong += change(ways[i].change, 2, 1, who);
        }
        is(wrong, 0, "%s", ways[i].name);
    }
}

/* Bits of vcpus that do not exist; words past the last vcpu may not even be there. */
static void wild_masks(unsigned n)
{
    u64 everyone = (1UL << n) - 2;
    u64 *edge = (u64 *)(window(100) + PAGE_SIZE) - 1;
    void *under = page_alloc();
    struct mmuext_op op = {.cmd = MMUEXT_TLB_FLUSH_MULTI};
    unsigned wrong = 0;
    u32 done;

    set_mask(~0UL, ~0UL);
    for (unsigned i = 0; i < WAYS; i++)
        wrong += change(ways[i].change, 1, 2, everyone);
    is(wrong, 0, "masks of all ones");
    set_mask(~0UL << n, ~0UL);
    for (unsigned i = 0; i < WAYS; i++)
        wrong += ways[i].change(1 + i % 2) != 0;
    is(wrong, 0, "masks of vcpus that do not exist");
    set_mask(0, 0);
    for (unsigned i = 0; i < WAYS; i++)
        wrong += ways[i].change(1 + i % 2) != 0;
    is(wrong, 0, "empty masks");
    window_map(100, maddr_of(under) | PTE_KERN);
    window_map(101, 0);
    *edge = ~0UL;
    set_xen_guest_handle(op.arg2.vcpumask, (void *)edge);
    is(hc_mmuext(&op, 1, &done, DOMID_SELF), 0, "a mask that ends with its page");
    is(hc_update_va((void *)slot.va, pte(1), UVMF_INVLPG | (u64)edge), 0, "in update_va too");
    refused(mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, window(101)), "a mask that is not there");
    refused(mmuext(MMUEXT_INVLPG_MULTI, slot.va, HOLE_START), "a mask in the hole");
    refused(mmuext(MMUEXT_INVLPG_MULTI, slot.va, NON_CANONICAL), "a mask nowhere at all");
    refused(hc_update_va((void *)slot.va, pte(2), UVMF_INVLPG | window(101)),
            "update_va with a mask that is not there");
    refused(hc_update_va((void *)slot.va, pte(2), UVMF_TLB_FLUSH | HOLE_START),
            "update_va with a mask in the hole");
    window_map(100, 0);
    page_free(under);
}

static int state_of(unsigned id)
{
    static struct vcpu_runstate_info info;

    return hc_vcpu(VCPUOP_get_runstate_info, id, &info) ? -1 : info.state;
}

/* A vcpu that sleeps need not be interrupted, but must not wake with old translations. */
static void while_asleep(unsigned n, unsigned rounds)
{
    unsigned wrong = 0, id = n - 1;
    u64 me = 1UL << id;

    for (unsigned r = 0; r < rounds; r++) {
        set_mask(me, 0);
        va_flush_all(1);
        wrong += seen_last(id) != 1;
        WAIT_FOR(&cpus[0], state_of(id) == RUNSTATE_blocked, "a reader to block");
        wrong += ways[r % WAYS].change(r & 1 ? 2 : GONE) != 0;
        wrong += seen_last(id) != (r & 1 ? 2 : GONE);
    }
    is(wrong, 0, "a vcpu that was blocked sees the change");
    for (unsigned r = 0; r < rounds; r++) {
        set_mask(me, 0);
        va_flush_all(1);
        wrong += seen_by(id) != 1;
        hc_vcpu(VCPUOP_down, id, NULL);
        WAIT_FOR(&cpus[0], state_of(id) == RUNSTATE_offline, "a reader to go down");
        wrong += ways[r % WAYS].change(r & 1 ? 2 : GONE) != 0;
        hc_vcpu(VCPUOP_up, id, NULL);
        wrong += seen_last(id) != (r & 1 ? 2 : GONE);
    }
    is(wrong, 0, "a vcpu that was down sees the change");
}

/*
 * A page table that was unlinked and became a plain page: its translations are gone for all,
 * without a word from the guest. On real CPUs an entry that stays would let the guest write a
 * table in use.
 */
static void former_tables(unsigned n, unsigned rounds)
{
    struct slot usual = slot;
    u64 *l2e, whole, wrong = 0;
    void *table;

    slot = (struct slot){.va = 0x62000000000};
    slot.entry = pte_make(l4_table(), slot.va);
    mmu_write(slot.entry, pte(1));
    l2e = pte_at(slot.va, 2);
    whole = *l2e;
    table = (void *)((u64)slot.entry & ~(PAGE_SIZE - 1));
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned id = 1; id < n; id++)
            wrong += seen_by(id) != 1;
        wrong += mmu_write(l2e, 0) != 0;
        wrong += set_rw(table) != 0;
        for (unsigned id = 1; id < n; id++)
            wrong += seen_last(id) != GONE;
        wrong += set_ro(table) != 0;
        wrong += mmu_write(l2e, whole) != 0;
    }
    is(wrong, 0, "what a page table mapped is gone for all when it is one no more");
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned id = 1; id < n; id++)
            wrong += seen_by(id) != 1;
        wrong += mmu_write(l2e, 0) != 0;
        wrong += mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0) != 0;
        for (unsigned id = 1; id < n; id++)
            wrong += seen_last(id) != GONE;
        wrong += mmu_write(l2e, whole) != 0;
    }
    is(wrong, 0, "and when its link went and all were flushed");
    slot = usual;
}

/* The test of the test: without a flush the readers do keep what they had, mostly. */
static void without_flush(unsigned n)
{
    unsigned stale = 0, neither = 0;

    for (unsigned r = 0; r < 60; r++) {
        u64 found;

        va_flush_all(1);
        seen_by(1 + r % (n - 1));
        by_va(2, UVMF_NONE);
        found = seen_last(1 + r % (n - 1));
        stale += found == 1;
        neither += found != 1 && found != 2;
    }
    is(neither, 0, "without a flush: the old or the new");
    ok(stale > 0, "and the old does happen (%u of 60)", stale);
}

/* --- storms --- */

#define STORM 100

static u64 storm_va[MAX_CPUS];

static void storm(struct cpu *c)
{
    u64 own_mask[1] = {~0UL};
    u64 va = storm_va[c->id], entry = maddr_of(page[1 + c->id % 2]) | PTE_KERN;

    for (unsigned i = 0; i < STORM; i++) {
        u64 what = smp_rand(c) % 8;

        own_mask[0] = smp_rand(c);
        if (what == 0)
            c->bad += mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0) != 0;
        else if (what == 1)
            c->bad += mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, (u64)own_mask) != 0;
        else if (what == 2)
            c->bad += mmuext(MMUEXT_INVLPG_MULTI, va, (u64)own_mask) != 0;
        else if (what == 3)
            c->bad += mmuext(MMUEXT_INVLPG_ALL, va, 0) != 0;
        else if (what == 4)
            c->bad += hc_update_va((void *)va, 0, UVMF_INVLPG | UVMF_ALL) != 0 ||
                      EX_ON(c, "movq (%0), %%rax",
                            :
                            : "r"(va)
                            : "rax", "memory") != 14;
        else
            c->bad += hc_update_va((void *)va, entry, UVMF_TLB_FLUSH | (u64)own_mask) != 0 ||
                      EX_ON(c, "movq (%0), %%rax",
                            :
                            : "r"(va)
                            : "rax", "memory") != VEC_NONE;
        c->good++;
    }
}

static void storms(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        storm_va[i] = window(200 + i);
    smp_all(n, storm, "the flush storm");
    is(smp_sum_good(n), n * STORM, "all vcpus flush all: it ends");
    is(smp_sum_bad(n), 0, "and each sees its own mappings right");
    for (unsigned i = 0; i < n; i++)
        window_map(200 + i, 0);
}

void test_smp_tlb(void)
{
    unsigned n = smp_present();

    smp_start(n);
    for (unsigned i = 1; i < 3; i++) {
        page[i] = page_alloc();
        page[i][0] = i;
    }
    slot = smp_slot(7);
    for (unsigned i = 1; i < n; i++)
        smp_begin(i, reader);
    without_flush(n);
    every_way(n, 9);
    wild_masks(n);
    while_asleep(n, 60);
    former_tables(n, 10);
    for (unsigned i = 1; i < n; i++) {
        ask(i, END);
        smp_finish(i, "a reader's end");
    }
    storms(n);
    ok(tables_are_readonly(), "no table is mapped writable");
}
