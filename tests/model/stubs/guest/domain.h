/* What guest/frame.c needs of a domain, in the world of frame_model.c. */
#ifndef SERAI_GUEST_DOMAIN_H
#define SERAI_GUEST_DOMAIN_H

#include "base/assert.h"
#include "base/types.h"
#include <xen/xen.h>

struct domain {
    u16 id;
    u64 *blocks;
};

#define BLOCK_FRAMES BIT(9)

static inline void domain_hold(struct domain *d)
{
}

struct vcpu;
void vcpu_yield(struct vcpu *to);

#endif
