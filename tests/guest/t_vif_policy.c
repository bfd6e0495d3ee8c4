/*
 * The virtual firewall router's policy at run time: rules that wait for their confirmation, elements of
 * sets, 8,192 rules at once. Two front ends of one kernel.
 */
#include "abi/vfr_explain.h"
#include "abi/vfr_set.h"
#include "front.h"

static struct front a, b;
static u8 *page; /* what is sent */
static u32 page_ref;

/* One packet from a, which is sent or dropped for this reason. */
static bool goes(enum vfr_reason reason)
{
    front_udp(page, 60, 1, 2);
    return front_goes(&a, &b, page_ref, reason);
}

static void begin(void)
{
    page = front_begin(&page_ref);
    is(front_install(VFR_PASS), 0, "rules");
    front_prepare(&a, 1, 1);
    front_prepare(&b, 2, 2);
    is(front_op(&a.vif, VFR_VIF_CONNECT), 0, "a");
    is(front_op(&b.vif, VFR_VIF_CONNECT), 0, "b");
    front_push_buffers(&b, 8);
    ok(goes(VFR_R_OK), "a packet passes");
}

/* ---- confirmation ---- */

static long install_for(u8 action, u32 seconds)
{
    struct serai_vfr_rules r = {
        .generation = front_generation,
        .image = (u64)&front_image,
        .len = sizeof(front_image),
        .seconds = seconds,
    };

    front_image.rule.action = action;
    return front_rules(VFR_RULES_INSTALL, &r);
}

static u32 seconds_left(void)
{
    struct serai_vfr_rules r = {0};

    is(front_rules(VFR_RULES_READ, &r), 0, "read");
    return r.seconds;
}

static long decide(u32 what)
{
    struct serai_vfr_rules r = {.generation = front_generation};

    return front_rules(what, &r);
}

static void confirming(void)
{
    u32 generation;

    group("confirmation");
    is(decide(VFR_RULES_CONFIRM), -XEN_ENOENT, "nothing waits for it");
    is(install_for(VFR_DROP, 86401), -XEN_EINVAL, "more than a day");
    is(install_for(VFR_DROP, 100), 0, "rules that have to be confirmed");
    ok(seconds_left() > 90, "they have their time");
    ok(goes(VFR_R_RULE), "and are in force");
    is(install_for(VFR_PASS, 0), -XEN_EAGAIN, "no others meanwhile");
    front_generation--;
    is(decide(VFR_RULES_CONFIRM), -XEN_EBUSY, "confirmed by one who means others");
    seconds_left(); /* also tells the generation */
    is(decide(VFR_RULES_CONFIRM), 0, "confirmed");
    is(seconds_left(), 0, "nothing waits");
    ok(goes(VFR_R_RULE), "they stay");
    is(install_for(VFR_PASS, 100), 0, "others");
    ok(goes(VFR_R_OK), "are in force");
    generation = front_generation;
    is(decide(VFR_RULES_ROLL_BACK), 0, "taken back");
    is(front_generation, generation + 1, "that is a generation, too");
    ok(goes(VFR_R_RULE), "what they let pass is judged again");
    is(decide(VFR_RULES_ROLL_BACK), -XEN_ENOENT, "once");
    is(install_for(VFR_PASS, 1), 0, "others, for a second");
    generation = front_generation;
    ok(goes(VFR_R_OK), "are in force");
    front_pass_time(1010000000);
    is(seconds_left(), 0, "a second later");
    is(front_generation, generation + 1, "they are gone by themselves");
    ok(goes(VFR_R_RULE), "and what they let pass is judged again");
    is(decide(VFR_RULES_CONFIRM), -XEN_ENOENT, "too late");
    is(install_for(VFR_PASS, 0), 0, "for good");
    ok(goes(VFR_R_OK), "as it was");
}

/* ---- sets ---- */

#define SET_ID   77
#define SET_SIZE 100

static struct {
    struct front_image start;
    struct vfr_match match;
    struct vfr_set set;
} with_set;

/* The rule holds for sources in a set that the image itself leaves empty. */
static long install_set(u32 timeout, u32 seconds)
{
    struct serai_vfr_rules r = {
        .generation = front_generation,
        .image = (u64)&with_set,
        .len = sizeof(with_set),
        .seconds = seconds,
    };
    struct vfr_image *head = &with_set.start.head;

    with_set.start = front_image;
    head->len = sizeof(with_set);
    head->nr_matches = head->nr_sets = 1;
    head->matches_at = offsetof(typeof(with_set), match);
    head->sets_at = offsetof(typeof(with_set), set);
    head->rates_at = head->slots_at = sizeof(with_set);
    with_set.start.rule.clause[VFR_SRC_IP] = (struct vfr_clause){0, 1};
    with_set.match = (struct vfr_match){.kind = VFR_M_SET};
    with_set.set = (struct vfr_set){
        .id = SET_ID, .kind = VFR_SET_NET, .size = SET_SIZE, .timeout = timeout};
    return front_rules(VFR_RULES_INSTALL, &r);
}

static struct serai_vfr_set set;

static long change(u32 op, u32 address, u8 length, u64 seconds)
{
    set = (struct serai_vfr_set){
        .op = op,
        .id = SET_ID,
        .kind = VFR_SET_NET,
        .element = {0, 0xffff00000000 | address, 0, (u8)(96 + length), {0}, seconds},
    };
    return HC(arch_7, SERAI_OP_VFR_SET, &set, 0, 0, 0);
}

static struct serai_vfr_element listed[SET_SIZE];

static u32 list(void)
{
    set = (struct serai_vfr_set){.op = VFR_SET_LIST,
                                 .id = SET_ID,
                                 .kind = VFR_SET_NET,
                                 .capacity = SET_SIZE,
                                 .entries = (u64)listed};
    return HC(arch_7, SERAI_OP_VFR_SET, &set, 0, 0, 0) ? ~0u : set.count;
}

static void elements(void)
{
    u32 n = 0;

    group("elements");
    is(change(VFR_SET_ADD, 0x0a000000, 24, 0), -XEN_ENOENT, "a set that there is not");
    is(install_set(0, 0), 0, "rules with a set");
    ok(goes(VFR_R_DEFAULT), "which is empty");
    is(change(VFR_SET_ADD, 0x0a000000, 24, 0), 0, "an element");
    is(list(), 1, "is listed");
    is(listed[0].low, 0xffff0a000000, "as it is");
    is(listed[0].seconds, ~0UL, "for ever");
    ok(goes(VFR_R_OK), "and lets its packets pass");
    is(install_set(0, 0), 0, "the next rules have it too");
    ok(goes(VFR_R_OK), "they pass");
    is(change(VFR_SET_REMOVE, 0x0a000000, 24, 0), 0, "taken out");
    is(change(VFR_SET_REMOVE, 0x0a000000, 24, 0), -XEN_ESRCH, "once");
    is(list(), 0, "the list is empty");
    is(change(VFR_SET_ADD, 0x0a000001, 24, 0), -XEN_EINVAL, "bits behind a prefix");
    is(change(VFR_SET_ADD, 0x0a000000, 24, 1UL << 32), -XEN_EINVAL, "too long a life");
    is(change(3, 0x0a000000, 24, 0), -XEN_EINVAL, "an unknown operation");
    while (n < 2 * SET_SIZE && !change(VFR_SET_ADD, 0x0b000000 | n << 8, 24, 0))
        n++;
    is(n, SET_SIZE, "as many as it has room for");
    is(change(VFR_SET_ADD, 0x0c000000, 24, 0), -XEN_ENOSPC, "and no more");
    is(list(), SET_SIZE, "all of them are listed");
    while (n--)
        is(change(VFR_SET_REMOVE, 0x0b000000 | n << 8, 24, 0), 0, "and taken out");

    is(change(VFR_SET_ADD, 0x0a000000, 24, 1), 0, "one for a second");
    front_pass_time(1000000000);
    is(list(), 0, "is gone by itself");
    is(install_set(7, 100), 0, "rules that wait, the set has a timeout now");
    is(change(VFR_SET_ADD, 0x0a000000, 24, 0), 0, "an element meanwhile");
    is(list(), 1, "is listed");
    ok(listed[0].seconds && listed[0].seconds <= 7, "with its time");
    is(decide(VFR_RULES_ROLL_BACK), 0, "the ones before are back");
    is(list(), 1, "and have it too");
    ok(goes(VFR_R_OK), "packets pass");
    set.reserved = 1;
    is(HC(arch_7, SERAI_OP_VFR_SET, &set, 0, 0, 0), -XEN_EINVAL, "a reserved field");
    is(HC(arch_7, SERAI_OP_VFR_SET, UNMAPPED, 0, 0, 0), -XEN_EFAULT, "a bad pointer");
    set = (struct serai_vfr_set){.op = VFR_SET_LIST,
                                 .id = SET_ID,
                                 .kind = VFR_SET_NET,
                                 .capacity = 1,
                                 .entries = UNMAPPED};
    is(HC(arch_7, SERAI_OP_VFR_SET, &set, 0, 0, 0), -XEN_EFAULT, "a list to nowhere");
}

/* ---- explanations ---- */

static struct serai_vfr_explain e;
static struct serai_vfr_step steps[4];

static long call(u16 what, u32 len)
{
    e.op = what;
    e.vif = a.vif.vif;
    e.len = len;
    return HC(arch_7, SERAI_OP_VFR_EXPLAIN, &e, 0, 0, 0);
}

/* Of the packet in 'page', as if a had sent it. */
static long explain(u32 len)
{
    e = (struct serai_vfr_explain){
        .have = (u16)(len < VFR_EXPLAIN_HEAD ? len : VFR_EXPLAIN_HEAD),
        .max_steps = 4,
        .steps = (u64)steps,
    };
    memcpy(e.head, page, e.have);
    return call(VFR_EXPLAIN_PACKET, len);
}

static u64 counted(void)
{
    struct vfr_pair {
        u64 packets, bytes;
    } pairs[2] = {{0}};
    struct serai_vfr_rules r = {.counters = (u64)pairs, .capacity = 2};

    front_rules(VFR_RULES_READ, &r);
    return pairs[0].packets + pairs[1].packets;
}

/* The packet in 'page' is explained so, and nothing has changed by it. */
static void is_explained(u16 reason, u8 stage, u8 flow, const char *what)
{
    struct serai_vfr_vif before = {.vif = a.vif.vif}, after = {.vif = a.vif.vif};
    u64 count = counted();
    u8 *got;

    front_op(&before, VFR_VIF_READ);
    if (!is(explain(60), 0, "%s is explained", what))
        return;
    is(e.reason, reason, "the reason");
    is(e.stage, stage, "the stage");
    is(e.flow, flow, "the flow");
    front_op(&after, VFR_VIF_READ);
    ok(!memcmp(&before, &after, sizeof(before)), "the interface counts nothing");
    is(counted(), count, "nor do the rules");
    ok(!front_receive(&b, &got) && !front_receive(&a, &got), "and nobody receives anything");
}

static void explaining(void)
{
    group("explain");
    is(install_for(VFR_PASS, 0), 0, "rules");
    front_udp(page, 60, 1, 2);
    page[35] = 99; /* another flow */
    for (unsigned i = 0; i < 2; i++)
        is_explained(VFR_R_OK, VFR_STAGE_SENT, VFR_EXPLAIN_BEGINS, "a packet of no flow");
    is(e.to, b.vif.vif, "it would go to b");
    is(e.judged, 1, "as the rules say");
    is(e.rule_id, 1, "the only one");
    is(e.nr_steps, 1, "which was tested");
    is(steps[0].end, 15, "and decides");
    is(e.head[5], 2, "with the address of b");
    is(e.flow_packets[0], 0, "the flow is not there");
    ok(goes(VFR_R_OK), "a packet of another flow passes");
    is_explained(VFR_R_OK, VFR_STAGE_SENT, VFR_EXPLAIN_BELONGS, "a packet of that");
    ok(e.flow_packets[0] && !e.judged, "the rules are not asked");
    is(install_for(VFR_REJECT, 0), 0, "rules that refuse");
    front_push_buffers(&a, 4);
    for (unsigned i = 0; i < 2; i++)
        is_explained(VFR_R_RULE, VFR_STAGE_RULES, VFR_EXPLAIN_REJUDGED, "the same");
    is(e.action, VFR_REJECT, "it is refused");
    ok(e.reply_len > 14 + 20 && e.reply[34] == 3, "its sender would be told");
    page[29] = 3;
    page[11] = 1;
    is_explained(VFR_R_BAD_IP, VFR_STAGE_PACKET, VFR_EXPLAIN_NO_FLOW, "a wrong checksum");
    front_udp(page, 60, 3, 2);
    is_explained(VFR_R_SPOOF_MAC, VFR_STAGE_SPOOF, VFR_EXPLAIN_NO_FLOW, "a liar");
    front_udp(page, 60, 1, 77);
    is_explained(VFR_R_NO_ROUTE, VFR_STAGE_ROUTE, VFR_EXPLAIN_NO_FLOW, "nobody's address");
    is(install_for(VFR_PASS, 0), 0, "rules");
    ok(goes(VFR_R_OK), "packets pass as before");
}

static void explaining_wrongly(void)
{
    u8 *got;

    group("explain wrongly");
    front_udp(page, 60, 1, 2);
    page[35] = 98; /* of no flow: rules are asked */
    is(explain(65536), -XEN_EINVAL, "too long a packet");
    e.have = 257;
    is(call(VFR_EXPLAIN_PACKET, 1000), -XEN_EINVAL, "too much of it");
    e.have = 60;
    is(call(VFR_EXPLAIN_PACKET, 59), -XEN_EINVAL, "more than all of it");
    e.max_steps = VFR_RULES_MAX + 1;
    is(call(VFR_EXPLAIN_PACKET, 60), -XEN_EINVAL, "too many steps");
    e.max_steps = 1;
    e.steps = UNMAPPED;
    is(call(VFR_EXPLAIN_PACKET, 60), -XEN_EFAULT, "steps to nowhere");
    e.reserved = 1;
    is(call(VFR_EXPLAIN_PACKET, 60), -XEN_EINVAL, "a reserved field");
    is(call(9, 60), -XEN_EINVAL, "an unknown operation");
    is(HC(arch_7, SERAI_OP_VFR_EXPLAIN, UNMAPPED, 0, 0, 0), -XEN_EFAULT, "a bad pointer");
    e = (struct serai_vfr_explain){.op = VFR_EXPLAIN_PACKET, .vif = 999};
    is(HC(arch_7, SERAI_OP_VFR_EXPLAIN, &e, 0, 0, 0), -XEN_ENOENT, "no such interface");
    is(explain(0), 0, "nothing at all");
    is(e.reason, VFR_R_SHORT, "is too short");
    for (u32 i = 0; i < 256; i++) {
        for (u32 k = 0; k < 60; k++)
            page[k] = (u8)(i * 167 + k * k * 31);
        explain(60);
    }
    ok(!front_receive(&b, &got), "noise goes nowhere");
}

static void watching(void)
{
    group("watch");
    is(call(VFR_EXPLAIN_COLLECT, 0), -XEN_EAGAIN, "nothing was watched");
    is(call(VFR_EXPLAIN_WATCH, 17), -XEN_EINVAL, "too many");
    is(call(VFR_EXPLAIN_WATCH, 2), 0, "two packets");
    is(call(VFR_EXPLAIN_COLLECT, 0), -XEN_EAGAIN, "none has come");
    for (unsigned i = 0; i < 4; i++)
        ok(goes(VFR_R_OK), "one passes");
    for (unsigned i = 0; i < 2; i++) {
        is(call(VFR_EXPLAIN_COLLECT, 0), 0, "it was noted");
        is(e.reason, VFR_R_OK, "as it was judged");
        is(e.stage, VFR_STAGE_SENT, "to the end");
        ok(e.have == 60 && !memcmp(e.head, page, 60), "and as it came");
    }
    is(call(VFR_EXPLAIN_COLLECT, 0), -XEN_EAGAIN, "no more than that");
    is(call(VFR_EXPLAIN_WATCH, 16), 0, "sixteen");
    is(call(VFR_EXPLAIN_WATCH, 0), 0, "or none");
    ok(goes(VFR_R_OK), "one passes");
    is(call(VFR_EXPLAIN_COLLECT, 0), -XEN_EAGAIN, "unseen");
}

/* ---- many rules ---- */

struct many {
    struct vfr_image head;
    u64 gates[VFR_RULES_MAX];
    struct vfr_rule rules[VFR_RULES_MAX];
    u16 order[VFR_RULES_MAX];
    struct vfr_match matches[VFR_RULES_MAX];
};

/* All but the last one are about other ports. */
static void make_many(struct many *m)
{
    m->head = (struct vfr_image){
        .magic = VFR_IMAGE_MAGIC,
        .version = VFR_IMAGE_VERSION,
        .header = sizeof(struct vfr_image),
        .len = sizeof(*m),
        .nr_rules = VFR_RULES_MAX,
        .nr_matches = VFR_RULES_MAX,
        .gates_at = offsetof(struct many, gates),
        .rules_at = offsetof(struct many, rules),
        .order_at = offsetof(struct many, order),
        .matches_at = offsetof(struct many, matches),
        .sets_at = sizeof(*m),
        .rates_at = sizeof(*m),
        .slots_at = sizeof(*m),
    };
    for (u32 i = 0; i < VFR_RULES_MAX; i++) {
        u16 port = i == VFR_RULES_MAX - 1 ? 9 : (u16)(1000 + i);

        m->matches[i] =
            (struct vfr_match){.kind = VFR_M_PORT, .low_low = port, .high_low = port};
        m->rules[i] = (struct vfr_rule){.id = 1 + i,
                                        .digest = 5,
                                        .action = VFR_PASS,
                                        .protos = 0xffff,
                                        .dscp = VFR_DSCP_NONE,
                                        .clause = {[VFR_DST_PORT] = {(u16)i, 1}},
                                        .port_low = port};
        m->gates[i] = vfr_rule_gate(&m->rules[i]);
        m->order[i] = (u16)i;
    }
}

/* The next packet, from 'from' to 'to', arrives with this second byte of its IP header. */
static void arrives(struct front *from, struct front *to, u8 mark, const char *what)
{
    u32 sum = 0;
    u8 *got = NULL;

    front_request(from, page_ref, 0, 60, 0);
    front_push(from);
    front_answer(from);
    if (!ok(front_receive(to, &got) != NULL, "%s", what))
        return;
    is(got[15], mark, "%s: its mark", what);
    for (unsigned i = 14; i < 34; i += 2)
        sum += (u32)got[i] << 8 | got[i + 1];
    is(sum % 0xffff, 0, "%s: its checksum", what);
    front_push_buffers(to, 1);
}

static void marking(void)
{
    struct serai_vfr_rules r = {.image = (u64)&front_image, .len = sizeof(front_image)};

    group("marks");
    front_push_buffers(&a, 8);
    front_image.rule.dscp = 46;
    r.generation = front_generation;
    is(front_rules(VFR_RULES_INSTALL, &r), 0, "rules that mark");
    front_udp(page, 60, 1, 2);
    page[15] = 3; /* congestion */
    front_sum(page);
    arrives(&a, &b, 46 << 2 | 3, "a packet of a flow of before");
    arrives(&a, &b, 46 << 2 | 3, "the next one");
    page[35] = 5;
    arrives(&a, &b, 46 << 2 | 3, "a flow's first one");
    front_udp(page, 60, 2, 1);
    page[35] = 9;
    page[37] = 5;
    arrives(&b, &a, 46 << 2, "an answer");
    front_image.rule.action = VFR_DROP;
    r.generation = front_generation;
    is(front_rules(VFR_RULES_CHECK, &r), -XEN_EINVAL, "what is dropped is not marked");
    is(front_install(VFR_PASS), 0, "rules that do not");
    arrives(&b, &a, 0, "the next answer");
}

/* ---- connections of before ---- */

/* A TCP segment of these ports, the other way with 'from' being b. */
static bool segment_goes(struct front *from, u8 flags, u8 port, enum vfr_reason reason)
{
    const bool back = from == &b;

    front_udp(page, 60, back ? 2 : 1, back ? 1 : 2);
    front_tcp(page, flags);
    page[back ? 37 : 35] = port;
    page[back ? 35 : 37] = 80;
    return front_goes(from, back ? &a : &b, page_ref, reason);
}

enum { SYN = 0x02, RST = 0x04, ACK = 0x10, A_ZONE = 5 };

static void picking_up(void)
{
    struct serai_vfr_rules r = {.image = (u64)&front_image, .len = sizeof(front_image)};

    group("connections of before");
    is(front_op(&a.vif, VFR_VIF_DISCONNECT), 0, "a goes");
    is(front_op(&b.vif, VFR_VIF_DISCONNECT), 0, "b goes");
    a = b = (struct front){.sent = 0};
    is(front_install(VFR_PASS), 0, "rules");
    front_image.rule.from = A_ZONE;
    front_image.gate = vfr_rule_gate(&front_image.rule);
    r.generation = front_generation;
    is(front_rules(VFR_RULES_INSTALL, &r), 0, "that let a begin everything, and nobody else");
    front_prepare(&a, 1, 1);
    a.vif.zones[0] |= 1UL << A_ZONE;
    ok(front_connect(&a, 16), "a comes");
    front_prepare(&b, 2, 2);
    b.vif.pickup = 2;
    ok(front_connect(&b, 16), "b too, with the connections that it had");
    ok(segment_goes(&a, ACK, 1, VFR_R_OK), "a goes on with one");
    ok(segment_goes(&b, ACK, 1, VFR_R_OK), "and is answered");
    ok(segment_goes(&b, ACK, 2, VFR_R_OK), "b goes on with one that a began");
    ok(segment_goes(&a, ACK, 2, VFR_R_OK), "and is answered");
    ok(segment_goes(&a, RST, 3, VFR_R_TCP_STATE), "no reset goes on with anything");
    ok(segment_goes(&b, SYN, 4, VFR_R_DEFAULT), "nor may b begin one");
    front_pass_time(2000000000);
    ok(segment_goes(&b, ACK, 5, VFR_R_TCP_STATE), "later it is as ever");
    ok(segment_goes(&a, ACK, 6, VFR_R_TCP_STATE), "for both");
    ok(segment_goes(&b, ACK, 2, VFR_R_OK), "what went on goes on");
    is(front_op(&b.vif, VFR_VIF_DISCONNECT), 0, "b goes");
    b = (struct front){.sent = 0};
    front_prepare(&b, 2, 2);
    ok(front_connect(&b, 16), "and comes without");
    ok(segment_goes(&a, ACK, 7, VFR_R_TCP_STATE), "no connection goes on");
}

static void many_rules(void)
{
    static struct many many;
    struct serai_vfr_rules r = {.image = (u64)&many, .len = sizeof(many)};
    u64 t;

    group("8192 rules");
    make_many(&many);
    for (unsigned i = 0; i < 3; i++) {
        r.generation = front_generation;
        t = tsc_now();
        is(front_rules(i ? VFR_RULES_INSTALL : VFR_RULES_CHECK, &r), 0,
           i ? "put in force" : "checked");
        note("%s: %lu ticks", i ? "installed" : "checked", tsc_now() - t);
        is(r.nr_rules, VFR_RULES_MAX, "all of them");
    }
    ok(goes(VFR_R_OK), "the last one lets the packet pass");
}

void test_vif_policy(void)
{
    begin();
    confirming();
    elements();
    explaining();
    explaining_wrongly();
    watching();
    marking();
    picking_up();
    many_rules();
}
