/*
 * Any bytes through the decoder: exact-size heap copies let the address sanitiser see a read
 * past the end. Layout of an input: up to 15 instruction bytes, then register values.
 */
#include <stdlib.h>
#include <string.h>

#include "core/insn.h"

#define REQUIRE(cond)                                                                          \
    do {                                                                                       \
        if (!(cond))                                                                           \
            abort();                                                                           \
    } while (0)

static int decode_copy(const u8 *bytes, size_t len, struct insn *insn)
{
    u8 *copy = malloc(len ? len : 1);
    int rc;

    memcpy(copy, bytes, len);
    memset(insn, 0xa5, sizeof(*insn));
    rc = insn_decode(len ? copy : copy + 1, len, insn);
    free(copy);
    return rc;
}

static void check_fields(const struct insn *insn, size_t len)
{
    REQUIRE(insn->op != INSN_UNKNOWN && insn->op <= INSN_IRET);
    REQUIRE(insn->len >= 1 && insn->len <= MIN(len, INSN_MAX_LEN));
    REQUIRE(insn->base < 16 || insn->base == INSN_NO_REG);
    REQUIRE(insn->index < 16 || insn->index == INSN_NO_REG);
    REQUIRE(insn->gpr < 16 || insn->gpr == INSN_NO_REG);
    REQUIRE(insn->scale < 4 && insn->seg <= INSN_SEG_GS && insn->mem_op <= MEM_MOVS);
    REQUIRE(insn->addr_size == 4 || insn->addr_size == 8);
    REQUIRE(insn->unused == 0);
    if (insn->op == INSN_MEM_WRITE)
        REQUIRE(insn->size == 1 || insn->size == 2 || insn->size == 4 || insn->size == 8);
}

/* Fewer bytes than the instruction has are "too short", never something else. */
static void check_truncation(const u8 *bytes, const struct insn *insn)
{
    struct insn again;

    REQUIRE(decode_copy(bytes, insn->len, &again) == 0);
    REQUIRE(memcmp(insn, &again, sizeof(again)) == 0);
    for (size_t len = 0; len < insn->len; len++)
        REQUIRE(decode_copy(bytes, len, &again) == -XEN_EFAULT);
}

static void check_effect(const struct insn *insn, const u8 *data, size_t size)
{
    struct insn_regs regs = {0}, before;
    struct insn_result res;
    u64 old = 0x0123456789abcdef, new = 0;
    int rc;

    memcpy(&regs, data, MIN(size, sizeof(regs)));
    before = regs;
    insn_effective_address(insn, &regs);
    insn_source_address(insn, &regs);
    insn_gpr_value(insn, &regs);
    rc = insn_compute(insn, &regs, old, &res);
    REQUIRE(memcmp(&regs, &before, sizeof(regs)) == 0);
    REQUIRE((rc == 0) == (insn->op == INSN_MEM_WRITE));
    if (rc == 0) {
        REQUIRE(insn->size == 8 || res.new >> 8 * insn->size == 0 || insn->mem_op == MEM_MOVS);
        REQUIRE(insn_apply(insn, &regs, old, &new) == 0 && new == res.new);
        REQUIRE(regs.rip == before.rip + insn->len || insn->rep);
    }
    insn_string_advance(insn, &regs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = MIN(size, 16);
    struct insn insn;
    static const struct insn zero;
    int rc = decode_copy(data, len, &insn);

    if (rc) {
        REQUIRE(rc == -XEN_EINVAL || rc == -XEN_EFAULT);
        REQUIRE(rc == -XEN_EINVAL || len < INSN_MAX_LEN);
        REQUIRE(memcmp(&insn, &zero, sizeof(zero)) == 0);
        return 0;
    }
    check_fields(&insn, len);
    check_truncation(data, &insn);
    check_effect(&insn, data + len, size - len);
    return 0;
}
