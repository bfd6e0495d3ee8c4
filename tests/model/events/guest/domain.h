/* What guest/event.c and guest/event_ports.c need of a domain, in the world of events.c. */
#ifndef SERAI_GUEST_DOMAIN_H
#define SERAI_GUEST_DOMAIN_H

#include "base/types.h"
#include "core/evtchn.h"
#include "kern/lock.h"
#include <xen/xen.h>

#define NR_VCPUS   1
#define MAX_PIRQS  4
#define STOP_DYING BIT(17)

enum sched_wake { WAKE_EVENT, WAKE_POLL };

struct domain;

struct sched_unit {
    u8 state;
};

struct vcpu {
    struct {
        struct sched_unit unit;
    } run;
    struct {
        u8 *info;
    } entry;
    struct domain *domain;
    u32 polled[2];
    u16 virq_port[NR_VIRQS];
};

struct domain {
    u16 id;
    u32 refs;
    u32 stop;
    u64 pollers;
    unsigned max_vcpus;
    struct vcpu *vcpus[NR_VCPUS];
    struct shared_info *shared;
    struct spinlock event_lock;
    struct port_table ports;
    u16 global_virq[NR_VIRQS];
};

extern struct domain *dom0;

struct domain *domain_peek(u16 id);
struct domain *domain_get(u16 id);
void domain_put(struct domain *d);
struct vcpu *current_vcpu(void);
bool vcpu_has_event(const struct vcpu *v);
void vcpu_wake(struct vcpu *v, enum sched_wake why);
void preempt_point(void);

static inline void sched_note_ipi(struct sched_unit *to)
{
}

static inline struct vcpu_info *vcpu_info(const struct vcpu *v)
{
    return (struct vcpu_info *)v->entry.info;
}

#endif
