/*
 * Events in queues, the FIFO ABI of xen/event_channel.h, for domains that were restored: a Linux
 * that found it when it booted, on stock Xen, cannot do without it when it wakes up here. All
 * others get the two levels of bits of event.c, where an event costs less.
 *
 * An event is a word in an array of the guest's. Those that wait are chained by their words,
 * from a head in the vcpu's control block; the guest takes them from the front, we append.
 *
 *  1. domain.queues comes and goes with the event lock. Who delivers takes no lock for it: what
 *     event.h says of ports and shared pages holds for it.
 *  2. The guest's pages are in writable use, and all go together.
 *  3. Nothing that the guest writes is believed. What was appended last is known here, and a
 *     link is only written.
 *  4. An event is the last of one queue at most, of that which it was appended to last.
 *  5. What comes before the array has a page for it waits in the bits of the shared page.
 *
 * There is one queue for each vcpu: priorities are accepted and make no difference.
 */
#ifndef SERAI_GUEST_EVENT_QUEUE_H
#define SERAI_GUEST_EVENT_QUEUE_H

#include "guest/domain.h"
#include <xen/event_channel.h>

#define EVENT_WORDS_PER_PAGE (PAGE_SIZE / sizeof(event_word_t))
#define EVENT_WORD_PAGES     (EVTCHN_MAX_PORTS / EVENT_WORDS_PER_PAGE)

struct event_queues {
    struct spinlock lock; /* the tails, and what is chained behind them */
    struct event_page {
        event_word_t *words; /* (atomic) NULL: not there yet */
        mfn_t mfn;
    } pages[EVENT_WORD_PAGES]; /* (events) */
    u32 nr_pages;              /* (events) */
    struct event_queue {
        struct evtchn_fifo_control_block *block; /* (atomic) NULL: not there yet */
        mfn_t mfn;                               /* (events) */
        u32 tail;                                /* (lock) what was appended last; 0: nothing */
    } of[NR_VCPUS_MAX];
};

/* NULL: the domain has the two levels. Good until the next preemption point. */
static inline struct event_queues *event_queues(const struct domain *d)
{
    return __atomic_load_n(&d->queues, __ATOMIC_ACQUIRE);
}

/*
 * The event is pending, and chained unless it is masked or its vcpu (NULL: not there) has no
 * control block. True: the vcpu must be told. Any context.
 */
bool event_queue_add(struct event_queues *q, struct domain *d, u32 port,
                     const struct vcpu *v) must_check;
/* The same for one that the guest has just unmasked, if it is pending. */
bool event_queue_unmask(struct event_queues *q, u32 port, const struct vcpu *v) must_check;
bool event_queue_is_pending(const struct event_queues *q, const struct domain *d, u32 port);
void event_queue_clear(struct event_queues *q, u32 port);
/* It was pending when its word was not there yet; forgotten herewith. */
bool event_queue_take_early(struct domain *d, u32 port);

/*
 * The guest's operations init_control and expand_array; results as EVTCHNOP_ has them. '*first'
 * is the first port of the new page. They may meet preemption points.
 */
int event_queue_init(struct domain *d, u32 vcpu, mfn_t mfn, u64 offset) must_check;
int event_queue_expand(struct domain *d, mfn_t mfn, u32 *first) must_check;

/* No events go there any more: back to the two levels. Waits for other CPUs. */
void event_queues_drop(struct domain *d);
/* Its pages are dirty (guest/logdirty.h). */
void event_queues_note_writes(const struct domain *d);

#endif
