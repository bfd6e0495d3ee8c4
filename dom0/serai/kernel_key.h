/*
 * What a kernel's unpacked image is filed under: the identity of the file it came from.
 *
 *   1. The key tells files apart by size, time of change to the nanosecond, and the checksum over
 *      the whole kernel that a bzImage carries in its last bytes: a kernel that was upgraded or
 *      touched has another key, so nobody is ever given the image of an older one.
 *   2. A copy that keeps the time has the same key, and the same contents.
 *   3. A file in KERNEL_CACHE is complete: it was synced before it was given its name.
 */
#ifndef SERAI_KERNEL_KEY_H
#define SERAI_KERNEL_KEY_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_CACHE    "/var/cache/serai/kernels"
#define KERNEL_KEY_SIZE 80

/* The key of an open file; false if it is no bzImage, of which alone there are unpacked images. */
static inline bool kernel_key(int fd, char key[KERNEL_KEY_SIZE])
{
    enum { SECTORS = 0x1f1, PARAGRAPHS = 0x1f4, MAGIC = 0x202, HEAD = 0x210 };
    uint8_t head[HEAD], sum[4];
    uint32_t paragraphs;
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
        memcmp(head + MAGIC, "HdrS", 4) != 0)
        return false;
    memcpy(&paragraphs, head + PARAGRAPHS, sizeof(paragraphs));
    off_t end = (head[SECTORS] + 1) * 512 + (off_t)paragraphs * 16;
    if (pread(fd, sum, sizeof(sum), end - (off_t)sizeof(sum)) != (ssize_t)sizeof(sum))
        return false;
    snprintf(key, KERNEL_KEY_SIZE, "%llx-%llx.%09lx-%02x%02x%02x%02x", (long long)st.st_size,
             (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, sum[0], sum[1], sum[2], sum[3]);
    return true;
}

#endif
