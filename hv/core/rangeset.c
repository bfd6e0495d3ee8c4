#include "core/rangeset.h"

/* The index of the first range that ends at 'n' or above; nr: none. */
static u32 find(const struct rangeset *s, u64 n)
{
    u32 low = 0, high = s->nr;

    while (low < high) {
        u32 mid = (low + high) / 2;

        if (s->ranges[mid].last < n)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Ranges [at, at + old) give way to 'new' ones, which the caller fills in. */
static int make_room(struct rangeset *s, u32 at, u32 old, u32 new)
{
    u32 nr = s->nr - old + new;

    if (nr > s->max)
        return -XEN_ENOSPC;
    if (new > old)
        for (u32 i = nr; i-- > at + new;)
            s->ranges[i] = s->ranges[i - new + old];
    else
        for (u32 i = at + new; i < nr; i++)
            s->ranges[i] = s->ranges[i + old - new];
    s->nr = nr;
    return 0;
}

int rangeset_add(struct rangeset *s, u64 first, u64 last)
{
    u32 at, end;
    int rc;

    if (first > last)
        return -XEN_EINVAL;
    /* A range that ends just before ours, or begins just behind it, becomes part of it. */
    at = find(s, first ? first - 1 : 0);
    end = at;
    while (end < s->nr && (last == ~0UL || s->ranges[end].first <= last + 1))
        end++;
    if (end > at) {
        first = MIN(first, s->ranges[at].first);
        last = MAX(last, s->ranges[end - 1].last);
    }
    rc = make_room(s, at, end - at, 1);
    if (rc)
        return rc;
    s->ranges[at] = (struct range){first, last};
    return 0;
}

int rangeset_remove(struct rangeset *s, u64 first, u64 last)
{
    struct range left, right;
    bool has_left, has_right;
    u32 at, end;
    int rc;

    if (first > last)
        return -XEN_EINVAL;
    at = end = find(s, first);
    while (end < s->nr && s->ranges[end].first <= last)
        end++;
    if (end == at)
        return 0;
    left = s->ranges[at];
    right = s->ranges[end - 1];
    has_left = left.first < first;
    has_right = right.last > last;
    rc = make_room(s, at, end - at, (u32)has_left + has_right);
    if (rc)
        return rc;
    if (has_left)
        s->ranges[at++] = (struct range){left.first, first - 1};
    if (has_right)
        s->ranges[at] = (struct range){last + 1, right.last};
    return 0;
}

bool rangeset_contains(const struct rangeset *s, u64 first, u64 last)
{
    u32 at = find(s, first);

    return first <= last && at < s->nr && s->ranges[at].first <= first &&
           s->ranges[at].last >= last;
}

bool rangeset_check(const struct rangeset *s)
{
    if (s->nr > s->max)
        return false;
    for (u32 i = 0; i < s->nr; i++) {
        if (s->ranges[i].first > s->ranges[i].last)
            return false;
        /* At least one number is missing between two ranges. */
        if (i && (s->ranges[i].first <= s->ranges[i - 1].last ||
                  s->ranges[i].first - s->ranges[i - 1].last < 2))
            return false;
    }
    return true;
}
