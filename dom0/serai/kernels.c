/*
 * Unpacked images of the kernels in /boot, for guests. A file is written under another name,
 * synced, and renamed: one that has its name is whole.
 */
#include "command.h"
#include "kernel_key.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/bzimage.h"
#include "base/unpack.h"

#define PATH_SIZE 512
/* A kernel has some 60 MiB; what claims more than this is none. */
#define LARGEST   (1u << 30)

/* The decoders are the hypervisor's own; here a broken promise ends the program. */
void bug_report(const char *expr, const char *file, int line)
{
    fprintf(stderr, "serai: BUG: %s at %s:%d\n", expr, file, line);
    abort();
}

struct mapping {
    u8 *data;
    size_t len;
};

static bool map_file(int fd, struct mapping *m)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return false;
    m->len = (size_t)st.st_size;
    m->data = mmap(NULL, m->len, PROT_READ, MAP_PRIVATE, fd, 0);
    return m->data != MAP_FAILED;
}

/* A kernel unpacked to memory that free() gives back; NULL with *reason. */
static u8 *unpacked(const struct mapping *file, size_t *len, const char **reason)
{
    struct bzimage_payload payload;
    void *work = NULL;
    u8 *image = NULL;

    if (bzimage_payload(file->data, file->len, &payload, reason) < 0)
        return NULL;
    *reason = "it claims to be too large";
    if (payload.unpacked_len > LARGEST)
        return NULL;
    *reason = "memory is short";
    image = malloc(payload.unpacked_len);
    work = aligned_alloc(64, (unpack_work_size() + 63) & ~(size_t)63);
    if (image && work &&
        unpack(payload.data, payload.len, image, payload.unpacked_len, len, work, reason) ==
            0) {
        *reason = "what is packed in it is no ELF file";
        if (*len > 4 && memcmp(image,
                               "\x7f"
                               "ELF",
                               4) == 0) {
            free(work);
            return image;
        }
    }
    free(work);
    free(image);
    return NULL;
}

static bool write_file(const char *path, const u8 *data, size_t len)
{
    char new[PATH_SIZE + 8];
    int fd;
    bool ok = true;

    snprintf(new, sizeof(new), "%s.new", path);
    fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    while (ok && len > 0) {
        ssize_t n = write(fd, data, len);

        ok = n > 0;
        data += ok ? n : 0;
        len -= ok ? (size_t)n : 0;
    }
    ok = ok && fsync(fd) == 0;
    close(fd);
    if (ok && rename(new, path) == 0)
        return true;
    unlink(new);
    return false;
}

static int add(int fd, const char *kernel, const char *path)
{
    const char *reason = "it cannot be read";
    struct mapping file = {0};
    u8 *image = NULL;
    size_t len = 0;
    int rc;

    if (map_file(fd, &file))
        image = unpacked(&file, &len, &reason);
    if (!image)
        rc = failed("%s is not unpacked: %s. Guests still start from it, slowly", kernel,
                    reason);
    else if (!write_file(path, image, len))
        rc = failed("%s cannot be written: %s", path, strerror(errno));
    else
        rc = DONE;
    free(image);
    if (file.data && file.data != MAP_FAILED)
        munmap(file.data, file.len);
    return rc;
}

/* Unpacks one kernel unless it is there; notes its key among those to keep. */
static int update_one(const char *root, const char *kernel, char key[KERNEL_KEY_SIZE])
{
    char path[PATH_SIZE];
    int rc = DONE;
    int fd = open(kernel, O_RDONLY | O_CLOEXEC);

    key[0] = '\0';
    if (fd < 0)
        return failed("%s cannot be opened: %s", kernel, strerror(errno));
    if (kernel_key(fd, key)) {
        snprintf(path, sizeof(path), "%s" KERNEL_CACHE "/%s", root, key);
        if (access(path, F_OK) < 0)
            rc = add(fd, kernel, path);
    }
    close(fd);
    return rc;
}

static void remove_others(const char *root, char (*keys)[KERNEL_KEY_SIZE], size_t count)
{
    char dir[PATH_SIZE];
    struct dirent *e;
    DIR *d;

    snprintf(dir, sizeof(dir), "%s" KERNEL_CACHE, root);
    d = opendir(dir);
    while (d && (e = readdir(d))) {
        size_t i = 0;

        while (i < count && strcmp(keys[i], e->d_name) != 0)
            i++;
        if (i == count && e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
}

/* KERNEL_CACHE below 'root', readable by root alone. */
static bool make_directories(const char *root)
{
    char path[PATH_SIZE];
    int len = snprintf(path, sizeof(path), "%s" KERNEL_CACHE, root);

    for (int i = (int)strlen(root) + 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        path[i] = '\0';
        if (mkdir(path, i == len ? 0700 : 0755) < 0 && errno != EEXIST)
            return false;
        path[i] = i == len ? '\0' : '/';
    }
    return true;
}

static int update(const char *root)
{
    char pattern[PATH_SIZE], (*keys)[KERNEL_KEY_SIZE];
    glob_t kernels = {0};
    int rc = DONE;

    if (!make_directories(root))
        return failed("%s" KERNEL_CACHE " cannot be made: %s", root, strerror(errno));
    snprintf(pattern, sizeof(pattern), "%s/boot/vmlinuz-*", root);
    if (glob(pattern, 0, NULL, &kernels) == GLOB_NOMATCH)
        kernels.gl_pathc = 0;
    keys = calloc(kernels.gl_pathc + 1, sizeof(*keys));
    if (!keys)
        rc = failed("memory is short");
    for (size_t i = 0; keys && i < kernels.gl_pathc; i++)
        if (update_one(root, kernels.gl_pathv[i], keys[i]) != DONE)
            rc = FAILED;
    if (keys)
        remove_others(root, keys, kernels.gl_pathc);
    free(keys);
    globfree(&kernels);
    return rc;
}

static int run(int argc, char **argv)
{
    if (argc > 2)
        return misused("'%s' is one argument too many", argv[2]);
    if (argc == 2 && strlen(argv[1]) > PATH_SIZE / 2)
        return misused("the name of the directory is too long");
    return update(argc == 2 ? argv[1] : "");
}

const struct command command_kernels = {
    "kernels", run, "[ROOT]", "unpacks the kernels in /boot, so that guests start at once",
    "Unpacked images are kept in " KERNEL_CACHE ", where xl finds them by the\n"
    "kernel's size, time and checksum; those of kernels that are gone are removed. Debian's "
    "kernel\n"
    "packages call this when they are installed and removed. ROOT stands for /."};
