/*
 * A flow log whose reader says anything, and an audit log beside it. A byte says what happens, the
 * eight after it what number goes with it. As long as the reader tells the truth every record is
 * whole and accounted for; whatever it tells, nothing outside the ring is touched and losses are
 * counted.
 */
#include "core/vfr_audit.h"
#include "core/vfr_log.h"
#include "vfr_log_read.h"
#include "fuzz.h"

#define SIZE 4096U

static struct vfr_log l;
static struct vfr_audit a;
static struct vfr_log_ring ring, audit_ring;
static struct vfr_log_reader reader;
static struct vfr_log_account account;
static struct vfr_log_moment moment;
static bool honest;

static u8 record[VFR_AUDIT_RECORD] __attribute__((aligned(8)));

static struct vfr_log_event event_of(u64 x)
{
    return (struct vfr_log_event){
        .tuple = {x & 1 ? (struct vfr_addr){x, ~x} : VFR_IP4(x), VFR_IP4(x >> 32), x, x, x},
        .where = {x, x >> 32},
        .rule = x & 3,
        .reason = x >> 60};
}

static void take(u64 x)
{
    while (x--) {
        int len = vfr_log_take(&reader, record, sizeof(record));

        if (!honest && len <= 0)
            return;
        FUZZ_CHECK(len >= 0);
        if (!len)
            return;
        if (honest)
            vfr_log_account(&account, (void *)record);
    }
}

static void flow_step(u8 what, u64 x)
{
    const struct vfr_log_event e = event_of(x);
    const struct vfr_log_counts counts = {{x, x}, {x, x}};
    const struct vfr_log_frame frame = {record, x % 300, x >> 32, x, x, x, x};
    u64 before = l.logged + l.lost;
    bool room = vfr_log_has_room(&l, VFR_LOG_FLOW_SIZE), written = true;

    if (what == 0)
        written = vfr_log_flow_new(&l, &moment, &e);
    else if (what == 1)
        written = vfr_log_flow_end(&l, &moment, &e, &counts, x);
    else if (what == 2)
        written = vfr_log_drops(&l, &moment, &e, x, x);
    else
        written = vfr_log_capture(&l, &moment, &frame);
    FUZZ_CHECK(l.logged + l.lost == before + 1);
    FUZZ_CHECK(written || l.gap_count);
    FUZZ_CHECK(what != 0 || written >= room);
}

static void audit_step(u64 x)
{
    const struct vfr_audit_entry e = {.origin = x % (VFR_ORIGINS + 1),
                                      .before = (const char *)record,
                                      .after = (const char *)record,
                                      .before_len = x >> 8 & 0x7ff,
                                      .after_len = x >> 24 & 0x7ff};
    const u64 produced = audit_ring.produced;
    int rc = vfr_audit_check(&a, &e);

    FUZZ_CHECK(vfr_audit_write(&a, &moment, &e) == rc);
    FUZZ_CHECK((audit_ring.produced == produced) == (rc != 0));
}

static void step(u8 what, u64 x)
{
    const struct vfr_log_event e = event_of(x);

    moment.now += x & 0xfffffff;
    moment.utc += x & 0xfffffff;
    switch (what & 15) {
    case 0:
    case 1:
    case 2:
    case 3:
        flow_step(what & 15, x);
        break;
    case 4:
        vfr_log_deny(&l, &moment, &e);
        break;
    case 5:
        vfr_log_tick(&l, &moment);
        break;
    case 7:
        ring.consumed = x;
        honest = false;
        break;
    case 8:
        ring.consumed = l.out.produced - x % (2 * SIZE);
        honest = false;
        break;
    case 9:
        audit_step(x);
        break;
    case 10:
        audit_ring.consumed = x & 1 ? x : a.out.produced - x % (2 * SIZE);
        break;
    default:
        take(x & 63);
    }
}

/* In the end everything is told, to a reader that was honest. */
static void settle(void)
{
    for (int n = 0; n < 3; n++) {
        take(~0UL);
        moment.now += 2000000000;
        vfr_log_tick(&l, &moment);
    }
    take(~0UL);
    FUZZ_CHECK(account.unexplained == 0 && account.lost == l.lost);
    FUZZ_CHECK(account.next == l.out.seq && !l.out.nonsense);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    const struct vfr_log_writer who = {.seed = size};
    /* Exactly as large as told: the sanitizer sees a byte too many. */
    u64 *bytes = malloc(SIZE), *audit_bytes = malloc(SIZE);

    memset(&account, 0, sizeof(account));
    moment = (struct vfr_log_moment){1, 1, 1};
    honest = true;
    FUZZ_CHECK(!vfr_log_init(&l, &ring, bytes, SIZE, &who));
    FUZZ_CHECK(!vfr_audit_init(&a, &audit_ring, audit_bytes, SIZE, &who));
    FUZZ_CHECK(!vfr_log_open(&reader, &ring, bytes, SIZE));
    for (; size >= 9; data += 9, size -= 9) {
        step(data[0], get_le64(data + 1));
        FUZZ_CHECK(!vfr_log_check(&l));
        FUZZ_CHECK(a.records == a.out.seq);
    }
    if (honest)
        settle();
    free(bytes);
    free(audit_bytes);
    return 0;
}
