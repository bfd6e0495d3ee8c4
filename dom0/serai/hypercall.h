/*
 * Hypercalls from a process, by way of the kernel's /dev/xen/privcmd. Root only.
 */
#ifndef SERAI_HYPERCALL_H
#define SERAI_HYPERCALL_H

#include <stddef.h>

/* -1 and errno, or what the hypervisor returned. Ends the program when none can be made. */
long hypercall(unsigned int op, unsigned long a, unsigned long b);

/*
 * Zeroed memory of BUFFER_SIZE that stays where it is while the hypervisor reads and writes it;
 * for the life of the program.
 */
#define BUFFER_SIZE (64 * 1024)
void *hypercall_buffer(void);

/* Serai's own operation with a structure that is copied in and, when it succeeds, out. */
int serai_op(unsigned int op, void *arg, size_t size); /* 0, or -1 and errno */

/* For an errno that the caller does not explain itself. */
int op_failed(const char *what);

#endif
