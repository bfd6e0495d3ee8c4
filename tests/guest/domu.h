/*
 * A second domain, made by this one: it runs this very image, from its first state, with memory
 * of its own at the same addresses.
 *
 *   static void other_side(void)            // runs in the new domain, all of guest.h works there
 *   {
 *       for (u64 order; (order = domu_next());)
 *           domu_reply(do_it(order, domu_mail.in[0]));
 *   }
 *
 *   domu_make(&u, other_side, 1);           // built, but paused
 *   domu_run(&u);
 *   domu_ask(&u, 1, argument);              // an order and its answer
 *   domu_end(&u);
 *
 * Its pages: pfn n lies at VIRT_BASE + n * PAGE_SIZE in it, as here; what it prints goes to its
 * mail page and is shown by whoever waits for it. It must not report checks. A wait that never
 * ends, and an unexpected end of the other domain, end the run.
 *
 * Several domains at a time are fine; each wants about 6.5 MiB of free memory.
 */
#ifndef GUEST_DOMU_H
#define GUEST_DOMU_H

#include "guest.h"
#include <xen/domctl.h>

#define DOMU_PAGES 2500

/* A page of the domain's own that this one sees. */
struct domu_mail {
    volatile u64 order, done; /* serial numbers of the last order given and answered */
    volatile u64 what, answer;
    volatile u64 in[8], out[8]; /* for the tests */
    u64 log_len;
    char log[3072];
};
extern struct domu_mail domu_mail; /* one's own */

struct domu {
    u16 id;
    u64 pages;      /* pfns from 0 */
    u64 shared_mfn; /* of its shared page */
    u64 start_va;   /* of its struct start_info */
    u64 top_pfn;    /* its L4 */
    u64 mfn[DOMU_PAGES];
    struct domu_mail *mail; /* its mail page as seen here */
    u64 orders;
    u64 log_seen;
};

/* --- in domain 0 --- */

/* An operation on a domain: op's other fields are the caller's; the id stays in op->domain. */
long domctl(unsigned cmd, u16 id, struct xen_domctl *op);
long domctl_plain(unsigned cmd, u16 id); /* one without arguments */

/* Without memory, tables or vcpu state: for a test that makes these itself. */
void domu_make_empty(struct domu *u, unsigned vcpus);
/* Its pages; u->mfn has their frames afterwards. */
void domu_populate(struct domu *u, u64 pages);
/* All of it, paused; each step that fails ends the run. */
void domu_make(struct domu *u, void (*main)(void), unsigned vcpus);
void domu_run(struct domu *u); /* takes the first pause away */
/* Gives an order; waits for the answer to the last one; both. */
void domu_order(struct domu *u, u64 what, u64 in0);
u64 domu_await(struct domu *u);
u64 domu_ask(struct domu *u, u64 what, u64 in0);
/* Waits until it is shut down; the code. */
unsigned domu_await_shutdown(struct domu *u);
/* Destroys it and waits until its id is gone. False: it stays, as a name with frames. */
bool domu_end(struct domu *u);
/* XEN_DOMINF_ flags; ~0: there is no such domain. */
u32 domu_flags(const struct domu *u);

/* The frame of an address of the image in the other domain. */
u64 domu_mfn_of(const struct domu *u, const volatile void *va);
/* A frame of the other domain mapped here, 0: refused. Flags as in a PTE. */
void *domu_map_mfn(const struct domu *u, u64 mfn, u64 flags);
/* The other domain's copy of an object of the image, writable here; it must not cross a page. */
void *domu_view(const struct domu *u, const volatile void *va);
void domu_unmap(const volatile void *view);
/* mmuext operations on the other domain's frames. */
long domu_mmuext(const struct domu *u, unsigned cmd, u64 mfn);
/* Lets others run for a moment. */
void domu_doze(void);

/* --- in the other domain --- */

u64 domu_next(void); /* waits for an order */
void domu_reply(u64 answer);
/* Printing goes here instead of to the console. */
extern bool in_domu;
void domu_print(const char *text, unsigned len);
void domu_keep_image(void); /* first of all: its initial state is what other domains get */

#endif
