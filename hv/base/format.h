/*
 * printf into a buffer: %c %s %.*s %d %i %u %x %p with l, ll, z, width, '0', '-' and '#'.
 * Never writes beyond 'size'; always terminates when size > 0; returns the length the whole
 * text would have. %% is a percent sign; unknown conversions are copied as they stand.
 */
#ifndef SERAI_BASE_FORMAT_H
#define SERAI_BASE_FORMAT_H

#include <stdarg.h>

#include "base/types.h"

size_t format_va(char *buf, size_t size, const char *fmt, va_list ap);
size_t format(char *buf, size_t size, const char *fmt, ...) __printf(3, 4);

#endif
