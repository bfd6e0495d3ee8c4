/*
 * Grants used by several vcpus at once: pins and marks that must come out even, handles that must
 * be given out once, entries and page tables that change under a request, and a translation that
 * must be gone when its mapping is.
 */
#include "gnt.h"

#define FIRST_REF 8

static unsigned n_cpus;
static u64 rounds, meetings;
static struct slot slot;
static struct barrier meet, meet_again;
static u64 table_mfn;

static u32 ref_of(unsigned i)
{
    return FIRST_REF + i;
}

static void give_all(void)
{
    for (unsigned i = 0; i < SMP_PAGES; i++) {
        smp_page[i][0] = 1000 + i;
        gnt_give(ref_of(i), own_id, smp_mfn[i], 0);
    }
}

static void all_are_free(const char *what)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < SMP_PAGES; i++)
        bad += gnt[ref_of(i)].flags != GTF_permit_access;
    is(bad, 0, "%s: no grant is in use", what);
    smp_pages_are_free(what);
    give_all();
}

/* XSA-218: the handle of one mapping, unmapped by all: one succeeds. */
static u32 shared_handle;

static void unmap_together(struct cpu *c)
{
    for (u64 i = 0; i < meetings; i++) {
        int status;

        if (c->id == 0)
            c->bad +=
                gnt_map_at(slot.va, own_id, ref_of(0), GNTMAP_host_map, &shared_handle) != 0;
        smp_barrier(c, &meet, n_cpus);
        status = gnt_unmap(slot.va, 0, shared_handle);
        c->good += status == GNTST_okay;
        c->bad += status != GNTST_okay && status != GNTST_bad_handle;
        smp_barrier(c, &meet_again, n_cpus);
    }
}

static void one_handle(void)
{
    smp_all(n_cpus, unmap_together, "unmapping by all");
    is(smp_sum_good(n_cpus), meetings, "XSA-218: a handle is unmapped once");
    is(smp_sum_bad(n_cpus), 0, "the others are told that it is none");
    all_are_free("XSA-218");
}

/* XSA-228, 230: maps, copies and unmaps of the same few grants by all. */
#define N_HANDLES 4096

static u8 handle_used[N_HANDLES];

static void storm_once(struct cpu *c, u64 va)
{
    u64 r = smp_rand(c);
    unsigned which = r % SMP_PAGES;
    u32 h, flags = GNTMAP_host_map | (r & 0x100 ? GNTMAP_readonly : 0);
    struct gnttab_copy op = {GNT_REF(own_id, ref_of(which), 0),
                             GNT_REF(own_id, ref_of(r >> 20 & 7), 8), 8,
                             GNTCOPY_source_gref | GNTCOPY_dest_gref, 0};

    c->bad += gnt_copy(&op) != GNTST_okay;
    if (gnt_map_at(va, own_id, ref_of(which), flags, &h) || h >= N_HANDLES) {
        c->bad++;
        return;
    }
    c->bad += __atomic_exchange_n(&handle_used[h], 1, __ATOMIC_SEQ_CST);
    c->bad += *(volatile u64 *)va != 1000 + which;
    __atomic_store_n(&handle_used[h], 0, __ATOMIC_SEQ_CST);
    c->bad += gnt_unmap(va, 0, h) != GNTST_okay;
}

static void storm(struct cpu *c)
{
    u64 va = smp_slot(20 + c->id).va;

    for (rounds_start(c, n_cpus); rounds_left(c, rounds);)
        storm_once(c, va);
}

static void storms(void)
{
    smp_all(n_cpus, storm, "a storm of mappings");
    is(smp_sum_bad(n_cpus), 0, "XSA-228: handles of all vcpus are different, all is mapped");
    all_are_free("XSA-228");
}

/*
 * XSA-500, 230: vcpu 0 rewrites the entries with frames that must not be written, and with none
 * at all, while the others use what they find.
 */
static void rewrite(struct cpu *c)
{
    u64 r = smp_rand(c);
    u32 ref = ref_of(r & 3);

    switch (r >> 8 & 7) {
    case 0:
        gnt[ref].frame = table_mfn;
        break;
    case 1:
        gnt[ref].frame = ~0U;
        break;
    case 2:
        gnt[ref].flags = 0;
        break;
    case 3:
        gnt[ref].flags = GTF_permit_access | GTF_reading | GTF_writing;
        break;
    case 4:
        gnt[ref].domid = own_id + 1;
        break;
    case 5:
        gnt[ref].flags = GTF_permit_access | GTF_readonly;
        break;
    default:
        gnt[ref].frame = smp_mfn[r >> 16 & 7];
        gnt[ref].domid = own_id;
        gnt[ref].flags = GTF_permit_access;
        break;
    }
}

static void use_rewritten(struct cpu *c, u64 va)
{
    u64 r = smp_rand(c), pte;
    u32 h;
    struct gnttab_copy op = {GNT_OWN(smp_mfn[7], 0), GNT_REF(own_id, ref_of(r & 3), 4000), 8,
                             GNTCOPY_dest_gref, 0};

    gnt_copy(&op);
    if (gnt_map_at(va, own_id, ref_of(r >> 4 & 3), GNTMAP_host_map, &h))
        return;
    pte = pte_read(va);
    c->bad += (pte & PTE_ADDR) == table_mfn << 12;
    c->good++;
    c->bad += gnt_unmap(va, 0, h) != GNTST_okay;
}

static void rewriting(struct cpu *c)
{
    u64 va = smp_slot(20 + c->id).va;

    for (rounds_start(c, n_cpus); rounds_left(c, rounds);) {
        if (c->id == 0)
            rewrite(c);
        else
            use_rewritten(c, va);
    }
}

static void rewritten(void)
{
    u64 *table = page_alloc();

    make_table(1, table);
    table_mfn = mfn_of(table);
    smp_all(n_cpus, rewriting, "entries rewritten");
    is(smp_sum_bad(n_cpus), 0, "XSA-500: entries rewritten while others use them");
    ok(smp_sum_good(n_cpus), "%lu uses", smp_sum_good(n_cpus));
    for (unsigned i = 1; i < 512; i++)
        if (table[i])
            die("a table was written through a grant");
    drop_table(table);
    give_all();
    all_are_free("XSA-500");
}

/* The page-table entry of a mapping is changed by others, by ordinary means and by mappings. */
static void fight_once(struct cpu *c)
{
    u64 r = smp_rand(c);
    unsigned which = r % SMP_PAGES;
    u32 h;

    if (r & 0x100)
        mmu_write_type(slot.maddr, r & 0x200 ? 0 : maddr_of(smp_page[which]) | PTE_KERN,
                       MMU_NORMAL_PT_UPDATE, DOMID_SELF);
    if (gnt_map_at(slot.va, own_id, ref_of(which), GNTMAP_host_map, &h))
        c->bad++;
    else if (gnt_unmap(slot.va, 0, h) == GNTST_okay)
        c->good++;
    else {
        /* Its entry went: with one put there by hand it ends, when nobody interferes. */
        do
            mmu_write_type(slot.maddr, maddr_of(smp_page[which]) | PTE_KERN,
                           MMU_NORMAL_PT_UPDATE, DOMID_SELF);
        while (gnt_unmap(slot.va, 0, h) != GNTST_okay);
    }
}

static void fight(struct cpu *c)
{
    for (rounds_start(c, n_cpus); rounds_left(c, rounds);)
        fight_once(c);
}

static void entry_fight(void)
{
    smp_all(n_cpus, fight, "a fight for an entry");
    is(smp_sum_bad(n_cpus), 0, "one page-table entry for the mappings of all");
    note("%lu were undisturbed", smp_sum_good(n_cpus));
    hc_update_va((void *)slot.va, 0, UVMF_INVLPG | UVMF_ALL);
    all_are_free("a fight for an entry");
}

/* After the unmap nobody writes the page any more, whatever its TLB holds. */
static volatile u64 stop_writing;

static void writer(struct cpu *c)
{
    u64 n = 0;

    while (!stop_writing) {
        n++;
        if (EX_ON(c, "movq %0, (%1)", : : "r"(n), "r"(slot.va) : "memory") == VEC_NONE)
            c->good++;
    }
}

static void stale(struct cpu *c)
{
    if (c->id) {
        writer(c);
        return;
    }
    for (u64 i = 0; i < meetings; i++) {
        volatile u64 *seen = smp_page[0];
        u64 then;
        u32 h;

        c->bad += gnt_map_at(slot.va, own_id, ref_of(0), GNTMAP_host_map, &h) != GNTST_okay;
        then = *seen;
        WAIT_FOR(c, *seen != then, "a writer");
        c->bad += gnt_unmap(slot.va, 0, h) != GNTST_okay;
        then = *seen = 0x5e7a1;
        for (unsigned k = 0; k < 200; k++)
            asm volatile("pause" : : : "memory");
        c->bad += *seen != then;
    }
    stop_writing = 1;
}

static void stale_translations(void)
{
    smp_all(n_cpus, stale, "writers through a mapping");
    is(smp_sum_bad(n_cpus), 0, "nobody writes through a mapping that has ended");
    ok(smp_sum_good(n_cpus), "before, they did");
    all_are_free("stale translations");
}

void test_smp_grants(void)
{
    n_cpus = smp_present();
    rounds = option_number("rounds", 500);
    meetings = rounds / 20;
    smp_start(n_cpus);
    smp_pages_take();
    gnt_init(1);
    give_all();
    slot = smp_slot(19);
    one_handle();
    storms();
    rewritten();
    entry_fight();
    stale_translations();
    ok(tables_are_readonly(), "no table is mapped writable");
}
