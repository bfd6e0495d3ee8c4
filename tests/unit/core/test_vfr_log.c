/* The flow log: records, losses that are all accounted for, a reader that lies, denies that repeat. */
#include "core/vfr_log.h"
#include "vfr_log_read.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SIZE 4096
#define S    1000000000L

static struct vfr_log l;
static struct vfr_log_ring ring;
static u64 *data;
static struct vfr_log_reader reader;
static struct vfr_log_account account;
static struct vfr_log_moment moment;
static u8 record[SIZE] __attribute__((aligned(8)));
static const struct vfr_log_head *const head = (const void *)record;

static const struct vfr_log_writer who = {.boot = 7, .cpu = 3, .seed = 1};

static int start(void **state)
{
    data = malloc(SIZE);
    memset(&account, 0, sizeof(account));
    moment = (struct vfr_log_moment){10 * S, 1795000000 * (u64)S, 5};
    if (vfr_log_init(&l, &ring, data, SIZE, &who))
        return 1;
    return vfr_log_open(&reader, &ring, data, SIZE);
}

static int finish(void **state)
{
    free(data);
    return vfr_log_check(&l);
}

static int release(void **state)
{
    free(data);
    return 0;
}

static struct vfr_log_event event(u32 src, u16 sport, u32 rule)
{
    return (struct vfr_log_event){.tuple = {VFR_IP4(src), VFR_IP4(0xc6336401), sport, 443, 6},
                                  .where = {5 << 16, 1},
                                  .rule = rule,
                                  .reason = VFR_R_RULE,
                                  .tcp_flags = 2,
                                  .flow = 77};
}

static int take(void)
{
    int len = vfr_log_take(&reader, record, sizeof(record));

    if (len > 0) {
        assert_int_equal(len, head->len);
        vfr_log_account(&account, head);
    }
    return len;
}

static void sizes(void **state)
{
    struct vfr_log_reader r;

    assert_int_equal(sizeof(struct vfr_log_ring), 192);
    assert_int_equal(sizeof(struct vfr_log_head), 24);
    assert_int_equal(sizeof(struct vfr_log_drops), 88);
    assert_int_equal(sizeof(struct vfr_log_gap), 48);
    assert_int_equal(sizeof(struct vfr_log_capture), 40);
    assert_int_equal(sizeof(struct vfr_log_audit), 56);
    assert_int_equal(sizeof(struct vfr_log_checkpoint), 56);
    assert_int_equal(vfr_log_init(&l, &ring, data, 0, &who), -XEN_EINVAL);
    assert_int_equal(vfr_log_init(&l, &ring, data, 2048, &who), -XEN_EINVAL);
    assert_int_equal(vfr_log_init(&l, &ring, data, 4096 + 8, &who), -XEN_EINVAL);
    assert_int_equal(vfr_log_open(&r, &ring, data, SIZE * 2), -XEN_EINVAL);
    ring.magic++;
    assert_int_equal(vfr_log_open(&r, &ring, data, SIZE), -XEN_EINVAL);
}

/* Byte for byte, as other programs will read it. */
static void flow_records(void **state)
{
    static const u8 wanted[64] = {
        1,    0,    64,   0,    0, 0,   0,  0,   0,  0,  0xda, 0x7e, 0xc4, 0x1a, 0xe9, 0x18,
        5,    0,    0,    0,    7, 0,   3,  0,   0,  0,  5,    0,    1,    0,    0,    0,
        4,    3,    2,    1,    1, 100, 51, 198, 4,  16, 187,  1,    6,    2,    24,   0,
        0xef, 0xbe, 0xad, 0xde, 1, 0,   0,  0,   77, 0,  0,    0,    0,    0,    0,    0};
    const struct vfr_log_counts counts = {{1, 2}, {300, 4000}};
    struct vfr_log_event e = event(0x01020304, 4100, 0xdeadbeef);

    moment.utc = 0x18e91ac47eda0000;
    assert_true(vfr_log_flow_new(&l, &moment, &e));
    assert_int_equal(take(), 64);
    assert_memory_equal(record, wanted, 64);
    e.reason = 3;
    assert_true(vfr_log_flow_end(&l, &moment, &e, &counts, 1234));
    assert_int_equal(take(), 96);
    assert_int_equal(head->type, VFR_RECORD_FLOW_END);
    assert_int_equal(head->seq, 1);
    assert_int_equal(get_le16(record + 46), 3);
    assert_int_equal(get_le32(record + 52), 1234);
    assert_memory_equal(record + 64, &counts, 32);
    e.tuple.dst.high = 0x20010db800000000;
    assert_true(vfr_log_flow_new(&l, &moment, &e));
    assert_int_equal(take(), 88);
    assert_int_equal(head->type, VFR_RECORD_FLOW_NEW | VFR_RECORD_IP6);
    assert_true(get_le64(record + 48) == 0x20010db800000000);
    assert_int_equal(get_le16(record + 64), 4100);
    assert_true(vfr_log_flow_end(&l, &moment, &e, &counts, 1));
    assert_int_equal(take(), 120);
    assert_int_equal(take(), 0);
    assert_int_equal(l.logged, 4);
    assert_int_equal(account.unexplained, 0);
}

static void other_records(void **state)
{
    const struct vfr_log_event e = event(0x01020304, 4100, 1);
    const struct vfr_log_frame frame = {
        (const u8 *)"abcdefghijk", 11, 1500, 9, VFR_R_MTU, 1, 0};
    u8 big[400];
    const struct vfr_log_frame jumbo = {big, sizeof(big), 9000, 9, 0, 1, 0};
    const struct vfr_log_drops *drops = (const void *)record;
    const struct vfr_log_clock *clock = (const void *)record;
    const struct vfr_log_capture *capture = (const void *)record;

    assert_true(vfr_log_drops(&l, &moment, &e, 12, 3456));
    assert_int_equal(take(), 88);
    assert_int_equal(drops->vif, 5 << 16);
    assert_int_equal(drops->reason, VFR_R_RULE);
    assert_int_equal(drops->count, 12);
    assert_true(drops->example.src[1] == 0xffff01020304);
    assert_true(vfr_log_clock_set(&l, &moment, 99, 2));
    assert_int_equal(take(), 48);
    assert_int_equal(clock->before, 99);
    assert_true(clock->after == moment.utc);
    assert_true(vfr_log_capture(&l, &moment, &frame));
    assert_int_equal(take(), 56);
    assert_int_equal(capture->captured, 11);
    assert_int_equal(capture->len, 1500);
    assert_memory_equal(record + 40, "abcdefghijk\0\0\0\0\0", 16);
    memset(big, 0x77, sizeof(big));
    assert_true(vfr_log_capture(&l, &moment, &jumbo));
    assert_int_equal(take(), 40 + 400);
    assert_int_equal(capture->captured, 400);
    assert_int_equal(record[40 + 399], 0x77);
}

/* What dies of one reason is told of together, after a second. */
static void drops_are_counted(void **state)
{
    const struct vfr_log_drops *drops = (const void *)record;
    struct vfr_log_event e = event(0x01020304, 4100, 1);
    struct vfr_log_moment m = moment;

    for (unsigned i = 0; i < 1000; i++)
        vfr_log_drop(&l, &m, &e, 60);
    assert_true(vfr_log_tick(&l, &m));
    assert_int_equal(take(), 0);
    e.reason = VFR_R_MTU;
    vfr_log_drop(&l, &m, &e, 100);
    m.now += 1000000000;
    (void)vfr_log_tick(&l, &m);
    while (take() && drops->reason != VFR_R_RULE)
        assert_int_equal(drops->reason, VFR_R_MTU);
    assert_int_equal(drops->count, 1000);
    assert_int_equal(drops->bytes, 60000);
    assert_false(vfr_log_tick(&l, &m));
    assert_int_equal(vfr_log_check(&l), 0);
}

/* Of many reasons at many interfaces none is lost, wherever they are remembered. */
static void drops_make_room(void **state)
{
    const struct vfr_log_drops *drops = (const void *)record;
    struct vfr_log_event e = event(0x01020304, 4100, 1);
    struct vfr_log_moment m = moment;
    u64 told = 0;

    for (u32 i = 0; i < 900; i++) {
        e.where.in = i % 30 << 16;
        e.reason = (u16)(1 + i % 7);
        vfr_log_drop(&l, &m, &e, 60);
        while (take())
            told += drops->count;
    }
    m.now += 1000000000;
    assert_false(vfr_log_tick(&l, &m));
    while (take())
        told += drops->count;
    assert_int_equal(told, 900);
}

/* A reader that sleeps: the ring fills up, what is lost is named when it wakes. */
static void every_loss_is_named(void **state)
{
    const struct vfr_log_event e = event(0x01020304, 4100, 1);
    const struct vfr_log_gap *gap = (const void *)record;
    u32 written = 0;

    while (vfr_log_has_room(&l, 64)) {
        assert_true(vfr_log_flow_new(&l, &moment, &e));
        written++;
    }
    assert_int_equal(written, SIZE / 64);
    for (u32 n = 0; n < 10; n++) {
        moment.utc += S;
        assert_false(vfr_log_flow_new(&l, &moment, &e));
    }
    assert_int_equal(ring.lost, 10);
    /* One record's place is not enough for a gap and a record. */
    assert_int_equal(take(), 64);
    assert_false(vfr_log_has_room(&l, 64));
    assert_false(vfr_log_flow_new(&l, &moment, &e));
    assert_int_equal(take(), 64);
    assert_true(vfr_log_has_room(&l, 64));
    assert_true(vfr_log_flow_new(&l, &moment, &e));
    for (u32 n = 2; n < written; n++)
        assert_int_equal(take(), 64);
    assert_int_equal(take(), 48);
    assert_int_equal(head->type, VFR_RECORD_GAP);
    assert_int_equal(gap->first, written);
    assert_int_equal(gap->count, 11);
    assert_true(gap->end - gap->begin == 9 * (u64)S);
    assert_int_equal(take(), 64);
    assert_int_equal(take(), 0);
    assert_int_equal(account.unexplained, 0);
    assert_int_equal(account.lost, 11);
    assert_int_equal(account.seen, written + 2);
    assert_int_equal(l.logged + l.lost, written + 12);
}

/* Also when nothing more is to be logged. */
static void a_tick_names_a_loss(void **state)
{
    const struct vfr_log_event e = event(0x01020304, 4100, 1);

    while (vfr_log_flow_new(&l, &moment, &e))
        ;
    vfr_log_tick(&l, &moment);
    while (take())
        ;
    vfr_log_tick(&l, &moment);
    assert_int_equal(take(), 48);
    assert_int_equal(account.lost, 1);
    vfr_log_tick(&l, &moment);
    assert_int_equal(take(), 0);
}

/* Who is refused all the time takes no flow's place. */
static void denies_leave_room(void **state)
{
    const struct vfr_log_event flow = event(0x01020304, 4100, 1);

    for (u32 rule = 0; rule < SIZE; rule++) {
        const struct vfr_log_event e = event(0x01020304, 4100, rule);

        vfr_log_deny(&l, &moment, &e);
    }
    assert_int_equal(l.logged, SIZE / 2 / 64);
    assert_false(vfr_log_drops(&l, &moment, &flow, 1, 1));
    for (u32 n = 0; n < SIZE / 2 / 64 - 1; n++)
        assert_true(vfr_log_flow_new(&l, &moment, &flow));
    assert_false(vfr_log_flow_new(&l, &moment, &flow)); /* the gap took a place */
    while (take())
        ;
    vfr_log_tick(&l, &moment);
    while (take())
        ;
    assert_int_equal(account.unexplained, 0);
    assert_int_equal(account.lost, SIZE - SIZE / 2 / 64 + 2);
}

static void a_reader_that_lies(void **state)
{
    static const u64 lies[] = {8, ~0UL, ~7UL, 1, 65, 128, SIZE, 1UL << 63, SIZE * 2 + 64};
    const struct vfr_log_event e = event(0x01020304, 4100, 1);

    while (vfr_log_flow_new(&l, &moment, &e))
        ;
    while (take())
        ;
    for (u32 n = 0; n < SIZE / 64; n++)
        (void)vfr_log_flow_new(&l, &moment, &e);
    for (unsigned n = 0; n < ARRAY_SIZE(lies); n++) {
        ring.consumed = lies[n];
        l.gap_count = 0;
        assert_false(vfr_log_has_room(&l, 64) && lies[n] != SIZE);
        assert_int_equal(vfr_log_check(&l), 0);
    }
    assert_true(l.out.nonsense >= 6);
    assert_true(l.out.produced - l.out.consumed <= SIZE);
}

static void a_reader_inside_a_word(void **state)
{
    const struct vfr_log_event e = event(0x01020304, 4100, 1);

    while (vfr_log_flow_new(&l, &moment, &e))
        ;
    ring.consumed = 1004;
    assert_false(vfr_log_has_room(&l, 64));
    assert_int_equal(vfr_log_check(&l), 0);
    ring.consumed = 1000;
    assert_true(vfr_log_has_room(&l, 64));
}

/* Kinds that share a place are kept apart. */
static void every_rule_tells(void **state)
{
    for (u32 rule = 0; rule < 500; rule++) {
        const struct vfr_log_event e = event(0x01020304, 4100, rule);

        vfr_log_deny(&l, &moment, &e);
        assert_int_equal(take(), 64);
        assert_int_equal(get_le32(record + 48), rule);
    }
    assert_int_equal(l.folded, 0);
}

static void denies_fold(void **state)
{
    struct vfr_log_event e = event(0x01020304, 4100, 1), other = event(0x01020404, 4100, 1);

    for (u32 n = 0; n < 500; n++) {
        e.tuple.sport++;
        e.tuple.src.low = 0xffff01020300 + (n & 255);
        vfr_log_deny(&l, &moment, &e);
    }
    assert_int_equal(l.folded, 499);
    assert_int_equal(take(), 64);
    assert_int_equal(head->type, VFR_RECORD_DENY);
    assert_int_equal(get_le32(record + 52), 1);
    assert_int_equal(get_le16(record + 40), 4101);
    assert_int_equal(take(), 0);
    vfr_log_deny(&l, &moment, &other); /* another network */
    assert_int_equal(take(), 64);
    other = e, other.rule = 2;
    vfr_log_deny(&l, &moment, &other);
    assert_int_equal(take(), 64);
    other = e, other.where.in++;
    vfr_log_deny(&l, &moment, &other);
    assert_int_equal(take(), 64);
    vfr_log_tick(&l, &moment);
    assert_int_equal(take(), 0);
    moment.now += S;
    vfr_log_deny(&l, &moment, &e);
    assert_int_equal(take(), 64);
    assert_int_equal(get_le32(record + 52), 500);
    vfr_log_deny(&l, &moment, &e);
    vfr_log_deny(&l, &moment, &e);
    moment.now += S;
    vfr_log_tick(&l, &moment);
    assert_int_equal(take(), 64);
    assert_int_equal(get_le32(record + 52), 2);
    moment.now += S;
    vfr_log_tick(&l, &moment);
    vfr_log_deny(&l, &moment, &e);
    assert_int_equal(take(), 64);
    assert_int_equal(get_le32(record + 52), 1);
}

/* More kinds than there are places: none is forgotten, the counts still sum up. */
static void many_kinds_of_denies(void **state)
{
    u64 told = 0, seed = 3;

    for (u32 n = 0; n < 5000; n++) {
        struct vfr_log_event e;

        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        e = event((u32)(seed >> 32) & 0x00000f00, 1, seed >> 62);
        vfr_log_deny(&l, &moment, &e);
        moment.now += S / 500;
        while (take() > 0)
            told += get_le32(record + 52);
    }
    moment.now += 2 * S;
    vfr_log_tick(&l, &moment);
    while (take() > 0)
        told += get_le32(record + 52);
    assert_int_equal(told, 5000);
    assert_true(l.folded > 100);
    assert_int_equal(account.unexplained, 0);
}

static void sampling(void **state)
{
    u32 chosen = 0;

    for (u32 n = 0; n < 16000; n++)
        chosen += vfr_log_sample(&l, 16);
    assert_in_range(chosen, 850, 1150);
    assert_int_equal(l.skipped, 16000 - chosen);
    assert_true(vfr_log_sample(&l, 1));
    assert_true(vfr_log_sample(&l, 0));
}

/* Random records, a reader that comes and goes: all is accounted for. */
static void random_traffic(void **state)
{
    const struct vfr_log_counts counts = {{1, 2}, {3, 4}};
    u64 seed = 5;

    for (u32 n = 0; n < 20000; n++) {
        struct vfr_log_event e = event((u32)n, (u16)n, 1);

        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        moment.utc += 1000;
        if (seed >> 63)
            e.tuple.src.high = 1;
        if (seed >> 62 & 1)
            (void)vfr_log_flow_end(&l, &moment, &e, &counts, n);
        else
            (void)vfr_log_flow_new(&l, &moment, &e);
        assert_int_equal(vfr_log_check(&l), 0);
        for (u64 k = seed >> 40 & 255; k < 3 && take() > 0; k++)
            ;
        if ((seed >> 40 & 255) == 4)
            while (take() > 0)
                ;
    }
    vfr_log_tick(&l, &moment);
    while (take() > 0)
        ;
    vfr_log_tick(&l, &moment);
    while (take() > 0)
        ;
    assert_int_equal(account.unexplained, 0);
    assert_int_equal(account.lost, l.lost);
    assert_true(l.lost > 100);
    assert_int_equal(l.logged + l.lost, 20000);
    assert_int_equal(account.next, l.out.seq);
}

/* The account does not believe in records that are missing, doubled or swapped. */
static void unexplained(void **state)
{
    struct vfr_log_gap other = {.head = {.type = VFR_RECORD_FLOW_NEW, .len = 64}};
    struct vfr_log_gap gap = {.head = {.type = VFR_RECORD_GAP, .len = 48, .seq = 9},
                              .first = 5};

    vfr_log_account(&account, &other.head);
    other.head.seq = 2;
    vfr_log_account(&account, &other.head);
    assert_int_equal(account.unexplained, 1);
    vfr_log_account(&account, &other.head);
    assert_int_equal(account.unexplained, 2);
    gap.count = 4; /* but it should begin at 3 */
    vfr_log_account(&account, &gap.head);
    assert_int_equal(account.unexplained, 3);
    assert_int_equal(account.lost, 0);
}

/* What a reader finds in a ring that makes no sense. */
static void nonsense_in_the_ring(void **state)
{
    const struct vfr_log_event e = event(1, 2, 3);

    assert_true(vfr_log_flow_new(&l, &moment, &e));
    ring.produced = SIZE + 8;
    assert_int_equal(take(), -XEN_EILSEQ);
    ring.produced = 16;
    assert_int_equal(take(), -XEN_EILSEQ);
    ring.produced = 64;
    assert_int_equal(vfr_log_take(&reader, record, 63), -XEN_ENOBUFS);
    data[0] = 72 << 16;
    assert_int_equal(take(), -XEN_EILSEQ);
    data[0] = 60 << 16;
    assert_int_equal(take(), -XEN_EILSEQ);
    data[0] = 16 << 16;
    assert_int_equal(take(), -XEN_EILSEQ);
    data[0] = 64 << 16;
    assert_int_equal(vfr_log_take(&reader, record, 64), 64);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes, start, release),
        TEST(flow_records),
        TEST(other_records),
        TEST(drops_are_counted),
        TEST(drops_make_room),
        TEST(every_loss_is_named),
        TEST(a_tick_names_a_loss),
        TEST(denies_leave_room),
        cmocka_unit_test_setup_teardown(a_reader_that_lies, start, release),
        TEST(a_reader_inside_a_word),
        TEST(every_rule_tells),
        TEST(denies_fold),
        TEST(many_kinds_of_denies),
        TEST(sampling),
        TEST(random_traffic),
        TEST(unexplained),
        cmocka_unit_test_setup_teardown(nonsense_in_the_ring, start, release),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
