#include "core/vfr_flow_impl.h"

/* New flows may come in a burst of so much at the permitted pace. */
#define BURST         1000000000L
/* How far a full interface looks for a flow of its own to give up, each time. */
#define RECYCLE_LOOKS 16

#define NS_PER_SECOND 1000000000U

int vfr_flow_init(struct vfr_flow_table *t, const struct vfr_flow_memory *m,
                  const u64 secret[4])
{
    if (m->nr_flows < VFR_FLOWS_MIN || m->nr_flows > VFR_FLOWS_MAX ||
        m->nr_flows & (m->nr_flows - 1) || !m->nr_vifs || m->nr_vifs > VFR_VIFS_MAX)
        return -XEN_EINVAL;
    *t = (struct vfr_flow_table){.flow = m->flow,
                                 .bucket = m->bucket,
                                 .mask = VFR_FLOW_BUCKETS(m->nr_flows) - 1,
                                 .vif = m->vif,
                                 .nr_vifs = m->nr_vifs,
                                 .nr_flows = m->nr_flows,
                                 .nr_overflow = VFR_FLOW_OVERFLOW(m->nr_flows),
                                 .free = VFR_FLOW_NONE,
                                 .ended = m->ended,
                                 .arg = m->arg};
    for (int i = 0; i < 4; i++)
        t->secret[0][i] = secret[i];
    for (u32 i = 0; i <= t->mask + t->nr_overflow; i++)
        t->bucket[i] = (struct vfr_flow_bucket){0};
    for (u32 i = t->mask + 1; i <= t->mask + t->nr_overflow; i++) {
        t->bucket[i].next = t->free_bucket;
        t->free_bucket = i;
    }
    for (u32 i = 0; i < t->nr_vifs; i++) {
        t->vif[i] = (struct vfr_flow_vif){.first = VFR_FLOW_NONE, .last = VFR_FLOW_NONE};
        vfr_flow_set_limits(t, (u16)i, VFR_FLOW_QUOTA, VFR_FLOW_RATE);
    }
    return 0;
}

void vfr_flow_set_limits(struct vfr_flow_table *t, u16 vif, u32 quota, u32 rate)
{
    if (vif >= t->nr_vifs)
        return;
    t->vif[vif].quota = quota;
    t->vif[vif].interval = rate ? NS_PER_SECOND / rate : 0;
}

/* ---- lists of interfaces ---- */

static void list_add(struct vfr_flow_table *t, struct vfr_flow_vif *vif, u32 i)
{
    struct vfr_flow *f = &t->flow[i];

    f->home |= HOME_LISTED;
    f->next = VFR_FLOW_NONE;
    f->prev = vif->last;
    if (vif->last == VFR_FLOW_NONE)
        vif->first = i;
    else
        t->flow[vif->last].next = i;
    vif->last = i;
}

static void list_remove(struct vfr_flow_table *t, u32 i)
{
    struct vfr_flow *f = &t->flow[i];
    struct vfr_flow_vif *vif = &t->vif[f->vif[0]];

    if (!(f->home & HOME_LISTED))
        return;
    f->home &= ~HOME_LISTED;
    if (f->prev == VFR_FLOW_NONE)
        vif->first = f->next;
    else
        t->flow[f->prev].next = f->next;
    if (f->next == VFR_FLOW_NONE)
        vif->last = f->prev;
    else
        t->flow[f->next].prev = f->prev;
}

static bool was_answered(const struct vfr_flow *f)
{
    return __atomic_load_n(&f->marks, __ATOMIC_RELAXED) & VFR_FLOW_ANSWERED;
}

/* ---- ends ---- */

/* Its bucket is locked. */
void vfr_flow_end(struct vfr_flow_table *t, u32 i, enum vfr_flow_end why)
{
    struct vfr_flow *f = &t->flow[i];

    if (t->ended)
        t->ended(t->arg, f, why);
    list_remove(t, i);
    vfr_flow_chain_remove(t, f->home & HOME_BUCKET, i);
    t->vif[f->vif[0]].flows--;
    t->used--;
    f->state = VFR_FLOW_FREE;
    f->next = t->free;
    t->free = i;
}

static struct vfr_flow_bucket *home_of(const struct vfr_flow_table *t, const struct vfr_flow *f)
{
    return &t->bucket[f->home & HOME_BUCKET];
}

/* Gives up a never answered flow of this interface; false: a lock was taken, or there is none. */
static bool recycle(struct vfr_flow_table *t, struct vfr_flow_vif *vif, bool *busy)
{
    for (int n = 0; n < RECYCLE_LOOKS && vif->first != VFR_FLOW_NONE; n++) {
        u32 i = vif->first;
        struct vfr_flow *f = &t->flow[i];

        if (was_answered(f)) {
            list_remove(t, i);
            continue;
        }
        *busy = !try_lock(home_of(t, f));
        if (*busy)
            return false;
        if (!was_answered(f)) {
            struct vfr_flow_bucket *home = home_of(t, f);

            vfr_flow_end(t, i, VFR_END_RECYCLED);
            unlock(home);
            vif->recycled++;
            return true;
        }
        unlock(home_of(t, f));
    }
    return false;
}

/* ---- begin ---- */

/*
 * No interface has more flows than are still free: however many of them want all they can get,
 * something is left for the next.
 */
static bool is_full(const struct vfr_flow_table *t, const struct vfr_flow_vif *vif)
{
    return vif->flows >= MIN(vif->quota, t->nr_flows - t->used);
}

/* VFR_R_OK, a reason, or -XEN_EAGAIN. */
static int make_room(struct vfr_flow_table *t, struct vfr_flow_vif *vif, ns_t now)
{
    bool busy = false;

    if (vif->due - now > BURST) {
        vif->over_rate++;
        return VFR_R_FLOW_RATE;
    }
    if (is_full(t, vif) && !recycle(t, vif, &busy)) {
        vif->over_quota += !busy;
        return busy ? -XEN_EAGAIN : VFR_R_FLOW_QUOTA;
    }
    return VFR_R_OK;
}

/* Of the never answered ones so many are looked at for one that would make room. */
#define LOOKS_MAX 256

enum vfr_reason vfr_flow_check_room(const struct vfr_flow_table *t, u16 index, ns_t now)
{
    const struct vfr_flow_vif *vif = &t->vif[index];
    u32 i = vif->first;

    if (vif->due - now > BURST)
        return VFR_R_FLOW_RATE;
    if (!is_full(t, vif))
        return VFR_R_OK;
    for (unsigned n = 0; n < LOOKS_MAX && i != VFR_FLOW_NONE; n++, i = t->flow[i].next)
        if (!was_answered(&t->flow[i]))
            return VFR_R_OK;
    return VFR_R_FLOW_QUOTA;
}

static u32 take_flow(struct vfr_flow_table *t)
{
    u32 i = t->free;

    if (i == VFR_FLOW_NONE)
        return t->fresh++;
    t->free = t->flow[i].next;
    return i;
}

static void fill(struct vfr_flow *f, const struct vfr_flow_key *key,
                 const struct vfr_flow_new *new)
{
    const struct vfr_tuple *x = key->tuple;

    /* All of it but its lists. Each by itself: a whole one would be made elsewhere, then copied. */
    f->src = x->src;
    f->dst = x->dst;
    f->sport = x->sport;
    f->dport = x->dport;
    f->segment = (u16)(key->word >> 32);
    f->proto = x->proto;
    f->zero = 0;
    f->last = f->created = new->use.now;
    f->generation = new->verdict.generation;
    f->vif[0] = new->use.in;
    f->vif[1] = new->use.out;
    f->rule_index = new->verdict.rule_index;
    f->marks = f->spare = 0;
    f->log = new->verdict.log;
    f->dscp = new->verdict.dscp;
    f->packets[0] = 1;
    f->bytes[0] = new->use.bytes;
    f->packets[1] = f->bytes[1] = 0;
    f->rule = new->verdict.rule;
    if (new->hold)
        f->marks |= VFR_FLOW_HELD;
    if (x->proto == PROTO_TCP && new->use.tcp_flags != TCP_SYN &&new->pickup)
        f->marks |= VFR_FLOW_PICKED_UP;
    vfr_flow_set_state(f);
}

/* The home bucket is locked. */
static int begin(struct vfr_flow_table *t, struct vfr_flow_vif *vif,
                 const struct vfr_flow_key *key, const struct vfr_flow_new *new, u32 *index)
{
    u32 home = (u32)key->hash & t->mask, i = take_flow(t);

    fill(&t->flow[i], key, new);
    t->flow[i].home = home | (secret_of(t->epoch) ? HOME_SECRET : 0);
    if (!vfr_flow_chain_add(t, home, key->hash, i)) {
        t->flow[i].state = VFR_FLOW_FREE;
        t->flow[i].next = t->free;
        t->free = i;
        vif->over_quota++;
        return VFR_R_FLOW_QUOTA;
    }
    t->flow[i].id = ++t->begun;
    list_add(t, vif, i);
    t->used++;
    vif->flows++;
    vif->begun++;
    vif->due = MAX(vif->due, new->use.now) + vif->interval;
    *index = i;
    return VFR_R_OK;
}

/* The flow that this key finds in either place, or VFR_FLOW_NONE. */
static u32 find_any(const struct vfr_flow_table *t, const struct vfr_flow_key *key,
                    bool *answer)
{
    u32 i = vfr_flow_find(t, &t->bucket[key->hash & t->mask], key->hash, key, answer);

    if (i == VFR_FLOW_NONE && key->epoch & 1)
        i = vfr_flow_find(t, &t->bucket[key->old_hash & t->mask], key->old_hash, key, answer);
    return i;
}

static bool try_end(struct vfr_flow_table *t, u32 i, enum vfr_flow_end why)
{
    struct vfr_flow_bucket *home = home_of(t, &t->flow[i]);

    if (!try_lock(home))
        return false;
    vfr_flow_end(t, i, why);
    unlock(home);
    return true;
}

/* Ends what lookups do not take for this packet's flow; false: one is, or a lock was taken. */
static bool clear_the_way(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                          const struct vfr_flow_use *use)
{
    struct vfr_flow_bucket *home;
    bool answer, over;
    u32 i = find_any(t, key, &answer);

    if (i == VFR_FLOW_NONE)
        return true;
    home = home_of(t, &t->flow[i]);
    if (!try_lock(home))
        return false;
    over = vfr_flow_is_over(&t->flow[i], use, answer);
    if (over)
        vfr_flow_end(t, i, VFR_END_OVER);
    unlock(home);
    return over;
}

int vfr_flow_create(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                    const struct vfr_flow_new *new, u32 *index)
{
    const struct vfr_flow_use *use = &new->use;
    struct vfr_flow_bucket *home;
    struct vfr_flow_vif *vif;
    int rc = vfr_flow_check_first(key->tuple, key->flags, use->tcp_flags, new->pickup);

    if (rc != VFR_R_OK)
        return rc;
    if (use->in >= t->nr_vifs)
        return VFR_R_VIF_DOWN;
    if (key->epoch != t->epoch || !clear_the_way(t, key, use))
        return -XEN_EAGAIN;
    vif = &t->vif[use->in];
    rc = make_room(t, vif, use->now);
    if (rc != VFR_R_OK)
        return rc;
    home = &t->bucket[key->hash & t->mask];
    if (!try_lock(home))
        return -XEN_EAGAIN;
    rc = begin(t, vif, key, new, index);
    unlock(home);
    return rc;
}

int vfr_flow_confirm(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                     const struct vfr_flow_verdict *verdict)
{
    struct vfr_flow *f;
    bool answer;
    u32 i;

    if (key->epoch != t->epoch)
        return -XEN_EAGAIN;
    i = find_any(t, key, &answer);
    if (i == VFR_FLOW_NONE)
        return 0;
    f = &t->flow[i];
    if (!try_lock(home_of(t, f)))
        return -XEN_EAGAIN;
    f->generation = verdict->generation;
    f->rule = verdict->rule;
    f->rule_index = verdict->rule_index;
    f->log = verdict->log;
    f->dscp = verdict->dscp;
    unlock(home_of(t, f));
    return 0;
}

int vfr_flow_kill(struct vfr_flow_table *t, const struct vfr_flow_key *key)
{
    bool answer;
    u32 i;

    if (key->epoch != t->epoch)
        return -XEN_EAGAIN;
    i = find_any(t, key, &answer);
    return i == VFR_FLOW_NONE || try_end(t, i, VFR_END_FORCED) ? 0 : -XEN_EAGAIN;
}

/* ---- many ---- */

static bool in_use(const struct vfr_flow *f)
{
    return __atomic_load_n(&f->state, __ATOMIC_RELAXED) != VFR_FLOW_FREE;
}

static bool expire(struct vfr_flow_table *t, u32 i, ns_t now)
{
    struct vfr_flow *f = &t->flow[i];
    struct vfr_flow_bucket *home = home_of(t, f);
    bool over;

    if (!vfr_flow_has_expired(f, now) || !try_lock(home))
        return false;
    over = vfr_flow_has_expired(f, now);
    if (over)
        vfr_flow_end(t, i, f->state == VFR_FLOW_CLOSING ? VFR_END_OVER : VFR_END_IDLE);
    unlock(home);
    return over;
}

u32 vfr_flow_sweep(struct vfr_flow_table *t, ns_t now, u32 budget)
{
    u32 ended = 0;

    for (budget = MIN(budget, t->fresh); budget; budget--) {
        u32 i = t->hand < t->fresh ? t->hand : 0;

        t->hand = i + 1;
        if (!in_use(&t->flow[i]))
            continue;
        if (was_answered(&t->flow[i]))
            list_remove(t, i);
        ended += expire(t, i, now);
    }
    return ended;
}

static bool side_matches(const struct vfr_flow_match *m, struct vfr_addr addr, u16 port)
{
    return vfr_addr_equal(addr, m->addr) && port >= m->first && port <= m->last;
}

static bool flow_matches(const struct vfr_flow_match *m, const struct vfr_flow *f)
{
    if (m->vif != VFR_NOBODY && f->vif[0] != m->vif && f->vif[1] != m->vif)
        return false;
    if (m->proto && f->proto != m->proto)
        return false;
    return !m->last || side_matches(m, f->src, f->sport) || side_matches(m, f->dst, f->dport);
}

bool vfr_flow_kill_some(struct vfr_flow_table *t, const struct vfr_flow_match *match, u32 *at,
                        u32 budget)
{
    for (; *at < t->fresh; ++*at) {
        if (!budget--)
            return false;
        if (in_use(&t->flow[*at]) && flow_matches(match, &t->flow[*at]) &&
            !try_end(t, *at, VFR_END_FORCED))
            return false;
    }
    return true;
}
