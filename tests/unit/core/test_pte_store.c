/*
 * The quick recogniser of page-table writes against the full decoder: what it accepts, the
 * decoder must understand in the same way. The shipped emulation relies on that: it performs
 * whatever the recogniser says.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "core/insn.h"
#include "core/pte_store.h"
#include "unit/random.h"

static void random_bytes(u8 bytes[16])
{
    u64 words[2] = {random64(), random64()};

    memcpy(bytes, words, 16);
}

static bool same_meaning(const struct pte_store *st, const struct insn *insn, bool locked)
{
    if (insn->op != INSN_MEM_WRITE || insn->len != st->len || insn->lock != locked ||
        insn->high_byte || insn->rep || insn->seg != INSN_SEG_NONE || insn->addr_size != 8)
        return false;
    switch (st->op) {
    case PTE_STORE_MOV:
        return insn->mem_op == MEM_MOV && insn->size == 8 && insn->gpr == st->gpr &&
               !insn->has_imm && !locked;
    case PTE_STORE_XCHG:
        return insn->mem_op == MEM_XCHG && insn->size == 8 && insn->gpr == st->gpr &&
               !insn->has_imm;
    case PTE_STORE_AND8:
        return insn->mem_op == MEM_AND && insn->size == 1 && insn->has_imm &&
               (u8)insn->imm == st->imm && locked;
    }
    return false;
}

/* True when the recogniser accepted. */
static bool compare(const u8 bytes[16])
{
    struct pte_store st;
    struct insn insn;
    int rc;

    if (!pte_store_decode(bytes, &st))
        return false;
    rc = insn_decode(bytes, INSN_MAX_LEN, &insn);
    if (!rc && same_meaning(&st, &insn, bytes[0] == 0xf0)) {
        /* Also with no byte to spare, where the decoder takes its slow path. */
        rc = insn_decode(bytes, st.len, &insn);
        if (!rc && same_meaning(&st, &insn, bytes[0] == 0xf0))
            return true;
    }
    print_error(
        "rc %d, recogniser: op %d gpr %d imm %d len %d, decoder: op %d.%d gpr %d len %d\n", rc,
        st.op, st.gpr, st.imm, st.len, insn.op, insn.mem_op, insn.gpr, insn.len);
    for (unsigned i = 0; i < 16; i++)
        print_error("%02x%s", bytes[i], i == 15 ? "\n" : " ");
    fail();
    return true;
}

static void anything(void **state)
{
    u8 bytes[16];

    for (unsigned i = 0; i < 3000000; i++) {
        random_bytes(bytes);
        compare(bytes);
    }
}

/* Every prefix, opcode, ModRM and SIB byte that could matter, with random bytes after them. */
static void all_forms(void **state)
{
    static const u8 opcodes[] = {0x80, 0x87, 0x89};
    u8 bytes[16], tail[16];
    u64 accepted = 0;

    for (unsigned form = 0; form < 2 * 17 * 3; form++) {
        unsigned lock = form & 1, rex = form / 2 % 17, start = 0;

        random_bytes(bytes);
        if (lock)
            bytes[start++] = 0xf0;
        if (rex)
            bytes[start++] = (u8)(0x3f + rex);
        bytes[start++] = opcodes[form / 34];
        for (unsigned modrm_sib = 0; modrm_sib < 65536; modrm_sib++) {
            bytes[start] = (u8)modrm_sib;
            bytes[start + 1] = (u8)(modrm_sib >> 8);
            random_bytes(tail);
            memcpy(bytes + start + 2, tail, 10);
            accepted += compare(bytes);
        }
    }
    /*
     * mov: 8 REX with W, 192 ModRM, 256 SIB. xchg: the same twice. and: locked, 17 ways of REX,
     * 24 ModRM with /4 and memory.
     */
    assert_int_equal(accepted, 8 * 192 * 256 * 3 + 17 * 24 * 256);
}

/* Any first three bytes: no other prefix or opcode gets in. */
static void all_beginnings(void **state)
{
    u8 bytes[16];
    u64 accepted = 0;

    random_bytes(bytes);
    for (unsigned i = 0; i < 1U << 24; i++) {
        bytes[0] = (u8)i;
        bytes[1] = (u8)(i >> 8);
        bytes[2] = (u8)(i >> 16);
        bytes[4] = (u8)(i * 2654435761U >> 24);
        accepted += compare(bytes);
    }
    assert_true(accepted > 1000);
}

/* Recognised or not, the fields are within their ranges and nothing beyond 16 bytes is read. */
static void stays_inside(void **state)
{
    u8 *bytes = test_malloc(16);
    struct pte_store st;

    for (unsigned i = 0; i < 200000; i++) {
        random_bytes(bytes);
        bytes[0] = i & 1 ? 0xf0 : bytes[0];
        bytes[i & 1] = (u8)(0x40 | (bytes[i & 1] & 15));
        bytes[(i & 1) + 1] = i & 2 ? 0x87 : i & 4 ? 0x89 : 0x80;
        if (pte_store_decode(bytes, &st)) {
            assert_in_range(st.len, 2, 10);
            assert_in_range(st.gpr, 0, 15);
        }
    }
    test_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anything),
        cmocka_unit_test(all_forms),
        cmocka_unit_test(all_beginnings),
        cmocka_unit_test(stays_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
