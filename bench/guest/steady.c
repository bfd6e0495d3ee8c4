/*
 * /init of a guest that never rests and writes to 10 MB of its pages in a second of a thousand
 * million instructions: to one page, then so many instructions in registers. It tells what each
 * such second came to by the time-stamp counter, with what others did meanwhile:
 *
 *   bench work <ticks>
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#define PAGE     4096ul
#define PAGES    16384ul
#define A_SECOND 2560ul
#define BETWEEN  (390625ul / 2) /* turns of two instructions */

static void spin(uint64_t turns)
{
    __asm__ volatile("1: dec %0; jnz 1b" : "+r"(turns) : : "cc");
}

int main(void)
{
    volatile char *area = aligned_alloc(PAGE, PAGES * PAGE);

    if (!area)
        return 1;
    for (uint64_t i = 0; i < PAGES; i++)
        area[i * PAGE] = 1;
    for (uint64_t i = 0;;) {
        uint64_t begin = __rdtsc();

        for (unsigned n = 0; n < A_SECOND; n++, i++) {
            area[i % PAGES * PAGE] = (char)i;
            spin(BETWEEN);
        }
        printf("bench work %lu\n", (unsigned long)(__rdtsc() - begin));
        fflush(stdout);
    }
}
