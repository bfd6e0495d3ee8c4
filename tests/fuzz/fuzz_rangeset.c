/*
 * Requests on a set of ranges against a map with one bit a number. Three bytes of input are a
 * request: what, first, last; the first byte of all says how many ranges there is room for and
 * where the numbers lie.
 */
#include "core/rangeset.h"
#include "fuzz.h"

#define SPAN 256UL

struct world {
    struct rangeset s;
    u64 base;
    bool has[SPAN];
};

static u32 count_ranges(const bool *has)
{
    u32 n = 0;

    for (u64 i = 0; i < SPAN; i++)
        n += has[i] && (!i || !has[i - 1]);
    return n;
}

static void request(struct world *w, bool add, u64 first, u64 last)
{
    bool next[SPAN];
    int rc = add ? rangeset_add(&w->s, w->base + first, w->base + last)
                 : rangeset_remove(&w->s, w->base + first, w->base + last);

    if (first > last) {
        FUZZ_CHECK(rc == -XEN_EINVAL);
        return;
    }
    memcpy(next, w->has, sizeof(next));
    memset(next + first, add, last - first + 1);
    FUZZ_CHECK(rc == (count_ranges(next) > w->s.max ? -XEN_ENOSPC : 0));
    if (!rc)
        memcpy(w->has, next, sizeof(next));
}

static void compare(const struct world *w, u64 first, u64 last)
{
    bool all = first <= last;

    FUZZ_CHECK(rangeset_check(&w->s) && w->s.nr == count_ranges(w->has));
    for (u64 i = first; i <= last; i++)
        all &= w->has[i];
    FUZZ_CHECK(rangeset_contains(&w->s, w->base + first, w->base + last) == all);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct world w = {0};

    if (!size)
        return 0;
    w.s.max = data[0] & 31;
    w.base = data[0] & 32 ? ~0UL - SPAN + 1 : data[0] & 64 ? 0xfffffff0UL : 0;
    /* Exactly as much as there may be: the sanitizer sees a range too many. */
    w.s.ranges = malloc(w.s.max * sizeof(struct range));
    for (data++, size--; size >= 3; data += 3, size -= 3) {
        request(&w, data[0] & 1, data[1], data[2]);
        compare(&w, data[2] < data[1] ? data[2] : data[1], data[1]);
    }
    free(w.s.ranges);
    return 0;
}
