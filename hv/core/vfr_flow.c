#include "core/vfr_flow_impl.h"

#define SECOND 1000000000L

enum timer { SYN_SENT, CONNECTED, CLOSING, CLOSING_HELD, ONE_WAY, TWO_WAY, ICMP };

static const ns_t idle_max[] = {
    [SYN_SENT] = 30 * SECOND,      [CONNECTED] = 7800 * SECOND, [CLOSING] = 20 * SECOND,
    [CLOSING_HELD] = 120 * SECOND, [ONE_WAY] = 30 * SECOND,     [TWO_WAY] = 180 * SECOND,
    [ICMP] = 60 * SECOND,
};

/* ---- keys ---- */

static inline u64 fold(u64 a, u64 b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (u64)product ^ (u64)(product >> 64);
}

/* Each side by itself, then their product, which knows no order, then what they share. */
u64 vfr_flow_hash(const u64 secret[4], const struct vfr_tuple *x, u64 word)
{
    u64 a = fold(x->src.low ^ secret[0], x->src.high ^ secret[1]) + x->sport * secret[2];
    u64 b = fold(x->dst.low ^ secret[0], x->dst.high ^ secret[1]) + x->dport * secret[2];

    return fold(fold(a, b) + (word >> 32), secret[3]);
}

void vfr_flow_key(const struct vfr_flow_table *t, const struct vfr_tuple *tuple, u16 segment,
                  u16 flags, struct vfr_flow_key *key)
{
    u32 epoch = __atomic_load_n(&t->epoch, __ATOMIC_ACQUIRE);

    key->tuple = tuple;
    key->flags = flags;
    key->epoch = epoch;
    key->word = tuple_word(tuple, segment);
    key->reverse = (key->word & ~0xffffffffUL) | tuple->dport | (u32)tuple->sport << 16;
    key->hash = vfr_flow_hash(t->secret[secret_of(epoch)], tuple, key->word);
    if (unlikely(epoch & 1))
        key->old_hash = vfr_flow_hash(t->secret[!secret_of(epoch)], tuple, key->word);
}

/* ---- finding ---- */

/* Bit 15 or 14 of a group of 16 for each place with this tag: of the first four, the others. */
static inline u64 places_with(const struct vfr_flow_bucket *b, u16 tag)
{
    const u64 low = 0x7fff7fff7fff7fffUL;
    u64 tags = tag * 0x0001000100010001UL;
    u64 x = get_le64(&b->tag[0]) ^ tags, y = get_le64(&b->tag[4]) ^ tags;

    x = ~(((x & low) + low) | x | low);
    y = ~(((y & low) + low) | y | low);
    return x | y >> 1;
}

static inline bool equal(struct vfr_addr a, struct vfr_addr b)
{
    return a.low == b.low && a.high == b.high;
}

static inline bool is_key_of(const struct vfr_flow *f, const struct vfr_flow_key *key,
                             bool *answer)
{
    const struct vfr_tuple *x = key->tuple;

    if (flow_word(f) == key->word && equal(f->src, x->src) && equal(f->dst, x->dst) &&
        !(key->flags & VFR_P_ANSWER)) {
        *answer = false;
        return true;
    }
    *answer = true;
    return flow_word(f) == key->reverse && equal(f->src, x->dst) && equal(f->dst, x->src) &&
           !(key->flags & VFR_P_QUERY);
}

static inline u32 find(const struct vfr_flow_table *t, const struct vfr_flow_bucket *b,
                       u64 hash, const struct vfr_flow_key *key, bool *answer)
{
    for (;;) {
        for (u64 places = places_with(b, tag_of(hash)); places; places &= places - 1) {
            unsigned bit = __builtin_ctzll(places);
            u32 i = b->flow[bit >> 4 | (~bit & 1) << 2];

            if (likely(is_key_of(&t->flow[i], key, answer)))
                return i;
        }
        if (likely(!b->next))
            return VFR_FLOW_NONE;
        b = &t->bucket[b->next];
    }
}

u32 vfr_flow_find(const struct vfr_flow_table *t, const struct vfr_flow_bucket *home, u64 hash,
                  const struct vfr_flow_key *key, bool *answer)
{
    return find(t, home, hash, key, answer);
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
static inline bool goes_by(const struct vfr_flow *f, u16 flags, const struct vfr_flow_use *use,
                           bool answer)
{
    return f->vif[!answer] == use->out && (f->vif[answer] == use->in || flags & VFR_P_INNER);
}

static inline bool is_over(const struct vfr_flow *f, u16 flags, const struct vfr_flow_use *use,
                           bool answer)
{
    return use->now - f->last > idle_max[f->timer] || !goes_by(f, flags, use, answer) ||
           (unlikely(f->state == VFR_FLOW_CLOSING) && begins_anew(f, use->tcp_flags));
}

bool vfr_flow_is_over(const struct vfr_flow *f, const struct vfr_flow_key *key,
                      const struct vfr_flow_use *use, bool answer)
{
    return is_over(f, key->flags, use, answer ^ !!(key->flags & VFR_P_INNER));
}

/* ---- each packet ---- */

static inline void count(struct vfr_flow *f, const struct vfr_flow_use *use, bool answer)
{
    f->packets[answer]++;
    f->bytes[answer] += use->bytes;
}

static inline enum vfr_flow_result look(struct vfr_flow_table *t, struct vfr_flow_bucket *home,
                                        u64 hash, const struct vfr_flow_key *key,
                                        const struct vfr_flow_use *use,
                                        struct vfr_flow_hit *hit)
{
    const bool inner = key->flags & VFR_P_INNER;
    struct vfr_flow *f;
    bool answer;
    u32 i = find(t, home, hash, key, &answer);

    if (unlikely(i == VFR_FLOW_NONE))
        return VFR_FLOW_MISS;
    f = &t->flow[i];
    answer ^= inner;
    if (unlikely(is_over(f, key->flags, use, answer)))
        return VFR_FLOW_MISS;
    *hit = (struct vfr_flow_hit){i, f->rule_index, f->log, answer};
    if (unlikely((s32)(f->generation - use->oldest) < 0))
        return VFR_FLOW_STALE;
    count(f, use, answer);
    if (inner)
        return VFR_FLOW_HIT;
    f->last = use->now;
    if (unlikely(f->state != VFR_FLOW_OPEN || use->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST)))
        advance(f, use->tcp_flags, answer);
    return VFR_FLOW_HIT;
}

static inline enum vfr_flow_result look_locked(struct vfr_flow_table *t, u64 hash,
                                               const struct vfr_flow_key *key,
                                               const struct vfr_flow_use *use,
                                               struct vfr_flow_hit *hit)
{
    struct vfr_flow_bucket *home = &t->bucket[hash & t->mask];
    enum vfr_flow_result r = VFR_FLOW_BUSY;

    if (unlikely(!try_lock(home)))
        return VFR_FLOW_BUSY;
    if (likely(__atomic_load_n(&t->epoch, __ATOMIC_RELAXED) == key->epoch))
        r = look(t, home, hash, key, use, hit);
    unlock(home);
    return r;
}

/* While flows move, by the old secret: rare, and a second copy of it all in the cache. */
static __noinline enum vfr_flow_result look_old(struct vfr_flow_table *t,
                                                const struct vfr_flow_key *key,
                                                const struct vfr_flow_use *use,
                                                struct vfr_flow_hit *hit)
{
    return look_locked(t, key->old_hash, key, use, hit);
}

enum vfr_flow_result vfr_flow_lookup(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                                     const struct vfr_flow_use *use, struct vfr_flow_hit *hit)
{
    if (unlikely(key->epoch & 1)) {
        enum vfr_flow_result r = look_old(t, key, use, hit);

        if (r != VFR_FLOW_MISS)
            return r;
    }
    return look_locked(t, key->hash, key, use, hit);
}

static enum vfr_flow_result confirm(struct vfr_flow_table *t, u64 hash,
                                    const struct vfr_flow_key *key,
                                    const struct vfr_flow_verdict *verdict)
{
    struct vfr_flow_bucket *home = &t->bucket[hash & t->mask];
    enum vfr_flow_result r = VFR_FLOW_BUSY;
    struct vfr_flow *f;
    bool answer;
    u32 i;

    if (!try_lock(home))
        return VFR_FLOW_BUSY;
    if (__atomic_load_n(&t->epoch, __ATOMIC_RELAXED) == key->epoch) {
        i = vfr_flow_find(t, home, hash, key, &answer);
        r = i == VFR_FLOW_NONE ? VFR_FLOW_MISS : VFR_FLOW_HIT;
        if (i != VFR_FLOW_NONE) {
            f = &t->flow[i];
            f->generation = verdict->generation;
            f->rule = verdict->rule;
            f->rule_index = verdict->rule_index;
            f->log = verdict->log;
        }
    }
    unlock(home);
    return r;
}

enum vfr_flow_result vfr_flow_confirm(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                                      const struct vfr_flow_verdict *verdict)
{
    if (key->epoch & 1) {
        enum vfr_flow_result r = confirm(t, key->old_hash, key, verdict);

        if (r != VFR_FLOW_MISS)
            return r;
    }
    return confirm(t, key->hash, key, verdict);
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
