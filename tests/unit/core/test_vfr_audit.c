/* The audit log: nothing is written unless all of it is; whoever changes a byte, is seen. */
#include "core/vfr_audit.h"
#include "vfr_log_read.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SIZE 65536

static struct vfr_audit a;
static struct vfr_log_ring ring;
static u64 data[SIZE / 8];
static struct vfr_log_reader reader;
static u8 file[1 << 20];
static u64 file_len;

static const struct vfr_log_writer who = {.boot = 7};
static const struct vfr_log_moment moment = {1, 1795000000000000000, 5};
static char text[200000];

/* ---- what a reader of the log verifies ---- */

/* Where a verification stands. To begin with: 0, or what is known of the part before. */
struct vfr_audit_proof {
    u64 records;
    u8 head[SHA256_SIZE];
    /* After so many records the digest must be this one: from a checkpoint. 0: nothing is known. */
    u64 known_records;
    u8 known_head[SHA256_SIZE];
};

enum vfr_audit_fault {
    VFR_AUDIT_OK,
    VFR_AUDIT_FORM,   /* no record of an audit log, or not all of one */
    VFR_AUDIT_SEQ,    /* not the next one */
    VFR_AUDIT_BEFORE, /* does not go on from the one before */
    VFR_AUDIT_DIGEST, /* has been changed */
    VFR_AUDIT_OTHER,  /* sound in itself, but not what was known */
    VFR_AUDIT_CUT     /* ends before what was known */
};

static bool has_form(const struct vfr_log_head *head, u64 rest)
{
    const u32 least = head->type == VFR_RECORD_CHECKPOINT ? sizeof(struct vfr_log_checkpoint)
                                                          : sizeof(struct vfr_log_audit);

    return (head->type == VFR_RECORD_AUDIT || head->type == VFR_RECORD_CHECKPOINT) &&
           head->len <= rest && head->len % 8 == 0 && head->len <= VFR_AUDIT_RECORD &&
           head->len >= least + sizeof(struct vfr_log_chain);
}

static enum vfr_audit_fault verify_one(struct vfr_audit_proof *p, const u8 *record, u64 rest,
                                       u32 *len)
{
    u8 self[SHA256_SIZE];
    struct vfr_log_chain chain;
    struct vfr_log_head head;
    struct sha256 digest;

    if (rest < sizeof(head))
        return VFR_AUDIT_FORM;
    memcpy(&head, record, sizeof(head));
    if (!has_form(&head, rest))
        return VFR_AUDIT_FORM;
    if (head.seq != (u32)p->records)
        return VFR_AUDIT_SEQ;
    memcpy(&chain, record + head.len - sizeof(chain), sizeof(chain));
    if (memcmp(chain.before, p->head, sizeof(p->head)))
        return VFR_AUDIT_BEFORE;
    sha256_begin(&digest);
    sha256_add(&digest, p->head, sizeof(p->head));
    sha256_add(&digest, record, head.len - sizeof(chain.self));
    sha256_end(&digest, self);
    if (memcmp(chain.self, self, sizeof(self)))
        return VFR_AUDIT_DIGEST;
    memcpy(p->head, self, sizeof(self));
    p->records++;
    *len = head.len;
    return VFR_AUDIT_OK;
}

/* 'len' bytes of records, one after another; *at is where the fault is, or 'len'. */
static enum vfr_audit_fault vfr_audit_verify(struct vfr_audit_proof *p, const u8 *bytes,
                                             u64 len, u64 *at)
{
    u32 n;

    for (*at = 0; *at < len; *at += n) {
        enum vfr_audit_fault fault = verify_one(p, bytes + *at, len - *at, &n);

        if (fault != VFR_AUDIT_OK)
            return fault;
        if (p->records == p->known_records && memcmp(p->head, p->known_head, sizeof(p->head)))
            return VFR_AUDIT_OTHER;
    }
    return VFR_AUDIT_OK;
}

/* No more is to come: OK, or CUT. */
static enum vfr_audit_fault vfr_audit_verify_end(const struct vfr_audit_proof *p)
{
    return p->records < p->known_records ? VFR_AUDIT_CUT : VFR_AUDIT_OK;
}

/* ---- the tests ---- */

static int start(void **state)
{
    file_len = 0;
    memset(text, 'x', sizeof(text));
    if (vfr_audit_init(&a, &ring, data, SIZE, &who))
        return 1;
    return vfr_log_open(&reader, &ring, data, SIZE);
}

/* What domain 0's daemon does: appends what there is to its file. */
static void read_all(void)
{
    int len;

    while ((len = vfr_log_take(&reader, file + file_len, sizeof(file) - file_len)) > 0)
        file_len += len;
    assert_int_equal(len, 0);
}

static struct vfr_audit_entry entry(u32 before, u32 after)
{
    return (struct vfr_audit_entry){.origin = VFR_BY_SERAI,
                                    .op = 9,
                                    .uid = 1000,
                                    .pid = 4321,
                                    .vif = 3 << 16,
                                    .object = 0x1122334455667788,
                                    .before = text,
                                    .after = text,
                                    .before_len = before,
                                    .after_len = after};
}

static int write(u32 before, u32 after)
{
    const struct vfr_audit_entry e = entry(before, after);

    return vfr_audit_write(&a, &moment, &e);
}

static enum vfr_audit_fault verify(u64 len, u64 *at)
{
    struct vfr_audit_proof p = {0};

    return vfr_audit_verify(&p, file, len, at);
}

static void one_record(void **state)
{
    const struct vfr_log_audit *r = (const void *)file;
    u64 at;

    strcpy(text, "allow web1");
    assert_int_equal(write(5, 10), 0);
    read_all();
    assert_int_equal(file_len, 56 + 16 + 64);
    assert_int_equal(r->head.type, VFR_RECORD_AUDIT);
    assert_int_equal(r->head.len, file_len);
    assert_int_equal(r->origin, VFR_BY_SERAI);
    assert_int_equal(r->part, 1);
    assert_int_equal(r->parts, 1);
    assert_int_equal(r->uid, 1000);
    assert_int_equal(r->before_len, 5);
    assert_int_equal(r->after_len, 10);
    assert_memory_equal(file + 56, "allowallow web1\0", 16);
    assert_int_equal(verify(file_len, &at), VFR_AUDIT_OK);
    assert_int_equal(at, file_len);
    assert_memory_equal(file + file_len - 32, a.head, 32);
}

/* The digest as the header describes it, computed once more in one piece. */
static void digest_as_described(void **state)
{
    u8 message[32 + 200] = {0}, digest[32];

    assert_int_equal(write(3, 0), 0);
    read_all();
    memcpy(message + 32, file, file_len - 32);
    sha256(message, 32 + file_len - 32, digest);
    assert_memory_equal(digest, file + file_len - 32, 32);
}

static void long_texts(void **state)
{
    const struct vfr_log_audit *r;
    u32 before = 0, after = 0, parts = 0;
    u64 at;

    assert_int_equal(write(10000, 9000), 0);
    read_all();
    for (at = 0; at < file_len; at += r->head.len) {
        r = (const void *)(file + at);
        assert_int_equal(r->part, ++parts);
        assert_int_equal(r->parts, 3);
        assert_in_range(r->head.len, 0, VFR_AUDIT_RECORD);
        before += r->before_len;
        after += r->after_len;
    }
    assert_int_equal(parts, 3);
    assert_int_equal(before, 10000);
    assert_int_equal(after, 9000);
    assert_int_equal(verify(file_len, &at), VFR_AUDIT_OK);
    assert_int_equal(write(0, VFR_AUDIT_TEXT), 0);
    assert_int_equal(write(1, VFR_AUDIT_TEXT), 0);
    read_all();
    assert_int_equal(verify(file_len, &at), VFR_AUDIT_OK);
    assert_int_equal(a.records, 6);
    assert_int_equal(write(0, SIZE), -XEN_E2BIG);
    assert_int_equal(write(sizeof(text), 0), -XEN_E2BIG);
    assert_int_equal(write(~0U, 2), -XEN_E2BIG);
    assert_int_equal(write(2, ~0U), -XEN_E2BIG);
    assert_int_equal(a.refused, 0);
}

static void nobody(void **state)
{
    struct vfr_audit_entry e = entry(1, 1);

    e.origin = VFR_ORIGINS;
    assert_int_equal(vfr_audit_check(&a, &e), -XEN_EINVAL);
    assert_int_equal(vfr_audit_write(&a, &moment, &e), -XEN_EINVAL);
}

/* No reader: at some point nothing can be changed any more, until it reads. */
static void full(void **state)
{
    const struct vfr_audit_entry e = entry(100, 100);
    u64 produced, at;
    u32 n = 0;

    while (!vfr_audit_check(&a, &e)) {
        assert_int_equal(vfr_audit_write(&a, &moment, &e), 0);
        n++;
    }
    assert_int_equal(n, SIZE / (56 + 200 + 64));
    assert_int_equal(a.refused, 1);
    produced = ring.produced;
    assert_int_equal(vfr_audit_write(&a, &moment, &e), -XEN_EAGAIN);
    assert_int_equal(write(10000, 0), -XEN_EAGAIN);
    while (!vfr_audit_checkpoint(&a, &moment, 1, 2))
        produced += 56 + 64;
    assert_int_equal(ring.produced, produced);
    /* Room for one part of two is no room. */
    ring.consumed = 320 * 30;
    assert_int_equal(write(10000, 0), -XEN_EAGAIN);
    assert_int_equal(ring.produced, produced);
    ring.consumed = 0;
    read_all();
    assert_int_equal(write(10000, 0), 0);
    read_all();
    assert_int_equal(verify(file_len, &at), VFR_AUDIT_OK);
}

static void write_some(void)
{
    for (u32 n = 0; n < 20; n++) {
        assert_int_equal(write(n * 7, n * 3), 0);
        if (n % 8 == 7)
            assert_int_equal(vfr_audit_checkpoint(&a, &moment, n, 0), 0);
    }
    read_all();
}

/* Each bit of the whole file. */
static void every_flip_is_found(void **state)
{
    u64 at;

    write_some();
    assert_int_equal(verify(file_len, &at), VFR_AUDIT_OK);
    for (u64 bit = 0; bit < file_len * 8; bit++) {
        file[bit / 8] ^= 1 << bit % 8;
        assert_int_not_equal(verify(file_len, &at), VFR_AUDIT_OK);
        assert_true(at <= bit / 8);
        file[bit / 8] ^= 1 << bit % 8;
    }
}

/* One record less, doubled, or changed places: 'self' and all are genuine. */
static void records_moved(void **state)
{
    static u8 copy[sizeof(file)];
    u64 first, second, at;

    write_some();
    first = get_le16(file + 2);
    second = get_le16(file + first + 2);
    memcpy(copy, file, file_len);
    memmove(file + first, file + first + second, file_len - first - second);
    assert_int_equal(verify(file_len - second, &at), VFR_AUDIT_SEQ);
    assert_int_equal(at, first);
    memcpy(file + first, copy, first);
    memcpy(file + 2 * first, copy + first, file_len - first);
    assert_int_equal(verify(file_len + first, &at), VFR_AUDIT_SEQ);
    memcpy(file, copy + first, second);
    memcpy(file + second, copy, first);
    assert_int_equal(verify(file_len, &at), VFR_AUDIT_SEQ);
    assert_int_equal(at, 0);
    /* With its number made to fit, too. */
    memcpy(file, copy + first, second);
    memset(file + 4, 0, 4);
    assert_int_equal(verify(file_len, &at), VFR_AUDIT_BEFORE);
}

/* A cut between two records leaves a sound chain: only who knows how long it was can tell. */
static void cut_off(void **state)
{
    struct vfr_audit_proof p = {0}, known = {0};
    u64 cut, at;

    assert_int_equal(write(1, 1), 0);
    read_all();
    cut = file_len;
    write_some();
    known.known_records = a.records;
    memcpy(known.known_head, a.head, 32);
    p = known;
    assert_int_equal(vfr_audit_verify(&p, file, file_len, &at), VFR_AUDIT_OK);
    assert_int_equal(vfr_audit_verify_end(&p), VFR_AUDIT_OK);
    p = known;
    assert_int_equal(vfr_audit_verify(&p, file, cut, &at), VFR_AUDIT_OK);
    assert_int_equal(vfr_audit_verify_end(&p), VFR_AUDIT_CUT);
    for (u64 len = cut + 1; len < cut + get_le16(file + cut + 2); len++) {
        p = known;
        assert_int_equal(vfr_audit_verify(&p, file, len, &at), VFR_AUDIT_FORM);
        assert_int_equal(at, cut);
    }
    /* Another history, just as long, with a chain of its own. */
    file_len = 0;
    text[0] = 'y';
    assert_int_equal(vfr_audit_init(&a, &ring, data, SIZE, &who), 0);
    assert_int_equal(vfr_log_open(&reader, &ring, data, SIZE), 0);
    assert_int_equal(write(1, 1), 0);
    write_some();
    assert_int_equal(a.records, known.known_records);
    p = known;
    assert_int_equal(vfr_audit_verify(&p, file, file_len, &at), VFR_AUDIT_OTHER);
}

/* File after file: each goes on where the last one stopped. */
static void rotated(void **state)
{
    struct vfr_audit_proof p = {0};
    u64 cut, at;

    assert_int_equal(write(1, 1), 0);
    read_all();
    cut = file_len;
    write_some();
    assert_int_equal(vfr_audit_verify(&p, file, cut, &at), VFR_AUDIT_OK);
    assert_int_equal(vfr_audit_verify(&p, file + cut, file_len - cut, &at), VFR_AUDIT_OK);
    assert_memory_equal(p.head, a.head, 32);
    assert_int_equal(verify(0, &at), VFR_AUDIT_OK);
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_record), TEST(digest_as_described), TEST(long_texts),    TEST(nobody),
        TEST(full),       TEST(every_flip_is_found), TEST(records_moved), TEST(cut_off),
        TEST(rotated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
