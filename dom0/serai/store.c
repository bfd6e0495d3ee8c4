#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore.h>

static struct xs_handle *store(void)
{
    static struct xs_handle *handle;
    static bool tried;

    if (!tried)
        handle = xs_open(0);
    tried = true;
    return handle;
}

#define PATH_SIZE 64

static const char *path_of(char path[PATH_SIZE], unsigned int domid, const char *below)
{
    snprintf(path, PATH_SIZE, "/local/domain/%u%s", domid, below);
    return path;
}

/* Cut off where the buffer ends. */
static bool read_text(unsigned int domid, const char *below, char *buf, size_t size)
{
    char path[PATH_SIZE];
    unsigned int length;
    char *text;

    if (!store())
        return false;
    text = xs_read(store(), XBT_NULL, path_of(path, domid, below), &length);
    if (!text)
        return false;
    snprintf(buf, size, "%s", text);
    free(text);
    return true;
}

bool store_knows(unsigned int domid)
{
    char id[STORE_NAME_SIZE];

    return read_text(domid, "/domid", id, sizeof(id)) ||
           read_text(domid, "/name", id, sizeof(id));
}

bool store_name(unsigned int domid, char buf[STORE_NAME_SIZE])
{
    return read_text(domid, "/name", buf, STORE_NAME_SIZE);
}

bool store_get_target(unsigned int domid, char buf[STORE_TARGET_SIZE])
{
    return read_text(domid, "/memory/target", buf, STORE_TARGET_SIZE);
}

bool store_set_target(unsigned int domid, const char *text)
{
    char path[PATH_SIZE];

    path_of(path, domid, "/memory/target");
    return store() && xs_write(store(), XBT_NULL, path, text, (unsigned int)strlen(text));
}
