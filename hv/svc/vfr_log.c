#include "svc/vfr_log.h"
#include "base/format.h"
#include "base/string.h"
#include "core/vfr_route.h"
#include "guest/vtime.h"
#include "kern/console.h"
#include "kern/heap.h"
#include "abi/vfr_set.h"
#include "x86/cpu.h"

#define AUDIT_SIZE KIB(256)
#define TEXT_SIZE  2304 /* a record's text of the hypervisor's own */
#define TICK       200000000
#define STEP       100000000 /* ns; what changes the wall clock less is no change of it */

/* In the pages behind it: the ring's bytes. */
struct cpu_log {
    struct vfr_log log;
    struct vfr_log_ring ring;
    struct timer tick;
    bool ticking;
};

struct audit_log {
    struct vfr_audit audit;
    struct vfr_log_ring ring;
    u32 names[VFR_VIFS_MAX]; /* (atomic) of interfaces, by number: since their last connect */
    char text[TEXT_SIZE];
};

static struct spinlock audit_lock = SPINLOCK(LOCK_VFR_AUDIT);
static struct audit_log *audit; /* (audit lock; read by any) NULL: nothing was changed yet */
static struct cpu_log *logs[MAX_CPUS]; /* (atomic) there when 'audit' is */
static u32 generation;                 /* (atomic) of the rules that were last told of */

static struct vfr_log_moment moment(void)
{
    const ns_t now = time_now();

    return (struct vfr_log_moment){now, vtime_utc(now),
                                   __atomic_load_n(&generation, __ATOMIC_RELAXED)};
}

/* ---- making ---- */

static void tick(void *arg)
{
    struct cpu_log *c = arg;
    const struct vfr_log_moment m = moment();

    c->ticking = vfr_log_tick(&c->log, &m);
    if (c->ticking)
        timer_set(&c->tick, m.now + TICK);
}

/* The same 'size' for all; false: no memory. */
static bool make_log(struct cpu_log **made, const struct vfr_log_writer *who)
{
    struct cpu_log *c = heap_alloc_pages(heap_order(sizeof(*c)));
    void *data = heap_alloc_pages(heap_order(VFR_LOG_SIZE));

    if (!c || !data) {
        if (c)
            heap_free_pages(c, heap_order(sizeof(*c)));
        if (data)
            heap_free_pages(data, heap_order(VFR_LOG_SIZE));
        return false;
    }
    BUG_ON(vfr_log_init(&c->log, &c->ring, data, VFR_LOG_SIZE, who));
    timer_init(&c->tick, tick, c);
    __atomic_store_n(made, c, __ATOMIC_RELEASE);
    return true;
}

static int begin(struct audit_log *a, u16 boot)
{
    const struct vfr_log_moment m = moment();
    const struct vfr_audit_entry e = {
        .op = VFR_AUDIT_BEGIN,
        .object = (u64)m.now,
        .after = a->text,
        .after_len = (u32)format(a->text, sizeof(a->text), "boot=%u cpus=%u", boot, nr_cpus)};

    return vfr_audit_write(&a->audit, &m, &e);
}

/* With the audit lock. What was made stays, also when there is no memory for the rest. */
static int make(void)
{
    const ns_t now = time_now();
    const u64 chance = (rdtsc() ^ vtime_utc(now)) * 0x9e3779b97f4a7c15ul;
    /* One name for all, also when there was no memory for some until now. */
    const u16 boot = logs[0] ? logs[0]->log.out.boot : (u16)(chance >> 48);
    struct vfr_log_writer who = {.boot = boot, .seed = chance};
    struct audit_log *a;
    void *data;

    for (; who.cpu < nr_cpus; who.cpu++, who.seed += chance)
        if (!logs[who.cpu] && !make_log(&logs[who.cpu], &who))
            return -XEN_ENOMEM;
    who = (struct vfr_log_writer){.boot = boot};
    a = heap_alloc_pages(heap_order(sizeof(*a)));
    data = a ? heap_alloc_pages(heap_order(AUDIT_SIZE)) : NULL;
    if (!data) {
        if (a)
            heap_free_pages(a, heap_order(sizeof(*a)));
        return -XEN_ENOMEM;
    }
    BUG_ON(vfr_audit_init(&a->audit, &a->ring, data, AUDIT_SIZE, &who) || begin(a, boot));
    __atomic_store_n(&audit, a, __ATOMIC_RELEASE);
    return 0;
}

/* ---- changes ---- */

static int change_begin(void)
{
    int rc;

    lock(&audit_lock);
    rc = audit ? 0 : make();
    if (rc)
        unlock(&audit_lock);
    return rc;
}

static int change_end(const struct vfr_audit_entry *e)
{
    const struct vfr_log_moment m = moment();
    int rc = vfr_audit_write(&audit->audit, &m, e);

    unlock(&audit_lock);
    return rc == -XEN_EAGAIN ? -XEN_ENOBUFS : rc;
}

int vfr_log_note(const struct vfr_audit_entry *e)
{
    int rc = change_begin();

    return rc ? rc : change_end(e);
}

int vfr_log_change(struct vfr_audit_entry *e)
{
    e->before_len = e->before ? (u32)strlen(e->before) : 0;
    e->after_len = e->after ? (u32)strlen(e->after) : 0;
    return vfr_log_note(e);
}

static u32 name_of(const struct vif *f)
{
    return (u32)f->domid << 16 | f->handle;
}

struct hex {
    char digits[65];
};

static struct hex hex(const u8 *bytes, unsigned n)
{
    struct hex x;

    x.digits[0] = 0;
    for (unsigned i = 0; i < n; i++)
        format(x.digits + 2 * i, 3, "%02x", bytes[i]);
    return x;
}

/* With the audit lock: the text grows by so much, at most what there is room for. */
static u32 put_prefixes(char *text, u32 len, const struct vfr_binding *b)
{
    const char *before = " addresses=";

    for (unsigned i = 0; i < b->ip4s; i++, before = ",") {
        const u32 a = b->ip4[i].addr;

        len += (u32)format(text + len, TEXT_SIZE - len, "%s%u.%u.%u.%u/%u%s", before, a >> 24,
                           a >> 16 & 255, a >> 8 & 255, a & 255,
                           vfr_addr_mask_length(vfr_ip4_mask(b->ip4[i].mask)) - 96,
                           b->shared >> i & 1 ? "/shared" : "");
    }
    for (unsigned i = 0; i < b->ip6s; i++, before = ",")
        len += (u32)format(text + len, TEXT_SIZE - len, "%s%016lx%016lx/%u", before,
                           b->ip6[i].addr.high, b->ip6[i].addr.low,
                           vfr_addr_mask_length(b->ip6[i].mask));
    return len;
}

int vfr_log_connect(const struct vif *f)
{
    struct vfr_audit_entry e = {.origin = VFR_BY_DAEMON,
                                .op = VFR_AUDIT_CONNECT,
                                .vif = name_of(f),
                                .object = f->index};
    int rc = change_begin();
    char *text;

    if (rc)
        return rc;
    text = audit->text;
    e.after = text;
    e.after_len = (u32)format(
        text, TEXT_SIZE,
        "domid=%u handle=%u uuid=%s kind=%u segment=%s mac=%012lx mtu=%u may=%u macs=%u "
        "rate=%lu,%u",
        f->domid, f->handle, hex(f->uuid, 16).digits, f->kind, (const char *)f->segment,
        f->binding.mac, f->mtu, f->binding.flags, f->binding.macs, f->rate_bytes, f->rate_usec);
    e.after_len = MIN(put_prefixes(text, e.after_len, &f->binding), TEXT_SIZE - 1U);
    __atomic_store_n(&audit->names[f->index], name_of(f), __ATOMIC_RELAXED);
    return change_end(&e);
}

int vfr_log_disconnect(const struct vif *f, enum vfr_actor origin)
{
    struct vfr_audit_entry e = {.origin = (u8)origin,
                                .op = VFR_AUDIT_DISCONNECT,
                                .vif = name_of(f),
                                .object = f->index};
    int rc = change_begin();

    if (rc)
        return rc;
    e.before = audit->text;
    e.before_len = (u32)format(audit->text, TEXT_SIZE, "domid=%u handle=%u uuid=%s", f->domid,
                               f->handle, hex(f->uuid, 16).digits);
    return change_end(&e);
}

int vfr_log_rate(const struct vif *f, const struct serai_vfr_vif *op)
{
    char was[48], is[48];
    struct vfr_audit_entry e = {.origin = (u8)op->origin,
                                .op = VFR_AUDIT_LIMITS,
                                .vif = name_of(f),
                                .object = f->index,
                                .before = was,
                                .after = is};

    format(was, sizeof(was), "rate=%lu,%u", f->rate_bytes, f->rate_usec);
    format(is, sizeof(is), "rate=%lu,%u", op->rate_bytes, op->rate_usec);
    return vfr_log_change(&e);
}

int vfr_log_rules(u32 nr_rules, const u8 digest[SHA256_SIZE], u32 now, const char *how)
{
    const u32 was = __atomic_load_n(&generation, __ATOMIC_RELAXED);
    char before[32], after[160];
    int rc;

    struct vfr_audit_entry e = {.origin = VFR_BY_SERAI,
                                .op = VFR_AUDIT_RULES,
                                .object = now,
                                .before = before,
                                .after = after};

    format(before, sizeof(before), "generation=%u", was);
    format(after, sizeof(after), "generation=%u rules=%u sha256=%s how=%s", now, nr_rules,
           hex(digest, SHA256_SIZE).digits, how);
    rc = vfr_log_change(&e);
    if (!rc)
        __atomic_store_n(&generation, now, __ATOMIC_RELAXED);
    return rc;
}

int vfr_log_element(const struct serai_vfr_set *op, int failed)
{
    char after[160];
    struct vfr_audit_entry e = {
        .origin = VFR_BY_SERAI, .op = VFR_AUDIT_SET, .object = op->id, .after = after};

    format(after, sizeof(after),
           "op=%u kind=%u element=%016lx%016lx length=%u port=%u seconds=%lu failed=%d", op->op,
           op->kind, op->element.high, op->element.low, op->element.length, op->element.port,
           op->element.seconds, failed);
    return vfr_log_change(&e);
}

/* An interface that was connected. */
static u32 name_of_number(u16 index)
{
    const struct audit_log *a = __atomic_load_n(&audit, __ATOMIC_ACQUIRE);

    return a && index < VFR_VIFS_MAX ? __atomic_load_n(&a->names[index], __ATOMIC_RELAXED) : 0;
}

int vfr_log_lease(const struct vfr_lease_order *o, const struct vfr_lease_info *before)
{
    char was[96], is[192];
    struct vfr_audit_entry e = {.origin = o->origin,
                                .op = VFR_AUDIT_LEASE,
                                .vif = name_of_number(o->vif),
                                .object = o->op < VFR_LEASE_SHARE ? o->id : o->ip,
                                .before = before ? was : NULL,
                                .after = is};

    if (before)
        format(was, sizeof(was), "state=%u since=%ld ends=%ld", before->state, before->since,
               before->ends);
    format(is, sizeof(is),
           "op=%u ip=%u.%u.%u.%u start=%u log2=%u classes=%u vif=%u seconds=%u uuid=%s", o->op,
           o->ip >> 24, o->ip >> 16 & 255, o->ip >> 8 & 255, o->ip & 255, o->start, o->log2,
           o->classes, o->vif, o->seconds, hex(o->uuid, 16).digits);
    return vfr_log_change(&e);
}

int vfr_log_clock(u64 before, u64 after)
{
    char was[32], is[32];
    struct vfr_audit_entry e = {
        .origin = VFR_BY_SERAI, .op = VFR_AUDIT_CLOCK, .before = was, .after = is};
    struct vfr_log_moment m;
    int rc;

    if (!__atomic_load_n(&audit, __ATOMIC_ACQUIRE) || after - before + STEP < 2 * STEP)
        return 0;
    format(was, sizeof(was), "utc=%lu", before);
    format(is, sizeof(is), "utc=%lu", after);
    rc = vfr_log_change(&e);
    if (rc)
        return rc;
    m = moment();
    m.utc = after;
    (void)vfr_log_clock_set(&logs[this_cpu()->id]->log, &m, before, 0);
    return 0;
}

int vfr_log_checkpoint(void)
{
    u64 logged = 0, lost = 0, records;
    struct vfr_log_moment m;
    struct hex head;
    int rc = change_begin();

    if (rc)
        return rc;
    for (unsigned i = 0; i < nr_cpus; i++) {
        logged += __atomic_load_n(&logs[i]->log.logged, __ATOMIC_RELAXED);
        lost += __atomic_load_n(&logs[i]->log.lost, __ATOMIC_RELAXED);
    }
    m = moment();
    rc = vfr_audit_checkpoint(&audit->audit, &m, logged, lost);
    records = audit->audit.records;
    head = hex(audit->audit.head, SHA256_SIZE);
    unlock(&audit_lock);
    if (rc)
        return rc == -XEN_EAGAIN ? -XEN_ENOBUFS : rc;
    printk("router: %lu records in the audit log, the last one is %s\n", records, head.digits);
    return 0;
}

/* ---- flows ---- */

/* This CPU's; NULL: no rules were ever installed. */
static struct cpu_log *own_log(void)
{
    return __atomic_load_n(&logs[this_cpu()->id], __ATOMIC_ACQUIRE);
}

u8 vfr_log_choose(const struct vfr_verdict *v)
{
    struct cpu_log *c = own_log();

    if (!v->log || v->sample <= 1 || !c || vfr_log_sample(&c->log, v->sample))
        return v->log;
    return v->log & (u8) ~(VFR_LOG_NEW | VFR_LOG_END | VFR_LOG_STRICT);
}

bool vfr_log_has_space(void)
{
    struct cpu_log *c = own_log();

    /* Another flow may have to end for this one to begin. */
    return c &&
           vfr_log_has_room(&c->log, 2 * VFR_LOG_FLOW_SIZE + sizeof(struct vfr_log_counts));
}

static struct vfr_log_event event_of(const struct vfr_flow *f)
{
    return (struct vfr_log_event){
        .tuple = {f->src, f->dst, f->sport, f->dport, f->proto},
        .where = {name_of_number(f->vif[0]), name_of_number(f->vif[1])},
        .rule = f->rule,
        .flow = f->id,
    };
}

/* While something waits to be told of. */
static void start_ticking(struct cpu_log *c, ns_t now)
{
    if (c->ticking)
        return;
    c->ticking = true;
    timer_set(&c->tick, now + TICK);
}

void vfr_log_begun(const struct vfr_flow *f, u8 tcp_flags)
{
    struct cpu_log *c = own_log();
    struct vfr_log_event e = event_of(f);
    const struct vfr_log_moment m = moment();

    if (!c)
        return;
    e.tcp_flags = tcp_flags;
    if (!vfr_log_flow_new(&c->log, &m, &e))
        start_ticking(c, m.now);
}

void vfr_log_ended(const struct vfr_flow *f, enum vfr_flow_end why)
{
    struct cpu_log *c = own_log();
    struct vfr_log_event e = event_of(f);
    struct vfr_log_moment m = moment();
    const struct vfr_log_counts counts = {{f->packets[0], f->packets[1]},
                                          {f->bytes[0], f->bytes[1]}};

    if (!c)
        return;
    e.reason = (u16)why;
    m.generation = f->generation;
    if (!vfr_log_flow_end(&c->log, &m, &e, &counts, (u32)((f->last - f->created) / 1000000)))
        start_ticking(c, m.now);
}

void vfr_log_denied(const struct vfr_packet *x, const struct vif *in, const struct vif *out,
                    const struct vfr_verdict *v)
{
    const u8 wanted = v->reason == VFR_R_OK ? VFR_LOG_NEW : VFR_LOG_DENY;
    struct cpu_log *c = v->log & wanted ? own_log() : NULL;
    struct vfr_log_event e;
    struct vfr_log_moment m;

    if (!c || (v->sample > 1 && !vfr_log_sample(&c->log, v->sample)))
        return;
    m = moment();
    e = (struct vfr_log_event){.tuple = x->tuple,
                               .where = {name_of(in), name_of(out)},
                               .rule = v->id,
                               .reason = v->reason,
                               .tcp_flags = x->tcp_flags};
    vfr_log_deny(&c->log, &m, &e);
    start_ticking(c, m.now);
}

void vfr_log_dropped(const struct vif *in, const struct vfr_packet *x, enum vfr_reason reason,
                     u32 bytes)
{
    struct cpu_log *c = own_log();
    struct vfr_log_event e = {.where = {name_of(in), 0}, .reason = (u16)reason};
    struct vfr_log_moment m;

    if (!c || reason == VFR_R_CONSUMED || reason == VFR_R_SPREAD || reason == VFR_R_RULE ||
        reason == VFR_R_DEFAULT)
        return; /* no loss; or for the rules to say */
    if (x)
        e.tuple = x->tuple;
    m = moment();
    vfr_log_drop(&c->log, &m, &e, bytes);
    start_ticking(c, m.now);
}

/* ---- reading ---- */

const struct vfr_log_stream *vfr_log_find(u32 ring)
{
    const struct audit_log *a = __atomic_load_n(&audit, __ATOMIC_ACQUIRE);

    if (!a)
        return NULL;
    if (ring == VFR_RING_AUDIT)
        return &a->audit.out;
    return ring < nr_cpus ? &logs[ring]->log.out : NULL;
}

void vfr_log_head(struct serai_vfr_log *op)
{
    lock(&audit_lock);
    if (audit) {
        op->records = audit->audit.records;
        memcpy(op->head, audit->audit.head, sizeof(op->head));
        if (op->ring == VFR_RING_AUDIT)
            op->lost = audit->audit.refused;
    }
    unlock(&audit_lock);
}
