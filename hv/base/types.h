/*
 * The words every file uses: fixed-width integers, numbers that must not mix, and the few
 * compiler extensions the project allows itself. Pure; included by hypervisor and host tests.
 */
#ifndef SERAI_BASE_TYPES_H
#define SERAI_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Public errno values: XEN_EINVAL and so on, returned negative. */
#include <xen/errno.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

/*
 * One-field structs keep number spaces apart at no run-time cost.
 *   mfn_t    machine frame number          pfn_t  guest pseudo-physical frame number
 *   maddr_t  machine address in bytes
 */
typedef struct {
    u64 n;
} mfn_t;
typedef struct {
    u64 n;
} pfn_t;
typedef struct {
    u64 a;
} maddr_t;

#define MFN(x)   ((mfn_t){(x)})
#define PFN(x)   ((pfn_t){(x)})
#define MADDR(x) ((maddr_t){(x)})

typedef s64 ns_t; /* nanoseconds since the hypervisor started */

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096UL
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define KIB(x) ((u64)(x) << 10)
#define MIB(x) ((u64)(x) << 20)
#define GIB(x) ((u64)(x) << 30)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)        (1UL << (n))
/* Each argument is evaluated once; the counter keeps nested uses apart. */
#define PASTE_(a, b)  a##b
#define PASTE(a, b)   PASTE_(a, b)
#define PICK_(x, y, a, op, b)                                                                  \
    ({                                                                                         \
        __auto_type x = (a);                                                                   \
        __auto_type y = (b);                                                                   \
        x op y ? x : y;                                                                        \
    })
#define MIN(a, b)             PICK_(PASTE(min_a, __COUNTER__), PASTE(min_b, __COUNTER__), a, <, b)
#define MAX(a, b)             PICK_(PASTE(max_a, __COUNTER__), PASTE(max_b, __COUNTER__), a, >, b)
#define ROUND_UP(x, to)       (((x) + (to)-1) & ~((to)-1)) /* 'to' is a power of two */
#define ROUND_DOWN(x, to)     ((x) & ~((to)-1))
#define DIV_ROUND_UP(x, by)   (((x) + (by)-1) / (by))
#define container_of(p, t, m) ((t *)((char *)(p)-offsetof(t, m)))

#define must_check     __attribute__((warn_unused_result))
#define packed         __attribute__((packed))
#define likely(x)      __builtin_expect(!!(x), 1)
#define unlikely(x)    __builtin_expect(!!(x), 0)
#define __noinline     __attribute__((noinline))
#define __flatten      __attribute__((flatten)) /* all that it calls becomes part of it */
#define __cold         __attribute__((cold))    /* small before quick */
#define __used         __attribute__((used))
#define must_inline    inline __attribute__((always_inline))
#define __unset        __attribute__((uninitialized)) /* large, and written before it is read */
#define __aligned(n)   __attribute__((aligned(n)))
#define __noreturn     __attribute__((noreturn))
#define __printf(f, a) __attribute__((format(printf, f, a)))

/* Boot-time code and data: given back to the heap before domain 0 runs. */
#ifdef SERAI_HOST
#define __init
#define __initdata
#define __initconst
#else
#define __init      __attribute__((section(".init.text")))
#define __initdata  __attribute__((section(".init.data")))
#define __initconst __attribute__((section(".init.rodata")))
#endif

/* Unaligned little-endian reads of bytes that somebody else laid out. */
static inline u16 get_le16(const void *p)
{
    u16 v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

static inline u32 get_le32(const void *p)
{
    u32 v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

static inline u64 get_le64(const void *p)
{
    u64 v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

/* True when [off, off + len) lies inside an object of 'size' bytes; never wraps. */
static inline bool range_ok(u64 off, u64 len, u64 size)
{
    return off <= size && len <= size - off;
}

#endif
