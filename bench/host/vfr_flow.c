/* Flows: what each packet of an established one costs, with few and with many others, and the log. */
#include "measure.h"
#include "core/vfr_flow.h"
#include "core/vfr_log.h"

#define FLOWS 131072U
#define MANY  100000U

enum { ICMP = 1, TCP = 6, UDP = 17 };

static struct vfr_flow_table t;
static struct vfr_flow_vif vifs[8];

static const u64 secret[4] = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb,
                              0xd6e8feb86659fd93};

/* Flow n comes from one of seven interfaces and goes to the eighth; 'back': its answer. */
static struct vfr_tuple tuple_of(u32 n, bool back)
{
    const struct vfr_tuple x = {VFR_IP4(0x0a000000 + n / 60000), VFR_IP4(0xc6336401),
                                (u16)(n % 60000), 443, UDP};

    return back ? (struct vfr_tuple){x.dst, x.src, x.dport, x.sport, x.proto} : x;
}

static struct vfr_flow_use use_of(u32 n, bool back)
{
    const u16 in = 1 + n % 7;

    return (struct vfr_flow_use){
        .now = 1000, .bytes = 60, .in = back ? 0 : in, .out = back ? in : 0};
}

static bool pass(u32 n, bool back)
{
    const struct vfr_tuple x = tuple_of(n, back);
    const struct vfr_flow_new new = {.use = use_of(n, back)};
    struct vfr_flow_key key;
    struct vfr_flow_hit hit;
    u32 index;

    vfr_flow_key(&t, &x, 0, 0, &key);
    return vfr_flow_lookup(&t, &key, &new.use, &hit) == VFR_FLOW_HIT ||
           vfr_flow_create(&t, &key, &new, &index) == VFR_R_OK;
}

static void fill(u32 flows)
{
    const struct vfr_flow_memory m = {
        calloc(FLOWS, sizeof(struct vfr_flow)),
        aligned_alloc(64, (VFR_FLOW_BUCKETS(FLOWS) + VFR_FLOW_OVERFLOW(FLOWS)) *
                              sizeof(struct vfr_flow_bucket)),
        vifs,
        FLOWS,
        ARRAY_SIZE(vifs),
        NULL,
        NULL};

    expect(!vfr_flow_init(&t, &m, secret), "a table");
    for (u16 v = 0; v < ARRAY_SIZE(vifs); v++)
        vfr_flow_set_limits(&t, v, FLOWS, 0);
    for (u32 n = 0; n < flows; n++)
        expect(pass(n, false) && pass(n, true), "a flow");
}

static void established(const char *name, u32 flows, bool back)
{
    char what[80];

    for (unsigned i = 0; i < SAMPLES; i++) {
        const u32 n = i * (flows / SAMPLES);
        const struct vfr_tuple x = tuple_of(n, back);
        const struct vfr_flow_use use = use_of(n, back);
        enum vfr_flow_result r;
        struct vfr_flow_key key;
        struct vfr_flow_hit hit;

        snprintf(what, sizeof(what), "flow|%s%s||0", name, back ? ", an answer" : "");
        measure_begin();
        vfr_flow_key(&t, &x, 0, 0, &key);
        r = vfr_flow_lookup(&t, &key, &use, &hit);
        measure_keep(what);
        expect(r == VFR_FLOW_HIT, what);
    }
}

static void new_flows(const char *name)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        const struct vfr_tuple x = {VFR_IP4(7), VFR_IP4(8), (u16)i, 53, UDP};
        const struct vfr_flow_new new = {.use = use_of(i, false)};
        enum vfr_flow_result r;
        struct vfr_flow_key key;
        struct vfr_flow_hit hit;
        u32 index;
        int rc;

        vfr_flow_key(&t, &x, 0, 0, &key);
        measure_begin();
        r = vfr_flow_lookup(&t, &key, &new.use, &hit);
        rc = vfr_flow_create(&t, &key, &new, &index);
        measure_keep(name);
        expect(r == VFR_FLOW_MISS && rc == VFR_R_OK, name);
    }
}

static void release(void)
{
    free(t.flow);
    free(t.bucket);
}

static void logged(void)
{
    static struct vfr_log l;
    static struct vfr_log_ring ring;
    static u64 data[VFR_LOG_SIZE / 8];
    const struct vfr_log_writer who = {.cpu = 1};
    const struct vfr_log_moment moment = {.now = 1};
    const struct vfr_log_counts counts = {{1, 2}, {3, 4}};
    const struct vfr_log_event e = {.tuple = tuple_of(1, false)};
    bool ok;

    expect(!vfr_log_init(&l, &ring, data, sizeof(data), &who), "a log");
    for (unsigned i = 0; i < SAMPLES; i++) {
        measure_begin();
        ok = vfr_log_flow_new(&l, &moment, &e);
        measure_keep("flow|log: a flow begins||0");
        expect(ok, "log: a flow begins");
        measure_begin();
        ok = vfr_log_flow_end(&l, &moment, &e, &counts, 1);
        measure_keep("flow|log: a flow ends||0");
        expect(ok, "log: a flow ends");
    }
    vfr_log_deny(&l, &moment, &e);
    for (unsigned i = 0; i < SAMPLES; i++) {
        measure_begin();
        vfr_log_deny(&l, &moment, &e);
        measure_keep("flow|log: a deny like the last one||0");
        expect(l.folded == i + 1, "log: a deny like the last one");
    }
}

void vfr_flow_cases(void)
{
    fill(100);
    established("established, of 100", 100, false);
    established("established, of 100", 100, true);
    new_flows("flow|begins, 100 there||0");
    release();
    fill(MANY);
    established("established, of 100,000", MANY, false);
    established("established, of 100,000", MANY, true);
    new_flows("flow|begins, 100,000 there||0");
    release();
    logged();
}
