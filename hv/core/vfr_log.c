#include "core/vfr_log.h"
#include "base/string.h"

#define SECOND 1000000000L

int vfr_log_init(struct vfr_log *l, struct vfr_log_ring *ring, void *data, u32 size,
                 const struct vfr_log_writer *who)
{
    memset(l, 0, sizeof(*l)); /* too large for the stack */
    l->dice = who->seed;
    return vfr_log_stream_init(&l->out, ring, data, size, who);
}

/* ---- room and gaps ---- */

static u32 with_gap(const struct vfr_log *l, u32 len)
{
    return len + (l->gap_count ? (u32)sizeof(struct vfr_log_gap) : 0);
}

bool vfr_log_has_room(struct vfr_log *l, u32 len)
{
    return vfr_log_stream_has_room(&l->out, with_gap(l, len));
}

static void lose(struct vfr_log *l, const struct vfr_log_moment *m)
{
    if (!l->gap_count) {
        l->gap_first = l->out.seq;
        l->gap_begin = m->utc;
    }
    l->gap_count++;
    l->gap_end = m->utc;
    l->out.seq++;
    l->lost++;
    __atomic_store_n(&l->out.ring->lost, l->lost, __ATOMIC_RELAXED);
}

/* There is room. */
static void put_gap(struct vfr_log *l, const struct vfr_log_moment *m)
{
    const struct vfr_log_gap gap = {
        vfr_log_stream_head(&l->out, m, VFR_RECORD_GAP, sizeof(gap)), l->gap_first,
        l->gap_count, l->gap_begin, l->gap_end};

    vfr_log_stream_put(&l->out, &gap, sizeof(gap));
    l->gap_count = 0;
}

/* Room for a record and 'spare' behind it, the gap before it told; false: it is lost. */
static bool begin(struct vfr_log *l, const struct vfr_log_moment *m, u32 len, u32 spare)
{
    if (!vfr_log_has_room(l, len + spare)) {
        lose(l, m);
        return false;
    }
    if (l->gap_count)
        put_gap(l, m);
    l->logged++;
    return true;
}

/* What a sender of refused packets leaves alone. */
static u32 for_flows(const struct vfr_log *l)
{
    return l->out.size / 2;
}

/* A record in one piece, whose head is filled in here. */
static bool write(struct vfr_log *l, const struct vfr_log_moment *m, u16 type,
                  struct vfr_log_head *record, u32 len)
{
    if (!begin(l, m, len, type == VFR_RECORD_DROPS ? for_flows(l) : 0))
        return false;
    *record = vfr_log_stream_head(&l->out, m, type, len);
    vfr_log_stream_put(&l->out, record, len);
    vfr_log_stream_publish(&l->out);
    return true;
}

/* ---- flows ---- */

static void put_ip6(struct vfr_log_ip6 *ip, const struct vfr_tuple *x)
{
    *ip = (struct vfr_log_ip6){{x->src.high, x->src.low}, {x->dst.high, x->dst.low}};
}

/* FLOW_NEW, FLOW_END with 'counts', DENY. */
static bool put_flow(struct vfr_log *l, const struct vfr_log_moment *m, u16 type,
                     const struct vfr_log_event *e, u32 count,
                     const struct vfr_log_counts *counts)
{
    const struct vfr_tuple *x = &e->tuple;
    const bool ip4 = vfr_addr_is_ip4(x->src) && vfr_addr_is_ip4(x->dst);
    const u32 rest = counts ? sizeof(*counts) : 0;
    const u32 len = sizeof(struct vfr_log_head) + sizeof(e->where) +
                    (ip4 ? sizeof(struct vfr_log_ip4) : sizeof(struct vfr_log_ip6)) +
                    sizeof(struct vfr_log_what) + rest;
    const struct vfr_log_what what = {x->sport,  x->dport, x->proto, e->tcp_flags,
                                      e->reason, e->rule,  count,    e->flow};
    struct vfr_log_head head;

    if (!begin(l, m, len, type == VFR_RECORD_DENY ? for_flows(l) : 0))
        return false;
    head = vfr_log_stream_head(&l->out, m, ip4 ? type : type | VFR_RECORD_IP6, len);
    vfr_log_stream_put(&l->out, &head, sizeof(head));
    vfr_log_stream_put(&l->out, &e->where, sizeof(e->where));
    if (ip4) {
        const struct vfr_log_ip4 ip = {(u32)x->src.low, (u32)x->dst.low};

        vfr_log_stream_put(&l->out, &ip, sizeof(ip));
    } else {
        struct vfr_log_ip6 ip;

        put_ip6(&ip, x);
        vfr_log_stream_put(&l->out, &ip, sizeof(ip));
    }
    vfr_log_stream_put(&l->out, &what, sizeof(what));
    vfr_log_stream_put(&l->out, counts, rest);
    vfr_log_stream_publish(&l->out);
    return true;
}

bool vfr_log_flow_new(struct vfr_log *l, const struct vfr_log_moment *m,
                      const struct vfr_log_event *e)
{
    return put_flow(l, m, VFR_RECORD_FLOW_NEW, e, 1, NULL);
}

bool vfr_log_flow_end(struct vfr_log *l, const struct vfr_log_moment *m,
                      const struct vfr_log_event *e, const struct vfr_log_counts *counts,
                      u32 duration_ms)
{
    return put_flow(l, m, VFR_RECORD_FLOW_END, e, duration_ms, counts);
}

bool vfr_log_sample(struct vfr_log *l, u32 n)
{
    bool chosen;

    l->dice = l->dice * 6364136223846793005UL + 1442695040888963407UL;
    chosen = (l->dice >> 32) * n >> 32 == 0;
    l->skipped += !chosen;
    return chosen;
}

/* ---- others ---- */

bool vfr_log_drops(struct vfr_log *l, const struct vfr_log_moment *m,
                   const struct vfr_log_event *example, u64 count, u64 bytes)
{
    struct vfr_log_drops drops = {.vif = example->where.in,
                                  .reason = example->reason,
                                  .count = count,
                                  .bytes = bytes,
                                  .sport = example->tuple.sport,
                                  .dport = example->tuple.dport,
                                  .proto = example->tuple.proto};

    put_ip6(&drops.example, &example->tuple);
    return write(l, m, VFR_RECORD_DROPS, &drops.head, sizeof(drops));
}

bool vfr_log_clock_set(struct vfr_log *l, const struct vfr_log_moment *m, u64 before,
                       u32 source)
{
    struct vfr_log_clock clock = {.before = before, .after = m->utc, .source = source};

    return write(l, m, VFR_RECORD_CLOCK, &clock.head, sizeof(clock));
}

bool vfr_log_capture(struct vfr_log *l, const struct vfr_log_moment *m,
                     const struct vfr_log_frame *frame)
{
    const u32 have = MIN(frame->have, (u32)VFR_CAPTURE_MAX), whole = ROUND_DOWN(have, 8);
    const u32 len = sizeof(struct vfr_log_capture) + ROUND_UP(have, 8);
    struct vfr_log_capture capture;
    u64 rest = 0;

    if (!begin(l, m, len, 0))
        return false;
    capture = (struct vfr_log_capture){vfr_log_stream_head(&l->out, m, VFR_RECORD_CAPTURE, len),
                                       frame->vif,
                                       frame->reason,
                                       frame->capture,
                                       frame->flags,
                                       have,
                                       frame->len};
    vfr_log_stream_put(&l->out, &capture, sizeof(capture));
    vfr_log_stream_put(&l->out, frame->bytes, whole);
    for (u32 i = whole; i < have; i++)
        rest |= (u64)frame->bytes[i] << (i - whole) * 8;
    vfr_log_stream_put(&l->out, &rest, have > whole ? 8 : 0);
    vfr_log_stream_publish(&l->out);
    return true;
}

/* ---- denies ---- */

static struct vfr_addr network_of(struct vfr_addr a)
{
    if (vfr_addr_is_ip4(a))
        a.low &= ~0xffUL;
    else
        a.low = 0;
    return a;
}

static bool is_same_kind(const struct vfr_log_event *a, const struct vfr_log_event *b)
{
    return a->where.in == b->where.in && a->rule == b->rule && a->reason == b->reason &&
           a->tuple.proto == b->tuple.proto &&
           vfr_addr_equal(network_of(a->tuple.src), network_of(b->tuple.src)) &&
           vfr_addr_equal(network_of(a->tuple.dst), network_of(b->tuple.dst));
}

static struct vfr_log_deny *place_of(struct vfr_log *l, const struct vfr_log_event *e)
{
    const struct vfr_addr src = network_of(e->tuple.src), dst = network_of(e->tuple.dst);
    u64 mix = src.low ^ src.high;

    mix = mix * 0x9e3779b97f4a7c15UL + (dst.low ^ dst.high);
    mix = mix * 0x9e3779b97f4a7c15UL + ((u64)e->where.in << 32 | e->rule);
    mix = mix * 0x9e3779b97f4a7c15UL + (e->reason << 8 | e->tuple.proto);
    mix *= 0x9e3779b97f4a7c15UL;
    return &l->deny[mix >> 32 & (VFR_LOG_DENIES - 1)];
}

/* What was only counted. */
static void tell_count(struct vfr_log *l, const struct vfr_log_moment *m,
                       struct vfr_log_deny *d)
{
    if (d->count)
        (void)put_flow(l, m, VFR_RECORD_DENY, &d->event, d->count, NULL);
    d->count = 0;
    d->written = m->now;
}

void vfr_log_deny(struct vfr_log *l, const struct vfr_log_moment *m,
                  const struct vfr_log_event *e)
{
    struct vfr_log_deny *d = place_of(l, e);

    if (d->used && is_same_kind(&d->event, e)) {
        d->event = *e;
        d->count++;
        if (m->now - d->written < SECOND) {
            l->folded++;
            return;
        }
    } else {
        if (d->used)
            tell_count(l, m, d);
        *d = (struct vfr_log_deny){.event = *e, .count = 1, .used = true};
    }
    tell_count(l, m, d);
}

/* ---- drops ---- */

static void tell_drops(struct vfr_log *l, const struct vfr_log_moment *m,
                       struct vfr_log_dropped *d)
{
    (void)vfr_log_drops(l, m, &d->first, d->count, d->bytes);
    d->count = 0;
}

void vfr_log_drop(struct vfr_log *l, const struct vfr_log_moment *m,
                  const struct vfr_log_event *e, u32 bytes)
{
    const u32 mix = (e->where.in ^ (u32)e->reason << 24) * 0x9e3779b9U;
    struct vfr_log_dropped *d = &l->dropped[mix >> 16 & (VFR_LOG_DROPS - 1)];

    if (d->count && (d->first.where.in != e->where.in || d->first.reason != e->reason))
        tell_drops(l, m, d);
    if (!d->count)
        *d = (struct vfr_log_dropped){.first = *e, .since = m->now};
    d->count++;
    d->bytes += bytes;
}

/* ---- now and then ---- */

static bool tick_denies(struct vfr_log *l, const struct vfr_log_moment *m)
{
    bool more = false;

    for (u32 i = 0; i < VFR_LOG_DENIES; i++) {
        struct vfr_log_deny *d = &l->deny[i];

        if (d->used && m->now - d->written >= SECOND) {
            d->used = d->count;
            tell_count(l, m, d);
        }
        more |= d->used;
    }
    return more;
}

static bool tick_drops(struct vfr_log *l, const struct vfr_log_moment *m)
{
    bool more = false;

    for (u32 i = 0; i < VFR_LOG_DROPS; i++) {
        struct vfr_log_dropped *d = &l->dropped[i];

        if (d->count && m->now - d->since >= SECOND)
            tell_drops(l, m, d);
        more |= d->count;
    }
    return more;
}

bool vfr_log_tick(struct vfr_log *l, const struct vfr_log_moment *m)
{
    bool more = tick_denies(l, m);

    more |= tick_drops(l, m);
    if (l->gap_count && vfr_log_has_room(l, 0)) {
        put_gap(l, m);
        vfr_log_stream_publish(&l->out);
    }
    return more || l->gap_count;
}

int vfr_log_check(const struct vfr_log *l)
{
    const struct vfr_log_stream *s = &l->out;

    if (s->ring->produced != s->produced || s->produced % 8)
        return 1;
    if (l->gap_count > l->lost || (l->gap_count && l->gap_first + l->gap_count != s->seq))
        return 2;
    if (s->produced - s->consumed > s->size || s->consumed % 8)
        return 3;
    for (u32 i = 0; i < VFR_LOG_DENIES; i++)
        if (l->deny[i].count && !l->deny[i].used)
            return 4;
    return 0;
}
