/*
 * The hypervisor's leases as a library for the tests of domain 0's servers: the shipped core, with
 * what the hypercall around it does.
 */
#include <stdlib.h>

#include "core/vfr_lease.h"

#define EXPORT __attribute__((visibility("default")))

struct host {
    struct vfr_leases l;
    void *memory;
};

EXPORT struct host *host_create(u32 addresses, u32 leases, u32 leaves);
EXPORT int host_change(struct host *h, struct vfr_lease_order *o, ns_t now);
EXPORT int host_due(struct host *h, ns_t now, struct vfr_lease_order *o);
EXPORT u32 host_list(const struct host *h, u32 *cursor, struct vfr_lease_info *out, u32 n);
EXPORT u32 host_owner(const struct host *h, u32 ip, u32 class, u32 port);
EXPORT int host_check(const struct host *h);
EXPORT void host_destroy(struct host *h);

struct host *host_create(u32 addresses, u32 leases, u32 leaves)
{
    const struct vfr_lease_sizes n = {addresses, leases, leaves};
    struct host *h = calloc(1, sizeof(*h));

    h->memory = calloc(1, vfr_lease_memory(&n));
    vfr_lease_init(&h->l, &n, h->memory, (const u64[]){0x1122334455667788, 0x99aabbccddeeff00},
                   0);
    return h;
}

int host_change(struct host *h, struct vfr_lease_order *o, ns_t now)
{
    int rc = vfr_lease_check(&h->l, o, now);

    if (!rc)
        vfr_lease_commit(&h->l, o, now);
    return rc;
}

int host_due(struct host *h, ns_t now, struct vfr_lease_order *o)
{
    if (!vfr_lease_due(&h->l, now, o))
        return 0;
    vfr_lease_commit(&h->l, o, now);
    return 1;
}

u32 host_list(const struct host *h, u32 *cursor, struct vfr_lease_info *out, u32 n)
{
    return vfr_lease_list(&h->l, cursor, out, n);
}

u32 host_owner(const struct host *h, u32 ip, u32 class, u32 port)
{
    return vfr_lease_owner(&h->l, VFR_IP4(ip), class, (u16)port);
}

int host_check(const struct host *h)
{
    return vfr_lease_check_all(&h->l);
}

void host_destroy(struct host *h)
{
    free(h->memory);
    free(h);
}
