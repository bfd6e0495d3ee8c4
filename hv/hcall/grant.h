/*
 * The operations on grants: each takes an array of requests, answers each one with a status of
 * its own, and goes on after a request that failed.
 *
 * They return how many requests were done, all unless the vcpu must stop, or -XEN_EFAULT when a
 * request cannot be read or answered.
 */
#ifndef SERAI_HCALL_GRANT_H
#define SERAI_HCALL_GRANT_H

#include "guest/domain.h"

/* The domain that the last request named, with a reference: the next one often names it too. */
struct grant_peer {
    struct domain *d; /* NULL: none yet */
};

/* NULL: no such domain, or it is going. The reference stays the peer's. */
struct domain *grant_peer_find(struct grant_peer *p, u16 id) must_check;
void grant_peer_drop(struct grant_peer *p);

s64 grant_map_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_unmap_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_replace_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_transfer_array(struct vcpu *v, u64 u_ops, u32 n);
s64 grant_copy_array(struct vcpu *v, u64 u_ops, u32 n);

#endif
