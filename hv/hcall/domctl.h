/*
 * Operations of domain 0 on a domain (xen/domctl.h), by the families that implement them.
 *
 * Each gets the domain, with a reference and alone in control of it (lifecycle_control_begin()),
 * and the copied structure, which is given back when the table in domctl.c says so. It returns 0
 * or a negative errno; -XEN_EAGAIN: call again, there is news for the caller.
 */
#ifndef SERAI_HCALL_DOMCTL_H
#define SERAI_HCALL_DOMCTL_H

#include "guest/domain.h"
#include <xen/domctl.h>

typedef s64 domctl_fn(struct domain *d, struct xen_domctl *op);

/* domctl_life.c: coming, stopping, going */
s64 domctl_create(struct xen_domctl *op);
domctl_fn domctl_destroy, domctl_pause, domctl_unpause, domctl_resume, domctl_max_vcpus,
    domctl_set_handle, domctl_get_info, domctl_max_mem, domctl_set_address_size,
    domctl_get_address_size, domctl_send_trigger, domctl_hypercall_page, domctl_set_time_offset;

/* Fills in what is known about a domain; any context. */
void domctl_fill_info(const struct domain *d, struct xen_domctl_getdomaininfo *info);

/* events.c */
domctl_fn domctl_set_virq_handler;

/* domctl_context.c: a vcpu's state */
domctl_fn domctl_set_context, domctl_get_context, domctl_set_ext_context,
    domctl_get_ext_context, domctl_set_xstate, domctl_get_xstate, domctl_set_msrs,
    domctl_get_msrs;

/* domctl_memory.c: its frames */
domctl_fn domctl_get_frame_info, domctl_shadow;

/* domctl_sched.c: where vcpus run, and how much */
domctl_fn domctl_set_affinity, domctl_get_affinity, domctl_set_node_affinity,
    domctl_get_node_affinity, domctl_vcpu_info, domctl_scheduler;

/* domctl_cpu.c: what the vcpus look like */
domctl_fn domctl_get_cpu_policy, domctl_set_cpu_policy, domctl_get_tsc_info,
    domctl_set_tsc_info;

/* domctl_devices.c: devices */
domctl_fn domctl_ioport_permission, domctl_iomem_permission, domctl_irq_permission,
    domctl_memory_mapping, domctl_ioport_mapping, domctl_assign_device;

/* Devices that domain 0 sets aside for others belong to DOMID_IO, which is no domain. */
bool domctl_is_set_aside(const struct xen_domctl *op);
s64 domctl_set_aside(struct xen_domctl *op);

#endif
