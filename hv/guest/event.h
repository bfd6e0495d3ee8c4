/*
 * Event channels, acting half: delivery through the shared pages (2-level ABI), in event.c, and
 * binding, in event_ports.c.
 *
 * Delivering never blocks and takes no lock: pending, mask and selector bits are atomics in
 * memory that the guest writes too. Binding and closing hold the event lock of the domain, and
 * for a port that is connected to another domain's those of both, the lower address first.
 *
 *  1. Whether a connection exists the receiving port says: who sends looks there, and delivers
 *     only if it names the sender's port. Of a connection that is made the end of the one who
 *     makes it is written first; he is sent one event when both are.
 *  2. Ports, vcpus and shared pages of a domain may be used without a reference to it by code
 *     that meets no preemption point meanwhile, once a port's word, or domain.shared, has led it
 *     there. event_close_all() takes these away, and then waits until each CPU has been seen
 *     with interrupts on.
 *  3. In a dying domain no port becomes anything but free: STOP_DYING is looked at under the
 *     event lock.
 *  4. A pirq that names a port has it: binding and closing change both under the event lock. A port
 *     whose pirq was taken away stays PORT_PIRQ, silent, until it is closed.
 *
 * An event that is on its way when its port is closed may arrive after the port's number has
 * been given away again: guests must live with events that have no reason.
 */
#ifndef SERAI_GUEST_EVENT_H
#define SERAI_GUEST_EVENT_H

#include "guest/domain.h"
#include <xen/event_channel.h>

/* Sets the port pending and, unless masked, tells its vcpu. Any context. */
void event_set_pending(struct domain *d, u32 port);

/* A virtual interrupt, if the guest bound it. Any context. */
void event_send_virq(struct vcpu *v, unsigned virq);
/* One that concerns the machine, for domain 0 or whom it was handed to. */
void event_send_global_virq(unsigned virq);
/* Hands one to a domain. -XEN_EINVAL: there is no such, or the domain is dying. */
int event_set_virq_handler(struct domain *d, u32 virq) must_check;

/* Those that were handed to the domain go back. */
void event_take_back_virqs(const struct domain *d);

bool event_is_pending(const struct domain *d, u32 port);
/* Delivers what is pending on a port that the guest just unmasked. */
int event_unmask(struct domain *d, u32 port) must_check;
/* A page more for the words of a domain with queues (guest/event_queue.h), as EVTCHNOP_ has it. */
int event_expand_array(struct domain *d, mfn_t mfn) must_check;

/*
 * Guest operations; results by EVTCHNOP_ of xen/event_channel.h. Domains are the callers', with
 * references. No lock is held.
 */
int event_send(struct domain *d, u32 port) must_check;
int event_alloc_unbound(struct domain *d, u16 remote, u32 *port) must_check;
int event_bind_interdomain(struct domain *d, u16 remote_dom, u32 remote_port,
                           u32 *port) must_check;
int event_bind_virq(struct domain *d, u32 virq, u32 vcpu, u32 *port) must_check;
int event_bind_ipi(struct domain *d, u32 vcpu, u32 *port) must_check;
int event_bind_pirq(struct domain *d, u32 pirq, bool share, u32 *port) must_check;
int event_close(struct domain *d, u32 port) must_check;
int event_bind_vcpu(struct domain *d, u32 port, u32 vcpu) must_check;
int event_status(const struct domain *d, struct evtchn_status *st) must_check;
/*
 * A service of the hypervisor at the other end of ports. 'notify' is called in the sender's
 * hypercall and may meet preemption points; 'number' is what the port was bound with.
 * 'release' comes once, in a dying domain whose vcpus have stopped: when it returns, the service
 * has none of the domain's ports, grants and frames. -XEN_EAGAIN: there is more to do.
 */
struct event_service {
    void (*notify)(struct domain *d, u16 number);
    int (*release)(struct domain *d);
};

/* Once, at boot. */
void event_set_service(const struct event_service *s);
int event_release_service(struct domain *d) must_check;

/*
 * The service takes the place of the domain that the port waits for. -XEN_EINVAL: it does not wait
 * for that one, or the domain is dying.
 */
int event_bind_service(struct domain *d, u32 port, u16 instead_of, u16 number) must_check;
/* Then it waits again; unless it has become something else. */
void event_unbind_service(struct domain *d, u32 port, u16 number);
/* To the guest, if the port is still bound so. Any context. */
void event_send_from_service(struct domain *d, u32 port, u16 number);

/* Closes all; one that another vcpu opens meanwhile may stay. Long. */
void event_reset(struct domain *d);
/*
 * Of a domain that is dying, with its vcpus stopped: closes all and gives their memory back; what
 * was its shared page nobody writes to any more. -XEN_EAGAIN: there is news for the caller, and
 * more to do.
 */
int event_close_all(struct domain *d) must_check;

#endif
