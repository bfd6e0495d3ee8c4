#include "kern/random.h"
#include "x86/cpu.h"

#define HAS_RDRAND BIT(30) /* leaf 1, ecx */
#define TRIES      10      /* as Intel's manual advises */
#define ROUNDS     64

static u64 state; /* (atomic) */

/* 0 where the CPU has no generator, or that is exhausted. */
static u64 from_cpu(void)
{
    u32 a, b, c, d;
    bool got = false;
    u64 x = 0;

    cpuid_count(1, 0, &a, &b, &c, &d);
    for (unsigned i = 0; c & HAS_RDRAND && !got && i < TRIES; i++)
        asm volatile("rdrand %0" : "=r"(x), "=@ccc"(got));
    return got ? x : 0;
}

/*
 * The generator is mixed with the clock, whose lower bits no two rounds find alike, so that neither
 * has to be trusted alone.
 */
u64 random_u64(void)
{
    u64 x = __atomic_load_n(&state, __ATOMIC_RELAXED) ^ from_cpu();

    for (unsigned i = 0; i < ROUNDS; i++) {
        x = (x ^ rdtsc()) * 0x9e3779b97f4a7c15ul;
        x ^= x >> 29;
    }
    __atomic_fetch_xor(&state, x * 0xd6e8feb86659fd93ul, __ATOMIC_RELAXED);
    return x ^ x >> 32;
}
