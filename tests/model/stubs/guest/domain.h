/* What guest/frame.c needs of a domain, in the world of frame_model.c. */
#ifndef SERAI_GUEST_DOMAIN_H
#define SERAI_GUEST_DOMAIN_H

#include "base/assert.h"
#include "base/types.h"
#include <xen/xen.h>

struct domain {
    u16 id;
};

struct vcpu;
void vcpu_yield(struct vcpu *to);

#endif
