/*
 * The operations on grants: each takes an array of requests, answers each one with a status of
 * its own, and goes on after a request that failed.
 *
 * They return how many requests were done, all unless the vcpu must stop, or -XEN_EFAULT when a
 * request cannot be read or answered. The array lies outside the hypervisor's addresses: that
 * has been checked for all of it.
 */
#ifndef SERAI_HCALL_GRANT_H
#define SERAI_HCALL_GRANT_H

#include "guest/access.h"
#include "guest/domain.h"

/* The domain that the last request named, with a reference: the next one often names it too. */
struct grant_peer {
    struct domain *d; /* NULL: none yet */
};

/* With a reference; NULL: no such domain, or it is going. */
static inline must_check struct domain *grant_domain_get(u16 id)
{
    struct domain *d = domain_get(id);

    if (likely(d && !(__atomic_load_n(&d->stop, __ATOMIC_RELAXED) & STOP_DYING)))
        return d;
    if (d)
        domain_put(d);
    return NULL;
}

struct domain *grant_peer_change(struct grant_peer *p, u16 id) must_check;
void grant_peer_drop(struct grant_peer *p);

/* NULL: no such domain, or it is going. The reference stays the peer's. */
static inline must_check struct domain *grant_peer_find(struct grant_peer *p, u16 id)
{
    if (likely(p->d && p->d->id == id &&
               !(__atomic_load_n(&p->d->stop, __ATOMIC_RELAXED) & STOP_DYING)))
        return p->d;
    return grant_peer_change(p, id);
}

static inline must_check int grant_request_get(void *req, const void *u_req, u64 size)
{
    return unlikely(guest_copy_raw(req, u_req, size)) ? -XEN_EFAULT : 0;
}

static inline must_check int grant_request_put(void *u_field, const void *field, u64 size)
{
    return unlikely(guest_copy_raw(u_field, field, size)) ? -XEN_EFAULT : 0;
}

/* Arrays of one, as most are: 0 or -XEN_EFAULT. */
s64 grant_map_single(struct vcpu *v, u64 u_op);
s64 grant_unmap_single(struct vcpu *v, u64 u_op);

s64 grant_map_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_unmap_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_replace_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_transfer_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_copy_array(struct vcpu *v, u64 u_ops, u32 n);

#endif
