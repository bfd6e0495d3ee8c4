/*
 * /init of the guest that is saved and migrated: it writes to 10 MB of pages each second and
 * tells, from the time-stamp counter, when it did not run for long:
 *
 *   bench gap <ticks>
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAGE  4096ul
#define PAGES 16384ul
#define EVERY 390625 /* ns between two pages */
#define ALARM 5000000ul

static uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
}

int main(void)
{
    const struct timespec pause = {.tv_nsec = EVERY};
    volatile char *area = aligned_alloc(PAGE, PAGES * PAGE);
    uint64_t last = 0;

    if (!area)
        return 1;
    for (uint64_t i = 0;; i++) {
        uint64_t now = rdtsc();

        area[i % PAGES * PAGE] = (char)i;
        if (last && now - last > ALARM) {
            printf("bench gap %lu\n", (unsigned long)(now - last));
            fflush(stdout);
            now = rdtsc();
        }
        if (i == PAGES) {
            puts("bench running");
            fflush(stdout);
        }
        last = now;
        nanosleep(&pause, NULL);
    }
}
