/*
 * What must be true of the hypervisor between hypercalls, found out afresh from what there is: the
 * page tables, the vcpus, the grants and their handles, the ports. Counts are compared exactly.
 */
#ifndef FUZZ_AUDIT_H
#define FUZZ_AUDIT_H

#include "fuzz/machine/machine.h"
#include "guest/maptrack.h"

/* Ids that a run can have given out. */
#define AUDIT_IDS 512

/* No hypercall is under way, no CPU waits for another. */
void audit_all(void);

/* Before there is any domain, and when all are gone: nothing is left of them. */
void audit_begin(void);
void audit_end(void);

void maptrack_each(struct domain *d, void (*fn)(const struct grant_map *map, void *arg),
                   void *arg);
u64 domain_pages_kept(void);
u64 lines_kept(void);

#endif
