/*
 * The decoder against tables, against itself (truncation, null prefixes), and against the
 * processor this test runs on: generated writes are executed natively in a page of machine
 * code and their memory, registers and flags compared with insn_compute and insn_commit.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <asm/prctl.h>

#include "core/insn.h"

#define NONE INSN_NO_REG

/* ---- tables ---- */

struct expected {
    u8 bytes[16];
    u8 len;
    enum insn_op op;
    u8 reg, gpr, size;
};

static const struct expected privileged[] = {
    {{0x0f, 0x32}, 2, INSN_RDMSR, 0, NONE, 0},
    {{0x0f, 0x30}, 2, INSN_WRMSR, 0, NONE, 0},
    {{0x48, 0x0f, 0x30}, 3, INSN_WRMSR, 0, NONE, 0},
    {{0x0f, 0x20, 0xd0}, 3, INSN_MOV_FROM_CR, 2, 0, 8},
    {{0x0f, 0x22, 0xe7}, 3, INSN_MOV_TO_CR, 4, 7, 8},
    {{0x44, 0x0f, 0x20, 0xc1}, 4, INSN_MOV_FROM_CR, 8, 1, 8},
    {{0x41, 0x0f, 0x22, 0xdc}, 4, INSN_MOV_TO_CR, 3, 12, 8},
    {{0x0f, 0x20, 0x10}, 3, INSN_MOV_FROM_CR, 2, 0, 8}, /* mod is ignored */
    {{0x0f, 0x21, 0xf8}, 3, INSN_MOV_FROM_DR, 7, 0, 8},
    {{0x0f, 0x23, 0xf3}, 3, INSN_MOV_TO_DR, 6, 3, 8},
    {{0x0f, 0x06}, 2, INSN_CLTS, 0, NONE, 0},
    {{0x0f, 0x01, 0xf1}, 3, INSN_LMSW, 0, 1, 2},
    {{0x41, 0x0f, 0x01, 0xf7}, 4, INSN_LMSW, 0, 15, 2},
    {{0x0f, 0x01, 0x30}, 3, INSN_LMSW, 0, NONE, 2},
    {{0x0f, 0x01, 0xd1}, 3, INSN_XSETBV, 0, NONE, 0},
    {{0x0f, 0x01, 0xd0}, 3, INSN_XGETBV, 0, NONE, 0},
    {{0x0f, 0xa2}, 2, INSN_CPUID, 0, NONE, 0},
    {{0xec}, 1, INSN_IN, 0, 0, 1},
    {{0xed}, 1, INSN_IN, 0, 0, 4},
    {{0x66, 0xed}, 2, INSN_IN, 0, 0, 2},
    {{0x48, 0xed}, 2, INSN_IN, 0, 0, 4},
    {{0xee}, 1, INSN_OUT, 0, 0, 1},
    {{0x66, 0xef}, 2, INSN_OUT, 0, 0, 2},
    {{0xe4, 0x61}, 2, INSN_IN, 0, 0, 1},
    {{0xe5, 0x61}, 2, INSN_IN, 0, 0, 4},
    {{0xe6, 0x80}, 2, INSN_OUT, 0, 0, 1},
    {{0x66, 0xe7, 0x80}, 3, INSN_OUT, 0, 0, 2},
    {{0xf3, 0x6c}, 2, INSN_INS, 0, NONE, 1},
    {{0xf3, 0x66, 0x6d}, 3, INSN_INS, 0, NONE, 2},
    {{0x6f}, 1, INSN_OUTS, 0, NONE, 4},
    {{0xf2, 0x6e}, 2, INSN_OUTS, 0, NONE, 1},
    {{0xf4}, 1, INSN_HLT, 0, NONE, 0},
    {{0xfa}, 1, INSN_CLI, 0, NONE, 0},
    {{0xfb}, 1, INSN_STI, 0, NONE, 0},
    {{0x0f, 0x01, 0x38}, 3, INSN_INVLPG, 0, NONE, 0},
    {{0x41, 0x0f, 0x01, 0x7c, 0x24, 0x10}, 6, INSN_INVLPG, 0, NONE, 0},
    {{0x0f, 0x09}, 2, INSN_WBINVD, 0, NONE, 0},
    {{0xf3, 0x0f, 0x09}, 3, INSN_WBINVD, 0, NONE, 0},
    {{0x0f, 0x08}, 2, INSN_INVD, 0, NONE, 0},
    {{0x0f, 0x31}, 2, INSN_RDTSC, 0, NONE, 0},
    {{0x0f, 0x01, 0xf9}, 3, INSN_RDTSCP, 0, NONE, 0},
    {{0x0f, 0x33}, 2, INSN_RDPMC, 0, NONE, 0},
    {{0xcd, 0x80}, 2, INSN_INT_N, 0, NONE, 0},
    {{0x48, 0xcf}, 2, INSN_IRET, 0, NONE, 0},
};

static void decodes_privileged(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(privileged); i++) {
        const struct expected *e = &privileged[i];
        struct insn insn;

        assert_int_equal(insn_decode(e->bytes, e->len, &insn), 0);
        assert_int_equal(insn.op, e->op);
        assert_int_equal(insn.len, e->len);
        assert_int_equal(insn.reg, e->reg);
        assert_int_equal(insn.gpr, e->gpr);
        assert_int_equal(insn.size, e->size);
        assert_int_equal(insn_decode(e->bytes, 15, &insn), 0);
        assert_int_equal(insn.len, e->len);
        for (size_t len = 0; len < e->len; len++)
            assert_int_equal(insn_decode(e->bytes, len, &insn), -XEN_EFAULT);
    }
}

static struct insn decoded(const char *bytes, size_t len)
{
    struct insn insn;

    assert_int_equal(insn_decode((const u8 *)bytes, len, &insn), 0);
    assert_int_equal(insn.len, len);
    return insn;
}

#define DECODED(s) decoded(s, sizeof(s) - 1)

static void decodes_ports_and_vectors(void **state)
{
    struct insn insn = DECODED("\xe4\x61");

    assert_int_equal(insn.port, 0x61);
    assert_false(insn.port_is_dx);
    assert_true(DECODED("\xec").port_is_dx);
    assert_true(DECODED("\x6c").port_is_dx);
    assert_false(DECODED("\x6c").rep);
    assert_true(DECODED("\xf3\x6c").rep);
    assert_true(DECODED("\xf2\x6e").rep);
    assert_int_equal(DECODED("\xcd\x82").vector, 0x82);
}

/* The very instructions of Debian's kernel that write page tables. */
static void decodes_what_linux_uses(void **state)
{
    struct insn insn = DECODED("\x48\x87\x10");

    assert_int_equal(insn.op, INSN_MEM_WRITE);
    assert_int_equal(insn.mem_op, MEM_XCHG);
    assert_int_equal(insn.size, 8);
    assert_int_equal(insn.gpr, 2);
    assert_int_equal(insn.base, 0);
    assert_int_equal(insn.index, NONE);
    assert_false(insn.lock);
    insn = DECODED("\x48\x89\x2b");
    assert_int_equal(insn.mem_op, MEM_MOV);
    assert_int_equal(insn.gpr, 5);
    assert_int_equal(insn.base, 3);
    insn = DECODED("\xf0\x41\x80\x24\x24\xfd");
    assert_int_equal(insn.mem_op, MEM_AND);
    assert_true(insn.lock);
    assert_true(insn.has_imm);
    assert_int_equal(insn.imm, (u64)-3);
    assert_int_equal(insn.size, 1);
    assert_int_equal(insn.base, 12);
    assert_int_equal(insn.index, NONE);
    insn = DECODED("\x48\x87\x75\x00");
    assert_int_equal(insn.gpr, 6);
    assert_int_equal(insn.base, 5);
    insn = DECODED("\xf0\x48\x0f\xba\x33\x05");
    assert_int_equal(insn.mem_op, MEM_BTR);
    assert_int_equal(insn.imm, 5);
    insn = DECODED("\x4c\x89\x3c\xd8");
    assert_int_equal(insn.gpr, 15);
    assert_int_equal(insn.index, 3);
    assert_int_equal(insn.scale, 3);
}

static const struct {
    const char *bytes;
    size_t len;
} illegal[] = {
#define BAD(s)                                                                                 \
    {                                                                                          \
        s, sizeof(s) - 1                                                                       \
    }
    BAD("\xf0\x48\x89\x2b"), /* lock mov */
    BAD("\xf0\xc6\x00\x00"), /* lock mov imm */
    BAD("\xf0\xaa"),         /* lock stos */
    BAD("\xf0\x0f\x32"),     /* lock rdmsr */
    BAD("\xf0\xed"),         /* lock in */
    BAD("\x48\x87\xd0"),     /* register forms are no memory writes */
    BAD("\x80\xe0\x01"),
    BAD("\x0f\xb1\xc8"),
    BAD("\x0f\xba\xe8\x01"),
    BAD("\x80\x38\x00"), /* cmp */
    BAD("\xf0\x48\x83\x38\x00"),
    BAD("\x81\x38\x00\x00\x00\x00"),
    BAD("\xc6\x08\x00"), /* group 11 has only 0 */
    BAD("\xf6\x00\x00"), /* test */
    BAD("\xf7\x20"),     /* mul */
    BAD("\xfe\x10"),
    BAD("\xff\x10"),         /* call */
    BAD("\x0f\xba\x20\x01"), /* bt */
    BAD("\x82\x20\x01"),     /* not in 64-bit mode */
    BAD("\x66\x0f\xc3\x08"), /* movnti takes no prefix */
    BAD("\xf3\x0f\xc3\x08"),
    BAD("\x0f\x20\xc8"),     /* CR1 */
    BAD("\x0f\x22\xf8"),     /* CR7 */
    BAD("\x44\x0f\x22\xc8"), /* CR9 */
    BAD("\x44\x0f\x23\xc0"), /* DR8 */
    BAD("\x0f\x01\xd2"),
    BAD("\x66\x0f\x01\xd1"),
    BAD("\x0f\x01\xf8"), /* swapgs */
    BAD("\x0f\x01\x10"), /* lgdt */
    BAD("\x0f\x07"),     /* sysret */
    BAD("\x0f\x0b"),
    BAD("\x90"),
    BAD("\xcc"),
    BAD("\xc5\xf8\x11\x00"),         /* VEX */
    BAD("\x62\xf1\x7c\x48\x11\x00"), /* EVEX */
    BAD("\x0f\x38\xf1\x00"),         /* movbe */
    BAD("\x64\x65\x48\x89\x2b"),     /* two overrides with a base */
    BAD("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xec"),
    BAD("\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x0f\x01\xd1"),
    BAD("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x81\x08\x00\x00"),
    BAD("\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x48\x89\x43\x00"),
};

static void refuses_the_rest(void **state)
{
    static const struct insn zero;

    for (size_t i = 0; i < ARRAY_SIZE(illegal); i++) {
        u8 bytes[32] = {0};
        struct insn insn;

        memset(&insn, 0x5a, sizeof(insn));
        memcpy(bytes, illegal[i].bytes, illegal[i].len);
        assert_int_equal(insn_decode(bytes, illegal[i].len, &insn), -XEN_EINVAL);
        assert_memory_equal(&insn, &zero, sizeof(zero));
        assert_int_equal(insn_decode(bytes, sizeof(bytes), &insn), -XEN_EINVAL);
        assert_memory_equal(&insn, &zero, sizeof(zero));
    }
}

/* The longest legal instruction is 15 bytes; one more prefix makes it illegal. */
static void accepts_fifteen_bytes(void **state)
{
    struct insn insn = DECODED("\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x3e\x48\x89\x43\x00");

    assert_int_equal(insn.mem_op, MEM_MOV);
    insn = DECODED("\x66\x66\xf0\x67\x41\x81\xa4\x84\x01\x02\x03\x04\x05\x06");
    assert_int_equal(insn.mem_op, MEM_AND);
    assert_int_equal(insn.size, 2);
}

static void rex_counts_only_before_the_opcode(void **state)
{
    struct insn insn = DECODED("\x48\x3e\x89\x2b");

    assert_int_equal(insn.size, 4);
    insn = DECODED("\x41\x48\x89\x2b");
    assert_int_equal(insn.size, 8);
    assert_int_equal(insn.base, 3);
    insn = DECODED("\x66\x48\x89\x2b");
    assert_int_equal(insn.size, 8);
    insn = DECODED("\x40\x88\x2b"); /* bpl */
    assert_int_equal(insn.gpr, 5);
    assert_false(insn.high_byte);
    insn = DECODED("\x88\x2b"); /* ch */
    assert_int_equal(insn.gpr, 1);
    assert_true(insn.high_byte);
}

/* Addresses wrap; nothing a register holds is undefined. */
static void huge_bit_numbers_wrap(void **state)
{
    struct insn bts = DECODED("\xf0\x48\x0f\xab\x0b"); /* bts %rcx,(%rbx) */
    struct insn btl = DECODED("\xf0\x0f\xab\x0b");
    struct insn btw = DECODED("\xf0\x66\x0f\xab\x0b");
    struct insn_regs regs = {.gpr[3] = 0x1000};

    regs.gpr[1] = 1UL << 63;
    assert_int_equal(insn_effective_address(&bts, &regs), 0x1000 - (1UL << 60));
    assert_int_equal(insn_effective_address(&btl, &regs), 0x1000);
    regs.gpr[1] = ~0UL;
    assert_int_equal(insn_effective_address(&bts, &regs), 0x1000 - 8);
    assert_int_equal(insn_effective_address(&btl, &regs), 0x1000 - 4);
    assert_int_equal(insn_effective_address(&btw, &regs), 0x1000 - 2);
    regs.gpr[1] = ~0UL >> 1;
    assert_int_equal(insn_effective_address(&bts, &regs), 0x1000 + (1UL << 60) - 8);
    regs.gpr[1] = 0x8000;
    assert_int_equal(insn_effective_address(&btw, &regs), 0x1000 - 0x1000);
}

static void string_addresses(void **state)
{
    struct insn_regs regs = {
        .gpr[6] = 0x1111111122222222, .gpr[7] = 0x3333333344444444, .fs_base = 0x10};
    struct insn movs = DECODED("\x64\x48\xa5"), outs = DECODED("\x67\x64\x6f");
    struct insn ins = DECODED("\x64\x6d");

    assert_int_equal(insn_effective_address(&movs, &regs), 0x3333333344444444);
    assert_int_equal(insn_source_address(&movs, &regs), 0x1111111122222232);
    assert_int_equal(insn_effective_address(&outs, &regs), 0x22222232);
    assert_int_equal(insn_source_address(&outs, &regs), 0x22222232);
    assert_int_equal(insn_effective_address(&ins, &regs), 0x3333333344444444);
}

static void string_steps(void **state)
{
    struct insn_regs regs = {
        .gpr[1] = 2, .gpr[6] = 0x100, .gpr[7] = 0x200, .rip = 0x5000, .rflags = 0x10000};
    struct insn ins = DECODED("\xf3\x6d"), outs = DECODED("\x66\x6f");

    assert_true(insn_string_advance(&ins, &regs));
    assert_int_equal(regs.gpr[7], 0x204);
    assert_int_equal(regs.rip, 0x5000);
    assert_int_equal(regs.rflags, 0x10000);
    assert_false(insn_string_advance(&ins, &regs));
    assert_int_equal(regs.gpr[7], 0x208);
    assert_int_equal(regs.gpr[6], 0x100);
    assert_int_equal(regs.rip, 0x5002);
    assert_int_equal(regs.rflags, 0);
    assert_true(insn_string_done(&ins, &regs));
    assert_false(insn_string_done(&outs, &regs));
    regs.rflags = 0x400;
    assert_false(insn_string_advance(&outs, &regs));
    assert_int_equal(regs.gpr[6], 0xfe);
    assert_int_equal(regs.gpr[1], 0);
}

/* The flag that holds off an instruction breakpoint ends with the instruction. */
static void finished_writes_clear_rf(void **state)
{
    struct insn xchg = DECODED("\x48\x87\x10"), andb = DECODED("\xf0\x80\x23\xfd");
    struct insn_regs regs = {.rflags = 0x10202};
    u64 new;

    assert_int_equal(insn_apply(&xchg, &regs, 0, &new), 0);
    assert_int_equal(regs.rflags, 0x202);
    regs.rflags = 0x10202;
    assert_int_equal(insn_apply(&andb, &regs, 2, &new), 0);
    assert_int_equal(regs.rflags, 0x246);
}

static void apply_needs_a_write(void **state)
{
    struct insn insn = DECODED("\x0f\x32");
    struct insn_regs regs = {0};
    u64 new;

    assert_int_equal(insn_apply(&insn, &regs, 0, &new), -XEN_EINVAL);
}

/* ---- against the processor ---- */

#define AREA         0x30000000UL /* struct machine, then a stack */
#define CODE         0x30010000UL
#define SCRATCH      0x30020000UL
#define SCRATCH_SIZE 0x2000UL
#define GS_BASE      0x1230UL

#define ARITH_FLAGS 0x8d5UL
#define AF_FLAG     0x10UL

struct machine {
    u64 gpr[16];
    u64 rflags;
    u64 host_rsp;
};

#define M ((struct machine *)AREA)

static u64 seed = 0x5e4a1;

static u64 rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1dUL;
}

static u8 *emit(u8 *p, const char *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

static u8 *emit_abs(u8 *p, const char *bytes, size_t n, const void *address)
{
    u32 a = (uintptr_t)address;

    p = emit(p, bytes, n);
    memcpy(p, &a, 4);
    return p + 4;
}

/* mov between register r and M->gpr[r]; opcode 8b loads, 89 stores. */
static u8 *emit_gpr(u8 *p, u8 opcode, u32 r)
{
    char bytes[] = {r >= 8 ? 0x4c : 0x48, opcode, 0x04 | (r & 7) << 3, 0x25};

    return emit_abs(p, bytes, 4, &M->gpr[r]);
}

#define STACK_TOP ((const void *)(AREA + 0x2000))

/* Where the tested instruction goes: after the part that loads flags and registers. */
static u8 *emit_entry(void)
{
    u8 *p = emit((u8 *)CODE, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10);

    p = emit_abs(p, "\x48\x89\x24\x25", 4, &M->host_rsp);
    p = emit_abs(p, "\x48\xc7\xc4", 3, STACK_TOP);
    p = emit_abs(p, "\xff\x34\x25", 3, &M->rflags);
    p = emit(p, "\x9d", 1);
    for (u32 r = 0; r < 16; r++)
        p = emit_gpr(p, 0x8b, r);
    return p;
}

static void emit_exit(u8 *p)
{
    for (u32 r = 0; r < 16; r++)
        p = emit_gpr(p, 0x89, r);
    p = emit_abs(p, "\x48\xc7\xc4", 3, STACK_TOP);
    p = emit(p, "\x9c", 1);
    p = emit_abs(p, "\x8f\x04\x25", 3, &M->rflags);
    p = emit_abs(p, "\x48\x8b\x24\x25", 4, &M->host_rsp);
    emit(p, "\xfc\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 12);
}

enum imm_kind { IMM_NONE, IMM_8, IMM_FULL };

/* One opcode; digit >= 0 fixes ModRM.reg. byte: one-byte operand. */
struct template
{
    u8 opcode[2], opcode_len;
    s8 digit;
    bool byte, lockable;
    enum imm_kind imm;
    enum insn_mem_op op;
};

#define RM(o, op)                                                                              \
    {{o}, 1, -1, true, true, IMM_NONE, op},                                                    \
    {                                                                                          \
        {(o) + 1}, 1, -1, false, true, IMM_NONE, op                                            \
    }
#define GROUP1(n, op)                                                                          \
    {{0x80}, 1, n, true, true, IMM_8, op}, {{0x81}, 1, n, false, true, IMM_FULL, op},          \
    {                                                                                          \
        {0x83}, 1, n, false, true, IMM_8, op                                                   \
    }
#define UNARY(o, n, op)                                                                        \
    {{o}, 1, n, true, true, IMM_NONE, op},                                                     \
    {                                                                                          \
        {(o) + 1}, 1, n, false, true, IMM_NONE, op                                             \
    }
#define BITOP(o, n, op)                                                                        \
    {{0x0f, o}, 2, -1, false, true, IMM_NONE, op},                                             \
    {                                                                                          \
        {0x0f, 0xba}, 2, n, false, true, IMM_8, op                                             \
    }
#define RM0F(o, op)                                                                            \
    {{0x0f, o}, 2, -1, true, true, IMM_NONE, op},                                              \
    {                                                                                          \
        {0x0f, (o) + 1}, 2, -1, false, true, IMM_NONE, op                                      \
    }

static const struct template templates[] = {
    RM(0x00, MEM_ADD),
    RM(0x08, MEM_OR),
    RM(0x10, MEM_ADC),
    RM(0x18, MEM_SBB),
    RM(0x20, MEM_AND),
    RM(0x28, MEM_SUB),
    RM(0x30, MEM_XOR),
    RM(0x86, MEM_XCHG),
    GROUP1(0, MEM_ADD),
    GROUP1(1, MEM_OR),
    GROUP1(2, MEM_ADC),
    GROUP1(3, MEM_SBB),
    GROUP1(4, MEM_AND),
    GROUP1(5, MEM_SUB),
    GROUP1(6, MEM_XOR),
    UNARY(0xf6, 2, MEM_NOT),
    UNARY(0xf6, 3, MEM_NEG),
    UNARY(0xfe, 0, MEM_INC),
    UNARY(0xfe, 1, MEM_DEC),
    RM0F(0xb0, MEM_CMPXCHG),
    RM0F(0xc0, MEM_XADD),
    BITOP(0xab, 5, MEM_BTS),
    BITOP(0xb3, 6, MEM_BTR),
    BITOP(0xbb, 7, MEM_BTC),
    {{0x88}, 1, -1, true, false, IMM_NONE, MEM_MOV},
    {{0x89}, 1, -1, false, false, IMM_NONE, MEM_MOV},
    {{0xc6}, 1, 0, true, false, IMM_8, MEM_MOV},
    {{0xc7}, 1, 0, false, false, IMM_FULL, MEM_MOV},
    {{0x0f, 0xc3}, 2, -1, false, false, IMM_NONE, MEM_MOV},
};

/* A generated instruction, known by construction and not through the decoder. */
struct generated {
    u8 bytes[24];
    u8 len;
    u64 target;
    bool lock;
    u8 size;
};

static bool is_bit(const struct template *t)
{
    return t->op == MEM_BTS || t->op == MEM_BTR || t->op == MEM_BTC;
}

/* How far a register bit number moves the operand, by plain division. */
static u64 bit_offset(u32 reg, u32 size)
{
    s64 bit = M->gpr[reg];
    s64 bits = 8 * size;

    if (size == 2)
        bit = (s16)bit;
    if (size == 4)
        bit = (s32)bit;
    return (bit - ((bit % bits) + bits) % bits) / 8;
}

struct shape {
    u32 mod, base, index, scale, reg;
    bool rip, sib, addr32, gs, rex_w, opsize, rex;
};

static u8 *put_prefixes(u8 *p, const struct shape *s, bool lock)
{
    static const u8 null_prefix[] = {0x26, 0x2e, 0x36, 0x3e};

    if (s->opsize)
        *p++ = 0x66;
    if (s->addr32)
        *p++ = 0x67;
    if (s->gs)
        *p++ = 0x65;
    if (rnd() % 8 == 0)
        *p++ = null_prefix[rnd() % 4];
    if (lock)
        *p++ = 0xf0;
    if (s->rex)
        *p++ = 0x40 | s->rex_w << 3 | (s->reg >> 3) << 2 | (s->sib ? s->index >> 3 << 1 : 0) |
               (s->rip ? 0 : s->base >> 3);
    return p;
}

/* Draws a ModRM shape; false when registers collide in a way the fix-up cannot solve. */
static bool draw_shape(const struct template *t, struct shape *s)
{
    bool nti = t->opcode_len == 2 && t->opcode[1] == 0xc3;

    *s = (struct shape){.mod = rnd() % 3, .reg = t->digit >= 0 ? t->digit : rnd() % 16};
    s->base = rnd() % 16;
    s->sib = rnd() % 2 || (s->base & 7) == 4;
    s->index = s->sib && rnd() % 2 ? rnd() % 16 : 4; /* 4: none */
    s->scale = rnd() % 4;
    s->rip = rnd() % 8 == 0;
    s->addr32 = rnd() % 8 == 0;
    s->gs = rnd() % 8 == 0;
    s->rex_w = rnd() % 2;
    s->opsize = !nti && rnd() % 3 == 0;
    if (s->rip) {
        s->mod = 0;
        s->sib = false;
    } else if (s->mod == 0 && (s->base & 7) == 5) {
        s->mod = 1;
    }
    if (!s->sib)
        s->index = 4;
    s->rex =
        s->rex_w || s->reg >= 8 || (!s->rip && s->base >= 8) || s->index >= 8 || rnd() % 3 == 0;
    /* A register that feeds the address may not also move it. */
    if (s->sib && s->index == s->base && s->index != 4)
        return false;
    if (is_bit(t) && t->digit < 0 && !s->rip && (s->reg == s->base || s->reg == s->index))
        return false;
    return true;
}

/* Makes the address come out at g->target by choosing disp and the base register. */
static u64 aim(const struct template *t, const struct shape *s, struct generated *g,
               u64 next_rip)
{
    u64 disp = s->mod == 1 ? (u64)(s64)(s8)rnd() : s->mod == 2 ? (u64)(s64)(s32)rnd() : 0;
    u64 other = s->gs ? GS_BASE : 0;

    if (is_bit(t) && t->digit < 0)
        other += bit_offset(s->reg, g->size);
    if (s->rip)
        return g->target - other - next_rip;
    if (s->index != 4)
        other += M->gpr[s->index] << s->scale;
    M->gpr[s->base] = g->target - other - disp;
    if (s->addr32 && rnd() % 2)
        M->gpr[s->base] ^= rnd() << 32;
    return disp;
}

static u8 *put_imm(u8 *p, const struct template *t, u32 size)
{
    u64 imm = rnd() % 4 ? rnd() : -(rnd() % 4);
    u32 n = t->imm == IMM_8 ? 1 : t->imm == IMM_FULL ? MIN(size, 4U) : 0;

    memcpy(p, &imm, n);
    return p + n;
}

static bool generate(const struct template *t, u8 *where, struct generated *g)
{
    u8 *p = g->bytes, *disp_at;
    struct shape s;
    u64 disp;
    u32 disp_len;

    if (!draw_shape(t, &s))
        return false;
    for (u32 r = 0; r < 16; r++)
        M->gpr[r] = rnd() % 8 ? rnd() : rnd() >> 32;
    g->size = t->byte ? 1 : s.rex_w ? 8 : s.opsize ? 2 : 4;
    g->target = SCRATCH + rnd() % (SCRATCH_SIZE - 8);
    g->lock = t->lockable && rnd() % 2;
    if (g->lock)
        g->target &= ~7UL;
    p = put_prefixes(p, &s, g->lock);
    memcpy(p, t->opcode, t->opcode_len);
    p += t->opcode_len;
    *p++ = s.mod << 6 | (s.reg & 7) << 3 | (s.rip ? 5 : s.sib ? 4 : s.base & 7);
    if (s.sib)
        *p++ = s.scale << 6 | (s.index & 7) << 3 | (s.base & 7);
    disp_at = p;
    disp_len = s.rip || s.mod == 2 ? 4 : s.mod == 1;
    p = put_imm(p + disp_len, t, g->size);
    g->len = p - g->bytes;
    disp = aim(t, &s, g, (uintptr_t)where + g->len);
    memcpy(disp_at, &disp, disp_len);
    /* A huge bit number may leave the target out of a displacement's reach. */
    return (!s.rip || s.addr32 || disp == (u64)(s64)(s32)disp) && g->len <= 15;
}

static u64 undefined_flags(enum insn_mem_op op)
{
    if (op == MEM_AND || op == MEM_OR || op == MEM_XOR)
        return AF_FLAG;
    if (op == MEM_BTS || op == MEM_BTR || op == MEM_BTC)
        return 0x894; /* OF SF AF PF */
    return 0;
}

static u8 *map_at(u64 address, size_t size, int prot)
{
    void *p = mmap((void *)address, size, prot,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    assert_ptr_equal(p, (void *)address);
    return p;
}

static void run_native(void)
{
    void (*code)(void) = (void (*)(void))CODE;

    code();
}

static void compare_registers(const struct insn_regs *ours, u64 ignored)
{
    for (u32 r = 0; r < 16; r++)
        assert_int_equal(ours->gpr[r], M->gpr[r]);
    assert_int_equal(ours->rflags & ARITH_FLAGS & ~ignored, M->rflags & ARITH_FLAGS & ~ignored);
}

static struct insn_regs snapshot(const u8 *rip)
{
    struct insn_regs regs = {.rip = (uintptr_t)rip, .rflags = M->rflags, .gs_base = GS_BASE};

    memcpy(regs.gpr, M->gpr, sizeof(regs.gpr));
    return regs;
}

static void one_write(const struct template *t, u8 *where)
{
    static u8 image[SCRATCH_SIZE];
    struct generated g;
    struct insn_regs regs;
    struct insn insn;
    u64 old = 0, new;

    if (!generate(t, where, &g))
        return;
    M->rflags = 0x202 | (rnd() & ARITH_FLAGS);
    if (t->op == MEM_CMPXCHG && rnd() % 2)
        memcpy((void *)g.target, &M->gpr[0], 8);
    memcpy(where, g.bytes, g.len);
    emit_exit(where + g.len);
    regs = snapshot(where);

    assert_int_equal(insn_decode(where, g.len, &insn), 0);
    assert_int_equal(insn.len, g.len);
    assert_int_equal(insn_decode(where, 15, &insn), 0);
    assert_int_equal(insn.len, g.len);
    assert_int_equal(insn.op, INSN_MEM_WRITE);
    assert_int_equal(insn.mem_op, t->op);
    assert_int_equal(insn.size, g.size);
    assert_int_equal(insn.lock, g.lock);
    assert_int_equal(insn_effective_address(&insn, &regs), g.target);
    memcpy(&old, (void *)g.target, g.size);
    assert_int_equal(insn_apply(&insn, &regs, old | rnd() << 8 * (g.size - 1) << 8, &new), 0);
    assert_int_equal(regs.rip, (uintptr_t)where + g.len);
    memcpy(image, (void *)SCRATCH, SCRATCH_SIZE);
    memcpy(image + (g.target - SCRATCH), &new, g.size);

    run_native();
    assert_memory_equal(image, (void *)SCRATCH, SCRATCH_SIZE);
    compare_registers(&regs, undefined_flags(t->op));
}

static void writes_match_the_processor(void **state)
{
    u8 *where = emit_entry();

    for (u64 i = 0; i < SCRATCH_SIZE; i += 8)
        *(u64 *)(SCRATCH + i) = rnd();
    for (u32 round = 0; round < 4000; round++)
        for (size_t i = 0; i < ARRAY_SIZE(templates); i++)
            one_write(&templates[i], where);
}

/* STOS and MOVS, plain and repeated, either direction, both address sizes. */
static void one_string(u8 *where)
{
    static u8 image[SCRATCH_SIZE];
    bool movs = rnd() % 2, rep = rnd() % 2, byte = rnd() % 2;
    struct insn_regs regs;
    struct insn insn;
    u8 *p = where;
    u64 value, new;

    for (u32 r = 0; r < 16; r++)
        M->gpr[r] = rnd();
    M->gpr[7] = SCRATCH + SCRATCH_SIZE / 2 + rnd() % 1024;
    M->gpr[6] = SCRATCH + SCRATCH_SIZE / 2 - rnd() % 1024;
    M->gpr[1] = rnd() % 9;
    M->rflags = 0x202 | (rnd() & (ARITH_FLAGS | 0x400));
    if (rnd() % 4 == 0) {
        *p++ = 0x67;
        for (u32 r = 1; r < 8; r++)
            M->gpr[r] |= rnd() << 32;
        M->gpr[1] += !(u32)M->gpr[1]; /* a zero ECX with 67 is left to each processor */
    }
    if (rep)
        *p++ = 0xf2 + rnd() % 2;
    if (rnd() % 2)
        *p++ = rnd() % 2 ? 0x66 : 0x48;
    *p++ = (movs ? 0xa4 : 0xaa) + !byte;
    if (p[-2] == 0x66 && rep)
        p[-2] = 0x48; /* keep the prefix order simple */
    emit_exit(p);
    regs = snapshot(where);
    memcpy(image, (void *)SCRATCH, SCRATCH_SIZE);

    assert_int_equal(insn_decode(where, p - where, &insn), 0);
    assert_int_equal(insn.rep, rep);
    if (insn_string_done(&insn, &regs))
        regs.rip += insn.len;
    while (regs.rip == (uintptr_t)where) {
        value = 0;
        if (movs)
            memcpy(&value, image + (insn_source_address(&insn, &regs) - SCRATCH), insn.size);
        u64 at = insn_effective_address(&insn, &regs);
        assert_int_equal(insn_apply(&insn, &regs, value, &new), 0);
        memcpy(image + (at - SCRATCH), &new, insn.size);
    }
    assert_int_equal(regs.rip, (uintptr_t)p);
    run_native();
    assert_memory_equal(image, (void *)SCRATCH, SCRATCH_SIZE);
    compare_registers(&regs, 0);
}

static void strings_match_the_processor(void **state)
{
    u8 *where = emit_entry();

    for (u32 round = 0; round < 5000; round++)
        one_string(where);
}

/* A2 and A3. */
static void moffs_matches_the_processor(void **state)
{
    static u8 image[SCRATCH_SIZE];
    u8 *where = emit_entry();

    for (u32 round = 0; round < 500; round++) {
        u64 target = SCRATCH + rnd() % (SCRATCH_SIZE - 8), new;
        bool addr32 = rnd() % 2;
        struct insn_regs regs;
        struct insn insn;
        u8 *p = where;

        M->gpr[0] = rnd();
        M->rflags = 0x202;
        if (addr32)
            *p++ = 0x67;
        if (rnd() % 2)
            *p++ = 0x48;
        *p++ = 0xa2 + rnd() % 2;
        memcpy(p, &target, 8);
        p += addr32 ? 4 : 8;
        emit_exit(p);
        regs = snapshot(where);
        memcpy(image, (void *)SCRATCH, SCRATCH_SIZE);
        assert_int_equal(insn_decode(where, p - where, &insn), 0);
        assert_int_equal(insn.len, p - where);
        assert_int_equal(insn_effective_address(&insn, &regs), target);
        assert_int_equal(insn_apply(&insn, &regs, 0, &new), 0);
        memcpy(image + (target - SCRATCH), &new, insn.size);
        run_native();
        assert_memory_equal(image, (void *)SCRATCH, SCRATCH_SIZE);
        compare_registers(&regs, 0);
    }
}

/* From a block of exactly that size: the address sanitiser sees a read past the end. */
static int decode_exact(const u8 *bytes, size_t len, struct insn *insn)
{
    u8 *copy = malloc(len + 1);
    int rc;

    memcpy(copy + 1, bytes, len);
    rc = insn_decode(copy + 1, len, insn);
    free(copy);
    return rc;
}

/* Any byte string: truncation and a null prefix change nothing but what they must. */
static void one_random_string(void)
{
    static const u8 likely_byte[] = {0x0f, 0x48, 0x66, 0x67, 0xf0, 0xf3, 0x87, 0x89, 0x80,
                                     0x83, 0x81, 0xba, 0xb1, 0x04, 0x24, 0xc7, 0xf7, 0x41};
    struct insn a, b;
    u8 bytes[16];
    int rc;

    for (u32 i = 0; i < 16; i++)
        bytes[i] = rnd() % 2 ? rnd() : likely_byte[rnd() % sizeof(likely_byte)];
    bytes[0] = 0x3e;
    rc = decode_exact(bytes + 1, 15, &a);
    if (rc)
        return;
    assert_in_range(a.len, 1, 15);
    assert_int_equal(decode_exact(bytes + 1, a.len, &b), 0);
    assert_memory_equal(&a, &b, sizeof(a));
    for (u32 len = 0; len < a.len; len++)
        assert_int_equal(decode_exact(bytes + 1, len, &b), -XEN_EFAULT);
    rc = insn_decode(bytes, 16, &b);
    assert_int_equal(rc, a.len == 15 ? -XEN_EINVAL : 0);
    if (rc)
        return;
    b.len--;
    assert_memory_equal(&a, &b, sizeof(a));
}

static void any_bytes_are_defined(void **state)
{
    for (u32 i = 0; i < 300000; i++)
        one_random_string();
}

static int map_all(void **state)
{
    map_at(AREA, 0x2000, PROT_READ | PROT_WRITE);
    map_at(CODE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC);
    map_at(SCRATCH, SCRATCH_SIZE, PROT_READ | PROT_WRITE);
    return syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_privileged),
        cmocka_unit_test(decodes_ports_and_vectors),
        cmocka_unit_test(decodes_what_linux_uses),
        cmocka_unit_test(refuses_the_rest),
        cmocka_unit_test(accepts_fifteen_bytes),
        cmocka_unit_test(rex_counts_only_before_the_opcode),
        cmocka_unit_test(huge_bit_numbers_wrap),
        cmocka_unit_test(string_addresses),
        cmocka_unit_test(string_steps),
        cmocka_unit_test(finished_writes_clear_rf),
        cmocka_unit_test(apply_needs_a_write),
        cmocka_unit_test(writes_match_the_processor),
        cmocka_unit_test(strings_match_the_processor),
        cmocka_unit_test(moffs_matches_the_processor),
        cmocka_unit_test(any_bytes_are_defined),
    };

    return cmocka_run_group_tests(tests, map_all, NULL);
}
