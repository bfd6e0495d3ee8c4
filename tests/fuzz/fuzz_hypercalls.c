/*
 * Domain 0's toolstack and two guests against the hypervisor itself, on a machine of the host's
 * (fuzz/machine/machine.h). The input: a byte that says which CPU goes on, perhaps one that says
 * after how many copies and preemption points another one's turn comes, and, where that CPU's
 * vcpu is at the border, the bytes of its next operation (fuzz/machine/ops.c). A CPU that was
 * stopped in the middle of a hypercall just goes on with it.
 *
 * Between hypercalls all is audited (fuzz/machine/audit.h). At the end every hypercall under way
 * is finished, the toolstack destroys all guests, the harness domain 0, and nothing may be left.
 */
#include "fuzz/machine/audit.h"
#include "fuzz/machine/ops.h"
#include "guest/lifecycle.h"
#include <string.h>

#define STEPS_MAX  400
#define ROUNDS_MAX 20000 /* of all CPUs, until a hypercall is done */

/* Much less than a turn: else each step, which is short, would be a turn of its own. */
#define ROUND_NS 100000

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* What a vcpu does when its turn comes. */
static enum phase { PHASE_REST, PHASE_OPERATE, PHASE_DESTROY } phase;
static bool is_done;

/* ---- the guests ---- */

/* As XEN_DOMCTL_destroydomain, without a need for memory of domain 0's. */
static void destroy_guests(struct vcpu *v)
{
    for (u16 id = 1; id < AUDIT_IDS; id++) {
        struct domain *d = domain_get(id);
        int rc = d ? -XEN_EAGAIN : 0;

        while (rc == -XEN_EAGAIN) {
            guest_take_events(v);
            lifecycle_control_begin(d);
            rc = lifecycle_destroy(d);
            lifecycle_control_end(d);
            machine_border();
            guest_way_out(v);
        }
        REQUIRE(!rc);
        if (d)
            domain_put(d);
    }
    is_done = true;
}

static void guest(struct vcpu *v)
{
    machine_border();
    guest_way_out(v);
    guest_regs()->rsp = guest_va(STACK_PAGE + 1) - v->id * 1024;
    if (phase == PHASE_OPERATE) {
        guest_take_events(v);
        op_any(v);
    } else if (phase == PHASE_DESTROY && v == dom0->vcpus[0] && !is_done) {
        destroy_guests(v);
    }
}

/* ---- whose turn it is ---- */

static bool is_quiet(void)
{
    for (unsigned i = 0; i < NR_CPUS; i++)
        if (machine_is_busy(i) || (machine_has_news(i) && !machine_is_over()))
            return false;
    return !guest_calls_open;
}

/* All go on until no hypercall is under way and 'done' says so (NULL: that is enough). */
static void rest_until(const bool *done)
{
    for (unsigned round = 0; !machine_is_over() && (!is_quiet() || (done && !*done)); round++) {
        REQUIRE(round < ROUNDS_MAX);
        machine_advance(ROUND_NS);
        for (unsigned i = 0; i < NR_CPUS && !machine_is_over(); i++)
            machine_step(i, 0);
    }
}

static unsigned nr_waiting(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < NR_CPUS; i++)
        n += machine_waits(i);
    return n;
}

/* Who waits for another CPU gets what it waits for: nobody begins anything new meanwhile. */
static void serve_waiters(void)
{
    phase = PHASE_REST;
    for (unsigned round = 0; nr_waiting() && !machine_is_over(); round++) {
        REQUIRE(round < ROUNDS_MAX);
        for (unsigned i = 0; i < NR_CPUS && !machine_is_over(); i++)
            if (machine_is_busy(i) || machine_has_news(i))
                machine_step(i, 0);
    }
    phase = PHASE_OPERATE;
}

static void wake_dom0(void)
{
    machine_act_as(NULL);
    vcpu_wake(dom0->vcpus[0], WAKE_EVENT);
}

/* One of those that do not sleep; the others sleep on. */
static unsigned choose(unsigned n)
{
    unsigned cpu[NR_CPUS], nr = 0;

    for (unsigned i = 0; i < NR_CPUS; i++)
        if (!machine_idles(i))
            cpu[nr++] = i;
    if (nr)
        return cpu[n % nr];
    wake_dom0();
    return 0;
}

static void step(void)
{
    u8 b = take();

    if (b & 0x80)
        machine_advance(200000);
    machine_step(choose(b & 7), b & 0x40 ? take() & 31 : 0);
    serve_waiters();
    if (!(b & 0x38) && is_quiet())
        audit_all();
}

/* ---- the end ---- */

/* In the name of a vcpu that stopped long ago. */
static void end_dom0(void)
{
    int rc = -XEN_EAGAIN;

    stack_info()->guest = &dom0->vcpus[0]->entry;
    vcpu_info(dom0->vcpus[0])->evtchn_upcall_mask = 1;
    dom0->shared->vcpu_info[0].evtchn_upcall_mask = 1;
    for (unsigned i = 0; rc == -XEN_EAGAIN; i++) {
        REQUIRE(i < ROUNDS_MAX);
        rc = lifecycle_destroy(dom0);
    }
    stack_info()->guest = NULL;
    REQUIRE(!rc);
    is_done = true;
}

/* What was under way ends without waiting for its share, which may be next to nothing. */
static void set_default_params(void)
{
    struct sched *s = dispatch_lock_all();
    cpuset_t kicks = CPUSET_NONE;

    for (u16 id = 0; id < AUDIT_IDS; id++) {
        struct domain *d = domain_peek(id);
        struct sched_params p = {.weight = SCHED_WEIGHT_DEFAULT, .latency = LATENCY_NORMAL};

        if (d)
            REQUIRE(!sched_set_params(s, &d->sched, &p, time_now(), &kicks));
    }
    dispatch_unlock_all(kicks);
}

static void finish(void)
{
    machine_act_as(NULL);
    set_default_params();
    phase = PHASE_REST;
    rest_until(NULL);
    if (machine_is_over())
        return;
    audit_all();
    is_done = false;
    phase = PHASE_DESTROY;
    wake_dom0();
    rest_until(&is_done);
    phase = PHASE_REST;
    audit_all();
    is_done = false;
    machine_act_as(NULL);
    lock(&dom0->life_lock);
    domain_stop(dom0, dom0->stop | STOP_DYING);
    unlock(&dom0->life_lock);
    for (unsigned i = 0; !lifecycle_is_stopped(dom0); i++) {
        REQUIRE(i < ROUNDS_MAX);
        machine_advance(ROUND_NS);
        for (unsigned k = 0; k < NR_CPUS; k++)
            machine_step(k, 0);
    }
    machine_when_idle(end_dom0);
    rest_until(&is_done);
    rest_until(NULL);
    audit_end();
}

static void build(void)
{
    audit_begin();
    guests_build();
    audit_all();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    machine_init(build, guest);
    return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    machine_reset_all();
    guest_calls_open = 0;
    input = (struct input){data, data + size};
    phase = PHASE_REST;
    rest_until(NULL);
    phase = PHASE_OPERATE;
    for (unsigned i = 0; input.next < input.end && i < STEPS_MAX && !machine_is_over(); i++)
        step();
    if (!machine_is_over())
        finish();
    return 0;
}
