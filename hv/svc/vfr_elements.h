/* Elements of sets that come and go while a ruleset is in force. Between vfr_change_begin() and _end(). */
#ifndef SERAI_SVC_VFR_ELEMENTS_H
#define SERAI_SVC_VFR_ELEMENTS_H

#include "abi/vfr_set.h"
#include "svc/vfr.h"

/*
 * Room for elements of this ruleset's sets, with those that 'old' (NULL: none) has of the same sets;
 * meets preemption points. -XEN_ENOMEM.
 */
int vfr_elements_make(struct vfr_ruleset *s, const struct vfr_ruleset *old) must_check;
void vfr_elements_free(struct vfr_ruleset *s);

/* As abi/vfr_set.h says; 'op' is the caller's copy. This one begins and ends the change itself. */
int vfr_elements_call(struct serai_vfr_set *op) must_check;

#endif
