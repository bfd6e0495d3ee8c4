/*
 * Freestanding memory and string functions with their C library meaning. The host build uses
 * the C library's own.
 */
#ifndef SERAI_BASE_STRING_H
#define SERAI_BASE_STRING_H

#ifdef SERAI_HOST
#include <string.h>
#else
#include "base/types.h"

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
#endif

#endif
