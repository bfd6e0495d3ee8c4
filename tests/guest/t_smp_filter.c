/*
 * Which CPUs are interrupted for a flush: those only that may hold what has to go, and once for
 * what a batch changes. Told by the hypervisor's counters; whether translations are gone where
 * they must be is smp-tlb's and smp-flip's.
 */
#include "guest.h"

#define ROUNDS 320
#define TABLES 12

static volatile bool enough;

/* A vcpu that has the tables loaded, used them, and sleeps again. */
static void look(struct cpu *c)
{
    c->good += *(volatile u64 *)l4_table() != 0;
}

static void stay_awake(struct cpu *c)
{
    while (!enough)
        asm volatile("pause" : : : "memory");
}

/* A page becomes a table and a page again, and all are flushed. */
static unsigned change_types(void *page)
{
    unsigned wrong = make_table(1, page) != 0;

    wrong += unpin(page) != 0 || set_rw(page) != 0;
    return wrong + (mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0) != 0);
}

/* Vcpu 0 works; now and then another one wakes for a moment. */
static void one_busy(unsigned n)
{
    u64 candidates = hv_counter("tlb.shootdown_candidate"), asked = hv_counter("ipi.flush");
    void *page = page_alloc();
    unsigned wrong = 0;

    for (unsigned r = 0; r < ROUNDS; r++) {
        if (r % 16 == 0) {
            unsigned id = 1 + r / 16 % (n - 1);

            smp_begin(id, look);
            smp_finish(id, "a short look");
        }
        wrong += change_types(page);
    }
    candidates = hv_counter("tlb.shootdown_candidate") - candidates;
    asked = hv_counter("ipi.flush") - asked;
    is(wrong, 0, "changes of type while others sleep");
    ok(candidates >= 3UL * ROUNDS * (n - 1), "each other CPU might have to flush (%lu times)",
       candidates);
    ok(asked * 10 <= candidates, "at most a tenth is interrupted for it (%lu)", asked);
    page_free(page);
}

static struct mmuext_op ops[TABLES];
static struct multicall_entry batch[2 * TABLES];

static unsigned failed(void)
{
    unsigned bad = hc_multicall(batch, 2 * TABLES) != 0;

    for (unsigned i = 0; i < 2 * TABLES; i++)
        bad += batch[i].result != 0;
    return bad;
}

/* As Linux does it: each page is made read-only, then pinned; or unpinned, then made writable. */
static void prepare(u8 *const *page, bool table)
{
    for (unsigned i = 0; i < TABLES; i++) {
        u64 pte = maddr_of(page[i]) | (table ? PTE_KERN & ~PTE_RW : PTE_KERN);

        ops[i].cmd = table ? MMUEXT_PIN_L1_TABLE : MMUEXT_UNPIN_TABLE;
        ops[i].arg1.mfn = mfn_of(page[i]);
        batch[2 * i + table] =
            (struct multicall_entry){.op = __HYPERVISOR_mmuext_op,
                                     .args = {(u64)&ops[i], 1, 0, DOMID_SELF},
                                     .result = 1};
        batch[2 * i + !table] = (struct multicall_entry){
            .op = __HYPERVISOR_update_va_mapping, .args = {(u64)page[i], pte, 0}, .result = 1};
    }
}

/* All others use the tables all the time, so each round of interrupts reaches them. */
static void batches(unsigned n)
{
    u8 *page[TABLES];
    u64 asked = 0, begin, most;
    unsigned bad = 0;

    enough = false;
    for (unsigned id = 1; id < n; id++)
        smp_begin(id, stay_awake);
    for (unsigned i = 0; i < TABLES; i++)
        page[i] = page_alloc();
    begin = hv_counter("ipi.flush");
    prepare(page, true);
    bad += failed();
    for (unsigned i = 0; i < TABLES; i++)
        bad += set_rw(page[i]) == 0;
    prepare(page, false);
    bad += failed();
    asked = hv_counter("ipi.flush") - begin;
    enough = true;
    for (unsigned id = 1; id < n; id++)
        smp_finish(id, "the end of being awake");
    for (unsigned i = 0; i < TABLES; i++) {
        page[i][0] = 1;
        page_free(page[i]);
    }
    is(bad, 0, "tables pinned and unpinned by batches");
    /* A round each way, and one more where a CPU flushed by itself meanwhile. */
    most = 4UL * (n - 1);
    ok(asked <= most, "others are interrupted once for a batch (%lu times, at most %lu)", asked,
       most);
}

void test_smp_filter(void)
{
    unsigned n = smp_present();

    smp_start(n);
    one_busy(n);
    batches(n);
    ok(tables_are_readonly(), "no table is mapped writable");
}
