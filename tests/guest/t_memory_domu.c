/*
 * Instructions about memory to a domain that lives: it may not give any itself, it follows them
 * by its own hypercalls, cheats, or does not listen.
 */
#include "domu.h"
#include "more.h"
#include "../../hv/abi/serai.h"

#define MS     1000000UL
#define MINUTE (60000 * MS)
#define SPARE  64 /* pages that the other side gives and takes */

enum { OPERATION = 1, GIVE, TAKE, CHEAT, COUNT };

static struct domu u;
static struct serai_memory m; /* the last answer */

/* --- the other side --- */

static u64 spare[SPARE], spare_pfn[SPARE], had;

static void unmap_spares(void)
{
    for (unsigned i = 0; i < SPARE; i++) {
        void *page = page_alloc();

        spare_pfn[i] = pfn_of(page);
        spare[i] = mfn_of(page);
        hc_update_va(page, 0, UVMF_INVLPG);
    }
    had = SPARE;
}

static u64 give(u64 n)
{
    long done = n <= had ? frames_op(XENMEM_decrease_reservation, spare + had - n, n, 0) : 0;

    had -= done;
    return done;
}

static u64 take(u64 n)
{
    long done = 0;

    if (had + n <= SPARE) {
        memcpy(spare + had, spare_pfn + had, n * sizeof(spare[0]));
        done = frames_op(XENMEM_populate_physmap, spare + had, n, 0);
    }
    had += done;
    return done;
}

static long operation(u8 op)
{
    struct serai_memory own = {
        .domid = op > 4 ? 0 : DOMID_SELF, .op = op % 5, .pages = 100, .within = MINUTE};

    return HC(arch_7, SERAI_OP_MEMORY, &own, 0, 0, 0);
}

static void other_side(void)
{
    unmap_spares();
    for (;;) {
        u64 what = domu_next(), n = domu_mail.in[0];

        if (what >= CHEAT)
            domu_reply(0);
        switch (what) {
        case OPERATION:
            domu_reply(operation(n));
            break;
        case GIVE:
            domu_reply(give(n));
            break;
        case TAKE:
            domu_reply(take(n));
            break;
        case CHEAT:
            /* Gives and takes the same pages again and again. */
            while (domu_mail.order == domu_mail.done) {
                give(n);
                if (take(n) == n)
                    domu_mail.out[0]++;
                else
                    domu_mail.out[1]++;
            }
            break;
        default:
            while (domu_mail.order == domu_mail.done)
                domu_mail.out[0]++;
        }
    }
}

/* --- domain 0 --- */

static long memory_op(u8 op, u64 pages, u64 within, u8 otherwise)
{
    m = (struct serai_memory){.domid = u.id, .op = op};
    if (op == SERAI_MEMORY_SET) {
        m.pages = pages;
        m.within = within;
        m.otherwise = otherwise;
    }
    return HC(arch_7, SERAI_OP_MEMORY, &m, 0, 0, 0);
}

static long look(void)
{
    return memory_op(SERAI_MEMORY_READ, 0, 0, 0);
}

static bool reaches(u8 state)
{
    u64 end = clock_ns() + 5000 * MS;

    while (!look() && m.state != state) {
        if (clock_ns() > end)
            return false;
        domu_doze();
    }
    return m.state == state;
}

static bool goes_on(volatile u64 *count)
{
    u64 before = *count, end = clock_ns() + 100 * MS;

    while (clock_ns() < end && *count == before)
        domu_doze();
    return *count != before;
}

static void privileges(void)
{
    for (u64 op = 0; op < 10; op++)
        is(domu_ask(&u, OPERATION, op), -XEN_EPERM, "operation %lu of another than domain 0",
           op);
}

static void obeys(void)
{
    u64 pages;

    look();
    pages = m.pages_now;
    is(memory_op(SERAI_MEMORY_SET, pages - 32, MINUTE, SERAI_ELSE_DESTROY), 0, "32 pages less");
    is(domu_ask(&u, GIVE, 16), 16, "it gives 16");
    is(domu_ask(&u, TAKE, 8), 8, "takes 8");
    look();
    is(m.state, SERAI_MEMORY_PENDING, "pending");
    is(m.pages_lowest, pages - 16, "pages at the lowest");
    is(domu_ask(&u, GIVE, 24), 24, "gives 24");
    look();
    is(m.state, SERAI_MEMORY_COMPLIED, "complied");
    is(domu_ask(&u, TAKE, 16), 0, "and cannot take one again");
    is(memory_op(SERAI_MEMORY_CANCEL, 0, 0, 0), 0, "cancelled");
    is(domu_ask(&u, TAKE, 32), 32, "it takes all");
}

/* Between two looks of ours it always has too much. The hypervisor looks when it gives. */
static void cheats(void)
{
    u64 pages, above = 0;

    domu_ask(&u, CHEAT, 8);
    ok(goes_on(&u.mail->out[0]), "it gives and takes 8 pages in turns");
    look();
    pages = u.pages - 8;
    is(memory_op(SERAI_MEMORY_SET, pages, MINUTE, SERAI_ELSE_DESTROY), 0, "8 pages less");
    ok(reaches(SERAI_MEMORY_COMPLIED), "complied");
    ok(goes_on(&u.mail->out[0]), "it goes on, with less");
    ok(u.mail->out[1] > 0, "once it could not take them again");
    for (unsigned i = 0; i < 1000; i++)
        above += look() || m.pages_now > pages;
    is(above, 0, "and never has more");
    memory_op(SERAI_MEMORY_CANCEL, 0, 0, 0);
    domu_ask(&u, TAKE, 8);
}

static void deaf(void)
{
    domu_ask(&u, COUNT, 0);
    ok(goes_on(&u.mail->out[0]), "it counts and does not listen");
    is(memory_op(SERAI_MEMORY_SET, 100, 5 * MS, SERAI_ELSE_PAUSE), 0, "100 pages, or pause");
    ok(reaches(SERAI_MEMORY_MISSED), "missed");
    /* Another pause waits until its vcpu has come to a stop. */
    is(domctl_plain(XEN_DOMCTL_pausedomain, u.id), 0, "paused once more");
    is(domctl_plain(XEN_DOMCTL_unpausedomain, u.id), 0, "which is taken back");
    ok(!goes_on(&u.mail->out[0]), "it counts no more");
    is(memory_op(SERAI_MEMORY_SET, 100, MINUTE, 0), 0, "another instruction");
    ok(goes_on(&u.mail->out[0]), "it counts again");
    is(memory_op(SERAI_MEMORY_SET, 100, 5 * MS, SERAI_ELSE_DESTROY), 0, "again, or destroy");
    is(domu_await_shutdown(&u), SHUTDOWN_crash, "and is stopped for good");
    look();
    is(m.state, SERAI_MEMORY_MISSED, "missed");
    is(memory_op(SERAI_MEMORY_CANCEL, 0, 0, 0), 0, "cancelled");
    ok(domu_flags(&u) & XEN_DOMINF_shutdown, "that does not bring it back");
    ok(domu_end(&u), "it ends");
    is(look(), -XEN_ESRCH, "and is gone");
}

void test_memory_domu(void)
{
    domu_make(&u, other_side, 1);
    domu_run(&u);
    privileges();
    obeys();
    cheats();
    deaf();
}
