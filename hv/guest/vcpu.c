#include "guest/vcpu.h"
#include "base/string.h"
#include "guest/switch.h"
#include "guest/vtime.h"
#include "kern/counters.h"
#include "kern/heap.h"
#include "x86/cpu_setup.h"

static struct stack_info *stack_top(const struct vcpu *v)
{
    return (struct stack_info *)(v->stack + STACK_SIZE) - 1;
}

static int fill_vcpu(struct vcpu *v, struct domain *d, unsigned id)
{
    v->stack = heap_alloc_pages(STACK_ORDER);
    if (!v->stack)
        return -XEN_ENOMEM;
    v->domain = d;
    v->id = id;
    v->entry.info = (u8 *)&d->shared->vcpu_info[id];
    v->entry.kernel_mode = 1;
    v->entry.iomap_kernel = TSS_NO_BITMAP;
    v->xcr0 = 1;
    v->dr[6] = 0xffff0ff0;
    v->dr[7] = BIT(10);
    stack_top(v)->guest = &v->entry;
    dispatch_add(&v->run, &d->sched, (u16)id);
    vtime_vcpu_init(v);
    return switch_vcpu_init(v);
}

struct vcpu *vcpu_create(struct domain *d, unsigned id)
{
    struct vcpu *v = heap_alloc_pages(2);

    BUG_ON(sizeof(*v) > 4 * PAGE_SIZE);
    if (!v)
        return NULL;
    if (fill_vcpu(v, d, id)) {
        if (v->stack)
            heap_free_pages(v->stack, STACK_ORDER);
        heap_free_pages(v, 2);
        return NULL;
    }
    counters_add_guest(&v->entry);
    d->vcpus[id] = v;
    d->max_vcpus = MAX(d->max_vcpus, id + 1);
    return v;
}

void vcpu_set_entry(struct vcpu *v, const struct cpu_user_regs *regs)
{
    struct cpu_user_regs *top =
        (struct cpu_user_regs *)((u8 *)stack_top(v) - offsetof(struct cpu_user_regs, es));

    memcpy(top, regs, offsetof(struct cpu_user_regs, es));
    dispatch_prepare(&v->run, top, vcpu_first_entry);
}
