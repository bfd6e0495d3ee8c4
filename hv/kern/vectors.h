/*
 * Interrupt vectors. 0x20-0x2f are where the masked legacy controllers would show up, 0x30-0xdf
 * are given out for devices, the rest is the hypervisor's own.
 */
#ifndef SERAI_KERN_VECTORS_H
#define SERAI_KERN_VECTORS_H

#define VECTOR_DEVICE_FIRST 0x30
#define VECTOR_DEVICE_LAST  0xde
#define VECTOR_PARKED       0xdf /* in lines that are set up but not bound; never unmasked */
#define VECTOR_TIMER        0xf0
#define VECTOR_IPI_FLUSH    0xf1
#define VECTOR_IPI_EVENT    0xf2
#define VECTOR_IPI_SCHED    0xf3
#define VECTOR_IPI_UNLOAD   0xf4

#endif
