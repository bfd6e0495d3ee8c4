/*
 * Memory before the heap: page-aligned pieces from the top of RAM below 4 GiB, around the image
 * and the boot modules. What is left goes to the heap.
 */
#ifndef SERAI_MAIN_EARLY_MEMORY_H
#define SERAI_MAIN_EARLY_MEMORY_H

#include "core/multiboot.h"

void early_memory_init(const struct boot_info *boot);

/* Zeroed memory by physical address; stops the boot when there is none. */
u64 early_alloc(u64 size, u64 align);

/* All RAM above 1 MiB that nobody uses. */
void early_memory_give_to_heap(void);

/* A page of RAM below 1 MiB for the other CPUs' first steps. */
u64 early_trampoline_page(void);

/* Same form as early_alloc, from the heap: for page tables made later. */
u64 early_alloc_from_heap(u64 size, u64 align);

#endif
