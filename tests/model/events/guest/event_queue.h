/* No domain of this world has queues. */
#ifndef SERAI_GUEST_EVENT_QUEUE_H
#define SERAI_GUEST_EVENT_QUEUE_H

#include "guest/domain.h"

#define EVENT_WORDS_PER_PAGE 1024

#define event_queues(d)                    ((struct event_queues *)NULL)
#define event_queue_add(q, d, port, v)     ((void)(q), false)
#define event_queue_unmask(q, port, v)     ((void)(q), false)
#define event_queue_is_pending(q, d, port) ((void)(q), false)
#define event_queue_clear(q, port)         ((void)(q))
#define event_queue_take_early(d, port)    ((void)(port), false)
#define event_queue_expand(d, mfn, first)  (*(first) = 0, -XEN_ENOSYS)
#define event_queues_drop(d)               ((void)(d))

#endif
