/*
 * A QEMU plugin that counts guest instructions.
 *
 * Arguments (QEMU: -plugin build/bench/count.so,out=FILE,at=0x100000,at=...,profile=on):
 *   out=FILE    where the result goes (required)
 *   at=ADDRESS  print the number of instructions executed before the first one at ADDRESS
 *   profile=on  count each instruction address inside the timed sections of bench/guest/ops.c
 *   user=off    with profile=on: all of user mode's instructions are one address, for systems
 *               with many programs
 *   boot=on     with profile=on: first print two sections for the boot, from the first `at` to
 *               the second and from there to /init
 *
 * Result, one line each:
 *   at <address> <instructions since power-on>
 *   init <instructions since power-on>               at ops.c's first marker
 *   op <number of samples>                           one section per operation, in order:
 *   s <user> <kernel> <hypervisor>                   every sample's instructions by place
 *   c <address> <executions in all samples> <kind>   every address that was executed
 *
 * Each translated instruction adds one to a counter of its address; nothing else is done per
 * instruction, so counting is exact and cheap. A section begins with a copy of all counters and
 * ends with the addition of the differences. One vCPU only.
 *
 * The interface to QEMU is declared below, because Debian 12 ships no header for it; the
 * numbers belong to version 1 of that interface.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what QEMU offers a plugin ---- */

typedef uint64_t plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { CALLBACK_NO_REGS = 0 };
enum { INLINE_ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t,
                                           void (*)(plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(plugin_id_t, void (*)(plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *,
                                            void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *,
                                                uint64_t);

__attribute__((visibility("default"))) extern int qemu_plugin_version;
int qemu_plugin_version = 1;
__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id_t id, const void *info,
                                                               int argc, char **argv);

/* ---- the counters: one for each instruction address seen, found by an open hash ---- */

#define SLOTS (1u << 22)

static uint64_t address[SLOTS]; /* 0: free */
static uint32_t index_of[SLOTS];
static uint64_t address_at[SLOTS];
static uint8_t kind_at[SLOTS];
static uint64_t now[SLOTS], then[SLOTS], sum[SLOTS];
static uint32_t used;

static uint64_t total;
enum { USER, KERNEL, HYPERVISOR, PLACES };
#define MAX_SAMPLES 4096
static uint64_t sample_places[MAX_SAMPLES][PLACES];
static uint64_t samples;
static bool profile, boot, no_user, in_section;
static FILE *out;

enum { MAX_AT = 16 };
static uint64_t at[MAX_AT];
static bool at_seen[MAX_AT];
static unsigned at_count;

static void die(const char *why)
{
    fprintf(stderr, "count plugin: %s\n", why);
    exit(1);
}

static uint32_t counter_index(uint64_t a, uint8_t kind)
{
    uint32_t h = (uint32_t)((a * 0x9e3779b97f4a7c15ull) >> 42);

    while (address[h] && address[h] != a)
        h = (h + 1) & (SLOTS - 1);
    if (!address[h]) {
        if (used == SLOTS / 4 * 3)
            die("too many instruction addresses");
        address[h] = a;
        index_of[h] = used;
        address_at[used] = a;
        kind_at[used] = kind;
        used++;
    }
    return index_of[h];
}

/* ---- kinds of instruction whose cost an instruction count does not show ---- */

enum kind {
    PLAIN,
    CR3_WRITE,
    CR_OTHER,
    INVLPG,
    WRMSR,
    RDMSR,
    SYSCALL,
    SYSRET,
    IRET,
    SWAPGS,
    PORT,
    HLT,
    INT,
    LOCKED,
    KINDS
};

static const char *const kind_name[KINDS] = {
    "-",      "cr3-write", "cr-other", "invlpg",  "wrmsr", "rdmsr", "syscall",
    "sysret", "iret",      "swapgs",   "port-io", "hlt",   "int",   "locked",
};

static enum kind kind_0f(const uint8_t *p, size_t n)
{
    uint8_t modrm = n > 1 ? p[1] : 0;

    switch (p[0]) {
    case 0x01:
        if (modrm == 0xf8)
            return SWAPGS;
        return modrm < 0xc0 && (modrm >> 3 & 7) == 7 ? INVLPG : PLAIN;
    case 0x05:
        return SYSCALL;
    case 0x07:
        return SYSRET;
    case 0x20:
        return CR_OTHER;
    case 0x22:
        return (modrm >> 3 & 7) == 3 ? CR3_WRITE : CR_OTHER;
    case 0x30:
        return WRMSR;
    case 0x32:
        return RDMSR;
    case 0x38:
        return n > 1 && p[1] == 0x82 ? INVLPG : PLAIN;
    }
    return PLAIN;
}

static enum kind kind_of(const uint8_t *p, size_t n)
{
    bool locked = false;

    for (; n && (*p == 0x66 || *p == 0xf2 || *p == 0xf3 || *p == 0xf0 || *p == 0x2e ||
                 *p == 0x3e || *p == 0x65 || (*p & 0xf0) == 0x40);
         p++, n--)
        locked |= *p == 0xf0;
    if (!n)
        return PLAIN;
    if (*p == 0x0f && n > 1) {
        enum kind kind = kind_0f(p + 1, n - 1);

        return kind == PLAIN && locked ? LOCKED : kind;
    }
    if (locked || ((*p == 0x86 || *p == 0x87) && n > 1 && p[1] < 0xc0))
        return LOCKED;
    switch (*p) {
    case 0xcf:
        return IRET;
    case 0xcc:
    case 0xcd:
        return INT;
    case 0xf4:
        return HLT;
    case 0xe4:
    case 0xe5:
    case 0xe6:
    case 0xe7:
    case 0xec:
    case 0xed:
    case 0xee:
    case 0xef:
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x6f:
        return PORT;
    }
    return PLAIN;
}

/* ---- markers ---- */

#define MARK_BASE 0x53455200u
enum { MARK_INIT = 1, MARK_BEGIN, MARK_END, MARK_FIRST, MARK_LAST, MARKS };

static unsigned mark_of(const uint8_t *p, size_t n)
{
    uint32_t displacement;

    if (n != 7 || p[0] != 0x0f || p[1] != 0x1f || p[2] != 0x80)
        return 0;
    memcpy(&displacement, p + 3, sizeof(displacement));
    displacement -= MARK_BASE;
    return displacement < MARKS ? displacement : 0;
}

/* Slots 256 to 271 of the top-level page table belong to the hypervisor. */
static unsigned place_of(uint64_t a)
{
    if (a >> 47 == 0)
        return USER;
    return a >= 0xffff800000000000ull && a < 0xffff880000000000ull ? HYPERVISOR : KERNEL;
}

static void end_sample(void)
{
    uint64_t *places = sample_places[samples < MAX_SAMPLES ? samples : MAX_SAMPLES - 1];

    memset(places, 0, sizeof(sample_places[0]));
    for (uint32_t i = 0; profile && i < used; i++) {
        uint64_t n = now[i] - then[i];

        if (!n)
            continue;
        then[i] = now[i];
        sum[i] += n;
        places[place_of(address_at[i])] += n;
    }
    samples++;
}

static void print_section(void)
{
    fprintf(out, "op %llu\n", (unsigned long long)samples);
    for (uint64_t i = 0; i < samples && i < MAX_SAMPLES; i++)
        fprintf(out, "s %llu %llu %llu\n", (unsigned long long)sample_places[i][USER],
                (unsigned long long)sample_places[i][KERNEL],
                (unsigned long long)sample_places[i][HYPERVISOR]);
    for (uint32_t i = 0; i < used; i++)
        if (sum[i])
            fprintf(out, "c %llx %llu %s\n", (unsigned long long)address_at[i],
                    (unsigned long long)sum[i], kind_name[kind_at[i]]);
    fflush(out);
}

static void begin_section(void)
{
    if (profile)
        memcpy(then, now, used * sizeof(now[0]));
    in_section = true;
}

static void forget(void)
{
    samples = 0;
    memset(sum, 0, used * sizeof(sum[0]));
}

static void next_boot_section(bool more)
{
    if (in_section) {
        end_sample();
        print_section();
    }
    forget();
    in_section = false;
    if (more)
        begin_section();
}

static void on_mark(unsigned cpu, void *mark)
{
    (void)cpu;
    switch ((uintptr_t)mark) {
    case MARK_INIT:
        if (boot)
            next_boot_section(false);
        fprintf(out, "init %llu\n", (unsigned long long)total);
        fflush(out);
        break;
    case MARK_BEGIN:
        begin_section();
        break;
    case MARK_END:
        if (!in_section)
            break;
        in_section = false;
        end_sample();
        break;
    case MARK_FIRST:
        forget();
        break;
    case MARK_LAST:
        print_section();
        break;
    }
}

static void on_at(unsigned cpu, void *which)
{
    uintptr_t i = (uintptr_t)which;

    (void)cpu;
    if (at_seen[i])
        return;
    at_seen[i] = true;
    fprintf(out, "at %llx %llu\n", (unsigned long long)at[i], (unsigned long long)total);
    fflush(out);
    if (boot)
        next_boot_section(true);
}

static void on_translate(plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);

    (void)id;
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint8_t *bytes = qemu_plugin_insn_data(insn);
        size_t size = qemu_plugin_insn_size(insn);
        uint64_t a = qemu_plugin_insn_vaddr(insn);
        uintptr_t mark = mark_of(bytes, size);

        for (uintptr_t k = 0; k < at_count; k++)
            if (at[k] == a && !at_seen[k])
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_at, CALLBACK_NO_REGS,
                                                       (void *)k);
        if (mark)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, CALLBACK_NO_REGS,
                                                   (void *)mark);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &total, 1);
        if (no_user && place_of(a) == USER)
            a = 1;
        if (profile && a)
            qemu_plugin_register_vcpu_insn_exec_inline(
                insn, INLINE_ADD_U64, &now[counter_index(a, kind_of(bytes, size))], 1);
    }
}

static void on_quit(plugin_id_t id, void *unused)
{
    (void)id;
    (void)unused;
    fprintf(out, "end %llu\n", (unsigned long long)total);
    fclose(out);
}

int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
        else if (!strncmp(argv[i], "at=", 3) && at_count < MAX_AT)
            at[at_count++] = strtoull(argv[i] + 3, NULL, 16);
        else if (!strcmp(argv[i], "profile=on"))
            profile = true;
        else if (!strcmp(argv[i], "user=off"))
            no_user = true;
        else if (!strcmp(argv[i], "boot=on"))
            boot = true;
        else
            die("unknown argument");
    }
    if (!out)
        die("no out=FILE that can be written");
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_quit, NULL);
    return 0;
}
