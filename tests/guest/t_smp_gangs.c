/*
 * Gangs and mode strict between real domains, on two cores of two threads: what the knobs promise,
 * seen in the scheduler's figures and trace. The machine's clock counts instructions, so shares
 * and times are exact however busy the host is.
 */
#include "load.h"

#define WHOLE 1000000 /* ppm */

static struct load a, b;

/* ppm of what the two got that 'a' got; *cpus: ppm of a CPU that it had */
struct share {
    u64 of_both, cpus;
    u64 rounds[2];
};

static void measure(u64 ns, struct share *s)
{
    struct serai_sched_domain fa, fb;
    u64 begin = clock_ns(), ran[2], all;

    load_figures(&a, &fa);
    load_figures(&b, &fb);
    ran[0] = fa.time[STATE_RUNNING];
    ran[1] = fb.time[STATE_RUNNING];
    s->rounds[0] = load_rounds(&a);
    s->rounds[1] = load_rounds(&b);
    load_doze(ns);
    load_figures(&a, &fa);
    load_figures(&b, &fb);
    ran[0] = fa.time[STATE_RUNNING] - ran[0];
    ran[1] = fb.time[STATE_RUNNING] - ran[1];
    all = ran[0] + ran[1];
    s->of_both = all ? ran[0] * WHOLE / all : 0;
    s->cpus = ran[0] * WHOLE / (clock_ns() - begin);
    s->rounds[0] = load_rounds(&a) - s->rounds[0];
    s->rounds[1] = load_rounds(&b) - s->rounds[1];
}

static bool is_near(u64 ppm, u64 goal, u64 tolerance)
{
    return ppm + tolerance >= goal && ppm <= goal + tolerance;
}

static void both(unsigned gang, enum load_job job)
{
    load_set(&a, gang, 0);
    load_set(&b, gang, 0);
    load_job(&a, job);
    load_job(&b, job);
    load_doze(20 * MS);
}

/* --- strict --- */

/* Which of them are the threads of a core: all that follows counts on it. */
static void topology(void)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < LOAD_CPUS; i++) {
        struct serai_sched_cpu c = {.cpu = i};

        bad +=
            HC(arch_7, SERAI_OP_SCHED_CPU, &c, 0, 0, 0) || c.core != i / 2 || c.thread != i % 2;
    }
    is(bad, 0, "two cores of two threads");
}

static void strict(void)
{
    struct serai_sched_domain before, after;
    struct share s;
    struct watch w;

    both(GANG_OFF, JOB_SPIN);
    load_watch(&a, &b, 50 * MS, &w);
    note("off: %lu picks, of a's time all ran in %lu ppm", w.picks,
         w.together[0] * WHOLE / w.any[0]);
    both(GANG_STRICT, JOB_SPIN);
    load_figures(&a, &before);
    measure(200 * MS, &s);
    note("strict: a has %lu ppm of both", s.of_both);
    ok(is_near(s.of_both, WHOLE / 2, 20000), "strict: two domains of four vcpus share equally");
    ok(s.rounds[0] && s.rounds[1], "strict: both get on");
    load_watch(&a, &b, 100 * MS, &w);
    ok(w.picks < 1000, "strict: that takes %lu decisions in 100 ms", w.picks);
    is(w.lost, 0, "strict: the trace is complete");
    is(w.overlaps, 0, "strict: no core ever runs two domains");
    /* Three vcpus of a leave a thread empty that b must not have. */
    load_end(&b);
    load_make(&b, 1);
    load_set(&b, GANG_STRICT, 0);
    load_job(&b, JOB_SPIN);
    load_job(&a, JOB_HANDOVER);
    load_watch(&a, &b, 100 * MS, &w);
    load_figures(&a, &after);
    note("strict, one vcpu beside sleepers: %lu picks", w.picks);
    is(w.overlaps, 0, "strict: nor when they sleep and wake");
    load_figures(&b, &before);
    ok(before.forced_idle > 0, "strict: threads were kept empty for %lu us",
       before.forced_idle / 1000);
    load_end(&b);
    load_make(&b, 4);
}

/* --- windows --- */

static void windows(void)
{
    struct serai_sched_domain before, after;
    struct share s;
    struct watch w;

    both(GANG_ON, JOB_SPIN);
    load_figures(&a, &before);
    measure(400 * MS, &s);
    load_figures(&a, &after);
    note("on: a has %lu ppm of both, windows %lu, skew max %lu us", s.of_both,
         after.gang_windows - before.gang_windows, after.skew_max / 1000);
    ok(is_near(s.of_both, WHOLE / 2, 30000), "on: two gangs of four vcpus share equally");
    ok(after.gang_windows - before.gang_windows >= 8, "on: windows are made");
    load_watch(&a, &b, 150 * MS, &w);
    note("on: of the time in which one ran all ran: a %lu ppm, b %lu ppm",
         w.together[0] * WHOLE / w.any[0], w.together[1] * WHOLE / w.any[1]);
    for (unsigned k = 0; k < 2; k++)
        ok(w.together[k] * 100 >= w.any[k] * 85, "on: the vcpus of %c run together", "ab"[k]);
}

static void caps(void)
{
    struct serai_sched_domain f;
    struct share s;
    struct watch w;

    both(GANG_ON, JOB_SPIN);
    load_set(&a, GANG_ON, 1500000);
    load_doze(30 * MS);
    measure(200 * MS, &s);
    load_figures(&a, &f);
    note("cap of 150%%: a has %lu ppm of a CPU", s.cpus);
    ok(is_near(s.cpus, 1500000, 30000), "a gang's cap holds");
    ok(f.time[STATE_PARKED], "its vcpus were parked");
    load_job(&b, JOB_REST);
    load_watch(&a, &b, 100 * MS, &w);
    note("alone, cap of 150%%: of the time in which one ran all ran: %lu ppm",
         w.together[0] * WHOLE / w.any[0]);
    ok(w.together[0] * 100 >= w.any[0] * 85, "they are parked and come back together");
}

/* Six vcpus on four CPUs: all get on, equally, and so does who stands beside them. */
static void wide(void)
{
    u64 before[6], least = ~0UL, most = 0;
    struct share s;

    load_end(&b);
    load_make(&b, 6);
    both(GANG_ON, JOB_SPIN);
    for (unsigned i = 0; i < 6; i++)
        before[i] = b.sheet->done[i];
    measure(400 * MS, &s);
    for (unsigned i = 0; i < 6; i++) {
        u64 n = b.sheet->done[i] - before[i];

        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    note("six vcpus: rounds %lu to %lu; the four beside them have %lu ppm of both", least, most,
         s.of_both);
    ok(least * 10 >= most * 6, "a gang wider than the machine: its vcpus take turns");
    ok(is_near(s.of_both, WHOLE / 2, 30000), "and its domain has its share");
    load_job(&b, JOB_BARRIER);
    measure(300 * MS, &s);
    note("six at a barrier on four CPUs: %lu rounds", s.rounds[1]);
    ok(s.rounds[1] >= 6, "a barrier of more than the machine is no deadlock");
    load_end(&b);
    load_make(&b, 4);
}

/* --- auto --- */

static u64 windows_of(const struct load *l)
{
    struct serai_sched_domain f;

    load_figures(l, &f);
    return f.gang_windows;
}

static void automatic(void)
{
    u64 before;

    both(GANG_OFF, JOB_SPIN);
    load_set(&a, GANG_AUTO, 0);
    load_job(&a, JOB_HANDOVER);
    before = windows_of(&a);
    for (unsigned i = 0; i < 100 && windows_of(&a) == before; i++)
        load_doze(10 * MS);
    ok(windows_of(&a) > before, "auto: who wakes siblings gets windows");
    load_job(&a, JOB_REST);
    load_job(&b, JOB_REST);
    load_doze(1600 * MS);
    before = windows_of(&a);
    load_job(&b, JOB_SPIN);
    load_doze(100 * MS);
    is(windows_of(&a), before, "auto: who has calmed down gets none");
}

/* --- changes --- */

static unsigned standing_still(const struct load *l, u64 before[])
{
    unsigned n = 0;

    for (unsigned i = 0; i < l->vcpus; i++) {
        n += l->sheet->done[i] == before[i];
        before[i] = l->sheet->done[i];
    }
    return n;
}

static void changes(void)
{
    static const u8 modes[] = {GANG_STRICT, GANG_ON, GANG_OFF, GANG_AUTO, GANG_ON, GANG_STRICT};
    u64 before[2][MAX_CPUS] = {0};
    unsigned stalled = 0;

    both(GANG_OFF, JOB_SPIN);
    for (unsigned i = 0; i < 100; i++) {
        load_set(i & 1 ? &a : &b, modes[i % 6], i % 7 ? 0 : 2000000);
        load_doze(3 * MS);
        if (i % 20 == 19)
            stalled += standing_still(&a, before[0]) + standing_still(&b, before[1]);
    }
    is(stalled, 0, "100 changes of mode under load: every vcpu gets on");
}

/* Who pauses waits for all vcpus, which stop one after the other. */
static void pauses(void)
{
    unsigned n = 0;

    both(GANG_ON, JOB_SPIN);
    for (unsigned i = 0; i < 200; i++) {
        n += !domctl_plain(XEN_DOMCTL_pausedomain, b.u.id) &&
             !domctl_plain(XEN_DOMCTL_unpausedomain, b.u.id);
        load_doze(i * 1000);
    }
    is(n, 200, "a busy domain stops each time it is paused");
}

static void refusals(void)
{
    struct serai_sched_domain f;

    load_figures(&a, &f);
    f.set = 1;
    f.gang = 4;
    is(sched_domain_op(&f), -XEN_EINVAL, "there is no fifth mode");
    load_figures(&a, &f);
    f.set = 1;
    f.cap_ppm = 4000001;
    is(sched_domain_op(&f), -XEN_EINVAL, "nor a cap beyond the machine");
    f = (struct serai_sched_domain){.domid = 77, .set = 1, .weight = 1};
    is(sched_domain_op(&f), -XEN_ESRCH, "nor a domain 77");
}

void test_smp_gangs(void)
{
    load_make(&a, 4);
    load_make(&b, 4);
    topology();
    refusals();
    strict();
    windows();
    caps();
    wide();
    automatic();
    changes();
    pauses();
    load_end(&a);
    load_end(&b);
}
