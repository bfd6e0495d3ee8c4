/*
 * The instruction decoder: one 64-bit instruction that a guest executed at CPL 3 and that
 * faulted. Two families matter: privileged instructions, which a paravirtual kernel still
 * contains (#GP), and plain writes to a page table it sees read-only (#PF). Bytes and register
 * values go in, a description comes out; nobody here touches memory or the CPU.
 *
 * How a write is performed (struct insn with op INSN_MEM_WRITE):
 *   decode -> insn_effective_address -> read the old value -> insn_compute -> store the new
 *   value by compare-exchange against the old one -> insn_commit. If the compare-exchange
 *   fails, compute again from the fresh old value: insn_compute leaves the registers alone.
 *
 * Invariants:
 *  I1 insn_decode never reads bytes[len] or beyond, nor more than INSN_MAX_LEN bytes.
 *  I2 On success 1 <= out->len <= min(len, INSN_MAX_LEN) and op != INSN_UNKNOWN; on failure
 *     *out is all zero, that is INSN_UNKNOWN.
 *  I3 Address arithmetic wraps modulo 2^64 (2^32 before the segment base with a 67 prefix);
 *     any register content gives a defined address. Callers check what it points at.
 *  I4 base, index and gpr are < 16 or INSN_NO_REG, size is 1, 2, 4 or 8 wherever an operand
 *     exists and mem_op is meaningful only with INSN_MEM_WRITE.
 *
 * Pure; any context may call. TF and pending interrupts are the caller's business.
 */
#ifndef SERAI_CORE_INSN_H
#define SERAI_CORE_INSN_H

#include "base/types.h"

#define INSN_MAX_LEN 15
#define INSN_NO_REG  0xff

enum packed insn_op {
    INSN_UNKNOWN,
    INSN_MEM_WRITE, /* mem_op and the memory operand say what */
    INSN_RDMSR,
    INSN_WRMSR,
    INSN_MOV_FROM_CR, /* gpr <- CR[reg], always 64 bit */
    INSN_MOV_TO_CR,   /* CR[reg] <- gpr; reg is 0, 2, 3, 4 or 8 */
    INSN_MOV_FROM_DR, /* gpr <- DR[reg]; 4 and 5 are reported as such (CR4.DE decides) */
    INSN_MOV_TO_DR,
    INSN_CLTS,
    INSN_LMSW, /* 16 bits of gpr, or of memory when gpr is INSN_NO_REG */
    INSN_XSETBV,
    INSN_XGETBV,
    INSN_CPUID,
    INSN_IN,   /* port or DX to AL/AX/EAX by size */
    INSN_OUT,  /* AL/AX/EAX to port or DX */
    INSN_INS,  /* DX to the effective address; see insn_string_* */
    INSN_OUTS, /* effective address to DX */
    INSN_HLT,
    INSN_CLI,
    INSN_STI,
    INSN_INVLPG, /* of the effective address */
    INSN_WBINVD, /* and WBNOINVD */
    INSN_INVD,
    INSN_RDTSC,
    INSN_RDTSCP,
    INSN_RDPMC,
    INSN_INT_N, /* vector */
    INSN_IRET,
};

/* The first eight have the order of the ALU opcodes and of the immediate group. */
enum packed insn_mem_op {
    MEM_ADD,
    MEM_OR,
    MEM_ADC,
    MEM_SBB,
    MEM_AND,
    MEM_SUB,
    MEM_XOR,
    MEM_MOV,
    MEM_XCHG,
    MEM_CMPXCHG,
    MEM_XADD,
    MEM_BTS,
    MEM_BTR,
    MEM_BTC,
    MEM_INC,
    MEM_DEC,
    MEM_NOT,
    MEM_NEG,
    MEM_STOS, /* one iteration; new value from RAX */
    MEM_MOVS, /* one iteration; the caller supplies the value read at insn_source_address */
};

enum packed insn_seg { INSN_SEG_NONE, INSN_SEG_FS, INSN_SEG_GS };

struct insn {
    enum insn_op op;
    u8 len;       /* bytes of the whole instruction */
    u8 size;      /* operand bytes: 1, 2, 4, 8 */
    u8 addr_size; /* 4 or 8 */
    enum insn_mem_op mem_op;
    u8 reg;            /* CR or DR number */
    u8 gpr;            /* the general register operand; INSN_NO_REG without one */
    enum insn_seg seg; /* override that has a base in 64-bit mode */
    /* Memory operand: base + (index << scale) + disp, registers INSN_NO_REG when absent. */
    u8 base, index;
    u8 scale;          /* 0..3 */
    bool rip_relative; /* disp counts from the end of the instruction */
    bool high_byte;    /* gpr 0..3 means AH, CH, DH, BH */
    bool lock;
    bool rep; /* string operations with F2 or F3 */
    bool has_imm;
    bool port_is_dx;
    u8 vector;  /* INSN_INT_N */
    u16 port;   /* when !port_is_dx */
    u32 unused; /* keeps the struct free of padding that holds junk */
    u64 disp;   /* sign-extended, or the whole address of a moffs form */
    u64 imm;    /* sign-extended */
};
_Static_assert(sizeof(struct insn) == 40, "the decoder's output stays small");

/* gpr[] in the order of the encoding: rax rcx rdx rbx rsp rbp rsi rdi r8 .. r15. */
struct insn_regs {
    u64 gpr[16];
    u64 rip; /* of the instruction itself */
    u64 rflags;
    u64 fs_base, gs_base;
};

/* What a write does; see insn_compute. */
struct insn_result {
    u64 new;       /* low 'size' bytes for memory, zero above */
    u64 gpr_value; /* whole 64-bit register afterwards */
    u64 rflags;
    u8 gpr; /* which register, or INSN_NO_REG */
};

/*
 * Decodes the instruction at bytes[0..len). Pass as many bytes as could be read, up to 15.
 * 0; -XEN_EINVAL: not one of ours, illegal, or longer than 15 bytes; -XEN_EFAULT: the bytes
 * end before the instruction does.
 */
int insn_decode(const u8 *bytes, size_t len, struct insn *out) must_check;

/*
 * Linear address of the memory operand (destination of INS, STOS, MOVS; source of OUTS). A bit
 * operation with a register bit number moves by whole operands, as the processor does.
 */
u64 insn_effective_address(const struct insn *insn, const struct insn_regs *regs);

/* Where MOVS and OUTS read. */
u64 insn_source_address(const struct insn *insn, const struct insn_regs *regs);

/*
 * An INSN_MEM_WRITE on 'old' (low 'size' bytes count): the value to store and what happens to
 * registers and flags. For MEM_MOVS 'old' is the value read at the source. Flags the manuals
 * leave undefined get the value that common processors give. -XEN_EINVAL: not a memory write.
 */
int insn_compute(const struct insn *insn, const struct insn_regs *regs, u64 old,
                 struct insn_result *res) must_check;

/* Makes the result visible: register, flags (RF clear), string registers, rip. */
void insn_commit(const struct insn *insn, struct insn_regs *regs,
                 const struct insn_result *res);

/* insn_compute and insn_commit in one, for callers that cannot fail in between. */
int insn_apply(const struct insn *insn, struct insn_regs *regs, u64 old, u64 *new) must_check;

/* True when a repeated string instruction has nothing (more) to do: just skip it. */
bool insn_string_done(const struct insn *insn, const struct insn_regs *regs);

/*
 * One iteration of INS, OUTS, STOS or MOVS is over: moves rsi/rdi, counts rcx, and steps rip
 * past the instruction after the last one. True while iterations are left.
 */
bool insn_string_advance(const struct insn *insn, struct insn_regs *regs);

/* The value of the general register operand, cut to 'size' bytes. */
u64 insn_gpr_value(const struct insn *insn, const struct insn_regs *regs);

/* Register content after writing the low 'size' bytes: 8 and 16 bits merge, 32 zero-extends. */
static inline u64 insn_merge(u64 reg, u64 value, unsigned int size)
{
    u64 mask = size == 1 ? 0xff : 0xffff;

    if (size >= 4)
        return size == 8 ? value : (u32)value;
    return (reg & ~mask) | (value & mask);
}

#endif
