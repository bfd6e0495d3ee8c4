/*
 * Every state that a small world of leases can reach: one address, two domains of which one comes
 * back with another interface, three places for leases, two leaves; a clock whose step is half a
 * quarantine and the rest of a leaf. Wishes overlap in every way: blocks of 64 and 256, ports at
 * their edges in one class or both, one port elsewhere.
 *
 * Beside the shipped core runs a list of who holds what, kept from the orders alone. Rules:
 *  R1 no port is granted that another lease has, in any state, but for the very same lease given
 *     back, and not revoked, by the same domain;
 *  R2 what is granted, refused, due and when is what the list says;
 *  R3 a lookup says what the list says; during a change, after each single store, it names no owner
 *     that the port has neither before nor after; and so does a reader who has loaded a leaf's
 *     number before, for as long as a leaf rests;
 *  R4 vfr_lease_check_all(); a refusal changes nothing.
 *
 * States are kept packed; times count from now, the uses of places are not counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/vfr_lease.h"

static void observe(void);

#define __atomic_store_n(p, value, order)                                                      \
    ({                                                                                         \
        __atomic_store_n(p, value, order);                                                     \
        observe();                                                                             \
    })
/* The directory has the shipped sources, or those with one error each. */
#include PORTS_C
#undef __atomic_store_n
#include LEASE_C
#undef NONE

#define STEP    (60 * SECOND)
#define X       0xc0000201U
#define PLACES  3
#define LEAVES  2
#define STREAM  VFR_PC_BIT(VFR_PC_STREAM)
#define DGRAM   VFR_PC_BIT(VFR_PC_DATAGRAM)
#define BYTES   (1U << 12)
#define NR_LOOK ARRAY_SIZE(look_at)

static const struct {
    u16 start;
    u8 log2, classes;
} wishes[] = {
    {4096, 6, VFR_PC_BLOCK}, {4096, 8, VFR_PC_BLOCK}, {4100, 0, STREAM},
    {4200, 0, DGRAM},        {80, 0, STREAM},         {4200, 0, VFR_PC_BLOCK},
};
static const u16 look_at[] = {79, 80, 4096, 4099, 4100, 4159, 4160, 4200, 4352};
static const struct {
    u8 domain;
    u16 vif;
} who[] = {{0, 0}, {0, 1}, {1, 2}};
static u8 uuids[2][16];

/* A lease as the list has it. */
struct note {
    u32 id;
    u16 start, vif;
    u8 log2, classes, domain, state, revoked;
    ns_t ends;
};

static struct world {
    struct vfr_leases l;
    struct note notes[PLACES];
    u16 named[2][2]; /* leaves that ports 0.. and 4096.. led to since the last step */
    u8 owned[2][ARRAY_SIZE(look_at)]; /* interfaces that had the port since then */
    _Alignas(8) u8 memory[BYTES];
} w;

static const struct vfr_lease_sizes sizes = {1, PLACES, LEAVES};
static const char *broken;
static const struct vfr_lease_order *under_way;

static void fail(const char *rule)
{
    if (!broken)
        broken = rule;
}

/* ---- what a reader sees ---- */

static bool covers(u16 start, u8 log2, u8 classes, u32 c, u16 port)
{
    return classes & 1 << c && port >= start && port < start + (1 << log2);
}

static bool may_own(u32 c, u32 k, u16 vif)
{
    const struct vfr_lease_order *o = under_way;

    if (vif < 8 && w.owned[c][k] & 1 << vif)
        return true;
    return o && o->op == VFR_LEASE_GRANT && o->vif == vif &&
           covers(o->start, o->log2, o->classes, c, look_at[k]);
}

static void judge_word(u32 c, u32 k, u16 word)
{
    if (word >> 12 <= VFR_PORT_DRAINING && !may_own(c, k, word & VFR_PORT_VIF))
        fail("R3: a reader is told an owner that the port never had");
}

static void observe(void)
{
    const struct vfr_shared *s = &w.l.ports.shared[0];

    if (!s->ip || !under_way)
        return;
    for (u32 c = 0; c < 2; c++) {
        for (u32 m = 0; m < 2; m++) {
            u16 word = s->map[c][m * 16];

            if (word & VFR_PORT_LEAF)
                w.named[c][m] |= (u16)(1 << (word ^ VFR_PORT_LEAF));
        }
        for (u32 k = 0; k < NR_LOOK; k++) {
            judge_word(c, k, vfr_ports_look(&w.l.ports, s, c, look_at[k]));
            if (look_at[k] >= 4352)
                continue;
            for (u32 leaf = 0; leaf < LEAVES; leaf++)
                if (w.named[c][look_at[k] >= 4096] & 1 << leaf)
                    judge_word(c, k, w.l.ports.leaf[leaf][look_at[k] & 255]);
        }
    }
}

static void remember_owners(void)
{
    for (u32 c = 0; c < 2; c++)
        for (u32 k = 0; k < NR_LOOK; k++)
            for (u32 i = 0; i < PLACES; i++) {
                const struct note *n = &w.notes[i];

                if ((n->state == VFR_LEASE_HELD || n->state == VFR_LEASE_DRAINING) &&
                    covers(n->start, n->log2, n->classes, c, look_at[k]))
                    w.owned[c][k] |= (u8)(1 << n->vif);
            }
}

static u16 word_of(u32 c, u16 port)
{
    for (u32 i = 0; i < PLACES; i++) {
        const struct note *n = &w.notes[i];

        if (n->state && covers(n->start, n->log2, n->classes, c, port))
            return (u16)((n->state - 1) << 12 | n->vif);
    }
    return VFR_PORT_NOBODY;
}

static void judge_world(void)
{
    if (vfr_lease_check_all(&w.l))
        fail("R4: vfr_lease_check_all");
    for (u32 c = 0; c < VFR_PORT_CLASSES; c++)
        for (u32 k = 0; k < NR_LOOK; k++)
            if (vfr_lease_owner(&w.l, VFR_IP4(X), c, look_at[k]) != word_of(c, look_at[k]))
                fail("R3: a lookup does not say what the list says");
    remember_owners();
    observe();
}

/* ---- what must come of an order ---- */

static bool is_same(const struct note *n, const struct vfr_lease_order *o, u8 domain)
{
    return n->state == VFR_LEASE_RESTING && !n->revoked && n->domain == domain &&
           n->start == o->start && n->log2 == o->log2 && n->classes == o->classes;
}

static void commit(const struct vfr_lease_order *o)
{
    under_way = o;
    vfr_lease_commit(&w.l, o, 0);
    under_way = NULL;
}

/* false: refused, so nothing has changed. */
static bool judge_grant(const struct vfr_lease_order *o, u8 domain, int rc)
{
    struct note *place = NULL, *same = NULL;
    bool overlap = false;
    u32 needs = 0;

    for (u32 i = 0; i < PLACES; i++) {
        struct note *n = &w.notes[i];

        if (!n->state)
            place = n;
        else if (is_same(n, o, domain))
            same = n;
        else
            overlap |= n->classes & o->classes && n->start < o->start + (1 << o->log2) &&
                       o->start < n->start + (1 << n->log2);
    }
    if (rc) {
        /* No leaf is a reason, too, but a port that is free then stays so. */
        if (same || (!overlap && place && rc != -XEN_ENOMEM))
            fail("R2: refused for no reason");
        return false;
    }
    if (overlap)
        fail("R1: a port has two owners, or had its last one a moment ago");
    if (!same && !place)
        fail("R2: more leases than places");
    for (u32 c = 0; c < VFR_PORT_CLASSES && !same; c++)
        needs += o->classes & 1 << c && o->log2 < 8 &&
                 !(w.l.ports.shared[0].map[c][o->start >> 8] & VFR_PORT_LEAF);
    if (needs > w.l.ports.pool)
        fail("R4: a leaf is taken from an empty pool");
    if (broken)
        return true;
    commit(o);
    *(same ? same : place) = (struct note){
        .id = o->id,
        .start = o->start,
        .vif = o->vif,
        .log2 = o->log2,
        .classes = o->classes,
        .domain = domain,
        .state = VFR_LEASE_HELD,
        .ends = o->seconds ? STEP : NEVER,
    };
    return true;
}

static int check(struct vfr_lease_order *o)
{
    static struct world before;
    u16 start = o->start;
    int rc;

    before = w;
    rc = vfr_lease_check(&w.l, o, 0);
    if (start && o->start != start)
        fail("R2: something else is granted than was asked for");
    if (memcmp(&before, &w, sizeof(w)))
        fail("R4: a check has an effect");
    return rc;
}

static bool grant_one(u32 wish, u32 person, bool ends)
{
    struct vfr_lease_order o = {
        .op = VFR_LEASE_GRANT,
        .ip = X,
        .vif = who[person].vif,
        .start = wishes[wish].start,
        .log2 = wishes[wish].log2,
        .classes = wishes[wish].classes,
        .seconds = ends ? 60 : 0,
    };

    memcpy(o.uuid, uuids[who[person].domain], 16);
    return judge_grant(&o, who[person].domain, check(&o));
}

static void rest_note(struct note *n)
{
    n->state = VFR_LEASE_RESTING;
    n->ends = 2 * STEP;
}

static bool change_one(u32 i, u8 op, u32 seconds)
{
    struct note *n = &w.notes[i];
    struct vfr_lease_order o = {.op = op, .id = n->id, .seconds = seconds};
    int want = 0, rc;

    if (n->state == VFR_LEASE_RESTING)
        want = -XEN_ENOENT;
    else if (op == VFR_LEASE_EXTEND && n->state == VFR_LEASE_DRAINING)
        want = -XEN_EPERM;
    rc = check(&o);
    if (rc != want)
        fail("R2: a change is refused, or not, against the list");
    if (rc || broken)
        return false;
    commit(&o);
    n->revoked |= op == VFR_LEASE_REVOKE;
    if (op == VFR_LEASE_EXTEND) {
        n->ends = seconds ? STEP : NEVER;
    } else if (op == VFR_LEASE_REVOKE && seconds) {
        n->state = VFR_LEASE_DRAINING;
        n->ends = MIN(n->ends, 2 * STEP);
    } else {
        rest_note(n);
    }
    return true;
}

static void clock_one(void)
{
    struct vfr_lease_order o;
    u32 left = 0;

    for (u32 i = 0; i < PLACES; i++)
        left += w.notes[i].state && w.notes[i].ends <= 0;
    while (!broken && vfr_lease_due(&w.l, 0, &o)) {
        u32 i = 0;

        while (i < PLACES && (!w.notes[i].state || w.notes[i].id != o.id))
            i++;
        if (i == PLACES || w.notes[i].ends > 0 ||
            (o.op == VFR_LEASE_RELEASE) != (w.notes[i].state == VFR_LEASE_RESTING)) {
            fail("R2: something is due that the list does not know");
            return;
        }
        commit(&o);
        if (o.op == VFR_LEASE_RELEASE)
            w.notes[i] = (struct note){0};
        else
            rest_note(&w.notes[i]);
        left--;
    }
    if (left)
        fail("R2: something that is due does not happen");
}

/* ---- steps ---- */

#define GRANTS  (ARRAY_SIZE(wishes) * ARRAY_SIZE(who) * 2)
#define CHANGES (PLACES * 4)
#define STEPS   (GRANTS + CHANGES + 1)

static void advance(void)
{
    for (u32 i = 0; i < PLACES; i++) {
        struct vfr_lease *r = &w.l.lease[i];

        if (r->ends != NEVER)
            r->ends -= STEP;
        if (w.notes[i].state && w.notes[i].ends != NEVER)
            w.notes[i].ends -= STEP;
    }
    for (u32 i = 0; i < LEAVES; i++)
        w.l.ports.leaves[i].gone -= STEP;
    memset(w.named, 0, sizeof(w.named));
    memset(w.owned, 0, sizeof(w.owned));
    remember_owners();
    clock_one();
}

/* The other domain's leases end when it says so. */
#define ENDS(domain) ((domain) == 0)

/* An interface that a domain has after it has begun again: it asks for what it had. */
#define AGAIN 1

static bool gave_back(u32 wish)
{
    for (u32 i = 0; i < PLACES; i++)
        if (w.notes[i].state == VFR_LEASE_RESTING && w.notes[i].start == wishes[wish].start)
            return true;
    return false;
}

/* false: there is nothing to do this to, or it was refused. */
static bool take_step(u32 step)
{
    static const struct {
        u8 op;
        u8 seconds;
    } changes[4] = {{VFR_LEASE_FREE, 0},
                    {VFR_LEASE_EXTEND, 0},
                    {VFR_LEASE_EXTEND, 60},
                    {VFR_LEASE_REVOKE, 120}};

    bool changed = true;

    if (step < GRANTS) {
        u32 person = step / 2 % ARRAY_SIZE(who);

        u32 wish = step / 2 / ARRAY_SIZE(who);

        changed = (step % 2 == 0 || ENDS(who[person].domain)) &&
                  (who[person].vif != AGAIN || gave_back(wish)) &&
                  grant_one(wish, person, step % 2);
    } else if (step < GRANTS + CHANGES) {
        u32 i = (step - GRANTS) / 4, c = (step - GRANTS) % 4;
        u8 seconds = changes[c].seconds;

        if (!w.notes[i].state ||
            (changes[c].op == VFR_LEASE_EXTEND && seconds && !ENDS(w.notes[i].domain)))
            return false;
        changed = change_one(i, changes[c].op, seconds);
    } else {
        advance();
    }
    if (changed && !broken)
        judge_world();
    return changed;
}

/* ---- states ---- */

/* A reader who knows no leaf that has gone reads what is true now: the past does not matter. */
static void forget_owners(void)
{
    for (u32 c = 0; c < 2; c++)
        for (u32 m = 0; m < 2; m++) {
            u16 word = w.l.ports.shared[0].map[c][m * 16];
            u32 now = word & VFR_PORT_LEAF ? 1U << (word ^ VFR_PORT_LEAF) : 0;

            if (w.named[c][m] & ~now)
                return;
        }
    memset(w.owned, 0, sizeof(w.owned));
    remember_owners();
}

/* Nobody asks for any block, so it does not matter since when; of rests only whether they are over. */
static void normalise(void)
{
    forget_owners();
    for (u32 i = 0; i < PLACES; i++) {
        struct vfr_lease *r = &w.l.lease[i];

        if (r->state)
            r->since = 0;
        else
            *r = (struct vfr_lease){.next = r->next, .ends = NEVER};
        r->id &= VFR_LEASE_INDEX;
        if (r->ends == NEVER)
            r->queue = 0;
        w.notes[i].id &= VFR_LEASE_INDEX;
    }
    for (u32 i = w.l.queued; i < PLACES; i++)
        w.l.queue[i] = 0;
    for (u16 i = w.l.ports.first; i != NO_LEAF; i = w.l.ports.leaves[i].next) {
        struct vfr_leaf *leaf = &w.l.ports.leaves[i];

        /* Who takes it must expect anything in it. */
        if (leaf->gone <= -VFR_PORTS_REST) {
            leaf->gone = -VFR_PORTS_REST;
            memset(w.l.ports.leaf[i], 0, 512);
        }
    }
    for (u32 i = 0; i < LEAVES; i++)
        if (w.l.ports.leaves[i].taken)
            w.l.ports.leaves[i].gone = 0, w.l.ports.leaves[i].next = 0;
    w.l.changes = 0;
}

/* Runs of equal words: how many, which. */
static u32 pack(u32 *out)
{
    const u32 *in = (const u32 *)&w;
    u32 n = 0, words = sizeof(w) / 4;

    for (u32 i = 0; i < words; n += 2) {
        u32 k = i;

        while (k < words && in[k] == in[i])
            k++;
        out[n] = k - i;
        out[n + 1] = in[i];
        i = k;
    }
    return n;
}

static void unpack(const u32 *in, u32 n)
{
    u32 *out = (u32 *)&w;

    for (u32 i = 0; i < n; i += 2)
        for (u32 k = 0; k < in[i]; k++)
            *out++ = in[i + 1];
}

#define MAX_STATES (1U << 22)
#define SET        (MAX_STATES * 2)

static struct state {
    u32 *words, n;
} * states;
static u32 *set, nr_states;

static void add_state(void)
{
    static u32 buffer[sizeof(w) / 2];
    u64 h = 0;
    u32 n, at;

    normalise();
    n = pack(buffer);
    for (u32 i = 0; i < n; i++)
        h = (h ^ buffer[i]) * 0x9e3779b97f4a7c15, h ^= h >> 29;
    for (at = h % SET; set[at]; at = (at + 1) % SET) {
        const struct state *s = &states[set[at] - 1];

        if (s->n == n && !memcmp(s->words, buffer, n * 4))
            return;
    }
    if (nr_states == MAX_STATES) {
        fail("the world is too large");
        return;
    }
    states[nr_states] = (struct state){malloc(n * 4), n};
    memcpy(states[nr_states].words, buffer, n * 4);
    set[at] = ++nr_states;
}

/* Two domains in one chain. */
static void name_domains(void)
{
    uuids[0][0] = 1;
    for (u32 i = 1;; i++) {
        memcpy(uuids[1], &i, 4);
        uuids[1][15] = 1;
        if (chain_of(&w.l, uuids[0]) == chain_of(&w.l, uuids[1]))
            return;
    }
}

static void create(void)
{
    struct vfr_lease_order o = {.op = VFR_LEASE_SHARE, .ip = X};

    if (vfr_lease_memory(&sizes) > BYTES)
        fail("too little memory");
    vfr_lease_init(&w.l, &sizes, w.memory, (const u64[]){7, 9}, 0);
    if (vfr_lease_check(&w.l, &o, 0))
        fail("the address cannot be shared");
    vfr_lease_commit(&w.l, &o, 0);
    name_domains();
    add_state();
}

int main(void)
{
    u64 steps = 0;

    states = malloc(MAX_STATES * sizeof(*states));
    set = calloc(SET, sizeof(*set));
    create();
    for (u32 i = 0; i < nr_states && !broken; i++)
        for (u32 step = 0; step < STEPS && !broken; step++) {
            unpack(states[i].words, states[i].n);
            if (!take_step(step))
                continue;
            steps++;
            if (!broken)
                add_state();
        }
    printf("%sok 1 - leases\n", broken ? "not " : "");
    printf("# %u states, %llu steps%s%s\n1..1\n", nr_states, (unsigned long long)steps,
           broken ? "; " : "", broken ? broken : "");
    return broken != NULL;
}
