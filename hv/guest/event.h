/*
 * Event channels, acting half: delivery through the shared pages (2-level ABI) and binding.
 *
 * Delivering never blocks and takes no lock: pending, mask and selector bits are atomics in
 * memory that the guest writes too. Binding and closing hold the domain's event lock.
 */
#ifndef SERAI_GUEST_EVENT_H
#define SERAI_GUEST_EVENT_H

#include "guest/domain.h"
#include <xen/event_channel.h>

/* Sets the port pending and, unless masked, tells its vcpu. Any context. */
void event_set_pending(struct domain *d, u32 port);

/* A virtual interrupt, if the guest bound it. */
void event_send_virq(struct vcpu *v, unsigned virq);
void event_send_global_virq(struct domain *d, unsigned virq);

bool event_is_pending(const struct domain *d, u32 port);
/* Delivers what is pending on a port that the guest just unmasked. */
int event_unmask(struct domain *d, u32 port) must_check;

/* Guest operations; results by EVTCHNOP_ of xen/event_channel.h. */
int event_alloc_unbound(struct domain *d, u16 remote, u32 *port) must_check;
int event_bind_interdomain(struct domain *d, u16 remote_dom, u32 remote_port,
                           u32 *port) must_check;
int event_bind_virq(struct domain *d, u32 virq, u32 vcpu, u32 *port) must_check;
int event_bind_ipi(struct domain *d, u32 vcpu, u32 *port) must_check;
int event_bind_pirq(struct domain *d, u32 pirq, bool share, u32 *port) must_check;
int event_close(struct domain *d, u32 port) must_check;
int event_send(struct domain *d, u32 port) must_check;
int event_bind_vcpu(struct domain *d, u32 port, u32 vcpu) must_check;
int event_status(struct domain *d, struct evtchn_status *st) must_check;
int event_reset(struct domain *d) must_check;
/* Of a domain that is taken apart; -XEN_EAGAIN: there is news for the caller, and more to do. */
int event_close_all(struct domain *d) must_check;

#endif
