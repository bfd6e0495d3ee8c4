/*
 * Page-table entries that requests of a batch name, by linear address or by the entry's machine
 * address. The table of the last one is kept with a use of it: the next is often in it too.
 */
#ifndef SERAI_HCALL_GRANT_ENTRY_H
#define SERAI_HCALL_GRANT_ENTRY_H

#include "guest/domain.h"

struct grant_entries {
    struct vcpu *v;
    u64 name; /* of the table, as below; 0: none is held */
    mfn_t table;
};

/* The entry in the hypervisor's map; NULL: there is none, or it is in no table of level 1. */
u64 *grant_entry_find(struct grant_entries *e, u64 host_addr, bool is_entry) must_check;
/* No use is held any more: at the end, and before a preemption point. */
void grant_entry_release(struct grant_entries *e);

#endif
