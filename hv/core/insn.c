/*
 * The decoder works from two byte tables, one per opcode map. An entry names a form (how the
 * bytes after the opcode look) and a detail (which operation). The forms that page-table
 * writes use have a short cut in insn_decode, everything else goes through decode_any:
 * thousands of such writes come with every fork and munmap.
 */
#include "core/insn.h"

/*
 * Prefixes seen, in one word: legacy prefixes in bits 0-6, the low half of REX in bits 8-11,
 * T_REX for its presence. Table entries of prefixes have the same layout.
 */
#define P_OPSIZE 0x01
#define P_ADSIZE 0x02
#define P_LOCK   0x04
#define P_REPE   0x08
#define P_REPNE  0x10
#define P_FS     0x20
#define P_GS     0x40
#define P_LEGACY 0x7f
#define REX_B    0x100
#define REX_X    0x200
#define REX_R    0x400
#define REX_W    0x800
#define T_REX    0x4000
#define T_PREFIX 0x8000

/* Other table entries: detail (which operation) in bits 0-4, form in bits 8-12, and flags. */
#define T_DETAIL   0x001f
#define T_LOCKABLE 0x0020 /* with T_HOT: LOCK is legal */
#define T_HOT_IMM  0x0040 /* the short cut knows it, and a byte immediate follows */
#define T_HOT      0x0080 /* the short cut in insn_decode knows it */
#define T_BYTE     0x2000 /* one-byte operand */

enum form {
    FORM_BAD,
    FORM_REG,  /* ModRM memory operand, register source; detail: mem_op */
    FORM_IMM8, /* 80, 83: ALU group with a byte immediate, sign-extended */
    FORM_IMM,  /* 81: the same with two or four bytes */
    FORM_MOVI, /* C6, C7 */
    FORM_UNARY,
    FORM_INCDEC,
    FORM_BTIMM,
    FORM_NTI,
    FORM_MOFFS,
    FORM_STR, /* STOS, MOVS; detail: mem_op */
    FORM_INSOUTS,
    FORM_IO_IMM,
    FORM_IO_DX,
    FORM_SIMPLE, /* nothing follows; detail: op */
    FORM_INT,
    FORM_CRDR,
    FORM_GROUP7, /* 0F 01 */
    FORM_ESCAPE,
};

#define E(form, detail)        ((form) << 8 | (detail))
#define E1(form, detail)       (E(form, detail) | T_BYTE)
#define PFX(bits)              (T_PREFIX | (bits))
#define REX(n)                 [0x40 + (n)] = T_PREFIX | T_REX | (n) << 8
#define HOT(op, mem_op)        PAIR(op, FORM_REG, T_HOT | T_LOCKABLE | (mem_op))
#define PAIR(op, form, detail) [op] = E1(form, detail), [(op) + 1] = E(form, detail)

static const u16 map_primary[256] = {
    HOT(0x00, MEM_ADD),
    HOT(0x08, MEM_OR),
    [0x0f] = E(FORM_ESCAPE, 0),
    HOT(0x10, MEM_ADC),
    HOT(0x18, MEM_SBB),
    HOT(0x20, MEM_AND),
    [0x26] = PFX(0),
    HOT(0x28, MEM_SUB),
    [0x2e] = PFX(0),
    HOT(0x30, MEM_XOR),
    [0x36] = PFX(0),
    [0x3e] = PFX(0),
    REX(0x0),
    REX(0x1),
    REX(0x2),
    REX(0x3),
    REX(0x4),
    REX(0x5),
    REX(0x6),
    REX(0x7),
    REX(0x8),
    REX(0x9),
    REX(0xa),
    REX(0xb),
    REX(0xc),
    REX(0xd),
    REX(0xe),
    REX(0xf),
    [0x64] = PFX(P_FS),
    [0x65] = PFX(P_GS),
    [0x66] = PFX(P_OPSIZE),
    [0x67] = PFX(P_ADSIZE),
    PAIR(0x6c, FORM_INSOUTS, INSN_INS),
    PAIR(0x6e, FORM_INSOUTS, INSN_OUTS),
    [0x80] = E1(FORM_IMM8, T_HOT | T_HOT_IMM | T_LOCKABLE),
    [0x81] = E(FORM_IMM, 0),
    [0x83] = E(FORM_IMM8, T_HOT | T_HOT_IMM | T_LOCKABLE),
    HOT(0x86, MEM_XCHG),
    PAIR(0x88, FORM_REG, T_HOT | MEM_MOV),
    PAIR(0xa2, FORM_MOFFS, MEM_MOV),
    PAIR(0xa4, FORM_STR, MEM_MOVS),
    PAIR(0xaa, FORM_STR, MEM_STOS),
    PAIR(0xc6, FORM_MOVI, MEM_MOV),
    [0xcd] = E(FORM_INT, INSN_INT_N),
    [0xcf] = E(FORM_SIMPLE, INSN_IRET),
    PAIR(0xe4, FORM_IO_IMM, INSN_IN),
    PAIR(0xe6, FORM_IO_IMM, INSN_OUT),
    PAIR(0xec, FORM_IO_DX, INSN_IN),
    PAIR(0xee, FORM_IO_DX, INSN_OUT),
    [0xf0] = PFX(P_LOCK),
    [0xf2] = PFX(P_REPNE),
    [0xf3] = PFX(P_REPE),
    [0xf4] = E(FORM_SIMPLE, INSN_HLT),
    PAIR(0xf6, FORM_UNARY, 0),
    [0xfa] = E(FORM_SIMPLE, INSN_CLI),
    [0xfb] = E(FORM_SIMPLE, INSN_STI),
    PAIR(0xfe, FORM_INCDEC, 0),
};

static const u16 map_0f[256] = {
    [0x01] = E(FORM_GROUP7, 0),
    [0x06] = E(FORM_SIMPLE, INSN_CLTS),
    [0x08] = E(FORM_SIMPLE, INSN_INVD),
    [0x09] = E(FORM_SIMPLE, INSN_WBINVD),
    [0x20] = E(FORM_CRDR, INSN_MOV_FROM_CR),
    [0x21] = E(FORM_CRDR, INSN_MOV_FROM_DR),
    [0x22] = E(FORM_CRDR, INSN_MOV_TO_CR),
    [0x23] = E(FORM_CRDR, INSN_MOV_TO_DR),
    [0x30] = E(FORM_SIMPLE, INSN_WRMSR),
    [0x31] = E(FORM_SIMPLE, INSN_RDTSC),
    [0x32] = E(FORM_SIMPLE, INSN_RDMSR),
    [0x33] = E(FORM_SIMPLE, INSN_RDPMC),
    [0xa2] = E(FORM_SIMPLE, INSN_CPUID),
    [0xab] = E(FORM_REG, MEM_BTS),
    PAIR(0xb0, FORM_REG, MEM_CMPXCHG),
    [0xb3] = E(FORM_REG, MEM_BTR),
    [0xba] = E(FORM_BTIMM, 0),
    [0xbb] = E(FORM_REG, MEM_BTC),
    PAIR(0xc0, FORM_REG, MEM_XADD),
    [0xc3] = E(FORM_NTI, MEM_MOV),
};

/*
 * Where the decoder stands: p is the next byte; an instruction may not pass 'end'. Once the
 * opcode is known TAIL_MAX bytes can be read from p without a look at 'end': decode_near_end
 * makes that so.
 */
struct cursor {
    const u8 *p, *end;
    u32 prefixes;
    u32 entry;
};

#define TAIL_MAX    10 /* ModRM, SIB, four of displacement, four of immediate; moffs is 8 */
#define FORM(entry) ((entry) >> 8 & 0x1f)

#define INSN_DEFAULTS                                                                          \
    ((struct insn){                                                                            \
        .addr_size = 8, .gpr = INSN_NO_REG, .base = INSN_NO_REG, .index = INSN_NO_REG})

#define force_inline must_inline

/* The operand size: REX.W beats 66. */
static inline u8 operand_size(const struct cursor *c)
{
    if (c->entry & T_BYTE)
        return 1;
    if (unlikely(c->prefixes & P_OPSIZE) && !(c->prefixes & REX_W))
        return 2;
    return 4 + (c->prefixes & REX_W) / (REX_W / 4);
}

static inline u64 signed_byte(const u8 *p)
{
    return (u64)(s64)(s8)*p;
}

static inline u64 signed_long(const u8 *p)
{
    return (u64)(s64)(s32)get_le32(p);
}

/* The addressing bytes after ModRM, whose mod is not 3 and which c->p has passed. */
static force_inline void memory_operand_hot(struct cursor *c, u32 modrm, struct insn *out)
{
    u32 low = modrm & 7, sib, index;

    if (unlikely(low == 4)) {
        sib = *c->p++;
        index = (sib >> 3 & 7) | (c->prefixes & REX_X) >> 6;
        if (index != 4) {
            out->index = index;
            out->scale = sib >> 6;
        }
        low = sib & 7;
    }
    out->base = low | (c->prefixes & REX_B) >> 5;
    if (modrm >= 0x80) {
        out->disp = signed_long(c->p);
        c->p += 4;
    } else if (modrm >= 0x40) {
        out->disp = signed_byte(c->p++);
    } else if (low == 5) {
        out->disp = signed_long(c->p);
        out->base = INSN_NO_REG;
        out->rip_relative = modrm == (modrm & 0x38) + 5;
        c->p += 4;
    }
}

static __noinline void memory_operand(struct cursor *c, struct insn *out)
{
    u32 modrm = *c->p++;

    memory_operand_hot(c, modrm, out);
}

/* An immediate of 1, 2 or 4 bytes, sign-extended. */
static inline void immediate(struct cursor *c, u32 bytes, struct insn *out)
{
    out->has_imm = true;
    if (bytes == 1)
        out->imm = signed_byte(c->p);
    else
        out->imm = bytes == 2 ? (u64)(s64)(s16)get_le16(c->p) : signed_long(c->p);
    c->p += bytes;
}

/* ModRM.reg as a general register, with AH..BH told apart. */
static inline void register_operand(struct insn *out, u32 reg, const struct cursor *c)
{
    out->gpr = reg | (c->prefixes & REX_R) >> 7;
    if (unlikely(c->entry & T_BYTE) && !(c->prefixes & T_REX) && reg >= 4) {
        out->gpr = reg - 4;
        out->high_byte = true;
    }
}

/*
 * What legacy prefixes mean once the operation is known. ES, CS, SS and DS mean nothing; FS
 * and GS together are refused, no compiler makes them.
 */
static inline int apply_prefixes(const struct cursor *c, struct insn *out)
{
    if (c->prefixes & P_LOCK) {
        if (out->op != INSN_MEM_WRITE || out->mem_op == MEM_MOV || out->mem_op >= MEM_STOS)
            return -XEN_EINVAL;
        out->lock = true;
    }
    if (unlikely(c->prefixes & (P_ADSIZE | P_FS | P_GS))) {
        if ((c->prefixes & (P_FS | P_GS)) == (P_FS | P_GS))
            return -XEN_EINVAL;
        out->addr_size = c->prefixes & P_ADSIZE ? 4 : 8;
        if (c->prefixes & (P_FS | P_GS))
            out->seg = c->prefixes & P_FS ? INSN_SEG_FS : INSN_SEG_GS;
    }
    return 0;
}

/* The forms of page-table writes: register or immediate to memory. */
static int decode_write(struct cursor *c, struct insn *out)
{
    u32 form = FORM(c->entry), modrm = *c->p, reg = modrm >> 3 & 7;

    if (modrm >= 0xc0)
        return -XEN_EINVAL;
    out->op = INSN_MEM_WRITE;
    out->size = operand_size(c);
    memory_operand(c, out);
    if (form == FORM_REG) {
        out->mem_op = c->entry & T_DETAIL;
        register_operand(out, reg, c);
        return 0;
    }
    /* MEM_ADD to MEM_XOR are numbered as the group; its 7 is CMP. C6 and C7 have only 0. */
    if (form == FORM_MOVI ? reg != 0 : reg == 7)
        return -XEN_EINVAL;
    out->mem_op = form == FORM_MOVI ? MEM_MOV : reg;
    immediate(c, form == FORM_IMM8 ? 1 : MIN(out->size, 4), out);
    return 0;
}

/* Groups F6/F7 and FE/FF, bit operations by immediate, MOVNTI. */
static int decode_other_write(struct cursor *c, struct insn *out)
{
    u32 form = FORM(c->entry), reg = *c->p >> 3 & 7;

    if (*c->p >= 0xc0)
        return -XEN_EINVAL;
    if (form == FORM_UNARY && (reg == 2 || reg == 3))
        out->mem_op = reg == 2 ? MEM_NOT : MEM_NEG;
    else if (form == FORM_INCDEC && reg < 2)
        out->mem_op = reg == 0 ? MEM_INC : MEM_DEC;
    else if (form == FORM_BTIMM && reg >= 5)
        out->mem_op = MEM_BTS + (reg - 5);
    else if (form == FORM_NTI && !(c->prefixes & (P_OPSIZE | P_REPE | P_REPNE)))
        out->mem_op = MEM_MOV;
    else
        return -XEN_EINVAL;
    out->op = INSN_MEM_WRITE;
    out->size = operand_size(c);
    if (form == FORM_NTI)
        register_operand(out, reg, c);
    memory_operand(c, out);
    if (form == FORM_BTIMM)
        immediate(c, 1, out);
    return 0;
}

/* A2, A3: the accumulator to an absolute address of the address size. */
static int decode_moffs(struct cursor *c, struct insn *out)
{
    u32 bytes = c->prefixes & P_ADSIZE ? 4 : 8;

    out->op = INSN_MEM_WRITE;
    out->mem_op = MEM_MOV;
    out->size = operand_size(c);
    out->gpr = 0;
    out->disp = bytes == 4 ? get_le32(c->p) : get_le64(c->p);
    c->p += bytes;
    return 0;
}

static int decode_port(struct cursor *c, struct insn *out)
{
    u32 form = FORM(c->entry);

    out->op = c->entry & T_DETAIL;
    out->size = MIN(operand_size(c), 4);
    out->gpr = 0;
    out->port_is_dx = form != FORM_IO_IMM;
    if (form == FORM_INSOUTS) {
        out->gpr = INSN_NO_REG;
        out->rep = c->prefixes & (P_REPE | P_REPNE);
    }
    if (form == FORM_IO_IMM)
        out->port = *c->p++;
    return 0;
}

/* MOV to and from control and debug registers: the mod field is ignored. */
static int decode_crdr(struct cursor *c, struct insn *out)
{
    u32 modrm = *c->p++, allowed = 0xff; /* DR0 to DR7 */

    out->op = c->entry & T_DETAIL;
    out->size = 8;
    out->reg = (modrm >> 3 & 7) | (c->prefixes & REX_R) >> 7;
    out->gpr = (modrm & 7) | (c->prefixes & REX_B) >> 5;
    if (out->op == INSN_MOV_FROM_CR || out->op == INSN_MOV_TO_CR)
        allowed = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8;
    return allowed >> out->reg & 1 ? 0 : -XEN_EINVAL;
}

/* 0F 01: LMSW and INVLPG, and the instructions hidden in the register forms. */
static int decode_group7(struct cursor *c, struct insn *out)
{
    u32 modrm = *c->p, reg = modrm >> 3 & 7;

    if (reg == 6) {
        out->op = INSN_LMSW;
        out->size = 2;
        if (modrm >= 0xc0)
            out->gpr = (modrm & 7) | (c->prefixes & REX_B) >> 5;
    } else if (reg == 7 && modrm < 0xc0) {
        out->op = INSN_INVLPG;
    } else if (c->prefixes & (P_OPSIZE | P_REPE | P_REPNE)) {
        return -XEN_EINVAL;
    } else if (modrm == 0xd0 || modrm == 0xd1) {
        out->op = modrm == 0xd0 ? INSN_XGETBV : INSN_XSETBV;
    } else if (modrm == 0xf9) {
        out->op = INSN_RDTSCP;
    } else {
        return -XEN_EINVAL;
    }
    if (modrm >= 0xc0)
        c->p++;
    else
        memory_operand(c, out);
    return 0;
}

static __noinline int decode_rest(struct cursor *c, struct insn *out)
{
    switch (FORM(c->entry)) {
    case FORM_IO_DX:
    case FORM_IO_IMM:
    case FORM_INSOUTS:
        return decode_port(c, out);
    case FORM_SIMPLE:
        out->op = c->entry & T_DETAIL;
        return 0;
    case FORM_CRDR:
        return decode_crdr(c, out);
    case FORM_GROUP7:
        return decode_group7(c, out);
    case FORM_MOFFS:
        return decode_moffs(c, out);
    case FORM_STR:
        out->op = INSN_MEM_WRITE;
        out->mem_op = c->entry & T_DETAIL;
        out->size = operand_size(c);
        out->rep = c->prefixes & (P_REPE | P_REPNE);
        return 0;
    case FORM_REG:
    case FORM_IMM:
    case FORM_IMM8:
    case FORM_MOVI:
        return decode_write(c, out);
    case FORM_INT:
        out->op = INSN_INT_N;
        out->vector = *c->p++;
        return 0;
    case FORM_UNARY:
    case FORM_INCDEC:
    case FORM_BTIMM:
    case FORM_NTI:
        return decode_other_write(c, out);
    default:
        return -XEN_EINVAL;
    }
}

/*
 * Within TAIL_MAX bytes of the end: decodes from a copy padded with zeros. Returns the bytes
 * used, more than there are if padding was, or an error. No form decides anything on a byte
 * after ModRM, so only a missing ModRM could turn "too short" into "illegal".
 */
static int decode_near_end(struct cursor *c, struct insn *out)
{
    u8 tail[TAIL_MAX] = {0};
    struct cursor padded = *c;
    int left = c->end - c->p, rc;

    for (int i = 0; i < left; i++)
        tail[i] = c->p[i];
    padded.p = tail;
    rc = decode_rest(&padded, out);
    if (rc && left == 0 && FORM(c->entry) != FORM_BAD)
        return TAIL_MAX + 1;
    return rc ? rc : padded.p - tail;
}

/* Prefixes and opcode; c->entry is the table's word for it. False: bytes ran out. */
static inline bool find_opcode(struct cursor *c)
{
    for (;;) {
        if (c->p == c->end)
            return false;
        c->entry = map_primary[*c->p++];
        if (!(c->entry & T_PREFIX))
            break;
        /* REX counts only right before the opcode. */
        c->prefixes = (c->prefixes & P_LEGACY) | (c->entry & (T_REX | 0xfff));
    }
    if (c->entry == E(FORM_ESCAPE, 0)) {
        if (c->p == c->end)
            return false;
        c->entry = map_0f[*c->p++];
    }
    return true;
}

/* Everything, at leisure. */
static __noinline int decode_any(const u8 *bytes, size_t len, struct insn *out)
{
    struct cursor c = {.p = bytes, .end = bytes + MIN(len, INSN_MAX_LEN)};
    const u8 *tail;
    int rc = TAIL_MAX + 1;

    *out = INSN_DEFAULTS;
    if (find_opcode(&c)) {
        tail = c.p;
        if (c.end - c.p < TAIL_MAX) {
            rc = decode_near_end(&c, out);
        } else {
            rc = decode_rest(&c, out);
            rc = rc ? rc : c.p - tail;
            c.p = tail;
        }
    }
    /* Ran out: either the caller has more, or this is too long to be an instruction. */
    if (rc > c.end - c.p)
        rc = c.end - bytes == INSN_MAX_LEN ? -XEN_EINVAL : -XEN_EFAULT;
    if (rc >= 0) {
        out->len = c.p + rc - bytes;
        rc = apply_prefixes(&c, out);
    }
    if (rc)
        *out = (struct insn){0};
    return rc;
}

/*
 * The short cut for what page tables see most: LOCK, REX, a one-byte opcode with a register or
 * a byte immediate, enough bytes to need no care. Everything else starts over in decode_any
 * with the arguments still in their registers; that keeps this path free of saved registers,
 * and it stores what it knows early for the same reason.
 */
int insn_decode(const u8 *restrict bytes, size_t len, struct insn *restrict out)
{
    struct cursor c = {.p = bytes};
    u32 modrm, reg, need = T_HOT;

    if (unlikely(len < INSN_MAX_LEN))
        return decode_any(bytes, len, out);
    if (*bytes == 0xf0) {
        need = T_HOT | T_LOCKABLE;
        c.p++;
    }
    c.entry = map_primary[*c.p++];
    if (c.entry & T_REX) {
        c.prefixes = c.entry & ~P_LEGACY;
        c.entry = map_primary[*c.p++];
    }
    modrm = *c.p++;
    if (unlikely((c.entry & need) != need || modrm >= 0xc0))
        return decode_any(bytes, len, out);
    *out = INSN_DEFAULTS;
    out->op = INSN_MEM_WRITE;
    out->lock = need != T_HOT;
    out->size = operand_size(&c);
    out->mem_op = c.entry & T_DETAIL;
    reg = modrm >> 3 & 7;
    if (likely(!(c.entry & T_HOT_IMM)))
        register_operand(out, reg, &c);
    else if (reg != 7)
        out->mem_op = reg;
    else
        return decode_any(bytes, len, out);
    memory_operand_hot(&c, modrm, out);
    if (unlikely(c.entry & T_HOT_IMM))
        immediate(&c, 1, out);
    out->len = c.p - bytes;
    return 0;
}

/* All ones in 'size' bytes; shifting twice keeps a size of 8 defined. */
static inline u64 size_mask(u32 size)
{
    return (1UL << 4 * (size & 15) << 4 * (size & 15)) - 1;
}

u64 insn_gpr_value(const struct insn *insn, const struct insn_regs *regs)
{
    u64 value = insn->gpr < 16 ? regs->gpr[insn->gpr] : 0;

    if (insn->high_byte)
        value >>= 8;
    return value & size_mask(insn->size);
}

/* Cuts an offset to the address size and adds the segment's base. */
static u64 linear_address(const struct insn *insn, const struct insn_regs *regs, u64 offset)
{
    if (insn->addr_size == 4)
        offset = (u32)offset;
    if (insn->seg == INSN_SEG_FS)
        offset += regs->fs_base;
    if (insn->seg == INSN_SEG_GS)
        offset += regs->gs_base;
    return offset;
}

static inline bool is_bit_op(const struct insn *insn)
{
    return insn->op == INSN_MEM_WRITE && insn->mem_op >= MEM_BTS && insn->mem_op <= MEM_BTC;
}

/* How far a register bit number moves the operand: whole operands, rounded down, signed. */
static u64 bit_displacement(const struct insn *insn, const struct insn_regs *regs)
{
    u64 bit = insn_gpr_value(insn, regs);
    s64 number = insn->size == 2 ? (s16)bit : insn->size == 4 ? (s32)bit : (s64)bit;
    u32 shift = insn->size == 2 ? 4 : insn->size == 4 ? 5 : 6;

    return (u64)(number >> shift) << (shift - 3);
}

static __noinline u64 special_address(const struct insn *insn, const struct insn_regs *regs,
                                      u64 offset)
{
    if (insn->op == INSN_OUTS)
        return insn_source_address(insn, regs);
    if (insn->op == INSN_INS || (insn->op == INSN_MEM_WRITE && insn->mem_op >= MEM_STOS))
        return insn->addr_size == 4 ? (u32)regs->gpr[7] : regs->gpr[7];
    if (insn->rip_relative)
        offset += regs->rip + insn->len;
    if (is_bit_op(insn) && !insn->has_imm)
        offset += bit_displacement(insn, regs);
    return linear_address(insn, regs, offset);
}

u64 insn_effective_address(const struct insn *insn, const struct insn_regs *regs)
{
    u64 offset = insn->disp;

    if (likely(insn->base < 16))
        offset += regs->gpr[insn->base];
    if (unlikely(insn->index < 16))
        offset += regs->gpr[insn->index] << insn->scale;
    if (likely(insn->op == INSN_MEM_WRITE && insn->mem_op <= MEM_XADD &&
               insn->seg == INSN_SEG_NONE && insn->addr_size == 8 && !insn->rip_relative))
        return offset;
    return special_address(insn, regs, offset);
}

u64 insn_source_address(const struct insn *insn, const struct insn_regs *regs)
{
    return linear_address(insn, regs, regs->gpr[6]);
}

#define FLAG_CF    0x0001UL
#define FLAG_PF    0x0004UL
#define FLAG_AF    0x0010UL
#define FLAG_ZF    0x0040UL
#define FLAG_SF    0x0080UL
#define FLAG_DF    0x0400UL
#define FLAG_OF    0x0800UL
#define FLAG_RF    0x10000UL
#define FLAG_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* ZF, SF and PF of a result that is already cut to size. */
static inline u64 result_flags(u64 r, u32 size)
{
    return (r ? 0 : FLAG_ZF) | (r >> (8 * size - 8) & FLAG_SF) |
           (__builtin_parity(r & 0xff) ? 0 : FLAG_PF);
}

/* CF, AF and OF from the carry out of each bit, and the overflow in the sign bit. */
static inline u64 carry_flags(u64 carries, u64 overflow, u32 size)
{
    u32 top = 8 * size - 1;

    return (carries >> top & 1) | (carries << 1 & FLAG_AF) | (overflow >> top & 1) << 11;
}

/* All six flags of r = a + b (+ carry), every value cut to size. */
static u64 add_flags(u64 a, u64 b, u64 r, u32 size)
{
    return carry_flags((a & b) | ((a | b) & ~r), (a ^ r) & (b ^ r), size) |
           result_flags(r, size);
}

/* All six flags of r = a - b (- borrow). */
static u64 sub_flags(u64 a, u64 b, u64 r, u32 size)
{
    return carry_flags((~a & b) | ((~a | b) & r), (a ^ b) & (a ^ r), size) |
           result_flags(r, size);
}

static inline void set_arith(struct insn_result *res, u64 flags)
{
    res->rflags = (res->rflags & ~FLAG_ARITH) | flags;
}

/* The register gets 'value'. */
static void set_gpr(const struct insn *insn, const struct insn_regs *regs, u64 value,
                    struct insn_result *res)
{
    u64 reg = regs->gpr[insn->gpr & 15];

    res->gpr = insn->gpr & 15;
    res->gpr_value = insn->high_byte ? (reg & ~0xff00UL) | (value & 0xff) << 8
                                     : insn_merge(reg, value, insn->size);
}

/* MEM_ADD to MEM_XOR. */
static void compute_alu(const struct insn *insn, u64 old, u64 src, struct insn_result *res)
{
    u64 carry = res->rflags & FLAG_CF, mask = size_mask(insn->size);

    switch (insn->mem_op) {
    case MEM_AND:
        res->new = old &src;
        set_arith(res, result_flags(res->new, insn->size));
        return;
    case MEM_OR:
        res->new = old | src;
        set_arith(res, result_flags(res->new, insn->size));
        return;
    case MEM_XOR:
        res->new = old ^ src;
        set_arith(res, result_flags(res->new, insn->size));
        return;
    case MEM_ADD:
    case MEM_ADC:
        res->new = (old + src + (insn->mem_op == MEM_ADC ? carry : 0)) & mask;
        set_arith(res, add_flags(old, src, res->new, insn->size));
        return;
    default:
        res->new = (old - src - (insn->mem_op == MEM_SBB ? carry : 0)) & mask;
        set_arith(res, sub_flags(old, src, res->new, insn->size));
    }
}

/* INC, DEC, NOT, NEG. */
static void compute_unary(const struct insn *insn, u64 old, struct insn_result *res)
{
    u64 mask = size_mask(insn->size), carry = res->rflags & FLAG_CF;

    switch (insn->mem_op) {
    case MEM_NOT:
        res->new = ~old &mask;
        return;
    case MEM_NEG:
        res->new = -old &mask;
        set_arith(res, sub_flags(0, old, res->new, insn->size));
        return;
    case MEM_INC:
        res->new = (old + 1) & mask;
        set_arith(res, (add_flags(old, 1, res->new, insn->size) & ~FLAG_CF) | carry);
        return;
    default:
        res->new = (old - 1) & mask;
        set_arith(res, (sub_flags(old, 1, res->new, insn->size) & ~FLAG_CF) | carry);
    }
}

/* BTS, BTR, BTC: only CF changes. */
static void compute_bit(const struct insn *insn, u64 old, u64 src, struct insn_result *res)
{
    u32 number = src & (8 * insn->size - 1);
    u64 bit = 1UL << number;

    res->rflags = (res->rflags & ~FLAG_CF) | (old >> number & 1);
    if (insn->mem_op == MEM_BTS)
        res->new = old | bit;
    else
        res->new = insn->mem_op == MEM_BTR ? old & ~bit : old ^ bit;
}

static void compute_cmpxchg(const struct insn *insn, const struct insn_regs *regs, u64 old,
                            u64 src, struct insn_result *res)
{
    u64 mask = size_mask(insn->size), acc = regs->gpr[0] & mask;

    set_arith(res, sub_flags(acc, old, (acc - old) & mask, insn->size));
    res->new = src;
    if (acc == old)
        return;
    /* The processor stores too, the old value; a lost compare is a write of nothing new. */
    res->new = old;
    res->gpr = 0;
    res->gpr_value = insn_merge(regs->gpr[0], old, insn->size);
}

static void compute_rare(const struct insn *insn, const struct insn_regs *regs, u64 old,
                         u64 src, struct insn_result *res)
{
    switch (insn->mem_op) {
    case MEM_CMPXCHG:
        compute_cmpxchg(insn, regs, old, src, res);
        return;
    case MEM_XADD:
        res->new = (old + src) & size_mask(insn->size);
        set_arith(res, add_flags(old, src, res->new, insn->size));
        set_gpr(insn, regs, old, res);
        return;
    case MEM_BTS:
    case MEM_BTR:
    case MEM_BTC:
        compute_bit(insn, old, src, res);
        return;
    case MEM_STOS:
        res->new = regs->gpr[0] & size_mask(insn->size);
        return;
    case MEM_MOVS:
        res->new = old;
        return;
    default:
        compute_unary(insn, old, res);
    }
}

static __noinline int compute_any(const struct insn *insn, const struct insn_regs *regs,
                                  u64 old, struct insn_result *res)
{
    u64 mask = size_mask(insn->size), src;

    if (insn->op != INSN_MEM_WRITE)
        return -XEN_EINVAL;
    old &= mask;
    src = insn->has_imm ? insn->imm & mask : insn_gpr_value(insn, regs);
    res->gpr = INSN_NO_REG;
    res->rflags = regs->rflags & ~FLAG_RF;
    res->new = src;
    if (insn->mem_op < MEM_MOV)
        compute_alu(insn, old, src, res);
    else if (insn->mem_op == MEM_XCHG)
        set_gpr(insn, regs, old, res);
    else if (insn->mem_op != MEM_MOV)
        compute_rare(insn, regs, old, src, res);
    return 0;
}

int insn_compute(const struct insn *insn, const struct insn_regs *regs, u64 old,
                 struct insn_result *res)
{
    bool xchg = insn->mem_op == MEM_XCHG;

    /* A whole register to or with memory: most of the traffic. */
    if (unlikely(insn->op != INSN_MEM_WRITE || insn->size != 8 || insn->gpr >= 16 ||
                 !(xchg || insn->mem_op == MEM_MOV)))
        return compute_any(insn, regs, old, res);
    res->new = regs->gpr[insn->gpr];
    res->gpr_value = old;
    res->rflags = regs->rflags & ~FLAG_RF;
    res->gpr = xchg ? insn->gpr : INSN_NO_REG;
    return 0;
}

void insn_commit(const struct insn *insn, struct insn_regs *regs, const struct insn_result *res)
{
    if (unlikely(insn->mem_op >= MEM_STOS)) {
        insn_string_advance(insn, regs);
        return;
    }
    if (res->gpr < 16)
        regs->gpr[res->gpr] = res->gpr_value;
    regs->rflags = res->rflags;
    regs->rip += insn->len;
}

int insn_apply(const struct insn *insn, struct insn_regs *regs, u64 old, u64 *new)
{
    struct insn_result res;
    int rc = insn_compute(insn, regs, old, &res);

    if (rc)
        return rc;
    *new = res.new;
    insn_commit(insn, regs, &res);
    return 0;
}

bool insn_string_done(const struct insn *insn, const struct insn_regs *regs)
{
    u64 count = insn->addr_size == 4 ? (u32)regs->gpr[1] : regs->gpr[1];

    return insn->rep && count == 0;
}

bool insn_string_advance(const struct insn *insn, struct insn_regs *regs)
{
    bool to_rdi = insn->op == INSN_INS || insn->op == INSN_MEM_WRITE;
    bool from_rsi = insn->op == INSN_OUTS || insn->mem_op == MEM_MOVS;
    u64 step = regs->rflags & FLAG_DF ? -(u64)insn->size : insn->size;
    u32 width = insn->addr_size;

    if (to_rdi)
        regs->gpr[7] = insn_merge(regs->gpr[7], regs->gpr[7] + step, width);
    if (from_rsi)
        regs->gpr[6] = insn_merge(regs->gpr[6], regs->gpr[6] + step, width);
    if (insn->rep)
        regs->gpr[1] = insn_merge(regs->gpr[1], regs->gpr[1] - 1, width);
    if (insn->rep && !insn_string_done(insn, regs))
        return true;
    regs->rip += insn->len;
    regs->rflags &= ~FLAG_RF;
    return false;
}
