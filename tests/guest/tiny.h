/*
 * The smallest domain that runs: four page tables, one page of code, and as much memory besides
 * as the caller wants. It sleeps until its port TINY_PORT is signalled, counts, and sleeps again.
 *
 *   tiny_make(&t, 2048);      // paused
 *   domu_run(&t.u);
 *   tiny_kick(&t, 1);         // count to 1
 *   tiny_end(&t);
 *
 * tiny_build() is the same in steps, any of which may fail, for tests of what is half built.
 */
#ifndef GUEST_TINY_H
#define GUEST_TINY_H

#include "domu.h"

#define TINY_PAGES 5 /* at least */
#define TINY_PORT  1
#define TINY_VA    0x400000UL

enum tiny_step {
    TINY_CREATED,
    TINY_VCPUS,
    TINY_LIMIT,
    TINY_CONNECTED, /* its port, and ours */
    TINY_GRANTS,    /* the first page of a grant table */
    TINY_MEMORY,
    TINY_TABLES,
    TINY_PINNED,
    TINY_CONTEXT,
    TINY_RUNS,
    TINY_STEPS,
};

/* What is needed of one that was made, so that many fit the image. */
struct tiny {
    u16 id;
    u32 port;           /* ours, 0: none yet */
    u64 code_mfn;       /* 0: none yet */
    volatile u64 *seen; /* its counter; NULL: not mapped here */
};

/* As far as 'until', with all of those before it; 0, or the error of the step that failed. */
long tiny_build(struct tiny *t, unsigned vcpus, u64 pages, enum tiny_step until);
/* Up to TINY_CONTEXT; each step that fails ends the run. */
void tiny_make(struct tiny *t, u64 pages);
long tiny_run(const struct tiny *t);
/* Signals its port and waits until its counter is n; false: it does not come. */
bool tiny_kick(struct tiny *t, u64 n);
/* However far it came: our views and ports, then the domain. False: it stays. */
bool tiny_end(struct tiny *t);

/* Free memory in pages, by domain 0's own account. */
u64 free_pages(void);

#endif
