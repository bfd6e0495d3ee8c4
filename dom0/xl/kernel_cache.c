/*
 * Loaded into xl before libxenguest: a guest's kernel that is packed, as Debian ships it, is read
 * from the image that 'serai kernels' has unpacked. Unpacking is nearly all of what starting a
 * guest costs. The caller's file name stays what it is in everything that xl keeps and shows; the
 * image is looked up each time a guest is built, a restart included.
 */
#include "../serai/kernel_key.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

struct xc_dom_image;
typedef int kernel_file(struct xc_dom_image *dom, const char *filename);

/*
 * Programs that xl starts are none of our business. What comes before xl is: Debian's /usr/sbin/xl
 * is a script, whose shell hands on what it finds.
 */
__attribute__((constructor)) static void leave_environment(void)
{
    if (dlsym(RTLD_NEXT, "xc_dom_kernel_file"))
        unsetenv("LD_PRELOAD");
}

/* What anybody but root may write is no cache. */
static bool trusted(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
           (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static bool find_unpacked(const char *filename, char *path, size_t size)
{
    char key[KERNEL_KEY_SIZE];
    int fd = open(filename, O_RDONLY | O_CLOEXEC);
    bool found;

    if (fd < 0)
        return false;
    found = kernel_key(fd, key);
    close(fd);
    if (!found)
        return false;
    snprintf(path, size, KERNEL_CACHE "/%s", key);
    return trusted(path);
}

/* libxenguest's function of this name, which comes after us in the order of symbols. */
int xc_dom_kernel_file(struct xc_dom_image *dom, const char *filename)
{
    kernel_file *next = (kernel_file *)dlsym(RTLD_NEXT, "xc_dom_kernel_file");
    char path[sizeof(KERNEL_CACHE) + KERNEL_KEY_SIZE];

    if (!next) {
        errno = ENOSYS;
        return -1;
    }
    if (find_unpacked(filename, path, sizeof(path)) && next(dom, path) == 0)
        return 0;
    return next(dom, filename);
}
