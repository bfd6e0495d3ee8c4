/*
 * How the machine floor speaks. The console is above it, so the boot code hands its print
 * function down; until then messages are dropped. Formats use %s %c %d %u %x %lu %lx only.
 */
#ifndef SERAI_X86_LOG_H
#define SERAI_X86_LOG_H

#include "base/types.h"

typedef void (*x86_log_fn)(const char *fmt, ...) __printf(1, 2);

/* Never NULL. */
extern x86_log_fn x86_log;

void x86_log_set(x86_log_fn fn);

#endif
