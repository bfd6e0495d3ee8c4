#include "base/format.h"
#include "base/string.h"

struct sink {
    char *buf;
    size_t size, len;
};

struct spec {
    bool left, zero, alt;
    int width, precision; /* precision -1: none */
    int longs;
};

static void put(struct sink *s, char c)
{
    if (s->len + 1 < s->size)
        s->buf[s->len] = c;
    s->len++;
}

static void pad(struct sink *s, char c, int n)
{
    while (n-- > 0)
        put(s, c);
}

static void put_text(struct sink *s, const char *text, const struct spec *f)
{
    int len = 0;

    if (!text)
        text = "(null)";
    while ((f->precision < 0 || len < f->precision) && text[len])
        len++;
    if (!f->left)
        pad(s, ' ', f->width - len);
    for (int i = 0; i < len; i++)
        put(s, text[i]);
    if (f->left)
        pad(s, ' ', f->width - len);
}

static void put_number(struct sink *s, u64 v, unsigned base, bool negative,
                       const struct spec *f)
{
    char digits[24];
    int n = 0, len;
    bool prefix = f->alt && base == 16 && v;

    do
        digits[n++] = "0123456789abcdef"[v % base];
    while (v /= base);
    len = n + negative + (prefix ? 2 : 0);
    if (!f->left && !f->zero)
        pad(s, ' ', f->width - len);
    if (negative)
        put(s, '-');
    if (prefix) {
        put(s, '0');
        put(s, 'x');
    }
    if (!f->left && f->zero)
        pad(s, '0', f->width - len);
    while (n)
        put(s, digits[--n]);
    if (f->left)
        pad(s, ' ', f->width - len);
}

static const char *parse_spec(const char *p, struct spec *f, int *star)
{
    *f = (struct spec){.precision = -1};
    *star = 0;
    for (;; p++) {
        if (*p == '-')
            f->left = true;
        else if (*p == '0')
            f->zero = true;
        else if (*p == '#')
            f->alt = true;
        else
            break;
    }
    for (; *p >= '0' && *p <= '9' && f->width < 1000; p++)
        f->width = f->width * 10 + (*p - '0');
    if (p[0] == '.' && p[1] == '*') {
        *star = 1;
        p += 2;
    } else if (*p == '.') {
        f->precision = 0;
        for (p++; *p >= '0' && *p <= '9' && f->precision < 1000; p++)
            f->precision = f->precision * 10 + (*p - '0');
    }
    for (; *p == 'l' || *p == 'z'; p++)
        f->longs++;
    return p;
}

size_t format_va(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct sink s = {buf, size, 0};
    struct spec f;
    const char *start;
    char one[2] = "";
    int star;

    for (const char *p = fmt; *p; p++) {
        if (*p != '%') {
            put(&s, *p);
            continue;
        }
        start = p;
        p = parse_spec(p + 1, &f, &star);
        if (star)
            f.precision = va_arg(ap, int);
        if (*p == 'c') {
            one[0] = (char)va_arg(ap, int);
            put_text(&s, one, &f);
        } else if (*p == 's') {
            put_text(&s, va_arg(ap, const char *), &f);
        } else if (*p == 'd' || *p == 'i') {
            s64 v = f.longs ? va_arg(ap, s64) : va_arg(ap, int);
            put_number(&s, v < 0 ? -(u64)v : (u64)v, 10, v < 0, &f);
        } else if (*p == 'u' || *p == 'x') {
            u64 v = f.longs ? va_arg(ap, u64) : va_arg(ap, unsigned);
            put_number(&s, v, *p == 'u' ? 10 : 16, false, &f);
        } else if (*p == 'p') {
            f.zero = true;
            f.width = 16;
            put_number(&s, (u64)va_arg(ap, void *), 16, false, &f);
        } else if (*p == '%') {
            put(&s, '%');
        } else {
            while (start < p)
                put(&s, *start++);
            if (!*p)
                break;
            put(&s, *p);
        }
    }
    if (size)
        buf[MIN(s.len, size - 1)] = '\0';
    return s.len;
}

size_t format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    n = format_va(buf, size, fmt, ap);
    va_end(ap);
    return n;
}
