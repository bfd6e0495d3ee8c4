#include "core/memtarget.h"

int memtarget_check_order(const struct memtarget_order *o, u64 machine_pages, u64 max_cap_ppm)
{
    bool cap = o->otherwise == OTHERWISE_CAP;

    if (!o->pages || o->pages > machine_pages || o->within < MEMTARGET_WITHIN_MIN ||
        o->within > MEMTARGET_WITHIN_MAX || o->otherwise > OTHERWISE_DESTROY)
        return -XEN_EINVAL;
    return cap == !o->cap_ppm || o->cap_ppm > max_cap_ppm ? -XEN_EINVAL : 0;
}

void memtarget_set(struct memtarget *t, const struct memtarget_order *o, u64 pages, ns_t now)
{
    *t = (struct memtarget){.state = MEMTARGET_PENDING,
                            .otherwise = (enum memtarget_otherwise)o->otherwise,
                            .number = t->number + 1,
                            .cap_ppm = o->cap_ppm,
                            .pages = o->pages,
                            .pages_start = pages,
                            .pages_lowest = pages,
                            .started = now,
                            .deadline = now + (ns_t)o->within};
}

bool memtarget_see(struct memtarget *t, u64 pages)
{
    if (!memtarget_is_open(t))
        return false;
    t->pages_lowest = MIN(t->pages_lowest, pages);
    return pages <= t->pages;
}

void memtarget_comply(struct memtarget *t, u64 max_before, ns_t now)
{
    t->state = MEMTARGET_COMPLIED;
    t->max_before = max_before;
    t->complied = now;
}

bool memtarget_expire(struct memtarget *t, u64 pages, ns_t now)
{
    if (t->state != MEMTARGET_PENDING || now < t->deadline)
        return false;
    t->state = MEMTARGET_MISSED;
    t->pages_deadline = pages;
    return t->otherwise != OTHERWISE_NONE;
}

void memtarget_acted(struct memtarget *t, u32 cap_before, ns_t now)
{
    t->cap_before = cap_before;
    t->acted = now;
    t->in_force = true;
}

void memtarget_lifted(struct memtarget *t)
{
    t->in_force = false;
}

void memtarget_cancel(struct memtarget *t)
{
    *t = (struct memtarget){.number = t->number};
}

int memtarget_check(const struct memtarget *t)
{
    bool complied = t->state == MEMTARGET_COMPLIED;

    if (complied != (t->complied != 0) || (t->max_before && !complied))
        return 1;
    if ((t->in_force && !t->acted) || (t->acted && t->acted < t->deadline) ||
        (t->state == MEMTARGET_PENDING && t->acted))
        return 2;
    if (t->pages_lowest > t->pages_start || (complied && t->pages_lowest > t->pages))
        return 3;
    return 0;
}
