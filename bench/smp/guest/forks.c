/*
 * forks WORKERS TIMES [exec]: that many processes at once, each of which forks that often and waits
 * for the child; the child touches some of its memory and exits, or executes /bin/tiny.
 *
 * Each worker holds 256 touched pages in 16 page tables, so that a fork has tables to copy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define AREAS 16
#define AREA_PAGES 16

static char *area[AREAS];

static void touch_memory(int from, int step)
{
    for (int i = from; i < AREAS * AREA_PAGES; i += step)
        area[i / AREA_PAGES][(i % AREA_PAGES) * 4096] = 1;
}

static void make_memory(void)
{
    for (int i = 0; i < AREAS; i++) {
        area[i] = mmap((void *)(0x100000000000 + ((long)i << 21)), AREA_PAGES * 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (area[i] == MAP_FAILED) {
            perror("forks: mmap");
            exit(1);
        }
    }
    touch_memory(0, 1);
}

static void one_child(int executes)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        if (executes)
            execl("/bin/tiny", "tiny", (char *)NULL);
        touch_memory(0, 8);
        _exit(executes);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "forks: a child failed\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    int workers = argc > 2 ? atoi(argv[1]) : 0;
    int times = argc > 2 ? atoi(argv[2]) : 0;
    int executes = argc > 3 && strcmp(argv[3], "exec") == 0;
    int failed = workers < 1 || times < 1;

    for (int w = 0; w < workers; w++) {
        if (fork() == 0) {
            make_memory();
            for (int i = 0; i < times; i++)
                one_child(executes);
            _exit(0);
        }
    }
    for (int status; wait(&status) > 0;)
        failed |= status;
    return failed != 0;
}
