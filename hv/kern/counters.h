/* The counters of all CPUs under their names: for domain 0 and the console key. */
#ifndef SERAI_KERN_COUNTERS_H
#define SERAI_KERN_COUNTERS_H

#include "base/types.h"

unsigned counters_total(void);
/* Name (at most 31 characters) and sum of counter i. */
void counters_get(unsigned i, char *name, u64 *value);
void counters_dump(void);

struct guest_entry;
/* A vcpu's counts in assembly belong to the sums from now on. */
void counters_add_guest(struct guest_entry *g);
/* It goes: its counts stay. */
void counters_remove_guest(struct guest_entry *g);

#endif
