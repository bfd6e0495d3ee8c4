#include "guest/maptrack.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "kern/heap.h"

#define PER_FRAME (PAGE_SIZE / sizeof(struct grant_map))

struct maptrack {
    u64 free;      /* (atomic) the first free handle plus 1, and a count of changes above */
    u32 nr_frames; /* (grant; read by any) */
    u32 released;  /* handles below it have been released with the domain */
    unsigned order;
    struct grant_map **frames;
};

static struct grant_map *find(struct domain *d, u32 handle)
{
    struct maptrack *t = __atomic_load_n(&d->maptrack, __ATOMIC_ACQUIRE);
    u64 i = handle, nr, in_range;

    if (!t)
        return NULL;
    nr = __atomic_load_n(&t->nr_frames, __ATOMIC_ACQUIRE) * PER_FRAME;
    if (i >= nr)
        return NULL;
    /* All ones below the limit, also when the branch above is predicted wrong. */
    asm("cmp %1, %2; sbb %0, %0" : "=r"(in_range) : "r"(nr), "r"(i) : "cc");
    i &= in_range;
    return &t->frames[i / PER_FRAME][i % PER_FRAME];
}

/* The list changes hands with a new count each time: one that came back is not mistaken. */
static u64 list_word(u64 old, u32 first)
{
    return ((old >> 32) + 1) << 32 | first;
}

static void push(struct domain *d, u32 handle, struct grant_map *last)
{
    u64 *list = &d->maptrack->free, old = __atomic_load_n(list, __ATOMIC_RELAXED);

    do
        __atomic_store_n(&last->ref, (u32)old, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(list, &old, list_word(old, handle + 1), true,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

static struct grant_map *pop(struct domain *d, u32 *handle)
{
    struct maptrack *t = __atomic_load_n(&d->maptrack, __ATOMIC_ACQUIRE);
    struct grant_map *m;
    u64 old;

    if (!t)
        return NULL;
    old = __atomic_load_n(&t->free, __ATOMIC_ACQUIRE);
    do {
        if (!(u32)old)
            return NULL;
        *handle = (u32)old - 1;
        m = &t->frames[*handle / PER_FRAME][*handle % PER_FRAME];
        /* Somebody may take it meanwhile: then what is read does not matter. */
    } while (!__atomic_compare_exchange_n(
        &t->free, &old, list_word(old, __atomic_load_n(&m->ref, __ATOMIC_RELAXED)), true,
        __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE));
    return m;
}

/* With the grant lock. */
static struct maptrack *create(struct domain *d)
{
    struct maptrack *t = heap_alloc(sizeof(*t));

    if (!t)
        return NULL;
    while ((PAGE_SIZE << t->order) / sizeof(t->frames[0]) < d->max_maptrack_frames)
        t->order++;
    t->frames = heap_alloc_pages(t->order);
    if (!t->frames) {
        heap_free(t, sizeof(*t));
        return NULL;
    }
    __atomic_store_n(&d->maptrack, t, __ATOMIC_RELEASE);
    return t;
}

/* With the grant lock: a page of handles, all of them free. */
static bool grow(struct domain *d)
{
    struct maptrack *t = d->maptrack ? d->maptrack : create(d);
    struct grant_map *maps;
    u32 first;

    if (!t || t->nr_frames >= d->max_maptrack_frames)
        return false;
    maps = heap_alloc_pages(0);
    if (!maps)
        return false;
    first = t->nr_frames * PER_FRAME;
    for (u32 i = 0; i + 1 < PER_FRAME; i++)
        maps[i].ref = first + i + 1 + 1;
    t->frames[t->nr_frames] = maps;
    __atomic_store_n(&t->nr_frames, t->nr_frames + 1, __ATOMIC_RELEASE);
    push(d, first, &maps[PER_FRAME - 1]);
    return true;
}

static __noinline struct grant_map *alloc_slowly(struct domain *d, u32 *handle)
{
    struct grant_map *m;
    bool more = true;

    while (!(m = pop(d, handle)) && more) {
        lock(&d->grant_lock);
        /* Somebody else may have been here first. */
        if (!d->maptrack || !(u32)__atomic_load_n(&d->maptrack->free, __ATOMIC_RELAXED))
            more = grow(d);
        unlock(&d->grant_lock);
    }
    return m;
}

struct grant_map *maptrack_alloc(struct domain *d, u32 *handle)
{
    struct grant_map *m = pop(d, handle);

    return likely(m) ? m : alloc_slowly(d, handle);
}

void maptrack_commit(struct grant_map *m, struct domain *granter, u32 ref, u32 state)
{
    m->granter = granter;
    m->ref = ref;
    __atomic_store_n(&m->state, state, __ATOMIC_RELEASE);
}

void maptrack_free(struct domain *d, u32 handle, struct grant_map *m)
{
    __atomic_store_n(&m->state, 0, __ATOMIC_RELAXED);
    push(d, handle, m);
}

struct grant_map *maptrack_claim(struct domain *d, u32 handle)
{
    struct grant_map *m = find(d, handle);
    u32 state = m ? __atomic_load_n(&m->state, __ATOMIC_RELAXED) : 0;

    if (!state || state & MAP_BUSY ||
        !__atomic_compare_exchange_n(&m->state, &state, state | MAP_BUSY, false,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return NULL;
    return m;
}

static void unclaim(struct grant_map *m, u32 state)
{
    __atomic_store_n(&m->state, state & ~MAP_BUSY, __ATOMIC_RELEASE);
}

void maptrack_drop(struct domain *d, u32 handle, struct grant_map *m,
                   const struct grant_pin *pin, u32 state)
{
    bool write = !(m->state & MAP_READONLY);
    struct domain *granter = m->granter;

    if (m->state & ~state & MAP_DEVICE && write)
        frame_type_put(pin->mfn);
    if (state & (MAP_HOST | MAP_DEVICE)) {
        unclaim(m, state);
        return;
    }
    grant_unpin(granter, pin, write);
    maptrack_free(d, handle, m);
    domain_put(granter);
}

int maptrack_release(struct domain *d)
{
    struct maptrack *t = d->maptrack;

    while (t && t->released < t->nr_frames * PER_FRAME) {
        u32 handle = t->released++;
        struct grant_map *m = maptrack_claim(d, handle);

        if (m) {
            struct grant_pin pin;

            grant_pin_find(m->granter, m->ref, &pin);
            maptrack_drop(d, handle, m, &pin, 0);
        }
        if (t->released % 64)
            continue;
        preempt_point();
        if (vcpu_has_event(current_vcpu()) || vcpu_must_stop(current_vcpu()))
            return -XEN_EAGAIN;
    }
    return 0;
}

void maptrack_destroy(struct domain *d)
{
    struct maptrack *t = d->maptrack;

    if (!t)
        return;
    for (u32 i = 0; i < t->nr_frames; i++)
        heap_free_pages(t->frames[i], 0);
    heap_free_pages(t->frames, t->order);
    heap_free(t, sizeof(*t));
    d->maptrack = NULL;
}
