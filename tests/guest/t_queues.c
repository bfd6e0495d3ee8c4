/*
 * Events in queues, the FIFO ABI: the other domain asks for them, this one looks at its words and
 * takes events from its queues as its kernel would. On Serai only a restored domain gets them.
 */
#include "domu.h"

enum { ASK = 1, SCRIBBLE, PEACE };

#define WORDS   (PAGE_SIZE / sizeof(event_word_t))
#define PAGES   5
#define PENDING (1U << EVTCHN_FIFO_PENDING)
#define MASKED  (1U << EVTCHN_FIFO_MASKED)
#define LINKED  (1U << EVTCHN_FIFO_LINKED)
#define LINK    ((1U << EVTCHN_FIFO_LINK_BITS) - 1)
#define QUEUE   EVTCHN_FIFO_PRIORITY_DEFAULT
#define READY   (1U << QUEUE)
#define WILD    0x7fffffffffUL

static event_word_t array[PAGES][WORDS] __attribute__((aligned(4096)));
static union {
    struct evtchn_fifo_control_block block;
    u8 page[PAGE_SIZE];
} control[2] __attribute__((aligned(4096)));

/* --- the other side --- */

static u64 ask(void)
{
    u64 op[4];

    for (unsigned i = 0; i < 4; i++)
        op[i] = domu_mail.in[i + 1];
    return hc_evtchn(domu_mail.in[0], op);
}

/* Everything in its pages is rubbish, while events come. */
static void scribble(void)
{
    u64 order = domu_mail.order;

    domu_reply(0);
    rand_seed(order);
    while (domu_mail.order == order) {
        u32 what = rand64();

        __atomic_store_n(&array[0][rand_below(16)], what, __ATOMIC_RELAXED);
        if (!(what & 63))
            control[0].block.ready = control[0].block.head[QUEUE] = what >> 8;
    }
}

static void other_side(void)
{
    vi->evtchn_upcall_mask = 1;
    for (;;) {
        switch (domu_next()) {
        case ASK:
            domu_reply(ask());
            break;
        case SCRIBBLE:
            scribble();
            break;
        default:
            domu_reply(0);
            break;
        }
    }
}

/* --- this side --- */

static struct domu u;

static long ask_for(unsigned cmd, u64 first, u64 second)
{
    u.mail->in[1] = first;
    u.mail->in[2] = second;
    u.mail->in[3] = 0;
    return domu_ask(&u, ASK, cmd);
}

static long init_control(u64 mfn, u32 offset, u32 vcpu)
{
    return ask_for(EVTCHNOP_init_control, mfn, (u64)vcpu << 32 | offset);
}

static long expand(u64 mfn)
{
    return ask_for(EVTCHNOP_expand_array, mfn, 0);
}

/* Interdomain, this side's end; *theirs is the other's. */
static u32 connect(u32 *theirs)
{
    struct evtchn_alloc_unbound open = {.dom = u.id, .remote_dom = DOMID_SELF};
    struct evtchn_bind_interdomain bind = {.remote_dom = u.id};

    if (hc_evtchn(EVTCHNOP_alloc_unbound, &open))
        die("no port");
    *theirs = bind.remote_port = open.port;
    if (hc_evtchn(EVTCHNOP_bind_interdomain, &bind))
        die("no connection");
    return bind.local_port;
}

static void restore(void)
{
    struct xen_domctl op = {.u.ext_vcpucontext.size = sizeof(op.u.ext_vcpucontext)};

    is(domctl(XEN_DOMCTL_set_ext_vcpucontext, u.id, &op), 0, "its vcpu's state is restored");
}

static volatile event_word_t *word; /* the array's first page, as seen here */
static volatile struct evtchn_fifo_control_block *block; /* and vcpu 0's */
static u32 mine[4], theirs[4];

static void refusals(void)
{
    is(expand(domu_mfn_of(&u, array[0])), -XEN_EOPNOTSUPP,
       "expand_array before there is a queue");
    is(ask_for(EVTCHNOP_set_priority, 1 | 3UL << 32, 0), -XEN_ENOSYS, "set_priority");
    is(init_control(domu_mfn_of(&u, &control[0]), 0, 77), -XEN_ENOENT,
       "a vcpu that is not there");
    is(init_control(domu_mfn_of(&u, &control[0]), 4, 0), -XEN_EINVAL, "a block between places");
    is(init_control(domu_mfn_of(&u, &control[0]), 4096 - 64, 0), -XEN_EINVAL,
       "across the page");
    is(init_control(domu_mfn_of(&u, &control[0]), ~7U, 0), -XEN_EINVAL, "far away");
    is(init_control(WILD, 0, 0), -XEN_EINVAL, "in no page");
    is(init_control(u.mfn[u.top_pfn], 0, 0), -XEN_EINVAL, "in a page table");
}

static void give_pages(void)
{
    is(init_control(domu_mfn_of(&u, &control[0]), 0, 0), 0, "init_control");
    is(init_control(domu_mfn_of(&u, &control[1]), 0, 0), -XEN_EINVAL, "it has one");
    /* The first event comes before its word is there. */
    mine[0] = connect(&theirs[0]);
    is(port_send(mine[0]), 0, "an event before its word");
    is(expand(WILD), -XEN_EINVAL, "a page of nobody's");
    is(expand(u.mfn[u.top_pfn]), -XEN_EINVAL, "a page table");
    is(expand(domu_mfn_of(&u, array[0])), 0, "expand_array");
    ok(word[theirs[0]] == (PENDING | LINKED) && block->ready == READY &&
           block->head[QUEUE] == theirs[0],
       "it is in the queue now: %x, %x, %u", word[theirs[0]], block->ready, block->head[QUEUE]);
}

/* The kernel's part: the event at the head, or what the link said; 0: none. */
static u32 take(u32 port)
{
    event_word_t was =
        __atomic_fetch_and(&word[port], ~(LINKED | LINK | PENDING), __ATOMIC_SEQ_CST);

    return was & LINK;
}

static u32 head(void)
{
    __atomic_store_n(&block->ready, 0, __ATOMIC_SEQ_CST);
    return block->head[QUEUE];
}

static bool upcall(void)
{
    struct vcpu_info *info =
        &((struct shared_info *)domu_map_mfn(&u, u.shared_mfn, PTE_KERN))->vcpu_info[0];
    bool was = __atomic_exchange_n(&info->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);

    domu_unmap(info);
    return was;
}

static void order(void)
{
    u32 at = head();

    ok(upcall(), "its vcpu was told");
    is(take(at), 0, "the queue has one event");
    for (unsigned i = 1; i < 4; i++) {
        mine[i] = connect(&theirs[i]);
        take(theirs[i]); /* a new connection's first */
    }
    at = head();
    upcall();
    for (unsigned i = 0; i < 4; i++)
        port_send(mine[3 - i]);
    ok(block->ready == READY && upcall(), "four events, one call");
    for (unsigned i = 0; i < 4; i++) {
        at = i ? at : head();
        is(at, theirs[3 - i], "in their order");
        at = take(at);
    }
    is(at, 0, "and no more");
    port_send(mine[2]);
    ok(block->ready == READY && head() == theirs[2] && upcall(), "the next is a head again");
    port_send(mine[2]);
    port_send(mine[1]);
    ok(!block->ready && word[theirs[2]] == (PENDING | LINKED | theirs[1]) && !upcall(),
       "one more behind it needs no call");
    is(take(theirs[2]), theirs[1], "it is linked");
    port_send(mine[2]);
    is(word[theirs[1]] & LINK, theirs[2], "the first comes again, behind it");
    take(theirs[1]);
    take(theirs[2]);
}

static void masks(void)
{
    word[theirs[0]] = MASKED;
    head();
    port_send(mine[0]);
    ok(word[theirs[0]] == (MASKED | PENDING) && !block->ready, "a masked event is in no queue");
    is(ask_for(EVTCHNOP_unmask, theirs[0], 0), 0, "unmask");
    ok(word[theirs[0]] == (LINKED | PENDING) && block->ready && head() == theirs[0],
       "then it is");
    take(theirs[0]);
    is(ask_for(EVTCHNOP_unmask, theirs[0], 0), 0, "unmask what is not pending");
    ok(!word[theirs[0]] && !block->ready, "nothing happens");
    is(ask_for(EVTCHNOP_set_priority, theirs[0] | 3UL << 32, 0), 0, "set_priority");
    is(ask_for(EVTCHNOP_set_priority, theirs[0] | 16UL << 32, 0), -XEN_EINVAL, "one too low");
    is(ask_for(EVTCHNOP_set_priority, 900 | 3UL << 32, 0), -XEN_EINVAL, "of no port");
    port_send(mine[3]);
    is(ask_for(EVTCHNOP_close, theirs[3], 0), 0, "a port is closed in the queue");
    ok(!(word[theirs[3]] & PENDING), "its event is gone");
    take(theirs[3]);
}

static void rubbish(void)
{
    u64 end = clock_ns() + 200000000;

    domu_ask(&u, SCRIBBLE, 0);
    while (clock_ns() < end)
        for (unsigned i = 0; i < 3; i++)
            port_send(mine[i]);
    domu_ask(&u, PEACE, 0);
    ok(true, "rubbish in its pages hurts nobody");
    memset((void *)word, 0, PAGE_SIZE);
    memset((void *)block, 0, sizeof(*block));
    port_send(mine[0]);
    port_send(mine[1]);
    ok(word[theirs[0]] & PENDING && word[theirs[1]] & PENDING && block->ready,
       "and afterwards events come");
}

static void the_end(void)
{
    for (unsigned i = 1; i < PAGES; i++)
        is(expand(domu_mfn_of(&u, array[i])), is_serai && i == 4 ? -XEN_ENOSPC : 0, "page %u",
           i);
    is(ask_for(EVTCHNOP_reset, DOMID_SELF, 0), 0, "reset");
    memset((void *)word, 0, PAGE_SIZE);
    mine[0] = connect(&theirs[0]);
    port_send(mine[0]);
    ok(!word[theirs[0]], "back to bits");
    is(init_control(domu_mfn_of(&u, &control[1]), 8, 0), 0, "init_control again");
}

void test_queues(void)
{
    domu_make(&u, other_side, 1);
    domu_run(&u);
    if (is_serai) {
        is(init_control(domu_mfn_of(&u, &control[0]), 0, 0), -XEN_ENOSYS, "who was built here");
        is(expand(domu_mfn_of(&u, array[0])), -XEN_ENOSYS, "gets bits only");
    }
    domctl_plain(XEN_DOMCTL_pausedomain, u.id);
    restore();
    domctl_plain(XEN_DOMCTL_unpausedomain, u.id);
    word = domu_view(&u, array[0]);
    block = domu_view(&u, &control[0]);
    refusals();
    give_pages();
    order();
    masks();
    rubbish();
    the_end();
    ok(domu_end(&u), "all of it is gone with the domain");
}
