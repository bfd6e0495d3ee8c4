/*
 * Short accesses to guest memory in line: what guest_copy_raw() does without its set-up. The
 * caller has checked the address range (guest_range_ok).
 */
#ifndef SERAI_X86_GUEST_MEM_H
#define SERAI_X86_GUEST_MEM_H

#include "base/types.h"

/* Three-byte no-op that entry_patch_smap() turns into stac or clac. */
#define SMAP_PATCH(opcode)                                                                     \
    "771: .byte 0x0f, 0x1f, 0x00\n\t"                                                          \
    ".pushsection .smap_patch, \"a\"\n\t"                                                      \
    ".long 771b - ., " opcode "\n\t"                                                           \
    ".popsection\n\t"
#define STAC SMAP_PATCH("0xcb010f")
#define CLAC SMAP_PATCH("0xca010f")

/* Sixteen bytes as two words; false when they do not translate. */
static inline must_check bool guest_read_pair(const void *u_src, u64 *a, u64 *b)
{
    u64 x, y;

    asm goto(STAC "1: mov %2, %0\n\t"
                  "2: mov %3, %1\n\t" CLAC ".pushsection .extable, \"a\"\n\t"
                  ".balign 4\n\t"
                  ".long 1b - ., 2b - ., %l4 - .\n\t"
                  ".popsection"
             : "=&r"(x), "=&r"(y)
             : "m"(*(const u64 *)u_src), "m"(*((const u64 *)u_src + 1))
             : "memory"
             : fault);
    *a = x;
    *b = y;
    return true;
fault:
    asm volatile(CLAC : : : "memory");
    return false;
}

/* Three words. */
static inline must_check bool guest_read_triple(const void *u_src, u64 *a, u64 *b, u64 *c)
{
    const u64 *u_words = u_src;
    u64 x, y, z;

    asm goto(STAC "1: mov %3, %0\n\t"
                  "2: mov %4, %1\n\t"
                  "3: mov %5, %2\n\t" CLAC ".pushsection .extable, \"a\"\n\t"
                  ".balign 4\n\t"
                  ".long 1b - ., 3b - ., %l6 - .\n\t"
                  ".popsection"
             : "=&r"(x), "=&r"(y), "=&r"(z)
             : "m"(u_words[0]), "m"(u_words[1]), "m"(u_words[2])
             : "memory"
             : fault);
    *a = x;
    *b = y;
    *c = z;
    return true;
fault:
    asm volatile(CLAC : : : "memory");
    return false;
}

/* Sixteen bytes to the guest; when false, perhaps the first eight. */
static inline must_check bool guest_write_pair(void *u_dst, u64 a, u64 b)
{
    asm goto(STAC "1: mov %0, (%2)\n\t"
                  "2: mov %1, 8(%2)\n\t" CLAC ".pushsection .extable, \"a\"\n\t"
                  ".balign 4\n\t"
                  ".long 1b - ., 2b - ., %l3 - .\n\t"
                  ".popsection"
             :
             : "r"(a), "r"(b), "r"(u_dst)
             : "memory"
             : fault);
    return true;
fault:
    asm volatile(CLAC : : : "memory");
    return false;
}

static inline must_check bool guest_write_u16(void *u_dst, u16 a)
{
    asm goto(STAC "1: movw %0, (%1)\n\t" CLAC ".pushsection .extable, \"a\"\n\t"
                  ".balign 4\n\t"
                  ".long 1b - ., 1b - ., %l2 - .\n\t"
                  ".popsection"
             :
             : "r"(a), "r"(u_dst)
             : "memory"
             : fault);
    return true;
fault:
    asm volatile(CLAC : : : "memory");
    return false;
}

/*
 * A word that may not be there: of what was a page table a moment ago and holds anything now, the
 * number of a frame in a hole of the one-to-one map for instance. 0 then.
 */
static inline u64 read_or_zero(const u64 *p)
{
    u64 x;

    asm goto("1: mov %1, %0\n\t"
             ".pushsection .extable, \"a\"\n\t"
             ".balign 4\n\t"
             ".long 1b - ., 1b - ., %l2 - .\n\t"
             ".popsection"
             : "=r"(x)
             : "m"(*(const volatile u64 *)p)
             :
             : gone);
    return x;
gone:
    return 0;
}

#endif
