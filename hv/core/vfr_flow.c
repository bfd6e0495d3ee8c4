#include "core/vfr_flow_impl.h"

#define SECOND 1000000000L

enum timer { SYN_SENT, CONNECTED, CLOSING, CLOSING_HELD, ONE_WAY, TWO_WAY, ICMP };

static const ns_t idle_max[] = {
    [SYN_SENT] = 30 * SECOND,      [CONNECTED] = 7800 * SECOND, [CLOSING] = 20 * SECOND,
    [CLOSING_HELD] = 120 * SECOND, [ONE_WAY] = 30 * SECOND,     [TWO_WAY] = 180 * SECOND,
    [ICMP] = 60 * SECOND,
};

/* ---- keys ---- */

static must_inline u64 fold(u64 a, u64 b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (u64)product ^ (u64)(product >> 64);
}

static must_inline u64 side(const u64 secret[4], struct vfr_addr a, u16 port)
{
    u64 hash = fold(a.low ^ secret[0], a.high ^ secret[1]) + port * secret[2];

    asm("" : "+r"(hash)); /* one after the other: both at once need twice the registers */
    return hash;
}

/* Each side by itself, then their product, which knows no order, then what they share. */
static must_inline u64 hash_of(const u64 secret[4], const struct vfr_tuple *x, u64 word)
{
    u64 a = side(secret, x->src, x->sport);

    return fold(fold(a, side(secret, x->dst, x->dport)) + (word >> 32 & 0xffffff), secret[3]);
}

u64 vfr_flow_hash(const u64 secret[4], const struct vfr_tuple *x, u64 word)
{
    return hash_of(secret, x, word);
}

/* No flow's word has this bit: such packets take the long way. */
#define SPECIAL (1UL << 56)

static __noinline void add_old_hash(const struct vfr_flow_table *t, struct vfr_flow_key *key)
{
    key->old_hash = hash_of(t->secret[!secret_of(key->epoch)], key->tuple, key->word);
}

void vfr_flow_key(const struct vfr_flow_table *t, const struct vfr_tuple *tuple, u16 segment,
                  u16 flags, struct vfr_flow_key *key)
{
    const u32 epoch = __atomic_load_n(&t->epoch, __ATOMIC_ACQUIRE);
    const u64 word = tuple_word(tuple, segment);

    key->tuple = tuple;
    key->flags = flags;
    key->epoch = epoch;
    key->word = word;
    if (unlikely(flags & (VFR_P_INNER | VFR_P_QUERY | VFR_P_ANSWER)))
        key->word |= SPECIAL;
    key->hash = hash_of(t->secret[secret_of(epoch)], tuple, word);
    if (unlikely(epoch & 1))
        add_old_hash(t, key);
}

/* ---- finding ---- */

/* The top bit of a group of 16 for each of four places with this tag. */
static must_inline u64 places_with(const u16 tag[4], u64 wanted)
{
    u64 ones = 0x0001000100010001UL, x;

    asm("" : "+r"(ones)); /* a multiplication is less than the shifts it can be made of */
    x = get_le64(tag) ^ wanted * ones;
    return (x - ones) & ~x & ones << 15;
}

static must_inline bool equal(struct vfr_addr a, struct vfr_addr b)
{
    return a.low == b.low && a.high == b.high;
}

static inline u32 exchanged(u32 pair)
{
    return pair << 16 | pair >> 16;
}

static must_inline bool is_forward(const struct vfr_flow *f, u64 word,
                                   const struct vfr_tuple *x)
{
    return flow_word(f) == word && equal(f->src, x->src) && equal(f->dst, x->dst);
}

static must_inline bool is_reverse(const struct vfr_flow *f, u64 word,
                                   const struct vfr_tuple *x)
{
    return (u32)flow_word(f) == exchanged((u32)word) && !((flow_word(f) ^ word) >> 32) &&
           equal(f->src, x->dst) && equal(f->dst, x->src);
}

static bool is_key_of(const struct vfr_flow *f, const struct vfr_flow_key *key, bool *answer)
{
    const u64 word = key->word & ~SPECIAL;

    *answer = key->flags & VFR_P_ANSWER || !is_forward(f, word, key->tuple);
    return !*answer || (is_reverse(f, word, key->tuple) && !(key->flags & VFR_P_QUERY));
}

/* In one bucket. */
static u32 find_here(const struct vfr_flow_table *t, const struct vfr_flow_bucket *b, u64 hash,
                     const struct vfr_flow_key *key, bool *answer)
{
    for (unsigned half = 0; half < VFR_FLOW_PLACES; half += 4) {
        u64 places = places_with(&b->tag[half], tag_of(hash));

        for (; places; places &= places - 1) {
            u32 i = b->flow[half + (__builtin_ctzll(places) >> 4)];

            if (is_key_of(&t->flow[i], key, answer))
                return i;
        }
    }
    return VFR_FLOW_NONE;
}

u32 vfr_flow_find(const struct vfr_flow_table *t, const struct vfr_flow_bucket *home, u64 hash,
                  const struct vfr_flow_key *key, bool *answer)
{
    const u64 tag = tag_of(hash);

    /* As a rule before a flow begins: found out without what the rest needs registers for. */
    if (likely(!(places_with(home->tag, tag) | places_with(home->tag + 4, tag) | home->next)))
        return VFR_FLOW_NONE;
    for (;;) {
        u32 i = find_here(t, home, hash, key, answer);

        if (i != VFR_FLOW_NONE || !home->next)
            return i;
        home = &t->bucket[home->next];
    }
}

/* ---- states ---- */

bool vfr_flow_has_expired(const struct vfr_flow *f, ns_t now)
{
    ns_t last = __atomic_load_n(&f->last, __ATOMIC_RELAXED);

    return now - last > idle_max[__atomic_load_n(&f->timer, __ATOMIC_RELAXED)];
}

static bool is_icmp(u8 proto)
{
    return proto == PROTO_ICMP || proto == PROTO_ICMP6;
}

static u8 timer_of(const struct vfr_flow *f)
{
    if (f->state == VFR_FLOW_CLOSING)
        return f->marks & VFR_FLOW_HELD ? CLOSING_HELD : CLOSING;
    if (is_icmp(f->proto))
        return ICMP;
    if (f->proto == PROTO_TCP)
        return f->state == VFR_FLOW_OPEN ? CONNECTED : SYN_SENT;
    return f->state == VFR_FLOW_OPEN ? TWO_WAY : ONE_WAY;
}

void vfr_flow_set_state(struct vfr_flow *f)
{
    const u8 fins = VFR_FLOW_FIN | VFR_FLOW_FIN << 1, resets = VFR_FLOW_RST | VFR_FLOW_RST << 1;

    if ((f->marks & fins) == fins || f->marks & resets)
        f->state = VFR_FLOW_CLOSING;
    else
        f->state = f->marks & VFR_FLOW_ANSWERED ? VFR_FLOW_OPEN : VFR_FLOW_NEW;
    f->timer = timer_of(f);
}

static bool is_answer(const struct vfr_flow *f, u8 tcp_flags)
{
    if (f->proto != PROTO_TCP)
        return true;
    if (tcp_flags & TCP_RST)
        return false;
    return f->marks & VFR_FLOW_PICKED_UP || (tcp_flags & TCP_SYN && tcp_flags & TCP_ACK);
}

static __noinline void advance(struct vfr_flow *f, u8 tcp_flags, bool answer)
{
    if (tcp_flags & TCP_RST)
        f->marks |= VFR_FLOW_RST << answer;
    else
        f->marks &= ~(VFR_FLOW_RST << answer);
    if (tcp_flags & TCP_FIN)
        f->marks |= VFR_FLOW_FIN << answer;
    if (answer && is_answer(f, tcp_flags))
        f->marks |= VFR_FLOW_ANSWERED;
    vfr_flow_set_state(f);
}

static bool begins_anew(const struct vfr_flow *f, u8 tcp_flags)
{
    return f->state == VFR_FLOW_CLOSING && is_pure_syn(tcp_flags);
}

/* An error about a packet of the flow may come from anywhere, but goes to who sent that. */
static bool goes_by(const struct vfr_flow *f, bool inner, const struct vfr_flow_use *use,
                    bool answer)
{
    return f->vif[!answer] == use->out && (f->vif[answer] == use->in || inner);
}

static bool is_over(const struct vfr_flow *f, bool inner, const struct vfr_flow_use *use,
                    bool answer)
{
    return use->now - f->last > idle_max[f->timer] || !goes_by(f, inner, use, answer) ||
           begins_anew(f, use->tcp_flags);
}

bool vfr_flow_is_over(const struct vfr_flow *f, const struct vfr_flow_use *use, bool answer)
{
    return is_over(f, false, use, answer);
}

/* ---- each packet ---- */

static must_inline bool is_stale(const struct vfr_flow *f, const struct vfr_flow_use *use)
{
    return (s32)(f->generation - use->oldest) < 0;
}

static must_inline void tell(const struct vfr_flow *f, u32 i, bool answer,
                             struct vfr_flow_hit *hit)
{
    hit->flow = i;
    hit->rule_index = f->rule_index;
    hit->log = f->log;
    hit->dscp = f->dscp;
    hit->answer = answer;
}

static must_inline void count(struct vfr_flow *f, const struct vfr_flow_use *use, bool answer)
{
    f->packets[answer]++;
    f->bytes[answer] += use->bytes;
}

static enum vfr_flow_result look_locked(struct vfr_flow_table *t,
                                        const struct vfr_flow_bucket *home, u64 hash,
                                        const struct vfr_flow_key *key,
                                        const struct vfr_flow_use *use,
                                        struct vfr_flow_hit *hit)
{
    const bool inner = key->flags & VFR_P_INNER;
    struct vfr_flow *f;
    bool answer;
    u32 i = vfr_flow_find(t, home, hash, key, &answer);

    if (i == VFR_FLOW_NONE)
        return VFR_FLOW_MISS;
    f = &t->flow[i];
    answer ^= inner;
    if (is_over(f, inner, use, answer))
        return VFR_FLOW_MISS;
    tell(f, i, answer, hit);
    if (is_stale(f, use))
        return VFR_FLOW_STALE;
    count(f, use, answer);
    if (inner)
        return VFR_FLOW_HIT;
    f->last = use->now;
    advance(f, use->tcp_flags, answer);
    return VFR_FLOW_HIT;
}

static enum vfr_flow_result look(struct vfr_flow_table *t, u64 hash,
                                 const struct vfr_flow_key *key, const struct vfr_flow_use *use,
                                 struct vfr_flow_hit *hit)
{
    struct vfr_flow_bucket *home = &t->bucket[hash & t->mask];
    enum vfr_flow_result r;

    if (!try_lock(home))
        return VFR_FLOW_BUSY;
    r = look_locked(t, home, hash, key, use, hit);
    unlock(home);
    return r;
}

/* The whole of it; the home bucket is locked already. */
static __noinline enum vfr_flow_result look_closely(struct vfr_flow_table *t,
                                                    const struct vfr_flow_key *key,
                                                    const struct vfr_flow_use *use,
                                                    struct vfr_flow_hit *hit)
{
    struct vfr_flow_bucket *home = &t->bucket[key->hash & t->mask];
    enum vfr_flow_result r = look_locked(t, home, key->hash, key, use, hit);

    unlock(home);
    if (r == VFR_FLOW_MISS && key->epoch & 1) {
        r = look(t, key->old_hash, key, use, hit);
        if (r == VFR_FLOW_MISS)
            r = look(t, key->hash, key, use, hit);
    }
    if (r == VFR_FLOW_MISS && __atomic_load_n(&t->epoch, __ATOMIC_ACQUIRE) != key->epoch)
        return VFR_FLOW_BUSY;
    return r;
}

/*
 * In a flow of valid rules, by the usual ways, in time, and no packet that changes its state: one of
 * an open flow, or one more of its beginner's.
 */
static must_inline bool is_routine(const struct vfr_flow *f, const struct vfr_flow_use *use,
                                   bool answer)
{
    const u32 ways = get_le32(&use->in);

    return (answer ? f->state == VFR_FLOW_OPEN : f->state != VFR_FLOW_CLOSING) &&
           !(use->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST)) &&
           get_le32(f->vif) == (answer ? exchanged(ways) : ways) && !is_stale(f, use) &&
           use->now - f->last <= idle_max[f->timer];
}

/*
 * What nearly every packet needs: look_closely() does the same with all the rest. In three parts
 * with the same arguments in the same registers, each small enough to need no others.
 */
static must_inline enum vfr_flow_result
pass(struct vfr_flow_table *t, const struct vfr_flow_key *key, const struct vfr_flow_use *use,
     struct vfr_flow_hit *hit, struct vfr_flow_bucket *home, struct vfr_flow *f, bool answer)
{
    if (unlikely(!is_routine(f, use, answer)))
        return look_closely(t, key, use, hit);
    tell(f, (u32)(f - t->flow), answer, hit);
    count(f, use, answer);
    f->last = use->now;
    unlock(home);
    return VFR_FLOW_HIT;
}

static __noinline enum vfr_flow_result pass_on(struct vfr_flow_table *t,
                                               const struct vfr_flow_key *key,
                                               const struct vfr_flow_use *use,
                                               struct vfr_flow_hit *hit,
                                               struct vfr_flow_bucket *home, struct vfr_flow *f)
{
    return pass(t, key, use, hit, home, f, false);
}

static __noinline enum vfr_flow_result
pass_back(struct vfr_flow_table *t, const struct vfr_flow_key *key,
          const struct vfr_flow_use *use, struct vfr_flow_hit *hit,
          struct vfr_flow_bucket *home, struct vfr_flow *f)
{
    return pass(t, key, use, hit, home, f, true);
}

enum vfr_flow_result vfr_flow_lookup(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                                     const struct vfr_flow_use *use, struct vfr_flow_hit *hit)
{
    struct vfr_flow_bucket *home = &t->bucket[key->hash & t->mask];
    struct vfr_flow *f;
    u64 places;

    if (unlikely(!try_lock(home)))
        return VFR_FLOW_BUSY;
    places = places_with(home->tag, tag_of(key->hash));
    if (unlikely(!places))
        return look_closely(t, key, use, hit);
    f = &t->flow[home->flow[__builtin_ctzll(places) >> 4]];
    if (is_forward(f, key->word, key->tuple))
        return pass_on(t, key, use, hit, home, f);
    if (is_reverse(f, key->word, key->tuple))
        return pass_back(t, key, use, hit, home, f);
    return look_closely(t, key, use, hit);
}

/* ---- whose it is ---- */

static enum vfr_flow_result look_whose(struct vfr_flow_table *t, u64 hash,
                                       const struct vfr_flow_key *key, ns_t now, u16 *vif)
{
    struct vfr_flow_bucket *home = &t->bucket[hash & t->mask];
    enum vfr_flow_result r = VFR_FLOW_MISS;
    bool answer;
    u32 i;

    if (!try_lock(home))
        return VFR_FLOW_BUSY;
    i = vfr_flow_find(t, home, hash, key, &answer);
    if (i != VFR_FLOW_NONE && !vfr_flow_has_expired(&t->flow[i], now)) {
        *vif = t->flow[i].vif[0];
        r = VFR_FLOW_HIT;
    }
    unlock(home);
    return r;
}

enum vfr_flow_result vfr_flow_whose(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                                    ns_t now, u16 *vif)
{
    enum vfr_flow_result r = look_whose(t, key->hash, key, now, vif);

    if (r == VFR_FLOW_MISS && key->epoch & 1) {
        r = look_whose(t, key->old_hash, key, now, vif);
        if (r == VFR_FLOW_MISS)
            r = look_whose(t, key->hash, key, now, vif);
    }
    if (r == VFR_FLOW_MISS && __atomic_load_n(&t->epoch, __ATOMIC_ACQUIRE) != key->epoch)
        return VFR_FLOW_BUSY;
    return r;
}

/* ---- first packets ---- */

enum vfr_reason vfr_flow_check_first(const struct vfr_tuple *tuple, u16 flags, u8 tcp_flags,
                                     bool pickup)
{
    if (flags & VFR_P_INNER || (is_icmp(tuple->proto) && !(flags & VFR_P_QUERY)))
        return VFR_R_ICMP_UNSOLICITED;
    if (tuple->proto != PROTO_TCP)
        return VFR_R_OK;
    if (pickup && !(tcp_flags & TCP_RST))
        return VFR_R_OK;
    return is_pure_syn(tcp_flags) ? VFR_R_OK : VFR_R_TCP_STATE;
}
