#include "guest/event_queue.h"
#include "guest/frame.h"
#include "guest/quiesce.h"
#include "kern/heap.h"
#include "x86/paging.h"

#define PENDING BIT(EVTCHN_FIFO_PENDING)
#define MASKED  BIT(EVTCHN_FIFO_MASKED)
#define LINKED  BIT(EVTCHN_FIFO_LINKED)
#define BUSY    BIT(EVTCHN_FIFO_BUSY)

#define PRIORITY EVTCHN_FIFO_PRIORITY_DEFAULT

/* How often a guest may change a word while we try to: one that behaves does it once or twice. */
#define TRIES 16

static event_word_t *word_of(const struct event_queues *q, u32 port)
{
    event_word_t *words =
        __atomic_load_n(&q->pages[port / EVENT_WORDS_PER_PAGE].words, __ATOMIC_SEQ_CST);

    return words ? &words[port % EVENT_WORDS_PER_PAGE] : NULL;
}

/* ---- appending ---- */

/* False: the guest has taken this one off, its chain ends there; or never stops changing it. */
static bool link_behind(event_word_t *word, u32 port)
{
    event_word_t old = __atomic_load_n(word, __ATOMIC_SEQ_CST), new;

    for (unsigned i = 0; i < TRIES; i++) {
        if (!(old & LINKED))
            return false;
        new = (old & ~(EVTCHN_FIFO_LINK_MASK | (event_word_t)BUSY)) | port;
        if (__atomic_compare_exchange_n(word, &old, new, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return true;
    }
    return false;
}

/* With the lock. True: it is the head of a new chain, of which the vcpu does not know. */
static bool append(struct event_queues *q, u32 port, u32 vcpu,
                   struct evtchn_fifo_control_block *block)
{
    u32 last = q->of[vcpu].tail;

    for (unsigned i = 0; i < NR_VCPUS_MAX; i++)
        if (q->of[i].tail == port)
            q->of[i].tail = 0;
    q->of[vcpu].tail = port;
    if (last && last != port && link_behind(word_of(q, last), port))
        return false;
    __atomic_store_n(&block->head[PRIORITY], port, __ATOMIC_SEQ_CST);
    return !(__atomic_fetch_or(&block->ready, BIT(PRIORITY), __ATOMIC_SEQ_CST) & BIT(PRIORITY));
}

/* What is pending, not masked, and not chained yet. */
static bool chain(struct event_queues *q, u32 port, event_word_t *word, const struct vcpu *v)
{
    struct evtchn_fifo_control_block *block;
    bool tell = false;

    if (!v)
        return false;
    block = __atomic_load_n(&q->of[v->id].block, __ATOMIC_ACQUIRE);
    if (!block)
        return false;
    lock(&q->lock);
    if (!(__atomic_fetch_or(word, (event_word_t)LINKED, __ATOMIC_SEQ_CST) & LINKED))
        tell = append(q, port, v->id, block);
    unlock(&q->lock);
    return tell;
}

static unsigned long *early_word(struct domain *d, u32 port)
{
    return &d->shared->evtchn_pending[port / 64];
}

bool event_queue_take_early(struct domain *d, u32 port)
{
    return __atomic_fetch_and(early_word(d, port), ~BIT(port & 63), __ATOMIC_SEQ_CST) &
           BIT(port & 63);
}

bool event_queue_add(struct event_queues *q, struct domain *d, u32 port, const struct vcpu *v)
{
    event_word_t *word = word_of(q, port), old;

    if (!word) {
        __atomic_fetch_or(early_word(d, port), BIT(port & 63), __ATOMIC_SEQ_CST);
        /* Who brings the page looks at the bits afterwards. */
        word = word_of(q, port);
        if (!word || !event_queue_take_early(d, port))
            return false;
    }
    old = __atomic_fetch_or(word, (event_word_t)PENDING, __ATOMIC_SEQ_CST);
    return !(old & (MASKED | LINKED)) && chain(q, port, word, v);
}

bool event_queue_unmask(struct event_queues *q, u32 port, const struct vcpu *v)
{
    event_word_t *word = word_of(q, port), old;

    if (!word)
        return false;
    old = __atomic_fetch_and(word, ~(event_word_t)MASKED, __ATOMIC_SEQ_CST);
    return (old & (PENDING | LINKED)) == PENDING && chain(q, port, word, v);
}

bool event_queue_is_pending(const struct event_queues *q, const struct domain *d, u32 port)
{
    const event_word_t *word = word_of(q, port);

    return word ? __atomic_load_n(word, __ATOMIC_SEQ_CST) & PENDING
                : d->shared->evtchn_pending[port / 64] & BIT(port & 63);
}

void event_queue_clear(struct event_queues *q, u32 port)
{
    event_word_t *word = word_of(q, port);

    if (word)
        __atomic_fetch_and(word, ~(event_word_t)PENDING, __ATOMIC_SEQ_CST);
}

/* ---- pages ---- */

/* With the event lock. */
static int give_block(struct domain *d, u32 vcpu, mfn_t mfn, u64 offset)
{
    struct event_queues *q = d->queues ?: heap_alloc(sizeof(*q));
    struct event_queue *mine;

    if (!q)
        return -XEN_ENOMEM;
    mine = &q->of[vcpu];
    if (mine->block)
        return -XEN_EINVAL;
    mine->mfn = mfn;
    __atomic_store_n(&mine->block, (void *)((u8 *)mfn_to_virt(mfn) + offset), __ATOMIC_RELEASE);
    q->lock.rank = LOCK_CHAINS;
    __atomic_store_n(&d->queues, q, __ATOMIC_RELEASE);
    return 0;
}

int event_queue_init(struct domain *d, u32 vcpu, mfn_t mfn, u64 offset)
{
    int rc;

    if (!d->restored)
        return -XEN_ENOSYS;
    if (vcpu >= d->max_vcpus || !d->vcpus[vcpu])
        return -XEN_ENOENT;
    if (offset > PAGE_SIZE - sizeof(struct evtchn_fifo_control_block) || offset & 7 ||
        frame_type_get(d->id, mfn, TYPE_WRITABLE))
        return -XEN_EINVAL;
    lock(&d->event_lock);
    rc = give_block(d, vcpu, mfn, offset);
    unlock(&d->event_lock);
    if (rc)
        frame_type_put(mfn);
    else
        quiesce_cpus(); /* who still sets bits; the array's first page is what looks at them */
    return rc;
}

/* With the event lock. */
static int add_page(struct event_queues *q, mfn_t mfn, u32 *first)
{
    struct event_page *page;

    if (!q)
        return -XEN_EOPNOTSUPP;
    if (q->nr_pages == EVENT_WORD_PAGES)
        return -XEN_ENOSPC;
    *first = q->nr_pages * EVENT_WORDS_PER_PAGE;
    page = &q->pages[q->nr_pages++];
    page->mfn = mfn;
    __atomic_store_n(&page->words, mfn_to_virt(mfn), __ATOMIC_SEQ_CST);
    return 0;
}

int event_queue_expand(struct domain *d, mfn_t mfn, u32 *first)
{
    int rc;

    if (!event_queues(d))
        return d->restored ? -XEN_EOPNOTSUPP : -XEN_ENOSYS;
    if (frame_type_get(d->id, mfn, TYPE_WRITABLE))
        return -XEN_EINVAL;
    lock(&d->event_lock);
    rc = add_page(d->queues, mfn, first);
    unlock(&d->event_lock);
    if (rc)
        frame_type_put(mfn);
    return rc;
}

static void each_page(struct event_queues *q, const struct domain *d,
                      void (*visit)(const struct domain *d, mfn_t mfn))
{
    for (unsigned i = 0; i < q->nr_pages; i++)
        visit(d, q->pages[i].mfn);
    for (unsigned i = 0; i < NR_VCPUS_MAX; i++)
        if (q->of[i].block)
            visit(d, q->of[i].mfn);
}

static void put_page(const struct domain *d, mfn_t mfn)
{
    frame_type_put(mfn);
}

void event_queues_drop(struct domain *d)
{
    struct event_queues *q;

    lock(&d->event_lock);
    q = __atomic_exchange_n(&d->queues, NULL, __ATOMIC_SEQ_CST);
    unlock(&d->event_lock);
    if (!q)
        return;
    quiesce_cpus();
    each_page(q, d, put_page);
    heap_free(q, sizeof(*q));
}

static void note_write(const struct domain *d, mfn_t mfn)
{
    frame_note_write(d->id, mfn);
}

void event_queues_note_writes(const struct domain *d)
{
    if (d->queues)
        each_page(d->queues, d, note_write);
}
