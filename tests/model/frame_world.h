/*
 * The world of frame_model.c: frames and what they hold, a CPU that remembers, what hypercalls
 * and guests do to them, and what must be true after each step.
 */
#ifndef SERAI_TESTS_FRAME_WORLD_H
#define SERAI_TESTS_FRAME_WORLD_H

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "frame_mutants.h"

/* ---- the world ---- */

#define FRAMES   3
#define DOMAINS  2
#define SLOTS    2
#define VALUES   (1 + 2 * FRAMES) /* an entry: absent, or a frame, read-only or writable */
#define SPECIALS 2

struct world {
    struct frame frames[FRAMES];
    u8 entry[FRAMES][SLOTS];
    /* What the CPU may have cached, one bit for each frame. */
    u8 writes;            /* a writable translation */
    u8 walks[SPECIALS];   /* an upper entry that names it as an L1, an L2 */
    bool freed_unflushed; /* a frame was freed since the last flush */
};

static struct world w;
struct frame *frames = w.frames;
u64 max_mfn = FRAMES;

static jmp_buf violated;
static char violation[160];

static _Noreturn void violate(const char *rule, int frame)
{
    snprintf(violation, sizeof(violation), "%s (frame %d)", rule, frame);
    longjmp(violated, 1);
}

void bug_report(const char *expr, const char *file, int line)
{
    snprintf(violation, sizeof(violation), "BUG_ON(%s)", expr);
    longjmp(violated, 1);
}

void tlb_relax(void)
{
    violate("waits for ever", -1);
}

void vcpu_yield(struct vcpu *to)
{
    (void)to;
}

static int target_of(u8 entry)
{
    return (entry - 1) >> 1;
}

static bool is_writable(u8 entry)
{
    return entry & 1; /* 1 + 2 * frame, one more when read-only */
}

static bool is_valid(int f, enum frame_type t)
{
    u64 typ = w.frames[f].typ;

    return typ & TYP_INUSE && typ & TYP_VALID && typ_type(typ) == t;
}

/* ---- the CPU: caches all it can, at once ---- */

/* flushed_at is the clock itself: one CPU, and it ticks only when it flushes. */
static u64 clock_now;

static void cpu_learn(void)
{
    for (int f = 0; f < FRAMES; f++) {
        if (is_valid(f, TYPE_L2))
            w.walks[1] |= 1 << f;
        if (is_valid(f, TYPE_L1))
            w.walks[0] |= 1 << f;
    }
    /* Through what is cached, too: a table that is unhooked is still walked. */
    for (int f = 0; f < FRAMES; f++)
        for (int s = 0; s < SLOTS; s++)
            if (w.walks[1] & 1 << f && w.entry[f][s])
                w.walks[0] |= 1 << target_of(w.entry[f][s]);
    for (int f = 0; f < FRAMES; f++)
        for (int s = 0; s < SLOTS; s++)
            if (w.walks[0] & 1 << f && is_writable(w.entry[f][s]))
                w.writes |= 1 << target_of(w.entry[f][s]);
}

static void flush(void)
{
    clock_now++;
    w.writes = w.walks[0] = w.walks[1] = 0;
    w.freed_unflushed = false;
    /* The CPU refills from what is valid while the hypervisor is still at work. */
    cpu_learn();
}

u64 tlb_clock(void)
{
    return clock_now;
}

void tlb_flush_since(u64 stamp, u32 owner, bool tables)
{
    (void)owner;
    (void)tables;
    if (clock_now <= stamp)
        flush();
}

/* ---- guest/mmu.c, on two entries ---- */

static int entry_get(u16 owner, int level, u8 e)
{
    mfn_t mfn = MFN(target_of(e));

    if (!e)
        return 0;
    if (level == 2) {
        if (mutant == M_L2_NAMES_L2 && !frame_type_get(owner, mfn, TYPE_L2))
            return 0;
        return frame_type_get(owner, mfn, TYPE_L1);
    }
    if (is_writable(e) && mutant != M_RW_UNTYPED)
        return frame_type_get(owner, mfn, TYPE_WRITABLE);
    if (mutant == M_GET_UNCOUNTED && !is_writable(e))
        return ref_may_get(w.frames[mfn.n].ref, owner) ? 0 : -XEN_EBUSY;
    return frame_get(owner, mfn) ? 0 : -XEN_EBUSY;
}

static void entry_put(int level, u8 e)
{
    mfn_t mfn = MFN(target_of(e));

    if (!e)
        return;
    if (level == 2 || (is_writable(e) && mutant != M_RW_UNTYPED)) {
        if (level == 2 || mutant != M_PUT_FORGOTTEN_RW)
            frame_type_put(mfn);
    } else if (mutant != M_PUT_FORGOTTEN_RO && mutant != M_GET_UNCOUNTED) {
        frame_put(mfn);
    }
}

int mmu_validate_table(u16 owner, mfn_t mfn, enum frame_type t)
{
    int level = t - TYPE_L1 + 1;

    /* R1: from here on nobody may change what is being looked at. */
    if (w.writes & 1 << mfn.n)
        violate("C3: a table is validated while it can be written", (int)mfn.n);
    for (int s = 0; s < SLOTS; s++) {
        if (!entry_get(owner, level, w.entry[mfn.n][s]))
            continue;
        for (int k = 0; k < s + (mutant == M_PARTIAL_OVERDROP); k++)
            if (mutant != M_PARTIAL_LEAK)
                entry_put(level, w.entry[mfn.n][k]);
        return -XEN_EINVAL;
    }
    return 0;
}

void mmu_devalidate_table(mfn_t mfn, enum frame_type t)
{
    for (int s = 0; s < SLOTS; s++)
        entry_put(t - TYPE_L1 + 1, w.entry[mfn.n][s]);
}

int mmu_validate_descriptors(mfn_t mfn)
{
    return 0;
}

/* hcall/mmu.c's update_one and mmu_update_entry. */
static void op_update(u16 d, int f, int slot, u8 value)
{
    enum frame_type t = frame_type_of(MFN(f));
    int level = t - TYPE_L1 + 1;
    u8 old;

    if (!type_is_table(t))
        t = TYPE_WRITABLE;
    if (frame_type_get(d, MFN(f), t))
        return;
    old = w.entry[f][slot];
    if (t == TYPE_WRITABLE) {
        w.entry[f][slot] = value;
    } else if (!entry_get(d, level, value)) {
        w.entry[f][slot] = value;
        entry_put(level, old);
    }
    frame_type_put(MFN(f));
}

/* ---- heap and memory hypercalls ---- */

void heap_free_frames(mfn_t mfn, unsigned order)
{
    memset(w.entry[mfn.n], 0, SLOTS);
    w.frames[mfn.n] = (struct frame){0, 0};
    w.freed_unflushed = true;
}

void frame_release(mfn_t mfn, u64 ref)
{
    BUG_ON(frames[mfn.n].typ & TYP_INUSE);
    BUG_ON(ref & REF_ALLOCATED);
    heap_free_frames(mfn, 0);
}

static u64 world_blocks[1];

static void op_alloc(u16 d, int f, u64 flags)
{
    struct domain dom = {d, world_blocks};

    if (w.frames[f].ref)
        return;
    if (w.freed_unflushed && mutant != M_ALLOC_NO_FLUSH)
        flush();
    if ((w.writes | w.walks[0] | w.walks[1]) & 1 << f)
        violate("C5: allocated while the CPU remembers it", f);
    memset(w.entry[f], 0, SLOTS);
    frame_assign(&dom, MFN(f), flags);
}

static void op_free(u16 d, int f)
{
    if (mutant == M_FREE_IN_USE && w.frames[f].typ & TYP_INUSE) {
        heap_free_frames(MFN(f), 0);
        return;
    }
    if (!frame_unassign(d, MFN(f)))
        heap_free_frames(MFN(f), 0);
}

static void op_pin(u16 d, int f, enum frame_type t)
{
    if (frame_pin(d, MFN(f), t))
        return;
}

static void op_unpin(u16 d, int f)
{
    int rc = frame_unpin(d, MFN(f));

    if (mutant == M_UNPIN_TWICE && rc && typ_count(w.frames[f].typ) &&
        ref_owner(w.frames[f].ref) == d)
        frame_type_put(MFN(f));
}

static void op_guest_write(int f, int slot, u8 value)
{
    w.entry[f][slot] = value;
}

/* ---- invariants ---- */

static void check_entries(int table, u64 uses[FRAMES][TYPE_SEGDESC], u64 refs[FRAMES])
{
    bool l1 = is_valid(table, TYPE_L1);

    for (int s = 0; s < SLOTS; s++) {
        u8 e = w.entry[table][s];
        int to = target_of(e);

        if (!e)
            continue;
        if (ref_owner(w.frames[to].ref) != ref_owner(w.frames[table].ref) || !w.frames[to].ref)
            violate("C2: a table names a frame of somebody else", table);
        if (!l1 && !is_valid(to, TYPE_L1))
            violate("C2: an L2 names what is not a valid L1", table);
        if (!l1)
            uses[to][TYPE_L1]++;
        else if (is_writable(e))
            uses[to][TYPE_WRITABLE]++;
        else
            refs[to]++;
    }
}

static void check_counts(int f, const u64 uses[TYPE_SEGDESC], u64 refs)
{
    u64 typ = w.frames[f].typ, ref = w.frames[f].ref;

    for (enum frame_type t = TYPE_WRITABLE; t < TYPE_SEGDESC; t++) {
        u64 count = typ_type(typ) == t ? typ_count(typ) : 0;
        u64 pin = typ_type(typ) == t && typ & TYP_PINNED ? 1 : 0;

        if (uses[t] + pin != count)
            violate("C1: the type count is not the number of uses", f);
    }
    refs += (typ & TYP_INUSE ? 1 : 0) + (ref & REF_ALLOCATED ? 1 : 0);
    if (ref_count(ref) != refs)
        violate("C1: the reference count is not the number of references", f);
    if (!frame_check(&w.frames[f]) || typ & TYP_STAMPING)
        violate("C1: frame_check", f);
    if (typ & TYP_INUSE && !(typ & TYP_VALID))
        violate("C1: in use but not valid after the step", f);
}

static void check_world(void)
{
    u64 uses[FRAMES][TYPE_SEGDESC] = {{0}}, refs[FRAMES] = {0};

    for (int f = 0; f < FRAMES; f++)
        if (is_valid(f, TYPE_L1) || is_valid(f, TYPE_L2))
            check_entries(f, uses, refs);
    for (int f = 0; f < FRAMES; f++) {
        int bit = 1 << f;

        check_counts(f, uses[f], refs[f]);
        if (w.frames[f].ref & REF_SPECIAL && (is_valid(f, TYPE_L1) || is_valid(f, TYPE_L2)))
            violate("C6: a page of the hypervisor's is a table", f);
        if (w.writes & bit && (is_valid(f, TYPE_L1) || is_valid(f, TYPE_L2)))
            violate("C3: a valid table can be written", f);
        if ((w.walks[0] | w.walks[1]) & bit && is_valid(f, TYPE_WRITABLE))
            violate("C4: a writable frame is walked as a table", f);
        if ((w.walks[1] & bit && is_valid(f, TYPE_L1)) ||
            (w.walks[0] & bit && is_valid(f, TYPE_L2)))
            violate("C4: a table is walked at another level", f);
    }
}

#endif
