/*
 * The router's logs: flows and denies are told of, what is lost is counted, rules that are strict let
 * nothing pass unseen; no change without its record, in a chain.
 */
#include "abi/vfr_explain.h"
#include "abi/vfr_lease.h"
#include "abi/vfr_log.h"
#include "front.h"
#include <xen/platform.h>

#define SAME (~0UL)

static struct front a, b, up;
static u8 *page;
static u32 page_ref;
static u8 records[65536] __attribute__((aligned(8)));
static u64 begin, end; /* the records that were read last lie in this part of the ring */

static long log_op(struct serai_vfr_log *o)
{
    return HC(arch_7, SERAI_OP_VFR_LOG, o, 0, 0, 0);
}

/* How many of the bytes read are whole records. */
static u64 whole(u64 len)
{
    u64 at = 0;

    while (at + sizeof(struct vfr_log_head) <= len) {
        const struct vfr_log_head *h = (const void *)(records + at);

        if (h->len < sizeof(*h) || h->len > len - at)
            break;
        at += h->len;
    }
    return at;
}

/* Reads on; what was read before is given up. */
static long read_on(u32 ring)
{
    struct serai_vfr_log o = {.op = VFR_LOG_READ,
                              .ring = ring,
                              .done = end,
                              .at = end,
                              .buffer = (u64)records,
                              .capacity = sizeof(records)};
    long rc = log_op(&o);

    begin = end;
    end = rc ? end : end + whole(o.at - end);
    return rc;
}

static struct serai_vfr_log state_of(u32 ring)
{
    struct serai_vfr_log o = {.op = VFR_LOG_READ, .ring = ring, .done = SAME};

    o.at = 0;
    log_op(&o); /* says how things are also when 'at' is nowhere */
    return o;
}

/* From now on: of this ring, what comes. */
static void skip_to_end(u32 ring)
{
    end = state_of(ring).produced;
    read_on(ring);
}

/* The n'th of the records that were read, from 0; its type. NULL: there are not so many. */
static struct vfr_log_head *record(unsigned n)
{
    u64 at = 0;

    while (at < end - begin) {
        struct vfr_log_head *h = (void *)(records + at);

        if (!n--)
            return h;
        at += h->len;
    }
    return NULL;
}

static struct vfr_log_head *find(u16 type)
{
    struct vfr_log_head *h = NULL;

    for (unsigned i = 0; (h = record(i)) && h->type != type; i++)
        ;
    return h;
}

static long install(u8 action, u8 log)
{
    struct serai_vfr_rules r = {.image = (u64)&front_image, .len = sizeof(front_image)};
    long rc = front_install(action);

    if (rc)
        return rc;
    front_image.rule.log = log;
    front_image.gate = vfr_rule_gate(&front_image.rule);
    r.generation = front_generation;
    return front_rules(VFR_RULES_INSTALL, &r);
}

static u16 port = 7; /* that packets come from */

/* From 10.0.0.1 to 10.0.'third'.2; it arrives at 'to', or is dropped for this reason. */
static bool goes(struct front *to, u8 third, enum vfr_reason reason)
{
    u16 sum = (u16)(page[24] << 8 | page[25]);

    front_udp(page, 60, 1, 2);
    page[34] = (u8)(port >> 8);
    page[35] = (u8)port;
    if (third) { /* one's complement: what is added to the header is taken from its sum */
        sum = (u16)(page[24] << 8 | page[25]);
        page[32] = third;
        sum = sum >= third << 8 ? sum - (third << 8) : sum - (third << 8) - 1;
        page[24] = (u8)(sum >> 8);
        page[25] = (u8)sum;
    }
    return front_goes(&a, to, page_ref, reason);
}

static void wrongly(void)
{
    struct serai_vfr_log o = {.op = VFR_LOG_READ, .ring = VFR_RING_AUDIT, .done = SAME};

    group("before anything was changed");
    is(log_op(&o), -XEN_ENOENT, "there is no audit log");
    is(log_op(&(struct serai_vfr_log){.op = 9}), -XEN_EINVAL, "an unknown operation");
    is(log_op(&(struct serai_vfr_log){.reserved = 1}), -XEN_EINVAL, "a reserved field");
    is(log_op(&(struct serai_vfr_log){.reserved2 = 1}), -XEN_EINVAL, "the other one");
    is(log_op((void *)UNMAPPED), -XEN_EFAULT, "a bad pointer");
    is(install(VFR_PASS, VFR_LOG_ALL), 0, "rules");
    o.at = 8;
    is(log_op(&o), 0, "from 8 on");
    o.at = 4;
    is(log_op(&o), -XEN_EINVAL, "from 4 on");
    o.at = o.produced + 8;
    is(log_op(&o), -XEN_EINVAL, "beyond the end");
    o.at = 0;
    o.done = o.produced + 8;
    is(log_op(&o), -XEN_EINVAL, "more is done than there is");
    ok(o.produced && !o.consumed, "but it tells how far it is");
    o.done = SAME;
    o.capacity = 64;
    o.buffer = UNMAPPED;
    is(log_op(&o), -XEN_EFAULT, "into a bad buffer");
    o.ring = 77;
    is(log_op(&o), -XEN_ENOENT, "of a CPU that is not there");
    o = (struct serai_vfr_log){.op = VFR_LOG_NOTE, .note = VFR_AUDIT_RULES, .origin = 1};
    is(log_op(&o), -XEN_EINVAL, "a note in the hypervisor's words");
    o.note = VFR_AUDIT_NOTE;
    o.origin = 0;
    is(log_op(&o), -XEN_EINVAL, "or its name");
    o.origin = VFR_ORIGINS;
    is(log_op(&o), -XEN_EINVAL, "or nobody's");
    o.origin = 1;
    o.before_len = 0xffffffff;
    o.after_len = 2;
    is(log_op(&o), -XEN_E2BIG, "a long text");
    o.before_len = 8;
    o.text = UNMAPPED;
    is(log_op(&o), -XEN_EFAULT, "one that is nowhere");
}

static void changes(void)
{
    static const u16 ops[] = {VFR_AUDIT_BEGIN,   VFR_AUDIT_RULES,   VFR_AUDIT_RULES,
                              VFR_AUDIT_CONNECT, VFR_AUDIT_CONNECT, VFR_AUDIT_CONNECT};
    const u8 *before = NULL;

    group("changes");
    front_prepare(&a, 1, 1);
    front_prepare(&b, 2, 2);
    front_prepare(&up, 3, 0);
    is(front_op(&a.vif, VFR_VIF_CONNECT), 0, "a");
    is(front_op(&b.vif, VFR_VIF_CONNECT), 0, "b");
    is(front_op(&up.vif, VFR_VIF_CONNECT), 0, "an uplink");
    front_push_buffers(&b, 32);
    front_push_buffers(&up, 32);
    is(read_on(VFR_RING_AUDIT), 0, "read");
    for (unsigned i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
        struct vfr_log_audit *r = (void *)record(i);
        struct vfr_log_chain *c;

        if (!ok(r && r->head.type == VFR_RECORD_AUDIT, "record %u", i))
            return;
        c = (void *)((u8 *)r + r->head.len - sizeof(*c));
        is(r->head.seq, i, "its number");
        is(r->op, ops[i], "what it is about");
        ok(!before || !memcmp(before, c->before, 32), "it goes on from the one before");
        before = c->self;
    }
    is(front_op(&b.vif, VFR_VIF_CONNECT), -XEN_EEXIST, "what fails");
    is(read_on(VFR_RING_AUDIT), 0, "read");
    is(end - begin, 0, "is not written down");
}

static void flows(void)
{
    struct vfr_log_where *where;
    struct vfr_log_what *what;
    struct vfr_log_head *h;

    group("flows");
    end = 0;
    ok(goes(&b, 0, VFR_R_OK), "a packet");
    ok(goes(&b, 0, VFR_R_OK), "and another");
    is(read_on(0), 0, "read");
    h = record(0);
    if (!ok(h && h->type == VFR_RECORD_FLOW_NEW && !record(1), "one flow begins"))
        return;
    is(h->len, 24 + 8 + 8 + 24, "its length");
    where = (void *)(h + 1);
    what = (void *)((u8 *)h + 40);
    is(where->in, own_id << 16 | 1, "from a");
    is(where->out, own_id << 16 | 2, "to b");
    is(what->sport, 7, "its port");
    is(what->dport, 9, "the other one");
    is(what->rule, 1, "by the rule");
    is(h->generation, front_generation, "of this generation");
    is(install(VFR_DROP, VFR_LOG_ALL), 0, "rules that let nothing pass");
    ok(goes(&b, 0, VFR_R_RULE), "a packet");
    ok(goes(&b, 0, VFR_R_RULE), "and another");
    is(read_on(0), 0, "read");
    h = find(VFR_RECORD_FLOW_END);
    if (ok(h != NULL, "the flow has ended")) {
        what = (void *)((u8 *)h + 40);
        is(what->reason, 4, "by force");
        is(((struct vfr_log_counts *)(what + 1))->packets[0], 2, "after two packets");
    }
    h = find(VFR_RECORD_DENY);
    if (ok(h != NULL, "a packet was denied"))
        is(((struct vfr_log_what *)((u8 *)h + 40))->reason, VFR_R_RULE, "by the rule");
    ok(!record(2), "once");
    front_pass_time(1100000000);
    skip_to_end(0);
    is(install(VFR_PASS_STATELESS, VFR_LOG_NEW), 0, "rules that begin no flows");
    ok(goes(&b, 0, VFR_R_OK), "a packet");
    ok(goes(&b, 0, VFR_R_OK), "and another");
    is(read_on(0), 0, "read");
    h = find(VFR_RECORD_DENY);
    if (ok(h != NULL, "they are told of"))
        is(((struct vfr_log_what *)((u8 *)h + 40))->reason, VFR_R_OK, "as passed");
    ok(!record(1), "once");
    is(install(VFR_PASS_STATELESS, VFR_LOG_DENY), 0, "rules that tell of denies");
    ok(goes(&b, 0, VFR_R_OK), "a packet");
    is(read_on(0), 0, "read");
    ok(!record(0), "is none");
}

/* Until this CPU's ring has lost something: denies between ever other networks. */
static bool fill(void)
{
    for (unsigned i = 0; i < 8000 && state_of(0).lost == 0; i++)
        goes(&b, (u8)(i % 200 + 1), VFR_R_RULE);
    return state_of(0).lost;
}

/* Until no flow begins that must be told of. */
static bool fill_with_flows(void)
{
    bool full = false;

    for (port = 1000; port < 20000 && !full; port++)
        full = goes(&b, 0, VFR_R_LOG_FULL);
    return full;
}

/* What would become of the packet that was sent last. */
static u16 explained(void)
{
    struct serai_vfr_explain e = {
        .op = VFR_EXPLAIN_PACKET, .vif = a.vif.vif, .have = 60, .len = 60};

    memcpy(e.head, page, 60);
    return HC(arch_7, SERAI_OP_VFR_EXPLAIN, &e, 0, 0, 0) ? 0xffff : e.reason;
}

/* Of the records of a ring in order: each number is a record's, or named by a gap. */
static struct {
    u32 next;
    u64 seen, lost, unexplained;
} account;

static void account_for_all(void)
{
    struct vfr_log_head *h;

    do {
        if (read_on(0))
            return;
        for (unsigned i = 0; (h = record(i)); i++) {
            const struct vfr_log_gap *gap = (const void *)h;

            if (h->type == VFR_RECORD_GAP && gap->first == account.next) {
                account.next += gap->count;
                account.lost += gap->count;
            }
            account.unexplained += h->seq != account.next;
            account.next = h->seq + 1;
            account.seen++;
        }
    } while (end != begin);
}

static void overflow(void)
{
    group("a full ring");
    skip_to_end(0);
    is(install(VFR_DROP, VFR_LOG_DENY), 0, "rules that let nothing pass");
    ok(goes(&b, 250, VFR_R_RULE), "a packet");
    is(read_on(0), 0, "read");
    if (!ok(record(0) != NULL, "of which there is a record"))
        return;
    for (unsigned i = 0; record(i); i++)
        account.next = record(i)->seq + 1;
    ok(fill(), "takes no more at last");
    is(install(VFR_PASS, VFR_LOG_NEW | VFR_LOG_STRICT), 0, "rules that are strict");
    ok(goes(&b, 0, VFR_R_OK), "a flow begins where denies find no room");
    ok(fill_with_flows(), "flows fill it");
    ok(goes(&b, 0, VFR_R_LOG_FULL), "nothing begins that cannot be told of");
    is(explained(), VFR_R_LOG_FULL, "which can be explained");
    ok(goes(&up, 5, VFR_R_LOG_FULL), "nothing at all");
    account_for_all();
    ok(account.seen > 1000, "what was not lost is there");
    is(explained(), VFR_R_OK, "with room it could begin");
    ok(goes(&b, 0, VFR_R_OK), "and does");
    account_for_all();
    ok(account.lost, "what was lost is told of");
    is(account.lost, state_of(0).lost, "all of it");
    is(account.unexplained, 0, "and no number is missing");
    port = 7;
}

static long write_note(unsigned len)
{
    struct serai_vfr_log o = {.op = VFR_LOG_NOTE,
                              .note = VFR_AUDIT_NOTE,
                              .origin = VFR_BY_DAEMON,
                              .text = (u64)records,
                              .after_len = len};

    return log_op(&o);
}

/* No record fits any more. */
static bool fill_audit(void)
{
    for (unsigned len = 30000; len; len = len > 8000 ? len - 8000 : len > 500 ? len - 500 : 0)
        while (!write_note(len))
            ;
    while (!write_note(0))
        ;
    return write_note(0) == -XEN_ENOBUFS;
}

static long settime(u64 ns)
{
    struct xen_platform_op op = {.cmd = XENPF_settime64,
                                 .interface_version = XENPF_INTERFACE_VERSION};

    op.u.settime64.secs = ns / 1000000000;
    op.u.settime64.nsecs = (u32)(ns % 1000000000);
    op.u.settime64.system_time = clock_ns();
    return HC(platform_op, &op, 0, 0, 0, 0);
}

static long lease(struct vfr_lease_order order)
{
    struct serai_vfr_lease o = {.op = VFR_LEASE_CHANGE, .order = order};

    return HC(arch_7, SERAI_OP_VFR_LEASE, &o, 0, 0, 0);
}

/* The state of the only lease, 0: there is none. */
static u8 lease_state(void)
{
    struct vfr_lease_info info = {.state = VFR_LEASE_NONE};
    struct serai_vfr_lease o = {.op = VFR_LEASE_LIST, .capacity = 1, .entries = (u64)&info};

    HC(arch_7, SERAI_OP_VFR_LEASE, &o, 0, 0, 0);
    return info.state;
}

/* What filters say of 10.0.0.1's datagrams from port 7 to port 9 of 10.0.0.2. */
static const struct {
    struct vfr_filter filter;
    bool wants;
} filters[] = {
    {{.families = VFR_FILTER_IP4, .proto = 18, .reasons = 1}, true},
    {{.reasons = ~1UL & ((1UL << VFR_REASON_COUNT) - 1)}, false},
    {{.address = {{0, 0xffff0a000001, 128, VFR_FILTER_SRC, {0}}}}, true},
    {{.address = {{0, 0xffff0a000001, 128, VFR_FILTER_DST, {0}}}}, false},
    {{.port = {{9, 9, VFR_FILTER_DST, {0}}, {1, 8, VFR_FILTER_SRC, {0}}}}, true},
    {{.port = {{9, 9, VFR_FILTER_SRC, {0}}}}, false},
    {{.ways = VFR_FILTER_IN}, false},
};

/* Captures of what comes to 'b', by filters. */
static void filtered(void)
{
    struct serai_vfr_log o;

    group("filters");
    for (unsigned i = 0; i < sizeof(filters) / sizeof(*filters); i++) {
        o = (struct serai_vfr_log){.op = VFR_LOG_CAPTURE,
                                   .vif = b.vif.vif,
                                   .snap = 64,
                                   .seconds = 60,
                                   .filter = filters[i].filter};
        is(log_op(&o), 0, "begin");
        end = state_of(o.ring).produced;
        ok(goes(&b, 0, VFR_R_OK), "a packet");
        is(read_on(o.ring), 0, "read");
        is(!!record(0), filters[i].wants, "filter %u", i);
        o.op = VFR_LOG_CAPTURED;
        is(log_op(&o), 0, "end");
    }
    o.op = VFR_LOG_CAPTURE;
    o.filter = (struct vfr_filter){.port = {{9, 8, 1, {0}}}};
    is(log_op(&o), -XEN_EINVAL, "ports backwards");
    o.filter = (struct vfr_filter){.reserved = 1};
    is(log_op(&o), -XEN_EINVAL, "a reserved field");
}

/* A packet of two pages, by both captures of it. */
static void captured_whole(void)
{
    struct serai_vfr_log o = {
        .op = VFR_LOG_CAPTURE, .vif = VFR_NOBODY, .snap = VFR_CAPTURE_MAX, .seconds = 60};
    u8 *rest = page_alloc(), *got;
    const struct vfr_log_capture *c;

    group("a whole packet");
    is(log_op(&o), 0, "begin");
    end = state_of(o.ring).produced;
    front_udp(page, 1514, 1, 2);
    memcpy(rest + 3, page + 814, 700);
    memset(page + 814, 0, 700);
    front_request(&a, page_ref, 0, 1514, NETTXF_more_data);
    front_request(&a, front_grant(rest, GTF_readonly), 3, 700, 0);
    front_push(&a);
    while (front_answer(&a) != 99)
        ;
    ok(front_receive(&b, &got) != NULL, "it comes");
    front_push_buffers(&b, 1);
    is(read_on(o.ring), 0, "read");
    for (unsigned i = 0; i < 2; i++) {
        c = (void *)record(i);
        if (!ok(c != NULL, "capture %u", i))
            return;
        is(c->captured, 1514, "all of it");
        is(c->vif & 0xffff, i ? 1 : 2, "at both ends");
        ok(!memcmp((u8 *)(c + 1) + 12, page + 12, 802), "the first page");
        ok(!memcmp((u8 *)(c + 1) + 814, rest + 3, 700), "the other one");
        ok(!memcmp(c + 1, i ? page : got, 12), "and the link's addresses");
    }
    o.op = VFR_LOG_CAPTURED;
    is(log_op(&o), 0, "end");
}

static void capture_of_one(void)
{
    struct serai_vfr_log o = {
        .op = VFR_LOG_CAPTURE, .vif = b.vif.vif, .snap = 64, .seconds = 60};
    const struct vfr_log_capture *c;
    u32 ring;

    skip_to_end(VFR_RING_AUDIT);
    is(log_op(&o), 0, "begin");
    ring = o.ring;
    is(ring, VFR_RING_CAPTURE, "the first one");
    end = 0;
    ok(goes(&b, 0, VFR_R_OK), "a packet");
    is(read_on(ring), 0, "read");
    c = (void *)record(0);
    if (ok(c && c->head.type == VFR_RECORD_CAPTURE, "it is there")) {
        is(c->vif, own_id << 16 | 2, "to b");
        is(c->len, 60, "60 bytes");
        is(c->captured, 60, "all of them");
        ok(!memcmp((u8 *)(c + 1) + 12, page + 12, 48), "as they were sent");
        is(((u8 *)(c + 1))[5], 2, "to b's address");
    }
    ok(!record(1), "once");
    o.op = VFR_LOG_CAPTURED;
    is(log_op(&o), 0, "end");
    is(log_op(&o), -XEN_ENOENT, "again");
    ok(goes(&b, 0, VFR_R_OK), "a packet");
    is(read_on(ring), 0, "read");
    ok(!record(0), "is not captured");
}

static void captures_of_all(void)
{
    struct serai_vfr_log o = {.op = VFR_LOG_CAPTURE,
                              .vif = VFR_NOBODY,
                              .snap = 32,
                              .seconds = 60,
                              .filter = {.ways = VFR_FILTER_IN}};
    const struct vfr_log_capture *c;

    for (unsigned i = 0; i < VFR_CAPTURES; i++)
        is(log_op(&o), 0, "one of all that is sent");
    is(log_op(&o), -XEN_ENOSPC, "one too many");
    end = state_of(VFR_RING_CAPTURE).produced;
    ok(goes(&b, 0, VFR_R_OK), "a packet");
    is(read_on(VFR_RING_CAPTURE), 0, "read");
    c = (void *)record(0);
    if (ok(c != NULL, "it is there")) {
        is(c->captured, 32, "its beginning");
        is(c->flags & VFR_CAPTURE_IN, VFR_CAPTURE_IN, "from a");
        ok(!memcmp(c + 1, page, 32), "as a sent it");
    }
    for (o.ring = VFR_RING_CAPTURE; o.ring < VFR_RING_CAPTURE + VFR_CAPTURES; o.ring++) {
        o.op = VFR_LOG_CAPTURED;
        is(log_op(&o), 0, "end");
    }
}

static void captures(void)
{
    struct serai_vfr_log o = {.op = VFR_LOG_CAPTURE, .snap = VFR_CAPTURE_MAX + 1, .seconds = 1};

    group("captures");
    capture_of_one();
    captures_of_all();
    is(log_op(&o), -XEN_EINVAL, "more bytes than can be");
    o.snap = 0;
    is(log_op(&o), -XEN_EINVAL, "none");
    o.snap = 9;
    o.seconds = 86401;
    is(log_op(&o), -XEN_EINVAL, "for long");
    o.seconds = 1;
    o.vif = 65536;
    is(log_op(&o), -XEN_EINVAL, "of nobody");
    skip_to_end(VFR_RING_AUDIT);
    ok(fill_audit(), "the audit log is full");
    o.vif = 0;
    is(log_op(&o), -XEN_ENOBUFS, "unseen");
    skip_to_end(VFR_RING_AUDIT);
}

static const struct vfr_lease_order grant = {.op = VFR_LEASE_GRANT,
                                             .origin = VFR_BY_SERAI,
                                             .ip = 0xc0000201,
                                             .classes = VFR_PC_BLOCK,
                                             .log2 = 12,
                                             .start = 4096,
                                             .seconds = 1};
static const struct vfr_lease_order share = {
    .op = VFR_LEASE_SHARE, .origin = VFR_BY_SERAI, .ip = 0xc0000201};

static void lease_ends(void)
{
    u64 until;

    group("a lease ends while the audit log is full");
    skip_to_end(VFR_RING_AUDIT);
    is(lease(share), 0, "an address is shared");
    is(lease(grant), 0, "ports are leased for a second");
    ok(fill_audit(), "the log is full");
    until = clock_ns() + 1500000000;
    while (clock_ns() < until)
        ;
    is(lease_state(), VFR_LEASE_HELD, "it is held beyond its time");
    skip_to_end(VFR_RING_AUDIT);
    until = clock_ns() + 20000000000;
    while (lease_state() == VFR_LEASE_HELD && clock_ns() < until)
        ;
    is(lease_state(), VFR_LEASE_RESTING, "until there is room");
}

static void no_room(void)
{
    struct serai_vfr_log o = {.op = VFR_LOG_CHECKPOINT};
    u64 offset, refused; /* of the wall clock, from the other one */

    group("a full audit log");
    skip_to_end(VFR_RING_AUDIT);
    is(log_op(&o), 0, "a checkpoint");
    offset = o.utc - (u64)o.now;
    ok(fill_audit(), "the log is full");
    refused = state_of(VFR_RING_AUDIT).lost;
    is(log_op(&o), -XEN_ENOBUFS, "no checkpoint");
    is(front_install(VFR_PASS), -XEN_ENOBUFS, "no rules");
    is(front_op(&b.vif, VFR_VIF_DISCONNECT), -XEN_ENOBUFS, "nothing is disconnected");
    is(lease(share), -XEN_ENOBUFS, "nothing shared");
    is(settime(offset + clock_ns() + 100000000000), -XEN_ENOBUFS, "the clock stays");
    is(settime(offset + clock_ns() + 1000000), 0, "but may be corrected");
    ok(goes(&b, 0, VFR_R_OK), "packets go on");
    is(state_of(VFR_RING_AUDIT).lost, refused + 5, "what was refused is counted");
    skip_to_end(VFR_RING_AUDIT);
    is(front_op(&b.vif, VFR_VIF_DISCONNECT), 0, "with room: disconnected");
    ok(fill_audit(), "full again");
    b.vif.generation = front_generation;
    is(front_op(&b.vif, VFR_VIF_CONNECT), -XEN_ENOBUFS, "not connected");
    is(gnt[b.vif.queues[0].tx_ref].flags, GTF_permit_access, "its ring is free");
    skip_to_end(VFR_RING_AUDIT);
    is(front_op(&b.vif, VFR_VIF_CONNECT), 0, "then it is");
    is(front_install(VFR_PASS), 0, "and rules are installed");
    is(settime(offset + clock_ns() + 100000000000), 0, "and the clock is set");
    is(read_on(VFR_RING_AUDIT), 0, "read");
    is(((struct vfr_log_audit *)record(2))->op, VFR_AUDIT_CLOCK, "of which there is a record");
}

void test_vif_log(void)
{
    page = front_begin(&page_ref);
    wrongly();
    changes();
    flows();
    overflow();
    no_room();
    captures();
    filtered();
    captured_whole();
    lease_ends();
}
