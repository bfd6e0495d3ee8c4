/*
 * Runs a command and prints how far the time-stamp counter went meanwhile, which under QEMU's
 * -icount shift=0 is the number of instructions executed, and its value at the start:
 * tsc COMMAND [ARGUMENT...]
 */
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

/* For the counting plugin, as in bench/guest/ops.c: each run is an operation with one sample. */
#define MARK(n)                                                                                \
    __asm__ volatile(".byte 0x0f, 0x1f, 0x80; .long 0x53455200 + %c0" ::"i"(n) : "memory")
#define MARK_BEGIN 2
#define MARK_END   3
#define MARK_FIRST 4
#define MARK_LAST  5

int main(int argc, char **argv)
{
    uint64_t begin, end;
    int status = 0;
    pid_t child;

    if (argc < 2)
        return 2;
    MARK(MARK_FIRST);
    MARK(MARK_BEGIN);
    begin = __rdtsc();
    child = fork();

    if (!child) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    waitpid(child, &status, 0);
    end = __rdtsc();
    MARK(MARK_END);
    MARK(MARK_LAST);
    printf("tsc %lu status %d since %lu\n", (unsigned long)(end - begin), WEXITSTATUS(status),
           (unsigned long)begin);
    return 0;
}
