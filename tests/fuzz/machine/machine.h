/*
 * The machine that the hypervisor's sources run on in tests/fuzz/fuzz_hypercalls.c: what hv/x86
 * does on a real one. All of base, core, kern, guest and hcall is the shipped source, except what
 * needs a boot, a console or an instruction emulator.
 *
 *  1. Memory is NR_FRAMES frames at DIRECTMAP_BASE; guests reach it through their own page tables,
 *     which are walked at each access, and what is found on the way must have the right type.
 *  2. There are NR_CPUS logical CPUs and one thread. Each vcpu and each CPU's idle loop has a host
 *     stack. The harness says which CPU goes on; it goes on to its next stop: the border to the
 *     guest, idleness, one round of a wait for another CPU, or the preemption point or copy of
 *     guest memory that 'stop_after' names. So CPUs interleave where a copy or a preemption point
 *     is, and at no other place; and the same bytes give the same run.
 *  3. Before a run everything is as it was when the machine was ready: machine_reset_all().
 *  4. No lock is held where CPUs interleave by choice (docs/locks.md).
 */
#ifndef FUZZ_MACHINE_H
#define FUZZ_MACHINE_H

#include "guest/domain.h"
#include "guest/frame.h"

#define NR_FRAMES 1024
#define NR_CPUS   6

/* Where all guests have their memory: page 'pfn' at VA_BASE + pfn * PAGE_SIZE, in one L1. */
#define VA_BASE  0x0000100000000000UL
#define VA_SLOTS 512

#define REQUIRE(cond)                                                                          \
    do {                                                                                       \
        if (unlikely(!(cond)))                                                                 \
            machine_fail(__FILE__, __LINE__, #cond);                                           \
    } while (0)

__noreturn void machine_fail(const char *file, int line, const char *what);

/* At the start of the program: 'build' makes the domains, in the name of nobody. */
void machine_init(void (*build)(void), void (*guest)(struct vcpu *v));

/* Everything as after machine_init(). */
void machine_reset_all(void);

/* One CPU goes on to its next stop; 'stop_after' points, 0: not at those, as a rule. */
void machine_step(unsigned cpu, unsigned stop_after);

/* The CPU waits for another one. */
bool machine_waits(unsigned cpu);
/* The CPU idles and has nothing to take. */
bool machine_idles(unsigned cpu);
/* An interrupt has come. */
bool machine_has_news(unsigned cpu);
/* It is neither idle nor at the border. */
bool machine_is_busy(unsigned cpu);
/* CPU 0 does this when it idles the next time: in nobody's name. */
void machine_when_idle(void (*work)(void));
/* Domain 0 has ended, and the machine with it. */
bool machine_is_over(void);

/* Inside guest(): a stop. */
void machine_border(void);
/* Time goes on. */
void machine_advance(u64 ns);
/* When a timer is due; ~0: none. */
u64 machine_next_timer(void);
u64 machine_now(void);

/* For calls from the harness itself, between steps: who is the current vcpu. */
void machine_act_as(struct vcpu *v);

/* Guest memory by the loaded page table; NULL: not mapped, or not writable. */
void *machine_translate(u64 va, bool write);

/* Checks of the heap (heap.c): its own, and what it gave out. */
void heap_audit(void);
/* What counts as clean is. */
void heap_audit_clean(void);
/* Pages that the hypervisor has for itself, and small objects in use. */
u64 heap_pages_in_use(void);
u64 heap_objects_in_use(void);
bool heap_is_free(const struct frame *f);

#endif
