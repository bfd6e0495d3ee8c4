#include "guest/access.h"
#include "hcall/hcall.h"
#include "kern/irq.h"

#define RESULT_OFFSET offsetof(struct multicall_entry, result)

static s64 run_entry(struct vcpu *v, const struct multicall_entry *e)
{
    s64 result;

    v->in_multicall = true;
    result = hcall_dispatch(v, e->op, (const u64 *)e->args);
    v->in_multicall = false;
    return result;
}

/*
 * Each entry is copied, run, and answered before the next is looked at: one may depend on what
 * the last one changed. iret would leave in the middle (XSA-213), a nested batch has no bound:
 * neither is run.
 */
HYPERCALL(multicall)
{
    struct multicall_entry *u_calls = (void *)a1, e;

    if (!guest_range_ok(a1, (u32)a2 * sizeof(e)))
        return -XEN_EFAULT;
    if ((u32)a2 > HCALL_MAX_ELEMENTS)
        return -XEN_EINVAL;
    for (u32 i = hcall_first(a2); i < (u32)a2; i++) {
        s64 result;

        if (copy_array_from_guest(&e, u_calls, i, sizeof(e)))
            return -XEN_EFAULT;
        if (e.op == __HYPERVISOR_iret || e.op == __HYPERVISOR_multicall)
            result = -XEN_EINVAL;
        else
            result = run_entry(v, &e);
        if (copy_to_guest((u8 *)&u_calls[i] + RESULT_OFFSET, &result, sizeof(result)))
            return -XEN_EFAULT;
        preempt_point();
        if (hcall_may_stop(v))
            return hcall_again_from(v, __HYPERVISOR_multicall, i + 1);
    }
    return 0;
}
