#include "core/pte.h"
#include "guest/access.h"
#include "hcall/hcall.h"
#include "kern/irq.h"
#include "x86/percpu.h"

#define RESULT_OFFSET offsetof(struct multicall_entry, result)

/* Runs an entry and tells the guest its result. */
static int run_entry(struct vcpu *v, struct multicall_entry *u_call,
                     const struct multicall_entry *e)
{
    s64 result = -XEN_EINVAL;
    int rc;

    /* iret would leave in the middle (XSA-213), a nested batch has no bound. */
    if (e->op != __HYPERVISOR_iret && e->op != __HYPERVISOR_multicall) {
        v->in_multicall = true;
        result = hcall_dispatch(v, e->op, (const u64 *)e->args);
        v->in_multicall = false;
    }
    rc = copy_to_guest((u8 *)u_call + RESULT_OFFSET, &result, sizeof(result));
    preempt_point();
    return rc;
}

/*
 * A guest pins its page tables by pairs of entries, one that takes away a frame's writable mapping
 * and one that pins it; and unpins them by pairs too, one that ends the pin and one that maps the
 * frame writable. The second of a pair changes the frame's type, for which other CPUs have to be
 * interrupted unless they flushed since the first. So all the first ones of a run of pairs go
 * first, and the second ones need one round of interrupts together.
 */
enum part { PART_NONE, PART_PROTECT, PART_PIN, PART_UNPIN, PART_EXPOSE };

static enum part part_of(const struct multicall_entry *e)
{
    u32 cmd;

    if (e->op == __HYPERVISOR_update_va_mapping && e->args[1] & GPTE_P)
        return e->args[1] & GPTE_RW ? PART_EXPOSE : PART_PROTECT;
    if (e->op != __HYPERVISOR_mmuext_op || e->args[1] != 1 || e->args[3] != DOMID_SELF ||
        copy_from_guest(&cmd, (const void *)e->args[0], sizeof(cmd)))
        return PART_NONE;
    if (cmd == MMUEXT_UNPIN_TABLE)
        return PART_UNPIN;
    return cmd <= MMUEXT_PIN_L4_TABLE ? PART_PIN : PART_NONE;
}

/* Entries that may have run already: those marked, of the MAX_AHEAD from 'first' on. */
struct ahead {
    u32 first, end;
    u32 done;
};

#define MAX_AHEAD 32
/* Fewer are no two pairs. */
#define MIN_AHEAD 4

static bool is_done(const struct ahead *a, u32 i)
{
    return i < a->end && a->done & 1U << (i - a->first);
}

/*
 * Runs the first ones of the pairs from entry a->first on, up to a->end at most. No two entries of
 * one kind change places, and those of a pair do what they would do in their order, except that
 * one that had failed because the other one of another pair comes later may not.
 */
static int run_ahead(struct vcpu *v, struct multicall_entry *u_calls, struct ahead *a)
{
    struct multicall_entry e;
    enum part ends = PART_NONE, begins = PART_NONE;
    u32 i;

    for (i = a->first; i < a->end; i++) {
        enum part p;

        if (copy_array_from_guest(&e, u_calls, i, sizeof(e)))
            return -XEN_EFAULT;
        p = part_of(&e);
        if (i == a->first && (p == PART_PROTECT || p == PART_PIN))
            ends = PART_PROTECT, begins = PART_PIN;
        else if (i == a->first && p == PART_UNPIN)
            ends = PART_UNPIN, begins = PART_EXPOSE;
        if (p == PART_NONE || (p != ends && p != begins))
            break;
        if (p == begins)
            continue;
        a->done |= 1U << (i - a->first);
        if (run_entry(v, &u_calls[i], &e))
            return -XEN_EFAULT;
    }
    a->end = i;
    return 0;
}

static bool may_run_ahead(const struct multicall_entry *e, u32 left)
{
    return nr_cpus > 1 && left >= MIN_AHEAD &&
           (e->op == __HYPERVISOR_update_va_mapping || e->op == __HYPERVISOR_mmuext_op);
}

/*
 * Each entry is copied, run, and answered before the next is looked at, except as above: one may
 * depend on what the last one changed. While some have run ahead, the rest of their run, which is
 * short, does so before the vcpu stops: nobody would remember them.
 */
HYPERCALL(multicall)
{
    struct multicall_entry *u_calls = (void *)a1, e;
    const u32 nr = (u32)a2;
    struct ahead a = {0};

    if (!guest_range_ok(a1, nr * sizeof(e)))
        return -XEN_EFAULT;
    if (nr > HCALL_MAX_ELEMENTS)
        return -XEN_EINVAL;
    for (u32 i = hcall_first(a2); i < nr; i++) {
        if (is_done(&a, i))
            continue;
        if (copy_array_from_guest(&e, u_calls, i, sizeof(e)))
            return -XEN_EFAULT;
        if (i >= a.end && may_run_ahead(&e, nr - i)) {
            a = (struct ahead){i, i + MIN(nr - i, MAX_AHEAD), 0};
            if (run_ahead(v, u_calls, &a))
                return -XEN_EFAULT;
            if (is_done(&a, i))
                continue;
        }
        if (run_entry(v, &u_calls[i], &e))
            return -XEN_EFAULT;
        if (i + 1 >= a.end && hcall_may_stop(v))
            return hcall_again_from(v, __HYPERVISOR_multicall, i + 1);
    }
    return 0;
}
