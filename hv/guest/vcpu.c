#include "guest/vcpu.h"
#include "base/string.h"
#include "guest/frame.h"
#include "guest/segments.h"
#include "guest/switch.h"
#include "guest/vtime.h"
#include "kern/counters.h"
#include "kern/heap.h"
#include "x86/cpu_setup.h"

#define VCPU_ORDER 2

static struct stack_info *stack_top(const struct vcpu *v)
{
    return (struct stack_info *)(v->stack + STACK_SIZE) - 1;
}

static void free_memory(struct vcpu *v)
{
    if (v->regs.fpu)
        heap_free_pages(v->regs.fpu, 0);
    if (v->stack)
        heap_free_pages(v->stack, STACK_ORDER);
    heap_free_pages(v, VCPU_ORDER);
}

/* What may fail comes first: nobody knows of the vcpu until it is complete. */
static int fill_vcpu(struct vcpu *v, struct domain *d, unsigned id)
{
    int rc;

    v->stack = heap_alloc_pages(STACK_ORDER);
    if (!v->stack)
        return -XEN_ENOMEM;
    rc = switch_vcpu_init(v);
    if (rc)
        return rc;
    v->domain = d;
    v->id = id;
    v->stopped = true;
    v->entry.info = (u8 *)&d->shared->vcpu_info[id];
    v->entry.kernel_mode = 1;
    v->entry.iomap_kernel = TSS_NO_BITMAP;
    v->xcr0 = 1;
    v->dr[6] = 0xffff0ff0;
    v->dr[7] = BIT(10);
    stack_top(v)->guest = &v->entry;
    dispatch_add(&v->run, &d->sched, (u16)id);
    vtime_vcpu_init(v);
    return 0;
}

struct vcpu *vcpu_create(struct domain *d, unsigned id)
{
    struct vcpu *v = heap_alloc_pages(VCPU_ORDER);

    BUG_ON(sizeof(*v) > PAGE_SIZE << VCPU_ORDER);
    if (!v)
        return NULL;
    if (fill_vcpu(v, d, id)) {
        free_memory(v);
        return NULL;
    }
    counters_add_guest(&v->entry);
    d->vcpus[id] = v;
    d->max_vcpus = MAX(d->max_vcpus, id + 1);
    return v;
}

static void drop_table(mfn_t *table, u64 *cr3)
{
    if (table->n)
        frame_type_put(*table);
    *table = MFN(0);
    *cr3 = 0;
}

void vcpu_reset(struct vcpu *v)
{
    (void)!segments_set_gdt(v, NULL, 0);
    (void)!segments_set_ldt(v, 0, 0);
    drop_table(&v->kernel_table, &v->entry.kernel_cr3);
    drop_table(&v->user_table, &v->entry.user_cr3);
    vcpu_update_fast_iret(v);
    if (v->info_moved) {
        v->entry.info = (u8 *)&v->domain->shared->vcpu_info[v->id];
        frame_type_put(v->info_mfn);
        v->info_moved = 0;
    }
    v->runstate_va = v->time_area_va = 0;
}

void vcpu_free(struct vcpu *v)
{
    /* Its last CPU is about to have left its stack. */
    while (dispatch_remove(&v->run))
        tlb_relax();
    counters_remove_guest(&v->entry);
    free_memory(v);
}

struct cpu_user_regs *vcpu_frame(const struct vcpu *v)
{
    return (struct cpu_user_regs *)((u8 *)stack_top(v) - offsetof(struct cpu_user_regs, es));
}

void vcpu_set_entry(struct vcpu *v, const struct cpu_user_regs *regs)
{
    struct cpu_user_regs *top = vcpu_frame(v);

    memcpy(top, regs, offsetof(struct cpu_user_regs, es));
    dispatch_prepare(&v->run, top, vcpu_first_entry);
}
