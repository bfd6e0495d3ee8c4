/*
 * The mini guest: a 64-bit PV kernel that tests the hypervisor below it and reports in TAP.
 *
 * Memory: the image's pool of pages (page_alloc) is mapped 1:1 at VIRT_BASE, so a page has one
 * writable alias unless a test makes another. Virtual events stay masked unless a test
 * unmasks them. One vcpu, no locks; tests of several vcpus say what they share (smp.c).
 */
#ifndef GUEST_H
#define GUEST_H

#include "hyper.h"

#define VIRT_BASE     0xffffffff80000000UL
#define PAGE_SIZE     4096UL
#define HOLE_START    0xffff800000000000UL
#define HOLE_END      0xffff880000000000UL
#define NON_CANONICAL 0x0000800000000000UL
#define USER_CODE     0x400000UL     /* one page, the kernel may write it */
#define USER_DATA     0x401000UL     /* one page; the user stack starts at its end */
#define UNMAPPED      0x7000000000UL /* no table below L4 */

enum {
    PTE_P = 1,
    PTE_RW = 2,
    PTE_US = 4,
    PTE_PWT = 8,
    PTE_PCD = 0x10,
    PTE_A = 0x20,
    PTE_D = 0x40,
    PTE_PSE = 0x80,
    PTE_PAT = 0x80,
    PTE_G = 0x100,
    PTE_AVL = 0xe00
};
#define PTE_NX   (1UL << 63)
#define PTE_ADDR 0x000ffffffffff000UL
#define PTE_KERN (PTE_P | PTE_RW | PTE_A | PTE_D)
#define PTE_RO   (PTE_P | PTE_A | PTE_D)
#define PTE_USER (PTE_KERN | PTE_US)

/* --- lib.c: console, TAP, bytes, random numbers ------------------------------------------ */

void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool ok(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool is(long got, long want, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A documented deviation: stock Xen answers one thing, we another. */
bool is_dev(long got, long stock, long serai, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Refused: any negative errno. */
bool refused(long rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void skip(const char *name, const char *why);
void group(const char *name);
void finish(void) __attribute__((noreturn));
void power_off(void) __attribute__((noreturn));
void die(const char *why) __attribute__((noreturn));

void *memset(void *p, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
bool has_prefix(const char *s, const char *prefix);
/* Ticks: with QEMU's -icount shift=0 they are instructions. */
static inline u64 tsc_now(void)
{
    return __builtin_ia32_rdtsc();
}

/* The value of the word key=... of the kernel command line, or NULL. Ends at a space. */
const char *option(const char *key);
u64 option_number(const char *key, u64 otherwise);

void rand_seed(u64 seed);
u64 rand64(void);
u64 rand_below(u64 n);

/* One of the hypervisor's own counters; domain 0 on Serai only. */
u64 hv_counter(const char *name);

extern struct start_info *start;
extern struct shared_info *shared;
extern struct vcpu_info *vi; /* follows VCPUOP_register_vcpu_info */
extern bool is_serai;
/* All of the above, first of all. */
void guest_begin(struct start_info *si);

/* --- trap.c: what the hypervisor delivers ------------------------------------------------- */

struct regs {
    u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    u64 vec, ec, rip, cs, rflags, rsp, ss;
};

enum {
    VEC_NONE = 999,
    VEC_EVENT = 256,
    VEC_FAILSAFE,
    VEC_SYSCALL,
    VEC_SYSCALL32,
    VEC_SYSENTER
};

/* The last trap that was not an event. */
struct trap {
    u64 vec;
    u64 count; /* since trap_clear() */
    struct regs r;
    u64 cr2;      /* vcpu_info.arch.cr2 at delivery */
    u64 flags;    /* rflags in the handler */
    u8 mask;      /* evtchn_upcall_mask in the handler */
    bool aligned; /* the frame ended on 16 bytes */
};
extern volatile struct trap trap;
extern volatile u64 events_seen, event_rip;
extern u8 event_saved_mask;
extern void (*event_hook)(void); /* called at each upcall */

void trap_init(void);
void trap_table_install(u8 flags_all);
void trap_table_at(u8 flags_all, const char *stubs); /* 256 stubs, 16 bytes each */
void trap_enter(struct regs *r);
void trap_clear(void);
void callback_register(unsigned type, void *stub, unsigned flags);
const char *vec_name(u64 vec);

/*
 * Runs one instruction that may fault; its value is the vector (VEC_NONE: no fault). After the
 * text come outputs, inputs and clobbers as in asm, from the first colon on.
 */
#define EX_TEXT(insn)                                                                          \
    "1: " insn "\n2:\n.pushsection .ex, \"a\"\n.balign 8\n.quad 1b, 2b\n.popsection\n"
#define EX(insn, ...)                                                                          \
    ({                                                                                         \
        trap_clear();                                                                          \
        asm volatile(EX_TEXT(insn) __VA_ARGS__);                                               \
        trap.vec;                                                                              \
    })

u64 try_read(u64 va, u64 *val); /* vector or VEC_NONE */
u64 try_write(u64 va, u64 val);

struct iret_context;
long enter_context(const struct iret_context *c, u64 rdi, u64 rsi, u64 rdx, u64 nr);
void leave_context(long value) __attribute__((noreturn));
extern char trap_stubs[], event_stub[], failsafe_stub[], syscall_stub[], syscall32_stub[];
extern char sysenter_stub[], hypercall_page[], trap_stack_top[], boot_stack_top[];
extern u64 resume_sp, entry_flags, failsafe_sel[4];
extern u64 entry_regs[];

/* --- user.c: code in guest user mode ----------------------------------------------------- */

/* A piece of position-independent machine code to be copied to USER_CODE. */
#define USER_CODE_TEXT(name, text)                                                             \
    asm(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.popsection");            \
    extern const char name[], name##_end[]

void user_init(void);
bool user_ready(void);
void user_load(const void *code, size_t len); /* copies it to USER_CODE */
/* Runs it with rdi, rsi, rdx and rflags; the trap that ended it is in `trap`. */
void user_exec(const void *code, size_t len, u64 rdi, u64 rsi, u64 rdx, u64 rflags);
#define USER_RUN(name, rdi, rsi, rdx)                                                          \
    user_exec(name, name##_end - name, (u64)(rdi), (u64)(rsi), (u64)(rdx), 0x200)
/* Maps a page at va in both address spaces. */
void user_map(u64 va, u64 pte);
extern u64 user_l4; /* mfn */

/* --- mem.c: frames and page tables -------------------------------------------------------- */

void mem_init(void);
void *page_alloc(void); /* zeroed, mapped writable */
void page_free(void *page);
u64 pfn_of(const volatile void *va);
u64 mfn_of(const volatile void *va);
u64 maddr_of(const volatile void *va);
void *va_of_mfn(u64 mfn); /* NULL when it is not ours or not in the initial mapping */
bool mfn_is_ours(u64 mfn);
u64 m2p(u64 mfn); /* ~0 when unknown */
extern u64 max_mfn;
u64 *l4_table(void); /* the kernel's top table, read-only mapped */
/* The entry that maps va at level 1..4 of the current tables, or NULL. */
u64 *pte_at(u64 va, int level);
u64 *pte_in(u64 *l4, u64 va, int level);
u64 *pte_make(u64 *l4, u64 va); /* level 1, adding the tables that are missing */
u64 pte_read(u64 va);           /* level-1 entry, 0 when there is none */
long set_ro(const volatile void *page);
long set_rw(const volatile void *page);
long mmu_write(const volatile void *entry, u64 val); /* one mmu_update, NORMAL */
long mmu_write_type(u64 maddr, u64 val, unsigned type, u64 dom);
long mmuext(unsigned cmd, u64 arg1, u64 arg2);
long pin(int level, const volatile void *page);
long unpin(const volatile void *page);
/* A window address with all levels of tables below it, its entry not present. */
u64 window(unsigned n);
long window_map(unsigned n, u64 pte);
/* Takes a page with prepared entries, makes it read-only, pins it. */
long make_table(int level, void *page);
void drop_table(void *page); /* unpin and make writable again */
/* Ends up true when no table reachable from the top is mapped writable; notes offenders. */
bool tables_are_readonly(void);
u64 table_pages_seen(void);
bool mfn_is_table(u64 mfn); /* as of the last tables_are_readonly() */
/* RAM by the machine's memory map; the first MiB counts as I/O space. */
bool mfn_is_ram(u64 mfn);

/* --- clock.c: time and event channels ---------------------------------------------------- */

u64 clock_ns(void);
u64 clock_ns_of(const struct vcpu_time_info *t);
/* A port bound to VIRQ_TIMER, unmasked; the port number. */
u32 timer_port(void);
bool port_pending(u32 port);
void port_clear(u32 port);
void port_mask(u32 port, bool masked);
long timer_at(u64 ns);
/* With events unmasked, blocks until the port is pending; false after 2 s. */
bool wait_port(u32 port);

/* --- smp.c: more vcpus ------------------------------------------------------------------- */

#define MAX_CPUS 16

struct cpu {
    unsigned id;
    struct vcpu_info *vi;
    u32 kick; /* the port it idles on */
    void (*entry)(struct cpu *);
    void (*work)(struct cpu *); /* NULL: idle */
    void (*on_port)(struct cpu *, u32 port);
    u64 ports[64]; /* what its upcalls serve */
    volatile u64 vec, cr2, faults;
    volatile u64 events, nmis, watched; /* upcalls, NMIs, breakpoints hit */
    u64 rand;
    volatile u64 count, good, bad; /* a test's own; cleared by smp_begin() */
} __attribute__((aligned(128)));
extern struct cpu cpus[MAX_CPUS];

struct cpu *smp_self(void);
u64 smp_clock(const struct cpu *c);
u64 smp_rand(struct cpu *c);
unsigned smp_present(void); /* how many vcpus the domain has, up or not */
void smp_init(void);        /* once, before the rest; vcpu 0 takes traps here from then on */
/* Vcpus 1 to n-1 exist, are up and idle. Dies when there are fewer. */
void smp_start(unsigned n);
void smp_bind_kicks(void); /* again, after all ports were closed */
void *smp_stack(unsigned id);
/* For VCPUOP_initialise; one static object. When entry returns, the vcpu goes down. */
struct vcpu_guest_context *smp_context(unsigned id, void (*entry)(struct cpu *));
/* Work on one idle vcpu; on vcpus 0 to n-1, the caller included, until all have done it. */
void smp_begin(unsigned id, void (*work)(struct cpu *));
void smp_finish(unsigned id, const char *what);
void smp_all(unsigned n, void (*work)(struct cpu *), const char *what);
u64 smp_sum_bad(unsigned n);
u64 smp_sum_good(unsigned n);
void smp_events_on(struct cpu *c);
void smp_events_off(struct cpu *c);

/* Waits for a condition, yielding now and then; ends the run when it never comes. */
struct patience {
    u64 rounds, end;
};
void smp_relax(struct cpu *c, struct patience *p, const char *what);
#define WAIT_FOR(c, cond, what)                                                                \
    do {                                                                                       \
        struct patience patience_ = {0};                                                       \
                                                                                               \
        while (!(cond))                                                                        \
            smp_relax(c, &patience_, what);                                                    \
    } while (0)
struct barrier {
    unsigned count, turn;
};
void smp_barrier(struct cpu *c, struct barrier *b, unsigned n);

/* As EX, with the record of one vcpu. */
#define EX_ON(c, insn, ...)                                                                    \
    ({                                                                                         \
        (c)->vec = VEC_NONE;                                                                   \
        asm volatile(EX_TEXT(insn) __VA_ARGS__);                                               \
        (c)->vec;                                                                              \
    })

u32 ipi_bind(unsigned vcpu); /* 0: refused */
u32 virq_bind(unsigned virq, unsigned vcpu);
long port_send(u32 port);
long port_close(u32 port);
void port_owner(u32 port, const struct cpu *owner); /* whose upcalls serve it; NULL: nobody's */
long poll_port(u32 port, u64 timeout_ns);

/* A window address and its level-1 entry: its address here, and the machine's. */
struct slot {
    u64 va, *entry, maddr;
};
struct slot smp_slot(unsigned n);
bool smp_exchangeable(void *page); /* nothing holds it but its mapping at its own address */

/*
 * Fights: `for (rounds_start(c, cpus); rounds_left(c, n);)` on each vcpu goes on until the
 * slowest has had its n rounds, however the host shares out its CPUs.
 */
void rounds_start(struct cpu *c, unsigned n_cpus);
bool rounds_left(struct cpu *c, u64 n);
/* Pages to fight for, and their frames; afterwards nothing may refer to them any more. */
#define SMP_PAGES 8
extern u64 *smp_page[SMP_PAGES];
extern u64 smp_mfn[SMP_PAGES];
void smp_pages_take(void);
void smp_pages_are_free(const char *what); /* a check; the frames are others then */
bool smp_table_is_free(void *table);       /* unpins it; it is writable and empty then */
long smp_reservation(void);

/* --- the groups -------------------------------------------------------------------------- */

void test_boot(void);
void test_traps(void);
void test_mmu(void);
void test_ptwr(void);
void test_hostile(void);
void test_handles(void);
void test_emul(void);
void test_events(void);
void test_regress(void);
void test_fuzz(void);
void test_attacks(void);
void test_attacks2(void);
void test_abi(void);
void test_abi2(void);
void test_memory(void);
void test_memory_domu(void);
void test_crash(const char *how);
void test_smp_life(void);
void test_smp_flip(void);
void test_smp_gangs(void);
void test_smp_sharers(void);
void test_smp_over(void);
void test_smp_hostile(void);
void test_smp_hostile2(void);
void test_smp_events(void);
void test_smp_tlb(void);
void test_smp_filter(void);
void test_twodom(void);
void test_vif(void);
void test_vif_pieces(void);
void test_vif_shared(void);
void test_vif_switch(void);
void test_vif_finish(void);
void test_vif_daemons(void);
void test_vif_bench(void);
void test_vif_policy(void);
void test_vif_log(void);
void test_vif_shape(void);
void test_vif_soak(void);
void test_grants(void);
void test_grants2(void);
void test_save(void);
void test_domevents(void);
void test_queues(void);
void test_smp_domevents(void);
void test_toolstack(void);
void test_toolstack2(void);
void test_smp_grants(void);
void test_toolstack3(void);
void test_devices(void);
void test_smp_toolstack(void);
void test_many(void);
void test_cycles(void);

#endif
