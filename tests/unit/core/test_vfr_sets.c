/*
 * Sets: what an image lists, and what is added at run time, against a plain list of the elements with
 * the time each ends; vfr_sets_check() after each step.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vfr_image.h"
#include "unit/random.h"

#define SLOTS 128
#define SIZE  20
#define TICK  1000000000UL

static struct vfr_addr masked(struct vfr_addr a, unsigned length)
{
    for (unsigned bit = length; bit < 128; bit++) {
        if (bit < 64)
            a.high &= ~(1UL << (63 - bit));
        else
            a.low &= ~(1UL << (127 - bit));
    }
    return a;
}

static struct vfr_element random_net(void)
{
    static const u8 lengths[] = {0, 8, 64, 65, 96, 104, 120, 127, 128};
    struct vfr_element e = {.length = lengths[random_below(ARRAY_SIZE(lengths))]};

    e.addr = random_below(2) ? VFR_IP4(random_below(4) << 24 | random_below(4))
                             : (struct vfr_addr){(u64)random_below(4) << 62 | random_below(2),
                                                 random_below(3)};
    e.addr = masked(e.addr, e.length);
    return e;
}

/* Prefixes of IPv6 that happen to contain ::ffff:0:0/96 do not contain IPv4. */
static bool covers(const struct vfr_element *net, struct vfr_addr a)
{
    if (vfr_addr_is_ip4(a) && net->length < 96)
        return false;
    return vfr_addr_equal(masked(a, net->length), net->addr);
}

static void test_listed_nets(void **state)
{
    struct image_source *s = image_source_create();
    struct vfr_element listed[12];
    struct vfr_image *image;

    for (unsigned round = 0; round < 200; round++) {
        s->head.nr_sets = s->head.nr_slots = 0;
        memset(s->slots, 0, 64 * sizeof(s->slots[0]));
        image_add_set(s, 1, VFR_SET_PORT, 4, 0);
        image_add_set(s, 2, VFR_SET_NET, 32, 0);
        for (unsigned i = 0; i < ARRAY_SIZE(listed); i++)
            image_add_element(s, 1, listed[i] = random_net());
        image = image_finish(s);
        for (unsigned i = 0; i < 50; i++) {
            struct vfr_element e = random_net();
            bool want = false;

            for (unsigned n = 0; n < ARRAY_SIZE(listed); n++)
                want |= covers(&listed[n], e.addr);
            assert_int_equal(vfr_set_has(image, &s->sets[1], &e), want);
        }
        free(image);
    }
    free(s);
}

/* ---- at run time ---- */

struct known {
    struct vfr_element e;
    u64 until;
};

struct world {
    struct vfr_sets sets;
    struct vfr_set_slot slots[SLOTS];
    struct image_source *source;
    struct vfr_image *image;
    u16 life[VFR_SETS_MAX];
    struct known known[SIZE];
    unsigned nr;
    u64 now;
};

static int adopt(struct world *w)
{
    free(w->image);
    w->image = image_finish(w->source);
    return vfr_sets_adopt(&w->sets, w->image, NULL, w->life);
}

static int start(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    vfr_sets_init(&w->sets, w->slots, SLOTS, 4711);
    w->source = image_source_create();
    w->now = 10 * TICK;
    image_add_set(w->source, 5, VFR_SET_IP, 0, 0);
    image_add_set(w->source, 6, VFR_SET_NET, 0, SIZE);
    w->source->sets[1].timeout = 5;
    assert_int_equal(adopt(w), 0);
    assert_int_equal(w->life[0], 0);
    assert_int_not_equal(w->life[1], 0);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;

    free(w->image);
    free(w->source);
    free(w);
    return 0;
}

static struct known *find(struct world *w, const struct vfr_element *e)
{
    for (unsigned i = 0; i < w->nr; i++) {
        if (w->known[i].e.length == e->length && vfr_addr_equal(w->known[i].e.addr, e->addr))
            return &w->known[i];
    }
    return NULL;
}

static bool known_covers(struct world *w, struct vfr_addr a)
{
    for (unsigned i = 0; i < w->nr; i++) {
        if (w->known[i].until > w->now && covers(&w->known[i].e, a))
            return true;
    }
    return false;
}

static void forget(struct world *w, struct known *k)
{
    *k = w->known[--w->nr];
}

static void forget_expired(struct world *w)
{
    for (unsigned i = w->nr; i-- > 0;) {
        if (w->known[i].until <= w->now)
            forget(w, &w->known[i]);
    }
}

static void add(struct world *w, const struct vfr_element *e)
{
    struct known *k = find(w, e);
    int rc = vfr_sets_add(&w->sets, w->life[1], e, 0, w->now);

    if (rc) {
        /* Expired ones may be in the way, until a sweep. */
        assert_int_equal(rc, -XEN_ENOSPC);
        assert_true(!k);
        while (!vfr_sets_sweep(&w->sets, w->now, 7))
            ;
        forget_expired(w);
        rc = vfr_sets_add(&w->sets, w->life[1], e, 0, w->now);
        assert_int_equal(rc, w->nr < SIZE ? 0 : -XEN_ENOSPC);
    }
    if (rc)
        return;
    if (!k) {
        if (w->nr == SIZE)
            forget_expired(w);
        assert_true(w->nr < SIZE);
        k = &w->known[w->nr++];
    }
    *k = (struct known){*e, w->now + 5 * TICK};
}

static void remove_one(struct world *w, const struct vfr_element *e)
{
    struct known *k = find(w, e);
    int rc = vfr_sets_remove(&w->sets, w->life[1], e, w->now);

    assert_int_equal(rc, k && k->until > w->now ? 0 : -XEN_ESRCH);
    if (k)
        forget(w, k);
}

static void test_random_life(void **state)
{
    struct world *w = *state;

    for (unsigned step = 0; step < 20000; step++) {
        struct vfr_element e = random_net();

        if (random_below(3))
            add(w, &e);
        else
            remove_one(w, &e);
        if (!random_below(4))
            w->now += TICK / 2;
        assert_int_equal(vfr_sets_check(&w->sets, w->now), 0);
        e = random_net();
        assert_int_equal(vfr_sets_has(&w->sets, w->life[1], &e, w->now),
                         known_covers(w, e.addr));
    }
}

/* The next ruleset's table, with what it takes over; the result of the last step. */
static int succeed(struct world *w, struct world *old)
{
    u64 at = 0;
    int rc;

    free(w->image);
    w->image = image_finish(w->source);
    memset(w->slots, 0, sizeof(w->slots));
    vfr_sets_init(&w->sets, w->slots, SLOTS, 815);
    rc = vfr_sets_adopt(&w->sets, w->image, &old->sets, w->life);
    while (!rc && (rc = vfr_sets_inherit(&w->sets, &old->sets, &at, 5, w->now)) == -XEN_EAGAIN)
        rc = 0;
    return rc;
}

static void test_lives(void **state)
{
    struct world *old = *state, next = {.source = old->source, .now = old->now};
    const struct vfr_element e = {VFR_IP4(0x0a000000), 0, 104};
    const struct vfr_element brief = {VFR_IP4(0x0b000000), 0, 104};
    struct vfr_element found;
    u64 at = 0, until;

    assert_int_equal(vfr_sets_add(&old->sets, old->life[1], &e, 0, old->now), 0);
    assert_int_equal(vfr_sets_add(&old->sets, old->life[1], &brief, 3, old->now - 4), 0);
    /* A ruleset with the same set, somewhere else in it, finds its elements. */
    next.source->sets[0] = next.source->sets[1];
    next.source->sets[1].id = 7;
    assert_int_equal(succeed(&next, old), 0);
    assert_int_equal(vfr_sets_check(&next.sets, next.now), 0);
    assert_int_equal(vfr_sets_find(&next.sets, 6, VFR_SET_NET), next.life[0]);
    assert_int_equal(vfr_sets_find(&next.sets, 6, VFR_SET_IP), 0);
    assert_true(vfr_sets_has(&next.sets, next.life[0], &e, next.now));
    assert_false(vfr_sets_has(&next.sets, next.life[1], &e, next.now));
    assert_true(vfr_sets_next(&next.sets, next.life[0], &at, SLOTS, next.now, &found, &until));
    assert_true(vfr_addr_equal(found.addr, e.addr) && found.length == 104);
    assert_int_equal(until, next.now + 5 * 1000000000UL);
    assert_false(vfr_sets_next(&next.sets, next.life[0], &at, SLOTS, next.now, &found, &until));
    assert_int_equal(at, SLOTS);
    /* It stays as it was for the ruleset before. */
    assert_true(vfr_sets_has(&old->sets, old->life[1], &e, old->now));
    /* Smaller than what it has, it keeps that and takes no more. */
    next.source->sets[0].size = 1;
    assert_int_equal(vfr_sets_add(&old->sets, old->life[1], &brief, 0, old->now), 0);
    assert_int_equal(succeed(&next, old), 0);
    assert_true(vfr_sets_has(&next.sets, next.life[0], &brief, next.now));
    assert_int_equal(vfr_sets_add(&next.sets, next.life[0],
                                  &(struct vfr_element){VFR_IP4(0x0c000000), 0, 104}, 0, 5),
                     -XEN_ENOSPC);
    next.source->sets[1] = (struct vfr_set){.id = 8, .kind = VFR_SET_IP, .size = SLOTS / 2 - 1};
    assert_int_equal(succeed(&next, old), -XEN_ENOSPC);
    next.source->head.nr_sets = 0;
    assert_int_equal(succeed(&next, old), 0);
    assert_false(vfr_sets_has(&next.sets, 1, &e, next.now));
    assert_int_equal(vfr_sets_check(&next.sets, next.now), 0);
    free(next.image);
}

static void test_errors(void **state)
{
    struct world *w = *state;
    struct vfr_element e = {VFR_IP4(0x0a000001), 0, 104};

    assert_int_equal(vfr_sets_add(&w->sets, 0, &e, 0, w->now), -XEN_ENOENT);
    assert_int_equal(vfr_sets_add(&w->sets, VFR_SETS_MAX + 1, &e, 0, w->now), -XEN_ENOENT);
    assert_int_equal(vfr_sets_remove(&w->sets, 200, &e, w->now), -XEN_ENOENT);
    assert_int_equal(vfr_sets_add(&w->sets, w->life[1], &e, 0, w->now), -XEN_EINVAL);
    e.length = 129;
    assert_int_equal(vfr_sets_add(&w->sets, w->life[1], &e, 0, w->now), -XEN_EINVAL);
    assert_false(vfr_sets_has(&w->sets, 0, &e, w->now));
    assert_false(vfr_sets_has(&w->sets, 77777, &e, w->now));
}

static void test_forever(void **state)
{
    struct world *w = *state;
    const struct vfr_element e = {VFR_IP4(0x0a000000), 0, 104};

    w->source->sets[1].timeout = 0;
    memset(w->slots, 0, sizeof(w->slots));
    vfr_sets_init(&w->sets, w->slots, SLOTS, 1);
    assert_int_equal(adopt(w), 0);
    assert_int_equal(vfr_sets_add(&w->sets, w->life[1], &e, 0, w->now), 0);
    assert_true(vfr_sets_has(&w->sets, w->life[1], &e, ~0UL - 1));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listed_nets),
        T(test_random_life),
        T(test_lives),
        T(test_errors),
        T(test_forever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
