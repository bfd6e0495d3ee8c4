#include "core/vfr_sets.h"
#include "base/string.h"

/* The lengths of prefixes that are inside ::ffff:0:0/96, IPv4. */
#define IP4_LENGTH 96
#define LENGTHS    129

static struct vfr_addr cut(struct vfr_addr a, unsigned length)
{
    if (length <= 64)
        return (struct vfr_addr){length ? a.high & ~0UL << (64 - length) : 0, 0};
    return (struct vfr_addr){a.high, length < 128 ? a.low & ~0UL << (128 - length) : a.low};
}

u32 vfr_element_rest(u32 kind, const struct vfr_element *e)
{
    u32 rest = VFR_SLOT_USED;

    if (kind == VFR_SET_NET)
        rest |= (u32)e->length << 16;
    if (kind == VFR_SET_PORT || kind == VFR_SET_IP_PORT)
        rest |= e->port;
    return rest;
}

bool vfr_element_check(u32 kind, const struct vfr_element *e)
{
    switch (kind) {
    case VFR_SET_IP:
    case VFR_SET_IP_PORT:
        return true;
    case VFR_SET_NET:
        return e->length <= 128 && vfr_addr_equal(e->addr, cut(e->addr, e->length));
    case VFR_SET_PORT:
        return !e->addr.high && !e->addr.low;
    case VFR_SET_MAC:
        return !e->addr.high && !(e->addr.low >> 48);
    default:
        return false;
    }
}

/* ---- lookups ---- */

/* Where elements are looked for: the image's slots, or a life's. */
struct place {
    const struct vfr_slot *slots;
    const struct vfr_set_slot *live_slots;
    u64 mask, seed, now;
    u32 owner;
};

static bool listed(const struct place *p, struct vfr_addr a, u32 rest)
{
    u64 at = vfr_set_hash(p->seed, a.high, a.low, rest);

    for (unsigned i = 0; i < VFR_SET_PROBE; i++, at++) {
        const struct vfr_slot *s = &p->slots[at & p->mask];

        if (s->low == a.low && s->rest == rest && s->high == a.high)
            return true;
        if (!s->rest)
            return false;
    }
    return false;
}

/* What 'until' says before and after the rest was read is the same: nobody changed it meanwhile. */
static bool same_element(const struct vfr_set_slot *s, const struct place *p, struct vfr_addr a,
                         u32 rest)
{
    u64 until = __atomic_load_n(&s->until, __ATOMIC_ACQUIRE);
    bool same = __atomic_load_n(&s->low, __ATOMIC_RELAXED) == a.low &&
                __atomic_load_n(&s->rest, __ATOMIC_RELAXED) == rest &&
                __atomic_load_n(&s->high, __ATOMIC_RELAXED) == a.high &&
                __atomic_load_n(&s->owner, __ATOMIC_RELAXED) == p->owner;

    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return same && until > p->now && __atomic_load_n(&s->until, __ATOMIC_RELAXED) == until;
}

static bool alive(const struct place *p, struct vfr_addr a, u32 rest)
{
    u64 at = vfr_set_hash(p->seed, a.high, a.low, rest);

    for (unsigned i = 0; i < VFR_SET_PROBE; i++, at++) {
        const struct vfr_set_slot *s = &p->live_slots[at & p->mask];

        if (same_element(s, p, a, rest))
            return true;
        if (!__atomic_load_n(&s->rest, __ATOMIC_RELAXED))
            return false;
    }
    return false;
}

static bool lies_in(const struct place *p, struct vfr_addr a, u32 rest)
{
    return p->slots ? listed(p, a, rest) : alive(p, a, rest);
}

/* IPv4 addresses are in no prefix shorter than what all of them begin with. */
static bool covered(const struct place *p, struct vfr_addr a, const u64 lengths[3])
{
    const unsigned shortest = vfr_addr_is_ip4(a) ? IP4_LENGTH : 0;

    for (unsigned word = shortest / 64; word < 3; word++) {
        u64 left = __atomic_load_n(&lengths[word], __ATOMIC_RELAXED);

        if (word == shortest / 64)
            left &= ~0UL << shortest % 64;
        for (; left; left &= left - 1) {
            unsigned length = word * 64 + (unsigned)__builtin_ctzl(left);

            if (lies_in(p, cut(a, length), VFR_SLOT_USED | length << 16))
                return true;
        }
    }
    return false;
}

static bool has(const struct place *p, u32 kind, const u64 lengths[3],
                const struct vfr_element *e)
{
    if (kind == VFR_SET_NET)
        return covered(p, e->addr, lengths);
    return lies_in(p, kind == VFR_SET_PORT ? (struct vfr_addr){0, 0} : e->addr,
                   vfr_element_rest(kind, e));
}

bool vfr_set_has(const struct vfr_image *image, const struct vfr_set *set,
                 const struct vfr_element *e)
{
    const struct vfr_slot *slots = (const void *)((const u8 *)image + image->slots_at);
    struct place p = {.slots = slots + set->first, .mask = set->slots - 1, .seed = image->seed};

    return set->slots && has(&p, set->kind, set->lengths, e);
}

static struct place place_of(const struct vfr_sets *s, const struct vfr_life *l, u64 now)
{
    return (struct place){.live_slots = s->slots,
                          .mask = s->nr_slots - 1,
                          .seed = s->secret + l->owner,
                          .now = now,
                          .owner = l->owner};
}

bool vfr_sets_has(const struct vfr_sets *s, u32 life, const struct vfr_element *e, u64 now)
{
    const struct vfr_life *l = &s->lives[(life - 1) % VFR_SETS_MAX];
    struct place p = place_of(s, l, now);

    return life && l->owner && has(&p, l->kind, l->lengths, e);
}

/* ---- lives ---- */

void vfr_sets_init(struct vfr_sets *s, struct vfr_set_slot *slots, u64 nr, u64 secret)
{
    memset(s, 0, sizeof(*s));
    s->slots = slots;
    s->nr_slots = nr;
    s->secret = secret;
}

static const struct vfr_set *sets_of(const struct vfr_image *image)
{
    return (const void *)((const u8 *)image + image->sets_at);
}

static struct vfr_life *find_life(const struct vfr_sets *s, u32 id, u32 kind)
{
    for (u32 i = 0; i < s->nr_lives; i++) {
        if (s->lives[i].id == id && s->lives[i].kind == kind)
            return (struct vfr_life *)&s->lives[i];
    }
    return NULL;
}

u32 vfr_sets_find(const struct vfr_sets *s, u32 id, u32 kind)
{
    const struct vfr_life *l = find_life(s, id, kind);

    return l ? l->owner : 0;
}

static u32 size_of(const struct vfr_set *set, const struct vfr_sets *before)
{
    const struct vfr_life *l =
        before && set->size ? find_life(before, set->id, set->kind) : NULL;

    return l ? MAX(set->size, l->nr) : set->size;
}

u64 vfr_sets_need(const struct vfr_image *image, const struct vfr_sets *before)
{
    u64 size = 0;

    for (u32 i = 0; i < image->nr_sets; i++)
        size += size_of(&sets_of(image)[i], before);
    return size;
}

int vfr_sets_adopt(struct vfr_sets *s, const struct vfr_image *image,
                   const struct vfr_sets *before, u16 of[VFR_SETS_MAX])
{
    if (vfr_sets_need(image, before) > s->nr_slots / 2)
        return -XEN_ENOSPC;
    for (u32 i = 0; i < image->nr_sets; i++) {
        const struct vfr_set *set = &sets_of(image)[i];

        of[i] = 0;
        if (!set->size)
            continue;
        of[i] = (u16)++s->nr_lives;
        s->lives[of[i] - 1] = (struct vfr_life){
            .owner = of[i],
            .id = set->id,
            .kind = set->kind,
            .size = size_of(set, before),
            .timeout = set->timeout ? set->timeout * 1000000000UL : VFR_FOREVER,
        };
    }
    return 0;
}

/* ---- elements ---- */

static void give_up(struct vfr_sets *s, struct vfr_set_slot *slot)
{
    if (slot->until)
        s->lives[slot->owner - 1].nr--;
    __atomic_store_n(&slot->until, 0, __ATOMIC_RELEASE);
}

static bool is_element(const struct vfr_set_slot *slot, const struct vfr_life *l,
                       const struct vfr_element *e, u32 rest)
{
    return slot->until && slot->owner == l->owner && slot->rest == rest &&
           slot->low == e->addr.low && slot->high == e->addr.high;
}

/* The element's own slot, expired or not; else one it may have, else NULL. */
static struct vfr_set_slot *find_slot(struct vfr_sets *s, const struct vfr_life *l,
                                      const struct vfr_element *e, u64 now)
{
    const u32 rest = vfr_element_rest(l->kind, e);
    struct vfr_set_slot *room = NULL;
    u64 at = vfr_set_hash(s->secret + l->owner, e->addr.high, e->addr.low, rest);

    for (unsigned i = 0; i < VFR_SET_PROBE; i++, at++) {
        struct vfr_set_slot *slot = &s->slots[at & (s->nr_slots - 1)];

        if (is_element(slot, l, e, rest))
            return slot;
        if (!room && slot->until <= now)
            room = slot;
        if (!slot->rest)
            break;
    }
    return room;
}

static int find_element(struct vfr_sets *s, u32 life, const struct vfr_element *e,
                        struct vfr_life **l)
{
    if (!life || life > s->nr_lives)
        return -XEN_ENOENT;
    *l = &s->lives[life - 1];
    return vfr_element_check((*l)->kind, e) ? 0 : -XEN_EINVAL;
}

static void fill(struct vfr_set_slot *slot, const struct vfr_life *l,
                 const struct vfr_element *e, u64 until)
{
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&slot->high, e->addr.high, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->low, e->addr.low, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->rest, vfr_element_rest(l->kind, e), __ATOMIC_RELAXED);
    __atomic_store_n(&slot->owner, l->owner, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->until, until, __ATOMIC_RELEASE);
}

static int put(struct vfr_sets *s, struct vfr_life *l, const struct vfr_element *e, u64 until,
               u64 now)
{
    struct vfr_set_slot *slot = find_slot(s, l, e, now);

    if (slot && is_element(slot, l, e, vfr_element_rest(l->kind, e))) {
        __atomic_store_n(&slot->until, until, __ATOMIC_RELEASE);
        return 0;
    }
    if (!slot || l->nr >= l->size)
        return -XEN_ENOSPC;
    give_up(s, slot);
    /* Before the element, so that no lookup misses it. */
    if (l->kind == VFR_SET_NET)
        __atomic_or_fetch(&l->lengths[e->length / 64], BIT(e->length % 64), __ATOMIC_RELEASE);
    fill(slot, l, e, until);
    l->nr++;
    return 0;
}

int vfr_sets_add(struct vfr_sets *s, u32 life, const struct vfr_element *e, u64 timeout,
                 u64 now)
{
    struct vfr_life *l;
    int rc = find_element(s, life, e, &l);

    if (rc)
        return rc;
    timeout = timeout ?: l->timeout;
    return put(s, l, e, timeout < VFR_FOREVER - now ? now + timeout : VFR_FOREVER, now);
}

int vfr_sets_remove(struct vfr_sets *s, u32 life, const struct vfr_element *e, u64 now)
{
    struct vfr_set_slot *slot;
    struct vfr_life *l;
    int rc = find_element(s, life, e, &l);

    if (rc)
        return rc;
    slot = find_slot(s, l, e, now);
    if (!slot || !is_element(slot, l, e, vfr_element_rest(l->kind, e)))
        return -XEN_ESRCH;
    rc = slot->until > now ? 0 : -XEN_ESRCH;
    give_up(s, slot);
    return rc;
}

static struct vfr_element element_of(const struct vfr_set_slot *slot)
{
    return (struct vfr_element){
        {slot->high, slot->low}, (u16)slot->rest, (u8)(slot->rest >> 16)};
}

bool vfr_sets_next(const struct vfr_sets *s, u32 life, u64 *at, u64 budget, u64 now,
                   struct vfr_element *e, u64 *until)
{
    for (; budget && *at < s->nr_slots; budget--) {
        const struct vfr_set_slot *slot = &s->slots[(*at)++];

        if (slot->until <= now || slot->owner != life)
            continue;
        *e = element_of(slot);
        *until = slot->until;
        return true;
    }
    return false;
}

int vfr_sets_inherit(struct vfr_sets *s, const struct vfr_sets *before, u64 *at, u64 budget,
                     u64 now)
{
    int rc = 0;

    for (; !rc && budget && *at < before->nr_slots; budget--, ++*at) {
        const struct vfr_set_slot *slot = &before->slots[*at];
        const struct vfr_life *old = &before->lives[slot->owner - !!slot->owner];
        const struct vfr_element e = element_of(slot);
        struct vfr_life *l;

        if (slot->until <= now)
            continue;
        l = find_life(s, old->id, old->kind);
        rc = l ? put(s, l, &e, slot->until, now) : 0;
    }
    return rc ?: *at < before->nr_slots ? -XEN_EAGAIN : 0;
}

bool vfr_sets_sweep(struct vfr_sets *s, u64 now, u64 budget)
{
    for (; budget && s->swept < s->nr_slots; budget--, s->swept++) {
        struct vfr_set_slot *slot = &s->slots[s->swept];

        if (slot->until && slot->until <= now)
            give_up(s, slot);
    }
    if (s->swept < s->nr_slots)
        return false;
    s->swept = 0;
    return true;
}

/* ---- invariants ---- */

/* Slots of a life; -1: two are the same, or one has a length nobody knows of. */
static int count_slots(const struct vfr_sets *s, const struct vfr_life *l, u64 now)
{
    struct place p = place_of(s, l, now);
    int nr = 0;

    for (u64 i = 0; i < s->nr_slots; i++) {
        const struct vfr_set_slot *slot = &s->slots[i];
        u32 length = slot->rest >> 16 & 0xff;

        if (!slot->until || slot->owner != l->owner)
            continue;
        nr++;
        if (l->kind == VFR_SET_NET && !(l->lengths[length / 64] & BIT(length % 64)))
            return -4;
        if (slot->until > now &&
            !alive(&p, (struct vfr_addr){slot->high, slot->low}, slot->rest))
            return -1;
    }
    return nr;
}

int vfr_sets_check(const struct vfr_sets *s, u64 now)
{
    u64 size = 0;

    for (unsigned i = 0; i < VFR_SETS_MAX; i++) {
        const struct vfr_life *l = &s->lives[i];
        int nr = l->owner ? count_slots(s, l, now) : 0;

        if (nr < 0)
            return -nr;
        if (l->owner && ((u32)nr != l->nr || l->nr > l->size))
            return 2;
        size += l->owner ? l->size : 0;
    }
    return size <= s->nr_slots / 2 ? 0 : 2;
}
