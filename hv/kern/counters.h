/* The counters of all CPUs under their names: for domain 0 and the console key. */
#ifndef SERAI_KERN_COUNTERS_H
#define SERAI_KERN_COUNTERS_H

#include "base/types.h"

unsigned counters_total(void);
/* Name (at most 31 characters) and sum of counter i. */
void counters_get(unsigned i, char *name, u64 *value);
void counters_dump(void);

#endif
