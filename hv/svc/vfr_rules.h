/*
 * Rulesets: from domain 0's memory into force. One that waits for its confirmation has the one before
 * it at hand, and makes room for that by the hypervisor's own clock.
 */
#ifndef SERAI_SVC_VFR_RULES_H
#define SERAI_SVC_VFR_RULES_H

#include "abi/vfr.h"
#include "base/types.h"

/* As abi/vfr.h says; 'op' is the caller's copy. Long. */
int vfr_rules_call(struct serai_vfr_rules *op) must_check;

void vfr_rules_init(void);

#endif
