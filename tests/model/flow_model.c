/*
 * Every state that a small world of flows can reach on one CPU, against rules written down here a
 * second time, plainly: who may begin a flow, what opens, closes and ends it, who has to go for
 * whom. After each event the router's answer, and each flow's side, state and age, are as the
 * rules say, and what flow_world.h checks holds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <time.h>

#include "flow_world.h"

static const char *broken;
static jmp_buf found;

void violate(const char *rule)
{
    broken = rule;
    longjmp(found, 1);
}

bool world_try_lock(u32 *word)
{
    if (*word)
        violate("a lock is taken twice");
    *word = 1;
    return true;
}

void world_unlock(u32 *word)
{
    if (!*word)
        violate("a lock is given back twice");
    *word = 0;
}

/* ---- the rules, once more ---- */

/* A flow: ICMP has one for each side that asks. */
struct rule_flow {
    bool there, by_j, answered, fin[2], rst[2], old; /* by_j: j began it; [1]: from j */
    u8 order;                                        /* of beginning */
    u32 age;                                         /* seconds since its last packet */
};

static struct state {
    struct world world;
    struct rule_flow flow[CONVERSATIONS][2]; /* [1]: ICMP, asked by j */
    u8 begun;
} s;

/* What is explored: quotas, which conversations, whether tables move and rules change. */
static const struct scene {
    const char *text;
    u32 quota[VIFS];
    u8 conversations; /* bits */
    bool change;
} scenes[] = {
    {"a connection", {2, 2, 2}, 0x01, true},
    {"a connection and one question for two flows", {2, 1, 2}, 0x03, false},
    {"three questions of one interface for two flows", {2, 1, 1}, 0x16, false},
    {"three questions, two interfaces", {2, 1, 1}, 0x0e, false},
    {"a question, new rules and secrets", {2, 1, 1}, 0x06, true},
    {"both sides ask by ICMP", {1, 1, 1}, 0x10, true},
    {"questions of two kinds, a quota of one", {1, 1, 1}, 0x1c, false},
};

static const struct scene *scene;

static struct rule_flow *rule_of(const struct packet *p)
{
    bool by_j = p->flags & VFR_P_ANSWER ? !p->back : p->back;

    return &s.flow[p->number][conversations[p->number].proto == PROTO_ICMP && by_j];
}

static bool rule_closing(const struct rule_flow *f)
{
    return (f->fin[0] && f->fin[1]) || f->rst[0] || f->rst[1];
}

static u32 rule_seconds(u8 proto, const struct rule_flow *f)
{
    if (rule_closing(f))
        return 20;
    if (proto == PROTO_ICMP)
        return 60;
    if (!f->answered)
        return 30;
    return proto == PROTO_TCP ? 7800 : 180;
}

static u16 rule_vif(u8 number, const struct rule_flow *f)
{
    return f->by_j ? conversations[number].j : conversations[number].i;
}

/* Who goes when this interface is full: the oldest never answered one. */
static struct rule_flow *rule_victim(u16 vif, u32 *flows)
{
    struct rule_flow *victim = NULL;

    *flows = 0;
    for (u8 n = 0; n < CONVERSATIONS; n++)
        for (int k = 0; k < 2; k++) {
            struct rule_flow *f = &s.flow[n][k];

            if (!f->there || rule_vif(n, f) != vif)
                continue;
            ++*flows;
            if (!f->answered && (!victim || f->order < victim->order))
                victim = f;
        }
    return victim;
}

static int rule_begin(const struct packet *p, struct rule_flow *f)
{
    const struct conversation *c = &conversations[p->number];
    const u16 vif = p->back ? c->j : c->i;
    struct rule_flow *victim;
    u32 flows;

    if (c->proto == PROTO_TCP && p->tcp_flags != TCP_SYN)
        return VFR_R_TCP_STATE;
    if (c->proto == PROTO_ICMP && p->flags & VFR_P_ANSWER)
        return VFR_R_ICMP_UNSOLICITED;
    f->there = false;
    victim = rule_victim(vif, &flows);
    if (flows >= scene->quota[vif]) {
        if (!victim)
            return VFR_R_FLOW_QUOTA;
        victim->there = false;
    }
    *f = (struct rule_flow){.there = true, .by_j = p->back, .order = s.begun++};
    return VFR_R_OK;
}

static void rule_pass(const struct packet *p, struct rule_flow *f)
{
    const bool tcp = conversations[p->number].proto == PROTO_TCP;

    f->age = 0;
    if (tcp) {
        f->rst[p->back] = p->tcp_flags & TCP_RST;
        f->fin[p->back] |= !!(p->tcp_flags & TCP_FIN);
    }
    if (p->back != f->by_j && (!tcp || p->tcp_flags == (TCP_SYN | TCP_ACK)))
        f->answered = true;
}

/* New rules let everything go on but conversation 1. */
static int rule_packet(const struct packet *p)
{
    struct rule_flow *f = rule_of(p);
    const u8 proto = conversations[p->number].proto;

    if (!f->there || f->age > rule_seconds(proto, f) ||
        (rule_closing(f) && p->tcp_flags == TCP_SYN))
        return rule_begin(p, f);
    if (f->old && p->number == 1) {
        f->there = false;
        return VFR_R_RULE;
    }
    f->old = false;
    rule_pass(p, f);
    return VFR_R_OK;
}

/* ---- what the router does ---- */

#define REFUSED_LOCK 1000 /* nothing the rules say */

static int judge_again(const struct packet *p, const struct vfr_flow_key *key)
{
    const struct vfr_flow_verdict verdict = {.generation = w.generation};

    if (p->number != 1)
        return vfr_flow_confirm(&w.t, key, &verdict) ? REFUSED_LOCK : -XEN_EAGAIN;
    return vfr_flow_kill(&w.t, key) ? REFUSED_LOCK : VFR_R_RULE;
}

static int router_packet(const struct packet *p)
{
    const struct vfr_tuple x = tuple_of(p);
    struct vfr_flow_new new = {.use = use_of(p), .verdict = {.generation = w.generation}};
    struct vfr_flow_key key;
    struct vfr_flow_hit hit;
    u32 index;
    int rc;

    vfr_flow_key(&w.t, &x, 0, p->flags, &key);
    switch (vfr_flow_lookup(&w.t, &key, &new.use, &hit)) {
    case VFR_FLOW_HIT:
        w.counted++;
        if (hit.answer != (w.flow[hit.flow].vif[0] != new.use.in))
            violate("a packet is taken for one of the other direction");
        return VFR_R_OK;
    case VFR_FLOW_STALE:
        rc = judge_again(p, &key);
        return rc == -XEN_EAGAIN ? router_packet(p) : rc;
    case VFR_FLOW_BUSY:
        violate("busy, with nobody else there");
        break;
    case VFR_FLOW_MISS:
        break;
    }
    newcomer = new.use.in;
    rc = vfr_flow_create(&w.t, &key, &new, &index);
    w.counted += rc == VFR_R_OK;
    return rc;
}

/* ---- events ---- */

static const ns_t steps[] = {31, 7801};

enum { CHANGES = 3, TIMES = ARRAY_SIZE(steps), OTHERS = CHANGES + TIMES + 3 };

static struct packet packets[64];
static unsigned nr_packets;

static void add_packets(u8 number)
{
    static const u8 flags[] = {TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST};
    const u8 proto = conversations[number].proto;

    for (int back = 0; back < 2; back++)
        for (unsigned n = 0; n < ARRAY_SIZE(flags); n++) {
            struct packet p = {.number = number, .back = back};

            if (proto == PROTO_TCP)
                p.tcp_flags = flags[n];
            else if (n > (proto == PROTO_ICMP))
                break;
            if (proto == PROTO_ICMP)
                p.flags = n ? VFR_P_ANSWER : VFR_P_QUERY;
            packets[nr_packets++] = p;
        }
}

static void age_by(u32 seconds)
{
    for (u8 n = 0; n < CONVERSATIONS; n++)
        for (int k = 0; k < 2; k++)
            s.flow[n][k].age += seconds;
    w.now += seconds * SECOND;
}

/* What is older than 186 s differs from that only after hours; what is too old, in nothing. */
static u32 normal_age(u32 age, u32 most)
{
    return age > most ? 8000 : MIN(age, 186U);
}

/* Which of the living began before which. */
static u8 rank_of(const struct rule_flow *f)
{
    u8 rank = 0;

    for (u8 n = 0; n < CONVERSATIONS; n++)
        for (int k = 0; k < 2; k++)
            rank += s.flow[n][k].there && s.flow[n][k].order < f->order;
    return rank;
}

static void normalise(void)
{
    u8 rank[CONVERSATIONS][2];

    for (u8 n = 0; n < CONVERSATIONS; n++)
        for (int k = 0; k < 2; k++) {
            struct rule_flow *f = &s.flow[n][k];

            f->age = normal_age(f->age, rule_seconds(conversations[n].proto, f));
            rank[n][k] = rank_of(f);
        }
    for (u8 n = 0; n < CONVERSATIONS; n++)
        for (int k = 0; k < 2; k++)
            s.flow[n][k].order = rank[n][k];
    s.begun = 2 * CONVERSATIONS;
    for (u32 i = 0; i < w.t.fresh; i++) {
        struct vfr_flow *f = &w.flow[i];

        if (f->state != VFR_FLOW_FREE)
            f->last = w.now - SECOND * normal_age((u32)((w.now - f->last) / SECOND),
                                                  (u32)(idle_max[f->timer] / SECOND));
    }
}

static void end_rules(u16 vif, bool only_late)
{
    for (u8 n = 0; n < CONVERSATIONS; n++)
        for (int k = 0; k < 2; k++) {
            struct rule_flow *f = &s.flow[n][k];
            bool late = f->age > rule_seconds(conversations[n].proto, f);
            bool touches = conversations[n].i == vif || conversations[n].j == vif;

            if (only_late ? late : touches)
                f->there = false;
        }
}

static void kill_vif(u16 vif)
{
    const struct vfr_flow_match match = {.vif = vif};
    u32 at = 0;

    if (!vfr_flow_kill_some(&w.t, &match, &at, SLOTS))
        violate("a kill does not end");
    end_rules(vif, false);
}

static void change(unsigned n)
{
    if (n == 0) {
        w.generation++;
        for (u8 c = 0; c < CONVERSATIONS; c++)
            s.flow[c][0].old = s.flow[c][1].old = true;
    } else if (n == 1) {
        (void)!vfr_flow_rekey(&w.t, secrets[!secret_of(w.t.epoch)]);
    } else {
        (void)!vfr_flow_rekey_step(&w.t, 6);
    }
}

static void other_event(unsigned n)
{
    if (n < TIMES) {
        age_by((u32)steps[n]);
    } else if (n == TIMES) {
        (void)vfr_flow_sweep(&w.t, w.now, SLOTS);
        end_rules(0, true);
    } else if (n <= TIMES + 2) {
        kill_vif(n == TIMES + 1 ? 0 : 2);
    } else {
        change(n - TIMES - 3);
    }
}

/* The flow's conversation. */
static u8 number_of(const struct vfr_flow *f)
{
    for (u8 n = 0; n < CONVERSATIONS; n++) {
        const struct conversation *c = &conversations[n];
        const u16 own = f->vif[0] == c->i ? f->sport : f->dport;

        if (f->proto == c->proto && own == c->sport && (f->vif[0] == c->i || f->vif[1] == c->i))
            return n;
    }
    violate("a flow of nobody's");
    return 0;
}

static void compare_flow(const struct vfr_flow *f)
{
    const u8 number = number_of(f);
    const bool by_j = f->vif[0] == conversations[number].j;
    const struct rule_flow *r = &s.flow[number][f->proto == PROTO_ICMP && by_j];

    if (!r->there)
        violate("a flow that should have ended is there");
    if (r->by_j != by_j)
        violate("a flow belongs to the wrong side");
    if (r->answered != !!(f->marks & VFR_FLOW_ANSWERED) ||
        rule_closing(r) != (f->state == VFR_FLOW_CLOSING))
        violate("a flow is in the wrong state");
    if (r->age != (w.now - f->last) / SECOND)
        violate("a flow's age is wrong");
    if (r->old != (f->generation != w.generation))
        violate("a flow is of the wrong rules");
}

static void compare(void)
{
    u32 flows = 0;

    for (u32 i = 0; i < w.t.fresh; i++)
        if (w.flow[i].state != VFR_FLOW_FREE) {
            compare_flow(&w.flow[i]);
            flows++;
        }
    for (u8 n = 0; n < CONVERSATIONS; n++)
        flows -= s.flow[n][0].there + s.flow[n][1].there;
    if (flows)
        violate("a flow is missing");
    check_world();
}

static void event(unsigned n)
{
    if (n < nr_packets) {
        int want = rule_packet(&packets[n]), got = router_packet(&packets[n]);

        if (got != want)
            violate("a packet's fate is not what the rules say");
    } else {
        other_event(n - nr_packets);
    }
    normalise();
    compare();
}

/* ---- states: only what makes a difference later ---- */

static u64 mix(u64 h, u64 x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15;
    return h ^ h >> 29;
}

static u64 hash_of_state(void)
{
    u64 h = mix(w.t.epoch & 3, w.t.epoch & 1 ? w.t.rekey_hand : 0);

    for (u8 n = 0; n < CONVERSATIONS; n++)
        for (int k = 0; k < 2; k++) {
            const struct rule_flow *f = &s.flow[n][k];

            h = mix(h, !f->there ? 7
                                 : f->by_j | f->answered << 1 | f->fin[0] << 2 |
                                       f->fin[1] << 3 | f->rst[0] << 4 | f->rst[1] << 5 |
                                       f->old << 6 | (u64)f->order << 8 | (u64)f->age << 16);
        }
    for (u32 i = 0; i < w.t.fresh; i++)
        if (w.flow[i].state != VFR_FLOW_FREE)
            h += mix(number_of(&w.flow[i]), w.flow[i].home & (HOME_SECRET | HOME_LISTED));
    return h;
}

#define STATES_MAX 4000000
#define SEEN_SLOTS (1U << 24)

static u64 seen[SEEN_SLOTS];

static bool is_new(u64 h)
{
    u32 at = h % SEEN_SLOTS;

    h |= !h;
    for (; seen[at]; at = (at + 1) % SEEN_SLOTS)
        if (seen[at] == h)
            return false;
    seen[at] = h;
    return true;
}

/* Table and rules, packed: the world's arrays are mostly empty. */
struct node {
    struct state state;
    struct node *next;
};

static u64 nr_states, nr_events;

static struct node *visit(struct node *list)
{
    struct node *node;

    s.world = w;
    if (!is_new(hash_of_state()))
        return list;
    if (++nr_states > STATES_MAX) {
        fprintf(stderr, "flow_model: more states than expected\n");
        exit(1);
    }
    node = malloc(sizeof(*node));
    node->state = s;
    node->next = list;
    return node;
}

static void explore(void)
{
    struct node *list = NULL;

    memset(seen, 0, sizeof(seen));
    build(scene->quota);
    s = (struct state){0};
    nr_states = nr_events = nr_packets = 0;
    for (u8 n = 0; n < CONVERSATIONS; n++)
        if (scene->conversations & 1 << n)
            add_packets(n);
    for (list = visit(list); list;) {
        struct node *node = list;

        list = node->next;
        for (unsigned n = 0; n < nr_packets + OTHERS - (scene->change ? 0 : CHANGES); n++) {
            s = node->state;
            w = s.world;
            nr_events++;
            event(n);
            list = visit(list);
        }
        free(node);
    }
}

static void explore_safely(void)
{
    if (!setjmp(found))
        explore();
    printf("# %s: %s; %lu states, %lu events\n", scene->text,
           broken ? broken : "no rule broken", nr_states, nr_events);
}

int main(void)
{
    clock_t start = clock();

    for (unsigned i = 0; i < ARRAY_SIZE(scenes) && !broken; i++) {
        scene = &scenes[i];
        explore_safely();
    }
    printf("%sok 1 - flow_model: every state of a small world\n# %.1f s\n1..1\n",
           broken ? "not " : "", (double)(clock() - start) / CLOCKS_PER_SEC);
    return broken != NULL;
}
