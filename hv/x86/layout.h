/*
 * The address space of the hypervisor: L4 slots 256 to 271, the hole that the PV ABI leaves us.
 *
 *   slot 256   0xffff800000000000   machine-to-phys table, read-only, the guest may read it
 *   slot 257   0xffff808000000000   + physical: the image (linked at physical 2 MiB)
 *              + 1 GiB              system-call entry stubs, one per CPU, execute-only
 *              + 1.25 GiB           GDT and LDT window of each CPU, 128 KiB apart
 *              + 1.5 GiB            device registers, uncached, 64 MiB
 *              + 128 GiB            the frame table, 16 bytes a frame
 *              + 192 GiB            the machine-to-phys table again, writable
 *   slot 258.. 0xffff810000000000   all RAM, one to one (writable, never executable)
 *
 * Everything from the image up to the device registers lies within 2 GiB: the code is compiled
 * position-independent and reaches all of it rip-relative.
 */
#ifndef SERAI_X86_LAYOUT_H
#define SERAI_X86_LAYOUT_H

#define HV_PHYS_BASE   0x200000
#define HV_BASE        0xffff808000000000
#define M2P_BASE       0xffff800000000000
#define STUBS_BASE     (HV_BASE + 0x40000000)
#define WINDOW_BASE    (HV_BASE + 0x50000000)
#define MMIO_BASE      (HV_BASE + 0x60000000)
#define MMIO_END       (HV_BASE + 0x64000000)
#define FRAMES_BASE    (HV_BASE + 0x2000000000)
#define M2P_RW_BASE    (HV_BASE + 0x3000000000)
#define DIRECTMAP_BASE 0xffff810000000000
#define DIRECTMAP_END  0xffff880000000000

#define HV_SLOT_FIRST 256
#define HV_SLOT_LAST  271

/* A CPU's window: 14 pages of guest descriptors, the hypervisor's page, a gap, 16 LDT pages. */
#define WINDOW_STRIDE   0x20000
#define WINDOW_LDT      0x10000
#define GUEST_GDT_PAGES 14

/* Selectors in the hypervisor's GDT page (offset 0xe000), fixed by the PV ABI for ring 3. */
#define SEL_HV_CS      0xe008
#define SEL_HV_DS      0xe010
#define SEL_RING3_CS32 0xe023
#define SEL_RING3_DS   0xe02b
#define SEL_RING3_CS64 0xe033
#define SEL_TSS        0xe040
#define SEL_LDT        0xe050

/* Size of a hypervisor stack; struct stack_info sits at its top. */
#define STACK_ORDER 1
#define STACK_SIZE  0x2000

/* The TSS's I/O bitmap follows it; an offset beyond its limit means that every port traps. */
#define TSS_BITMAP_OFFSET 104
#define TSS_NO_BITMAP     0xfff8

/* Entries of the hypercall table: numbers from 0. */
#define NR_HYPERCALLS 64

#define MAX_CPUS 64

#endif
