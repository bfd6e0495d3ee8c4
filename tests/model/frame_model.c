/*
 * Every state that a small world of frames can reach: 3 frames, 2 domains, tables of 2 entries,
 * levels 1 and 2, one CPU whose TLB and walk caches keep whatever they are not made to forget.
 *
 * The rules come from the shipped sources: core/frame.h decides, guest/frame.c (included by
 * frame_mutants.h, over the stubs in stubs/) swaps and acts. Played, in frame_world.h, are
 * guest/mmu.c on two entries, the heap, the CPU, and guests that try everything: each hypercall
 * with each argument, and any value written to any frame that a translation still lets them
 * write.
 *
 * After each step:
 *  C1 each type count is the number of uses, each reference count the number of references:
 *     read-only entries, one while in use, one while allocated; and frame_check() holds;
 *  C2 a present entry of a valid table names a frame of the table's owner, in an L2 a valid L1;
 *  C3 no valid table can be written by way of any translation the CPU may hold;
 *  C4 no writable or other-level frame is walked as a table by way of a cached upper entry;
 *  C5 at allocation the CPU holds nothing about the frame;
 *  C6 a page that the hypervisor writes for its owner (REF_SPECIAL) is no table.
 *
 * Worlds that differ only by the names of frames and domains count as one. The mutants, each
 * an error seeded in the rules or in what acts on them, must all be found.
 */
#include <stdlib.h>
#include <time.h>

#include "frame_world.h"

/* ---- states ---- */

typedef unsigned __int128 key_t128;

/*
 * What a frame holds matters while it is a table or walked as one. Otherwise its owner can write
 * it as it likes: it holds nothing here, and every step that looks at it is tried with all that
 * it might hold.
 */
static bool is_tracked(int f)
{
    u64 typ = w.frames[f].typ;

    return (typ & TYP_INUSE && type_is_table(typ_type(typ))) ||
           (w.walks[0] | w.walks[1]) & 1 << f;
}

/* Allocated, of unknown contents, and not in use: the next use may be as a table. */
static unsigned open_frames(void)
{
    unsigned mask = 0;

    for (int f = 0; f < FRAMES; f++)
        if (w.frames[f].ref && !(w.frames[f].typ & TYP_INUSE) && !is_tracked(f))
            mask |= 1U << f;
    return mask;
}

/* Only whether something was flushed since a stamp matters: clock 1, stamps 0 or 1. */
static void normalise(void)
{
    for (int f = 0; f < FRAMES; f++) {
        u64 *typ = &w.frames[f].typ;

        if (!(*typ & TYP_INUSE))
            *typ = typ_type(*typ) | (typ_stamp(*typ) >= clock_now ? TYP_ONE : 0);
        if (!is_tracked(f))
            memset(w.entry[f], 0, SLOTS);
    }
    clock_now = 1;
}

#define FRAME_BITS 21

/* One frame apart from its entries; flags and counts are small, checked by check_world. */
static u64 pack_frame(const struct world *x, int f, bool swap)
{
    u64 ref = x->frames[f].ref, typ = x->frames[f].typ;
    u64 owner = !ref ? 0 : 1 + ((ref_owner(ref) - 1) ^ swap);

    return owner | ref_count(ref) << 2 | (typ & 0x5f) << 6 | (typ >> TYP_SHIFT & 15) << 13 |
           (u64)(x->writes >> f & 1) << 17 | (u64)(x->walks[0] >> f & 1) << 18 |
           (u64)(x->walks[1] >> f & 1) << 19 | (u64)(ref & REF_SPECIAL ? 1 : 0) << 20;
}

static u8 rename_entry(u8 e, const u8 *place)
{
    return e ? (u8)(1 + place[target_of(e)] * 2 + !is_writable(e)) : 0;
}

/* The frames in this order, packed ones first: they decide most comparisons. */
static key_t128 pack(const struct world *x, const u8 *order, const u64 frame[FRAMES])
{
    key_t128 key = ((key_t128)frame[order[0]] << FRAME_BITS | frame[order[1]]) << FRAME_BITS |
                   frame[order[2]];
    u8 place[FRAMES];

    for (int i = 0; i < FRAMES; i++)
        place[order[i]] = (u8)i;
    for (int i = 0; i < FRAMES; i++) {
        const u8 *e = x->entry[order[i]];
        u8 a = rename_entry(e[0], place), b = rename_entry(e[1], place);

        /* The slots of a table are alike. */
        key = key << 6 | (u64)MIN(a, b) << 3 | MAX(a, b);
    }
    return key << 1 | x->freed_unflushed;
}

static const u8 orders[6][FRAMES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* The smallest key under all renamings. */
static key_t128 canonical(const struct world *x)
{
    key_t128 best = ~(key_t128)0;

    for (int swap = 0; swap < DOMAINS; swap++) {
        u64 frame[FRAMES];

        for (int f = 0; f < FRAMES; f++)
            frame[f] = pack_frame(x, f, swap);
        for (unsigned o = 0; o < 6; o++) {
            const u8 *i = orders[o];
            key_t128 key;

            if (frame[i[0]] > frame[i[1]] || frame[i[1]] > frame[i[2]])
                continue;
            key = pack(x, i, frame);
            best = MIN(best, key);
        }
    }
    return best;
}

static struct world unpack(key_t128 key)
{
    struct world x = {.freed_unflushed = key & 1};

    key >>= 1;
    for (int f = FRAMES - 1; f >= 0; f--)
        for (int s = SLOTS - 1; s >= 0; s--, key >>= 3)
            x.entry[f][s] = key & 7;
    for (int f = FRAMES - 1; f >= 0; f--, key >>= FRAME_BITS) {
        u64 frame = (u64)key & (BIT(FRAME_BITS) - 1), owner = frame & 3;

        x.frames[f].ref = owner ? REF_OWNER(owner) | REF_ALLOCATED | (frame >> 2 & 15) : 0;
        x.frames[f].ref |= frame >> 20 ? REF_SPECIAL : 0;
        x.frames[f].typ = (frame >> 6 & 0x5f) | (frame >> 13 & 15) << TYP_SHIFT;
        x.writes |= (frame >> 17 & 1) << f;
        x.walks[0] |= (frame >> 18 & 1) << f;
        x.walks[1] |= (frame >> 19 & 1) << f;
    }
    return x;
}

/* ---- the search: a queue that is also the set's storage, and a table of indices into it ---- */

#define TABLE_BITS 23
#define MAX_STATES (1U << (TABLE_BITS - 1))

static key_t128 *queue;
static u32 *table;
static u32 nr_states;
static u64 nr_steps;

static void remember(void)
{
    key_t128 key;
    u64 h;

    normalise();
    key = canonical(&w);
    h = ((u64)key ^ (u64)(key >> 64) * 0x9e3779b97f4a7c15UL) * 0xd6e8feb86659fd93UL;
    h >>= 64 - TABLE_BITS;
    while (table[h]) {
        if (queue[table[h] - 1] == key)
            return;
        h = (h + 1) & ((1U << TABLE_BITS) - 1);
    }
    if (nr_states == MAX_STATES) {
        fprintf(stderr, "frame_model: more states than fit\n");
        exit(1);
    }
    queue[nr_states] = key;
    table[h] = ++nr_states;
}

/* All that can happen. */
enum {
    STEP_ALLOC,
    STEP_ALLOC_SPECIAL,
    STEP_FREE,
    STEP_PIN1,
    STEP_PIN2,
    STEP_UNPIN,
    STEP_UPDATE,
    STEP_WRITE,
    STEP_FLUSH
};

struct step {
    u8 op, d, f, slot, value;
};

static struct step steps[256];
static unsigned nr_step_kinds;

static void add_step(u8 op, u8 d, u8 f, u8 slot, u8 value)
{
    steps[nr_step_kinds++] = (struct step){op, d, f, slot, value};
}

static void list_steps(void)
{
    for (u8 f = 0; f < FRAMES; f++) {
        for (u8 d = 1; d <= DOMAINS; d++) {
            for (u8 op = STEP_ALLOC; op <= STEP_UNPIN; op++)
                add_step(op, d, f, 0, 0);
            for (u8 i = 0; i < SLOTS * VALUES; i++)
                add_step(STEP_UPDATE, d, f, i % SLOTS, i / SLOTS);
        }
        for (u8 i = 0; i < SLOTS * VALUES; i++)
            add_step(STEP_WRITE, 0, f, i % SLOTS, i / SLOTS);
    }
    add_step(STEP_FLUSH, 0, 0, 0, 0);
}

static void perform(const struct step *s)
{
    switch (s->op) {
    case STEP_ALLOC:
    case STEP_ALLOC_SPECIAL:
        op_alloc(s->d, s->f, s->op == STEP_ALLOC ? 0 : REF_SPECIAL);
        break;
    case STEP_FREE:
        op_free(s->d, s->f);
        break;
    case STEP_PIN1:
    case STEP_PIN2:
        op_pin(s->d, s->f, s->op == STEP_PIN1 ? TYPE_L1 : TYPE_L2);
        break;
    case STEP_UNPIN:
        op_unpin(s->d, s->f);
        break;
    case STEP_UPDATE:
        op_update(s->d, s->f, s->slot, s->value);
        break;
    case STEP_WRITE:
        if (w.writes & 1 << s->f)
            op_guest_write(s->f, s->slot, s->value);
        break;
    default:
        flush();
    }
}

static unsigned named_in(int f)
{
    unsigned mask = 0;

    for (int s = 0; s < SLOTS; s++)
        if (w.entry[f][s])
            mask |= 1U << target_of(w.entry[f][s]);
    return mask;
}

/* The frames whose contents the step looks at, first those of the table it names. */
static unsigned looks_at(const struct step *s)
{
    unsigned self = 1U << s->f, open = open_frames();

    if (s->op == STEP_PIN1)
        return open & self;
    if (s->op == STEP_PIN2)
        return open & self ? self : open & named_in(s->f);
    if (s->op == STEP_UPDATE && s->value && is_valid(s->f, TYPE_L2))
        return open & 1U << target_of(s->value);
    return 0;
}

/* The step from this world, with all that the frames in 'mask' might hold. */
static void try_step(const struct world *from, const struct step *s, unsigned mask)
{
    int f = __builtin_ctz(mask | 1U << FRAMES);

    w = *from;
    clock_now = 1;
    if (!mask) {
        nr_steps++;
        perform(s);
        cpu_learn();
        if (!memcmp(&w, from, sizeof(w)))
            return;
        check_world();
        remember();
        return;
    }
    for (u8 i = 0; i < VALUES * VALUES; i++) {
        struct world x = *from;
        unsigned rest = mask & ~(1U << f);

        x.entry[f][0] = i / VALUES;
        x.entry[f][1] = i % VALUES;
        w = *from;
        if (s->op == STEP_PIN2 && f == s->f) {
            rest = open_frames() & ~(1U << f);
            w = x;
            rest &= named_in(f);
        }
        try_step(&x, s, rest);
    }
}

/* True when the whole world was seen and no rule broken. */
static bool explore(void)
{
    memset(table, 0, sizeof(*table) << TABLE_BITS);
    nr_states = 0;
    nr_steps = 0;
    w = (struct world){0};
    clock_now = 1;
    if (setjmp(violated))
        return false;
    remember();
    for (u32 i = 0; i < nr_states; i++) {
        struct world from = unpack(queue[i]);

        for (unsigned n = 0; n < nr_step_kinds; n++) {
            w = from;
            try_step(&from, &steps[n], looks_at(&steps[n]));
        }
    }
    return true;
}

int main(void)
{
    bool all_ok = true;

    queue = malloc(sizeof(*queue) * MAX_STATES);
    table = malloc(sizeof(*table) << TABLE_BITS);
    if (!queue || !table)
        return 1;
    list_steps();
    printf("1..%d\n", NR_MUTANTS);
    for (int m = 0; m < NR_MUTANTS; m++) {
        clock_t start = clock();
        bool sound, ok;

        mutant = (enum mutant)m;
        sound = explore();
        ok = sound == (m == M_NONE);
        all_ok &= ok;
        printf("%s %d - frame_model %s: %s\n", ok ? "ok" : "not ok", m + 1, mutants[m].name,
               mutants[m].text);
        printf("# %s; %u states, %lu steps, %.1f s\n", sound ? "no rule broken" : violation,
               nr_states, nr_steps, (double)(clock() - start) / CLOCKS_PER_SEC);
        fflush(stdout);
    }
    return all_ok ? 0 : 1;
}
