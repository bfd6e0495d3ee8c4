#include "x86/log.h"

static __printf(1, 2) void drop(const char *fmt, ...)
{
}

x86_log_fn x86_log = drop;

void x86_log_set(x86_log_fn fn)
{
    x86_log = fn ? fn : drop;
}
