/* Rulesets: from domain 0's memory into force. */
#ifndef SERAI_SVC_VFR_RULES_H
#define SERAI_SVC_VFR_RULES_H

#include "abi/vfr.h"
#include "base/types.h"

/* As abi/vfr.h says; 'op' is the caller's copy. Long. */
int vfr_rules_install(struct serai_vfr_rules *op, bool check_only) must_check;
int vfr_rules_read(struct serai_vfr_rules *op) must_check;

#endif
