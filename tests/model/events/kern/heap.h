/* Memory for ports in the world of events.c. */
#ifndef SERAI_KERN_HEAP_H
#define SERAI_KERN_HEAP_H

#include "base/types.h"

void *heap_alloc(size_t size) must_check;
void heap_free(void *p, size_t size);

#endif
