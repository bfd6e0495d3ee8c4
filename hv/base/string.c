#include "base/string.h"

#ifndef SERAI_HOST
/*
 * Eight bytes at a time: on emulated CPUs without fast string moves each byte of `rep movsb`
 * costs an instruction, and on real ones these sizes hardly differ. The last eight are read first
 * and written last: memmove() may have them overwritten meanwhile.
 */
void *memcpy(void *dst, const void *src, size_t n)
{
    u8 *d = dst;
    const u8 *s = src;
    size_t words = n / 8;
    u64 last;

    if (words) {
        last = get_le64(s + n - 8);
        asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(words) : : "memory");
        __builtin_memcpy((u8 *)dst + n - 8, &last, sizeof(last));
        return dst;
    }
    for (; n; n--)
        *d++ = *s++;
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    u8 *d = dst;
    const u8 *s = src;

    if (d <= s || d >= s + n)
        return memcpy(dst, src, n);
    while (n--)
        d[n] = s[n];
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    u8 *d = dst;
    u64 pattern = 0x0101010101010101UL * (u8)c;
    size_t words = n / 8;

    asm volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(pattern) : "memory");
    for (n &= 7; n; n--)
        *d++ = (u8)c;
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;

    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *s)
{
    const char *p = s;

    while (*p)
        p++;
    return (size_t)(p - s);
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n; n--, a++, b++)
        if (*a != *b || !*a)
            return (u8)*a - (u8)*b;
    return 0;
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)s;
        if (!*s)
            return NULL;
    }
}
#endif
