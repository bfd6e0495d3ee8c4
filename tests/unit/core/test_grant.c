/* The two words of a grant: every value of the guest's flags, and a model of the uses. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/grant.h"
#include "unit/random.h"

static void fields_do_not_overlap(void **state)
{
    const u64 parts[] = {PINS_FRAME, PINS_GRANTEE << 32, PINS_BUSY, PINS_READER * PINS_MAX,
                         PINS_WRITER * PINS_MAX};
    u64 all = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        assert_int_equal(all & parts[i], 0);
        all |= parts[i];
    }
    assert_int_equal(all, ~0UL);
    assert_true(DOMID_FIRST_RESERVED <= PINS_GRANTEE + 1);
    assert_int_equal(sizeof(grant_entry_v1_t), 8);
    assert_int_equal(offsetof(grant_entry_v1_t, domid), 2);
}

/* A guest lets 'grantee' in by an entry of the right type for it, to write unless read-only. */
static void claim_one(u16 flags, u16 domid, u16 grantee, bool write)
{
    u32 word = flags | (u32)domid << 16, next = 0xdeadbeef;
    bool may = (flags & 3) == GTF_permit_access && domid == grantee &&
               !(write && flags & GTF_readonly);
    int status = grant_claim(word, grantee, write, &next);

    assert_int_equal(status, may ? GNTST_okay : GNTST_general_error);
    assert_int_equal(grant_is_open(word, grantee, write),
                     may && !(flags & (GTF_reading | GTF_writing)));
    if (!may) {
        assert_int_equal(next, 0xdeadbeef);
        return;
    }
    assert_int_equal(next & ~(u32)(GTF_reading | GTF_writing),
                     word & ~(u32)(GTF_reading | GTF_writing));
    assert_int_equal(next, grant_show(word, write));
    assert_true(next & GTF_reading);
    assert_true(!write || next & GTF_writing);
    assert_true(!(word & GTF_writing) || next & GTF_writing);
    assert_true(write || !(next & ~word & GTF_writing));
}

static void every_word_of_a_guest(void **state)
{
    static const u16 ids[] = {0, 1, 7, 0x7fef, DOMID_SELF, 0xffff};

    for (u32 flags = 0; flags < 0x10000; flags++)
        for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
            claim_one((u16)flags, ids[i], 7, flags & 0x200);
            claim_one((u16)flags, ids[i], 7, !(flags & 0x200));
        }
}

static void every_word_of_a_taker(void **state)
{
    for (u32 flags = 0; flags < 0x10000; flags++) {
        u32 next = 0;

        assert_int_equal(grant_accept(flags | 7U << 16, 7, &next),
                         flags == GTF_accept_transfer);
        assert_true(flags != GTF_accept_transfer ||
                    next == (7U << 16 | GTF_accept_transfer | GTF_transfer_committed));
        assert_false(grant_accept(flags | 8U << 16, 7, &next));
    }
}

struct model {
    unsigned readers, writers;
    u32 frame;
    u16 grantee;
};

static void pins_are(u64 pins, const struct model *m)
{
    bool any = m->readers || m->writers;

    assert_int_equal(pins_readers(pins), m->readers);
    assert_int_equal(pins_writers(pins), m->writers);
    assert_int_equal(pins_any(pins), any);
    assert_int_equal(pins_marks(pins),
                     (any ? GTF_reading : 0) | (m->writers ? GTF_writing : 0));
    assert_int_equal(pins_mfn(pins).n, any ? m->frame : 0);
    assert_int_equal(pins_grantee(pins), any ? m->grantee : 0);
}

static u64 try_add(u64 pins, struct model *m, bool write)
{
    u64 r = random64();
    u16 grantee = r & 1 ? m->grantee : (u16)(r >> 8 & PINS_GRANTEE);
    u32 frame = (u32)(r >> 32);
    bool any = m->readers || m->writers, full = (write ? m->writers : m->readers) == PINS_MAX;
    int status = pins_may_add(pins, grantee, write);

    assert_int_equal(status == GNTST_okay, !full && (!any || grantee == m->grantee));
    if (status != GNTST_okay)
        return pins;
    if (!any) {
        m->frame = frame;
        m->grantee = grantee;
    }
    *(write ? &m->writers : &m->readers) += 1;
    return pins_add(pins, grantee, frame, write);
}

static u64 try_drop(u64 pins, struct model *m, bool write)
{
    unsigned *count = write ? &m->writers : &m->readers;

    if (!*count)
        return pins;
    *count -= 1;
    return pins_drop(pins, write);
}

/* With the lock held, and in phases that fill the counts and empty them. */
static void uses_come_and_go(void **state)
{
    struct model m = {0};
    u64 pins = 0;

    for (unsigned i = 0; i < 400000; i++) {
        u64 r = random64();
        bool write = r & 1, add = (r >> 1 & 7) < (i >> 12 & 1 ? 5 : 3);

        pins |= PINS_BUSY;
        pins = add ? try_add(pins, &m, write) : try_drop(pins, &m, write);
        assert_true(pins & PINS_BUSY);
        pins_are(pins, &m);
        pins &= ~PINS_BUSY;
        pins_are(pins, &m);
        assert_true(m.readers || m.writers || !pins);
    }
}

static void counts_stop_at_their_end(void **state)
{
    u64 pins = PINS_BUSY;

    for (unsigned i = 0; i < PINS_MAX; i++) {
        assert_int_equal(pins_may_add(pins, 0x7fff, true), GNTST_okay);
        pins = pins_add(pins, 0x7fff, 0xffffffff, true);
        assert_int_equal(pins_may_add(pins, 0x7fff, false), GNTST_okay);
        pins = pins_add(pins, 0x7fff, 5, false);
    }
    assert_int_equal(pins, ~0UL);
    assert_int_equal(pins_may_add(pins, 0x7fff, true), GNTST_general_error);
    assert_int_equal(pins_may_add(pins, 0x7fff, false), GNTST_general_error);
    for (unsigned i = 0; i < PINS_MAX; i++)
        pins = pins_drop(pins_drop(pins, true), false);
    assert_int_equal(pins, PINS_BUSY);
}

static void page_table_entries(void **state)
{
    const u64 base = 0x8000000000000065UL;

    assert_int_equal(grant_map_pte(GNTMAP_host_map, MFN(0x12345)), base | 2 | 0x12345000);
    assert_int_equal(grant_map_pte(GNTMAP_host_map | GNTMAP_readonly, MFN(0x12345)),
                     base | 0x12345000);
    assert_int_equal(grant_map_pte(1U << _GNTMAP_guest_avail0, MFN(1)), base | 2 | 0x1200);
    assert_int_equal(grant_map_pte(~0U, MFN(0)), base | 7 << 9 | 0x7ffUL << 52);
    assert_int_equal(grant_map_pte(0xffff, MFN(0xffffffff)), base | 0xffffffffUL << 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_do_not_overlap),    cmocka_unit_test(every_word_of_a_guest),
        cmocka_unit_test(every_word_of_a_taker),    cmocka_unit_test(uses_come_and_go),
        cmocka_unit_test(counts_stop_at_their_end), cmocka_unit_test(page_table_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
