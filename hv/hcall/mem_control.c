/* What domains have of memory and were told about it, for domain 0. */
#include "abi/serai.h"
#include "guest/access.h"
#include "guest/balloon.h"
#include "guest/lifecycle.h"
#include "hcall/hcall.h"
#include "kern/heap.h"

_Static_assert(SERAI_MEMORY_MISSED == (int)MEMTARGET_MISSED, "states as the core has them");
_Static_assert(SERAI_ELSE_DESTROY == (int)OTHERWISE_DESTROY, "consequences likewise");

static int obey(struct domain *d, const struct serai_memory *op)
{
    const struct memtarget_order o = {.pages = op->pages,
                                      .within = op->within,
                                      .otherwise = op->otherwise,
                                      .cap_ppm = op->cap_ppm};

    int rc;

    if (op->op == SERAI_MEMORY_READ || op->op == SERAI_MEMORY_NEXT)
        return 0;
    if (op->op == SERAI_MEMORY_CHECK)
        return balloon_check(d, &o);
    lifecycle_control_begin(d);
    rc = op->op == SERAI_MEMORY_SET ? balloon_order(d, &o) : balloon_cancel(d);
    lifecycle_control_end(d);
    return rc;
}

static struct serai_memory report(struct domain *d, u8 op)
{
    struct memtarget t;
    u64 max_before = balloon_report(d, &t);

    return (struct serai_memory){
        .domid = d->id,
        .op = op,
        .state = (u8)t.state,
        .otherwise = (u8)t.otherwise,
        .in_force = t.in_force,
        .cap_ppm = t.cap_ppm,
        .number = t.number,
        .pages = t.pages,
        .within = (u64)(t.deadline - t.started),
        .pages_now = __atomic_load_n(&d->tot_pages, __ATOMIC_RELAXED),
        .pages_max = __atomic_load_n(&d->max_pages, __ATOMIC_RELAXED),
        .pages_claimed = d->claimed_pages,
        .pages_max_before = max_before,
        .pages_start = t.pages_start,
        .pages_lowest = t.pages_lowest,
        .pages_deadline = t.pages_deadline,
        .now = (u64)time_now(),
        .started = (u64)t.started,
        .deadline = (u64)t.deadline,
        .complied = (u64)t.complied,
        .acted = (u64)t.acted,
        .free = heap_free_count(),
        .claimed = heap_claimed_count(),
    };
}

s64 hcall_mem_control(u64 u_arg)
{
    struct serai_memory op;
    struct domain *d;
    int rc;

    if (copy_from_guest(&op, (const void *)u_arg, sizeof(op)))
        return -XEN_EFAULT;
    if (op.reserved || op.op > SERAI_MEMORY_CHECK)
        return -XEN_EINVAL;
    d = op.op == SERAI_MEMORY_NEXT ? domain_get_from(op.domid) : domain_get(op.domid);
    if (!d)
        return -XEN_ESRCH;
    rc = obey(d, &op);
    op = report(d, op.op);
    domain_put(d);
    return rc ? rc : copy_to_guest((void *)u_arg, &op, sizeof(op));
}
