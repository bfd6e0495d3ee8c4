/*
 * Vcpus come and go: initialise, up, down, NMI, registrations and timers of others. The order
 * matters: vcpu 3 is initialised last, after all that must leave it as it was.
 */
#include "guest.h"

static volatile u64 beats[MAX_CPUS];
static volatile bool stop[MAX_CPUS];
static volatile u64 downs_done; /* how often a VCPUOP_down of self returned */

static bool beats_again(unsigned id)
{
    u64 from = beats[id], end = clock_ns() + 20000000000;

    while (beats[id] < from + 3 && clock_ns() < end)
        hc_sched(SCHEDOP_yield, NULL);
    return beats[id] >= from + 3;
}

/* A vcpu that was put down stops soon, and then for good. */
static bool is_silent(unsigned id)
{
    static struct vcpu_runstate_info info;
    u64 end = clock_ns() + 20000000000, from;

    do
        hc_vcpu(VCPUOP_get_runstate_info, id, &info);
    while (info.state != RUNSTATE_offline && clock_ns() < end);
    from = beats[id];
    for (unsigned i = 0; i < 2000; i++)
        hc_sched(SCHEDOP_yield, NULL);
    return info.state == RUNSTATE_offline && beats[id] == from;
}

static void beat(struct cpu *c)
{
    while (!stop[c->id]) {
        beats[c->id]++;
        if ((beats[c->id] & 63) == 0)
            hc_sched(SCHEDOP_yield, NULL);
    }
    for (;;) {
        hc_vcpu(VCPUOP_down, c->id, NULL);
        downs_done++;
        beats[c->id]++;
    }
}

/* Goes round with its registers full; any that changes is counted in rax, and fatal. */
static void beat_full(struct cpu *c)
{
    asm volatile("movq %1, %%rax\n movq %%rax, %%xmm0\n movq %%rax, %%xmm7\n"
                 "movq %%rax, %%xmm15\n"
                 "movq %%rax, %%rbx\n movq %%rax, %%rcx\n movq %%rax, %%rdx\n"
                 "movq %%rax, %%r8\n movq %%rax, %%r9\n movq %%rax, %%r10\n"
                 "movq %%rax, %%r11\n movq %%rax, %%r12\n movq %%rax, %%r13\n"
                 "movq %%rax, %%r14\n movq %%rax, %%r15\n"
                 "1: incq (%0)\n"
                 "cmpq %%rax, %%rbx\n jne 2f\n cmpq %%rax, %%rcx\n jne 2f\n"
                 "cmpq %%rax, %%rdx\n jne 2f\n cmpq %%rax, %%r8\n jne 2f\n"
                 "cmpq %%rax, %%r9\n jne 2f\n cmpq %%rax, %%r10\n jne 2f\n"
                 "cmpq %%rax, %%r11\n jne 2f\n cmpq %%rax, %%r12\n jne 2f\n"
                 "cmpq %%rax, %%r13\n jne 2f\n cmpq %%rax, %%r14\n jne 2f\n"
                 "cmpq %%rax, %%r15\n jne 2f\n"
                 "movq %%xmm0, %%rdx\n cmpq %%rax, %%rdx\n jne 2f\n"
                 "movq %%xmm7, %%rdx\n cmpq %%rax, %%rdx\n jne 2f\n"
                 "movq %%xmm15, %%rdx\n cmpq %%rax, %%rdx\n jne 2f\n"
                 "cmpb $0, (%2)\n je 1b\n"
                 "2:"
                 :
                 : "S"(&beats[c->id]), "i"(0x5a5a1234), "D"(&stop[c->id])
                 : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                   "r15", "memory", "cc");
    c->bad += !stop[c->id];
}

/* --- before anything is up --- */

static void absent(void)
{
    static const unsigned ids[] = {4,   5,    31,   32,   63,         64,
                                   128, 4095, 8191, 8192, 0x7fffffff, ~0U};
    struct vcpu_runstate_info info;
    unsigned bad = 0;

    is(smp_present(), 4, "four vcpus");
    for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        bad += hc_vcpu(VCPUOP_initialise, ids[i], smp_context(1, beat)) != -XEN_ENOENT;
        bad += hc_vcpu(VCPUOP_up, ids[i], NULL) != -XEN_ENOENT;
        bad += hc_vcpu(VCPUOP_down, ids[i], NULL) != -XEN_ENOENT;
        bad += hc_vcpu(VCPUOP_is_up, ids[i], NULL) != -XEN_ENOENT;
        bad += hc_vcpu(VCPUOP_get_runstate_info, ids[i], &info) != -XEN_ENOENT;
        bad += hc_vcpu(VCPUOP_stop_periodic_timer, ids[i], NULL) != -XEN_ENOENT;
        bad += hc_vcpu(VCPUOP_send_nmi, ids[i], NULL) != -XEN_ENOENT;
        bad += hc_vcpu(99, ids[i], NULL) != -XEN_ENOENT;
    }
    is(bad, 0, "vcpus that do not exist: -ENOENT");
}

static void before_initialise(void)
{
    static struct vcpu_runstate_info info;

    for (unsigned id = 1; id < 4; id++) {
        is(hc_vcpu(VCPUOP_is_up, id, NULL), 0, "vcpu %u is down", id);
        is(hc_vcpu(VCPUOP_up, id, NULL), -XEN_EINVAL, "up before initialise");
        is(hc_vcpu(VCPUOP_is_up, id, NULL), 0, "it is still down");
    }
    is(hc_vcpu(VCPUOP_down, 1, NULL), 0, "down before initialise");
    is(hc_vcpu(VCPUOP_get_runstate_info, 1, &info), 0, "its run state");
    is(info.state, RUNSTATE_offline, "is offline");
    is(hc_vcpu(99, 1, NULL), -XEN_ENOSYS, "unknown op of another vcpu");
    is(hc_vcpu(VCPUOP_initialise, 0, smp_context(0, beat)), -XEN_EEXIST, "initialise self");
    is(hc_vcpu(VCPUOP_up, 0, NULL), 0, "up of self");
    is(hc_vcpu(VCPUOP_is_up, 0, NULL), 1, "self is up");
    is(hc_vcpu(VCPUOP_initialise, 3, (void *)UNMAPPED), -XEN_EFAULT, "initialise from nowhere");
    is(hc_vcpu(VCPUOP_initialise, 3, (void *)HOLE_START), -XEN_EFAULT, "from the hole");
    is(hc_vcpu(VCPUOP_initialise, 3, NULL), -XEN_EFAULT, "from NULL");
}

static long initialise_3(struct vcpu_guest_context *x)
{
    return hc_vcpu(VCPUOP_initialise, 3, x);
}

static void bad_tables(void)
{
    u64 *l1 = page_alloc(), *data = page_alloc();
    u64 tops[] = {0, ~0UL, (max_mfn + 1) << 12, 0xfee00000, 0, 0, 1UL << 51};
    unsigned bad = 0;
    struct vcpu_guest_context *x;

    make_table(1, l1);
    tops[4] = maddr_of(l1);
    tops[5] = maddr_of(data); /* mapped writable */
    for (unsigned i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
        x = smp_context(3, beat);
        x->ctrlreg[3] = tops[i];
        bad += initialise_3(x) != -XEN_EINVAL;
        x = smp_context(3, beat);
        x->ctrlreg[1] = tops[i] ? tops[i] : 1UL << 40;
        bad += initialise_3(x) >= 0;
    }
    is(bad, 0, "top tables that are none: -EINVAL");
    drop_table(l1);
    ok(smp_exchangeable(data), "no reference to them was kept");
    page_free(data);
}

static void bad_descriptors(void)
{
    u64 *gdt = page_alloc(), *data = page_alloc();
    struct vcpu_guest_context *x;

    gdt[3] = 0x0000890000000067; /* a TSS */
    set_ro(gdt);
    x = smp_context(3, beat);
    x->gdt_ents = 16;
    x->gdt_frames[0] = mfn_of(gdt);
    is(initialise_3(x), -XEN_EINVAL, "a GDT that holds a TSS");
    x->gdt_frames[0] = mfn_of(data);
    is(initialise_3(x), -XEN_EINVAL, "a GDT that is mapped writable");
    x->gdt_frames[0] = ~0UL;
    is(initialise_3(x), -XEN_EINVAL, "a GDT of no frame");
    x->gdt_frames[0] = mfn_of(l4_table());
    is(initialise_3(x), -XEN_EINVAL, "a GDT in the live L4");
    x->gdt_ents = 14 * 512 + 1;
    is(initialise_3(x), -XEN_EINVAL, "a GDT too long");
    x->gdt_ents = ~0UL;
    is(initialise_3(x), -XEN_EINVAL, "a GDT of ~0 entries");
    /* The first frame is good and must be let go again. */
    set_rw(gdt);
    gdt[3] = 0;
    set_ro(gdt);
    x->gdt_ents = 1024;
    x->gdt_frames[0] = mfn_of(gdt);
    x->gdt_frames[1] = mfn_of(data);
    is(initialise_3(x), -XEN_EINVAL, "the second frame of a GDT is bad");
    x = smp_context(3, beat);
    x->ldt_ents = 8193;
    is(initialise_3(x), -XEN_EINVAL, "an LDT too long");
    x->ldt_ents = 16;
    x->ldt_base = HOLE_START;
    is(initialise_3(x), -XEN_EINVAL, "an LDT in the hole");
    is(set_rw(gdt), 0, "the GDT page is writable again");
    ok(smp_exchangeable(gdt) && smp_exchangeable(data), "no reference was kept");
    page_free(gdt), page_free(data);
}

static void bad_addresses(void)
{
    struct vcpu_guest_context *x;
    unsigned bad = 0;

    x = smp_context(3, beat);
    x->user_regs.rip = NON_CANONICAL;
    bad += initialise_3(x) != -XEN_EINVAL;
    x = smp_context(3, beat);
    x->user_regs.rsp = NON_CANONICAL;
    bad += initialise_3(x) != -XEN_EINVAL;
    x = smp_context(3, beat);
    x->kernel_sp = NON_CANONICAL;
    bad += initialise_3(x) != -XEN_EINVAL;
    x = smp_context(3, beat);
    x->trap_ctxt[255].address = NON_CANONICAL;
    bad += initialise_3(x) != -XEN_EINVAL;
    x = smp_context(3, beat);
    x->event_callback_eip = NON_CANONICAL;
    bad += initialise_3(x) != -XEN_EINVAL;
    x = smp_context(3, beat);
    x->failsafe_callback_eip = NON_CANONICAL;
    bad += initialise_3(x) != -XEN_EINVAL;
    is(bad, 0, "addresses that are not canonical: -EINVAL");
    is(hc_vcpu(VCPUOP_up, 3, NULL), -XEN_EINVAL, "vcpu 3 is still not initialised");
    is(hc_vcpu(VCPUOP_is_up, 3, NULL), 0, "nor up");
}

/* --- up and down --- */

static void up_and_down(void)
{
    is(hc_vcpu(VCPUOP_initialise, 1, smp_context(1, beat)), 0, "initialise vcpu 1");
    is(hc_vcpu(VCPUOP_is_up, 1, NULL), 0, "it is not up yet");
    is(beats[1], 0, "and does not run");
    is(hc_vcpu(VCPUOP_initialise, 1, smp_context(1, beat)), -XEN_EEXIST, "initialise it again");
    is(hc_vcpu(VCPUOP_up, 1, NULL), 0, "up");
    is(hc_vcpu(VCPUOP_is_up, 1, NULL), 1, "it is up");
    ok(beats_again(1), "it runs");
    is(hc_vcpu(VCPUOP_up, 1, NULL), 0, "up of a vcpu that is up");
    is(hc_vcpu(VCPUOP_initialise, 1, smp_context(1, beat)), -XEN_EEXIST,
       "initialise a running vcpu");
    is(hc_vcpu(VCPUOP_down, 1, NULL), 0, "down");
    is(hc_vcpu(VCPUOP_is_up, 1, NULL), 0, "it is down");
    ok(is_silent(1), "it runs no more");
    is(hc_vcpu(VCPUOP_down, 1, NULL), 0, "down again");
    is(hc_vcpu(VCPUOP_initialise, 1, smp_context(1, beat)), -XEN_EEXIST,
       "initialise a vcpu that is down");
    is(hc_vcpu(VCPUOP_up, 1, NULL), 0, "up again");
    ok(beats_again(1), "it runs again");
    stop[1] = true;
    ok(is_silent(1), "it puts itself down");
    is(hc_vcpu(VCPUOP_is_up, 1, NULL), 0, "which shows");
    is(downs_done, 0, "its call has not returned");
    for (unsigned i = 1; i <= 20; i++) {
        hc_vcpu(VCPUOP_up, 1, NULL);
        WAIT_FOR(&cpus[0], downs_done == i, "vcpu 1 to return from VCPUOP_down");
        WAIT_FOR(&cpus[0], hc_vcpu(VCPUOP_is_up, 1, NULL) == 0, "vcpu 1 to go down again");
    }
    is(downs_done, 20, "20 times up, and each time its call returns");
}

/* Registers survive being put down anywhere. */
static void state_is_kept(void)
{
    unsigned lost = 0;

    is(hc_vcpu(VCPUOP_initialise, 2, smp_context(2, beat_full)), 0, "initialise vcpu 2");
    hc_vcpu(VCPUOP_up, 2, NULL);
    for (unsigned i = 0; i < 200 && !cpus[2].bad; i++) {
        lost += !beats_again(2);
        hc_vcpu(VCPUOP_down, 2, NULL);
        hc_vcpu(VCPUOP_up, 2, NULL);
    }
    is(lost, 0, "200 times down and up, it runs on");
    is(cpus[2].bad, 0, "with all registers as they were");
}

/* --- what one vcpu may do to another's --- */

static void vcpu_infos(void)
{
    u8 *page = page_alloc();
    struct vcpu_register_vcpu_info reg = {.mfn = mfn_of(page), .offset = 64};

    is(hc_vcpu(VCPUOP_register_vcpu_info, 2, &reg), -XEN_EINVAL, "vcpu_info of a running vcpu");
    is(*(u64 *)(page + 64), 0, "nothing was written");
    is(hc_vcpu(VCPUOP_register_vcpu_info, 1, &reg), 0, "vcpu_info of a vcpu that is down");
    cpus[1].vi = (struct vcpu_info *)(page + 64);
    is(cpus[1].vi->evtchn_upcall_mask, 1, "its mask moved along");
    is(cpus[1].vi->evtchn_upcall_pending, 1, "an event is pending");
    is(hc_vcpu(VCPUOP_register_vcpu_info, 1, &reg), -XEN_EINVAL, "a second time");
    reg.offset = 4096 - 32;
    is(hc_vcpu(VCPUOP_register_vcpu_info, 3, &reg), -XEN_ENXIO, "across a page's end");
    reg.offset = 128;
    reg.mfn = mfn_of(l4_table());
    is(hc_vcpu(VCPUOP_register_vcpu_info, 3, &reg), -XEN_EINVAL, "in a page table");
    reg.mfn = mfn_of(page);
    is(hc_vcpu(VCPUOP_register_vcpu_info, 3, &reg), 0, "before the vcpu is initialised");
    cpus[3].vi = (struct vcpu_info *)(page + 128);
    refused(pin(1, page), "the page cannot become a table");
}

static struct vcpu_runstate_info area[2] __attribute__((aligned(64)));

static void runstates(void)
{
    static struct vcpu_runstate_info info;
    struct vcpu_register_runstate_memory_area reg = {{.v = NULL}};
    u64 then;

    is(hc_vcpu(VCPUOP_get_runstate_info, 1, &info), 0, "run state of a vcpu that is down");
    is(info.state, RUNSTATE_offline, "is offline");
    then = info.time[RUNSTATE_offline];
    hc_vcpu(VCPUOP_get_runstate_info, 1, &info);
    ok(info.time[RUNSTATE_offline] > then, "its time goes on");
    is(hc_vcpu(VCPUOP_get_runstate_info, 2, &info), 0, "run state of a vcpu that is up");
    ok(info.state == RUNSTATE_running || info.state == RUNSTATE_runnable, "runs or waits");
    ok(info.time[RUNSTATE_running] > 0, "has run");
    is(hc_vcpu(VCPUOP_get_runstate_info, 2, (void *)UNMAPPED), -XEN_EFAULT, "to nowhere");
    set_xen_guest_handle(reg.addr.h, &area[0]);
    area[0].state = 77;
    is(hc_vcpu(VCPUOP_register_runstate_memory_area, 1, &reg), 0,
       "area of a vcpu that is down");
    is(area[0].state, RUNSTATE_offline, "filled at once");
    reg.addr.v = &area[1];
    area[1].state = 77;
    is(hc_vcpu(VCPUOP_register_runstate_memory_area, 2, &reg), 0, "area of one that is up");
    ok(area[1].state == RUNSTATE_running || area[1].state == RUNSTATE_runnable, "filled too");
    set_xen_guest_handle(reg.addr.h, (void *)HOLE_START);
    is(hc_vcpu(VCPUOP_register_runstate_memory_area, 2, &reg), -XEN_EFAULT, "area in the hole");
    hc_vcpu(VCPUOP_up, 1, NULL);
    WAIT_FOR(&cpus[0], *(volatile int *)&area[0].state != 77 && downs_done == 21, "vcpu 1");
    WAIT_FOR(&cpus[0], hc_vcpu(VCPUOP_is_up, 1, NULL) == 0, "vcpu 1 to go down again");
    ok(*(volatile u64 *)&area[0].time[RUNSTATE_offline] > then, "its area counts offline time");
}

static void timers_of_others(void)
{
    struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = clock_ns() + 1000000};
    struct vcpu_set_periodic_timer p = {.period_ns = 10000000};

    is(hc_vcpu(VCPUOP_set_singleshot_timer, 2, &t), -XEN_EINVAL, "one-shot timer of another");
    is(hc_vcpu(VCPUOP_stop_singleshot_timer, 2, NULL), -XEN_EINVAL, "stopping it");
    is(hc_vcpu(VCPUOP_set_singleshot_timer, 1, &t), -XEN_EINVAL, "of one that is down");
    is(hc_vcpu(VCPUOP_stop_periodic_timer, 2, NULL), 0, "stopping another's periodic timer");
    is(hc_vcpu(VCPUOP_set_periodic_timer, 2, &p), 0, "setting it");
    p.period_ns = 1;
    is(hc_vcpu(VCPUOP_set_periodic_timer, 2, &p), -XEN_EINVAL, "to 1 ns");
    p.period_ns = ~0UL;
    is(hc_vcpu(VCPUOP_set_periodic_timer, 2, &p), -XEN_EINVAL, "to ~0 ns");
    is(hc_vcpu(VCPUOP_stop_periodic_timer, 2, NULL), 0, "stopping it again");
}

static void nmis(void)
{
    u64 before = cpus[2].nmis, rounds = 0;

    is(hc_vcpu(VCPUOP_send_nmi, 2, &before), -XEN_EINVAL, "send_nmi with an argument");
    for (; rounds < 500; rounds++) {
        hc_vcpu(VCPUOP_send_nmi, 2, NULL);
        WAIT_FOR(&cpus[0], cpus[2].nmis > before + rounds, "an NMI of vcpu 2");
    }
    is(cpus[2].nmis, before + 500, "500 NMIs to a running vcpu, one by one");
    is(cpus[2].bad, 0, "whose registers are as they were");
    before = cpus[0].nmis;
    is(hc_vcpu(VCPUOP_send_nmi, 0, NULL), 0, "to self");
    is(cpus[0].nmis, before + 1, "it comes at once");
    before = cpus[1].nmis;
    is(hc_vcpu(VCPUOP_send_nmi, 1, NULL), 0, "to a vcpu that is down");
    hc_vcpu(VCPUOP_send_nmi, 1, NULL);
    is(cpus[1].nmis, before, "it waits");
    is(hc_vcpu(VCPUOP_is_up, 1, NULL), 0, "and does not bring it up");
    hc_vcpu(VCPUOP_up, 1, NULL);
    WAIT_FOR(&cpus[0], cpus[1].nmis > before, "the NMI that waited");
    WAIT_FOR(&cpus[0], hc_vcpu(VCPUOP_is_up, 1, NULL) == 0, "vcpu 1 to go down again");
    is(cpus[1].nmis, before + 1, "one comes with up");
}

/* A blocked vcpu, too, is reached by an NMI. */
static volatile u64 blocks;

static void block_for_ever(struct cpu *c)
{
    for (;;) {
        hc_sched(SCHEDOP_block, NULL);
        blocks++;
    }
}

/* Whether the flag for "online" brings a vcpu up is not promised: stock says up, and it sleeps. */
static void online_flag(void)
{
    struct vcpu_guest_context *x = smp_context(3, block_for_ever);

    x->flags |= VGCF_online;
    cpus[3].vi->evtchn_upcall_pending = 0;
    is(initialise_3(x), 0, "after all those errors vcpu 3 can be initialised, as online");
    ok(hc_vcpu(VCPUOP_is_up, 3, NULL) >= 0, "it is up or not");
    is(hc_vcpu(VCPUOP_down, 3, NULL), 0, "down");
    is(hc_vcpu(VCPUOP_is_up, 3, NULL), 0, "it is down");
    is(hc_vcpu(VCPUOP_up, 3, NULL), 0, "up");
    is(hc_vcpu(VCPUOP_is_up, 3, NULL), 1, "it is up");
}

static bool is_blocked(unsigned id)
{
    static struct vcpu_runstate_info info;

    return !hc_vcpu(VCPUOP_get_runstate_info, id, &info) && info.state == RUNSTATE_blocked;
}

/* Stock loses the NMI of a vcpu that is about to block, so there we wait until it has. */
static void nmis_while_blocked(void)
{
    WAIT_FOR(&cpus[0], is_blocked(3), "vcpu 3 to block");
    for (unsigned i = 1; i <= 500; i++) {
        if (!is_serai || i < 10)
            WAIT_FOR(&cpus[0], is_blocked(3), "vcpu 3 to block");
        hc_vcpu(VCPUOP_send_nmi, 3, NULL);
        WAIT_FOR(&cpus[0], cpus[3].nmis == i, "an NMI of a blocked vcpu");
    }
    is(cpus[3].nmis, 500, "500 NMIs to a vcpu that does nothing but block");
    WAIT_FOR(&cpus[0], is_blocked(3), "vcpu 3 to block");
    is(hc_vcpu(VCPUOP_down, 3, NULL), 0, "down while blocked");
    is(hc_vcpu(VCPUOP_up, 3, NULL), 0, "and up");
    is(hc_vcpu(VCPUOP_is_up, 3, NULL), 1, "it is up");
    hc_vcpu(VCPUOP_send_nmi, 3, NULL);
    WAIT_FOR(&cpus[0], cpus[3].nmis == 501, "an NMI after down and up");
    note("block returned %lu times", (u64)blocks);
    hc_vcpu(VCPUOP_down, 3, NULL);
}

void test_smp_life(void)
{
    smp_init();
    absent();
    before_initialise();
    bad_tables();
    bad_descriptors();
    bad_addresses();
    up_and_down();
    state_is_kept();
    vcpu_infos();
    runstates();
    timers_of_others();
    nmis();
    online_flag();
    nmis_while_blocked();
    stop[2] = true;
    WAIT_FOR(&cpus[0], hc_vcpu(VCPUOP_is_up, 2, NULL) == 0, "vcpu 2 to end");
    ok(tables_are_readonly(), "no table is mapped writable");
}
