#include "base/cmdline.h"
#include "base/format.h"
#include "base/string.h"

/* Room for a word or value in an error message. */
#define MAX_SHOWN 52

#define BAUD_CLOCK 115200
#define COM1_PORT  0x3F8
#define COM1_IRQ   4

/* A piece of the line: [p, end). */
struct span {
    const char *p, *end;
};

struct parser {
    struct cmdline *out;
    char *err;
    size_t err_len;
    bool failed;
    struct span word; /* the one being parsed, for messages */
};

static size_t span_len(struct span s)
{
    return s.end - s.p;
}

static bool span_is(struct span s, const char *text)
{
    return span_len(s) == strlen(text) && memcmp(s.p, text, span_len(s)) == 0;
}

/* Names: '_' and '-' are the same. */
static bool span_is_name(struct span s, const char *name)
{
    size_t len = strlen(name);

    if (span_len(s) != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s.p[i] != name[i] && !(s.p[i] == '-' && name[i] == '_'))
            return false;
    }
    return true;
}

static bool skip_prefix(struct span *s, const char *prefix)
{
    size_t len = strlen(prefix);

    if (span_len(*s) < len || memcmp(s->p, prefix, len) != 0)
        return false;
    s->p += len;
    return true;
}

/* Cut the part before the first 'separator' off *s; the rest stays, without the separator. */
static struct span cut(struct span *s, char separator)
{
    struct span head = *s;

    while (s->p < s->end && *s->p != separator)
        s->p++;
    head.end = s->p;
    if (s->p < s->end)
        s->p++;
    return head;
}

/* A copy fit for a message: printable ASCII only, cut where it gets long. */
static void copy_shown(char out[MAX_SHOWN], struct span s)
{
    size_t len = MIN(span_len(s), MAX_SHOWN - 1);

    for (size_t i = 0; i < len; i++)
        out[i] = s.p[i] >= ' ' && s.p[i] <= '~' ? s.p[i] : '?';
    out[len] = '\0';
    if (len < span_len(s))
        memcpy(out + len - 3, "...", 3);
}

/* Say "word: 'part' what". Only the first complaint is kept. Always false. */
static bool refuse(struct parser *p, struct span part, const char *what)
{
    char word[MAX_SHOWN], shown[MAX_SHOWN];

    if (!p->failed) {
        copy_shown(word, p->word);
        copy_shown(shown, part);
        format(p->err, p->err_len, "%s: '%s' %s", word, shown, what);
    }
    p->failed = true;
    return false;
}

static int digit(char c, unsigned base)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (base == 16 && c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (base == 16 && c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int cmdline_parse_number(const char **pos, const char *end, u64 *out)
{
    const char *p = *pos;
    unsigned base = 10;
    u64 v = 0;

    if (end - p > 2 && p[0] == '0' && (p[1] | 0x20) == 'x' && digit(p[2], 16) >= 0) {
        base = 16;
        p += 2;
    }
    if (p == end || digit(*p, base) < 0)
        return -XEN_EINVAL;
    for (; p < end && digit(*p, base) >= 0; p++) {
        if (__builtin_mul_overflow(v, base, &v) ||
            __builtin_add_overflow(v, (u64)digit(*p, base), &v))
            return -XEN_E2BIG;
    }
    *out = v;
    *pos = p;
    return 0;
}

/* The shift of a size suffix, -1 for no suffix. */
static int suffix_shift(char c)
{
    switch (c | 0x20) {
    case 'b':
        return 0;
    case 'k':
        return 10;
    case 'm':
        return 20;
    case 'g':
        return 30;
    case 't':
        return 40;
    default:
        return -1;
    }
}

int cmdline_parse_size(const char **pos, const char *end, u64 *out)
{
    const char *p = *pos;
    int shift = -1;
    u64 v = 0;
    int rc = cmdline_parse_number(&p, end, &v);

    if (rc < 0)
        return rc;
    if (p < end)
        shift = suffix_shift(*p);
    if (shift >= 0)
        p++;
    else
        shift = 10;
    if (v > ~0ULL >> shift)
        return -XEN_E2BIG;
    *out = v << shift;
    *pos = p;
    return 0;
}

/* All of 's' as a number in [min, max]. */
static bool take_number(struct parser *p, struct span s, u64 max, const char *what, u64 *out)
{
    struct span whole = s;
    u64 v = 0;

    if (cmdline_parse_number(&s.p, s.end, &v) < 0 || s.p != s.end || v > max)
        return refuse(p, whole, what);
    *out = v;
    return true;
}

/* All of 's' as a size. */
static bool take_size(struct parser *p, struct span s, u64 *out)
{
    struct span whole = s;
    int rc = cmdline_parse_size(&s.p, s.end, out);

    if (rc == -XEN_E2BIG)
        return refuse(p, whole, "is more than 64 bits hold");
    if (rc < 0)
        return refuse(p, whole, "is not a size, such as 512M or 2G");
    if (s.p != s.end)
        return refuse(p, s, "is not a size suffix (B, K, M, G or T)");
    return true;
}

/* size, -size, percent%, percent%+size */
static bool take_amount(struct parser *p, struct span s, struct cmdline_amount *out)
{
    struct cmdline_amount a = {.set = true};
    struct span rest = s, percent = cut(&rest, '%');
    u64 n = 0;

    if (percent.end == s.end) {
        a.negative = skip_prefix(&s, "-");
        if (!take_size(p, s, &a.bytes))
            return false;
    } else {
        if (!take_number(p, percent, 100, "is not a percentage from 0 to 100", &n))
            return false;
        a.percent = n;
        if (rest.p != rest.end && !skip_prefix(&rest, "+"))
            return refuse(p, rest, "must begin with '+' after a percentage");
        if (percent.end + 1 != rest.p && !take_size(p, rest, &a.bytes))
            return false;
    }
    *out = a;
    return true;
}

static bool take_dom0_mem(struct parser *p, struct span s)
{
    struct cmdline *out = p->out;
    struct cmdline_amount size = {0}, min = {0}, max = {0};

    do {
        struct span item = cut(&s, ',');
        struct cmdline_amount *to = &size;

        if (skip_prefix(&item, "min:"))
            to = &min;
        else if (skip_prefix(&item, "max:"))
            to = &max;
        if (!take_amount(p, item, to))
            return false;
    } while (s.p < s.end);
    out->dom0_mem = size;
    out->dom0_mem_min = min;
    out->dom0_mem_max = max;
    return true;
}

static bool take_dom0_vcpus(struct parser *p, struct span s)
{
    static const char what[] = "is not a number of CPUs from 1 to 4096";
    struct span whole = s, low = cut(&s, '-');
    bool range = low.end != whole.end;
    u64 min = 0, max = 0;

    if (range && low.p == low.end && s.p == s.end)
        return refuse(p, whole, "has no number on either side");
    if ((!range || low.p != low.end) && (!take_number(p, low, 4096, what, &min) || !min))
        return refuse(p, low, what);
    if (range && s.p != s.end && (!take_number(p, s, 4096, what, &max) || !max))
        return refuse(p, s, what);
    if (max && min > max)
        return refuse(p, whole, "has a minimum above its maximum");
    p->out->dom0_min_vcpus = min;
    p->out->dom0_max_vcpus = range ? max : min;
    return true;
}

/* <data><parity><stop>; each of them may be left out at the end. */
static bool take_framing(struct parser *p, struct span s, struct cmdline *out)
{
    size_t len = span_len(s);

    if (len > 3)
        return refuse(p, s, "is not data bits, parity, stop bits, such as 8n1");
    if (len > 0 && (s.p[0] < '5' || s.p[0] > '8'))
        return refuse(p, s, "must begin with 5 to 8 data bits, such as 8n1");
    if (len > 1 && (!s.p[1] || !strchr("noems", s.p[1])))
        return refuse(p, s, "must have a parity of n, o, e, m or s, such as 8n1");
    if (len > 2 && s.p[2] != '1' && s.p[2] != '2')
        return refuse(p, s, "must end with 1 or 2 stop bits, such as 8n1");
    if (len > 0)
        out->com1.data_bits = s.p[0] - '0';
    if (len > 1)
        out->com1.parity = s.p[1];
    if (len > 2)
        out->com1.stop_bits = s.p[2] - '0';
    return true;
}

static bool take_baud(struct parser *p, struct span s, struct cmdline *out)
{
    struct span whole = s, baud = cut(&s, '/');
    u64 clock = BAUD_CLOCK, rate = 0;

    if (baud.end != whole.end &&
        !take_number(p, s, 100000000, "is not a base baud rate", &clock))
        return false;
    if (!span_is(baud, "auto")) {
        if (!take_number(p, baud, 100000000, "is not a baud rate, such as 115200", &rate))
            return false;
        if (!rate || clock < rate || clock / rate > 0xFFFF)
            return refuse(p, whole, "is no rate this clock can make (115200 is usual)");
    }
    out->com1.baud = rate;
    out->com1.clock = clock;
    return true;
}

static bool take_com1(struct parser *p, struct span s)
{
    struct cmdline c = *p->out;
    struct span baud = cut(&s, ','), framing = cut(&s, ',');
    struct span port = cut(&s, ','), irq = cut(&s, ',');
    u64 v;

    if (s.p != s.end)
        return refuse(p, s, "comes after the interrupt, where nothing is known");
    if (baud.p != baud.end && !take_baud(p, baud, &c))
        return false;
    if (!take_framing(p, framing, &c))
        return false;
    if (port.p != port.end) {
        if (!take_number(p, port, 0xFFF8, "is not an I/O port, such as 0x3f8", &v))
            return false;
        c.com1.io_base = v;
    }
    if (irq.p != irq.end) {
        if (!take_number(p, irq, 255, "is not an interrupt number, such as 4", &v))
            return false;
        c.com1.irq = v;
    }
    c.com1.set = true;
    *p->out = c;
    return true;
}

static bool take_level(struct parser *p, struct span s, enum cmdline_level *out)
{
    static const struct {
        const char *name;
        enum cmdline_level level;
    } levels[] = {
        {"none", CMDLINE_LOG_NONE},       {"error", CMDLINE_LOG_ERROR},
        {"warning", CMDLINE_LOG_WARNING}, {"info", CMDLINE_LOG_INFO},
        {"debug", CMDLINE_LOG_DEBUG},     {"all", CMDLINE_LOG_DEBUG},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
        if (span_is(s, levels[i].name)) {
            *out = levels[i].level;
            return true;
        }
    }
    return refuse(p, s, "is not a log level (none, error, warning, info, debug or all)");
}

static bool take_levels(struct parser *p, struct span s, enum cmdline_level *low,
                        enum cmdline_level *high)
{
    struct span whole = s, first = cut(&s, '/');
    enum cmdline_level a = CMDLINE_LOG_NONE, b;

    if (!take_level(p, first, &a))
        return false;
    b = a;
    if (first.end != whole.end && !take_level(p, s, &b))
        return false;
    *low = a;
    *high = MAX(a, b);
    return true;
}

static bool take_loglvl(struct parser *p, struct span s)
{
    return take_levels(p, s, &p->out->loglvl, &p->out->loglvl_limited);
}

static bool take_guest_loglvl(struct parser *p, struct span s)
{
    return take_levels(p, s, &p->out->guest_loglvl, &p->out->guest_loglvl_limited);
}

static bool take_switch(struct parser *p, struct span s, bool *out)
{
    static const char *const words[2][5] = {{"no", "off", "false", "disable", "0"},
                                            {"yes", "on", "true", "enable", "1"}};

    for (unsigned on = 0; on < 2; on++) {
        for (unsigned i = 0; i < 5; i++) {
            if (span_is(s, words[on][i])) {
                *out = on;
                return true;
            }
        }
    }
    return refuse(p, s, "is neither yes nor no (on, off, true, false, 1, 0)");
}

/* A list of consoles; the ones Serai has not are told one by one. */
static void take_console(struct parser *p, struct span s,
                         void (*unknown)(const char *word, size_t len, void *arg), void *arg)
{
    unsigned consoles = 0;

    do {
        struct span item = cut(&s, ',');

        if (span_is(item, "com1") || span_is(item, "com1H") || span_is(item, "com1L"))
            consoles |= CMDLINE_CONSOLE_COM1;
        else if (span_is(item, "vga"))
            consoles |= CMDLINE_CONSOLE_VGA;
        else if (!span_is(item, "none") && unknown)
            unknown(item.p, span_len(item), arg);
    } while (s.p < s.end);
    p->out->console = consoles;
}

/* name=value with a parser of its own. False: no such name. */
static bool take_setting(struct parser *p, struct span name, struct span value)
{
    static const struct {
        const char *name;
        bool (*take)(struct parser *p, struct span s);
    } settings[] = {
        {"dom0_mem", take_dom0_mem}, {"dom0_max_vcpus", take_dom0_vcpus}, {"com1", take_com1},
        {"loglvl", take_loglvl},     {"guest_loglvl", take_guest_loglvl},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(settings); i++) {
        if (span_is_name(name, settings[i].name)) {
            (void)settings[i].take(p, value);
            return true;
        }
    }
    return false;
}

static bool *find_switch(struct cmdline *c, struct span name)
{
    if (span_is_name(name, "noreboot"))
        return &c->noreboot;
    if (span_is_name(name, "sync_console"))
        return &c->sync_console;
    return NULL;
}

/* "name", "name=yes", "no-name". False: no such switch. */
static bool take_flag(struct parser *p, struct span name, struct span value, bool has_value)
{
    bool *to = find_switch(p->out, name);
    bool on = true;

    if (!to && !has_value && skip_prefix(&name, "no-")) {
        to = find_switch(p->out, name);
        on = false;
    }
    if (!to)
        return false;
    if (!has_value)
        *to = on;
    else
        (void)take_switch(p, value, to);
    return true;
}

/* False: nobody knows this word. */
static bool take_word(struct parser *p, struct span word)
{
    struct span value = word, name = cut(&value, '=');
    bool has_value = name.end != word.end;

    if (span_is(word, "placeholder"))
        return true;
    if (has_value && span_is_name(name, "reboot") &&
        (span_is(value, "no") || span_is(value, "n"))) {
        p->out->noreboot = true;
        return true;
    }
    return take_flag(p, name, value, has_value) || take_setting(p, name, value);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct span next_word(const char **line)
{
    struct span w;

    while (is_blank(**line))
        (*line)++;
    w.p = *line;
    while (**line && !is_blank(**line))
        (*line)++;
    w.end = *line;
    return w;
}

static void set_defaults(struct cmdline *c)
{
    *c = (struct cmdline){
        .com1 = {.baud = BAUD_CLOCK,
                 .clock = BAUD_CLOCK,
                 .io_base = COM1_PORT,
                 .irq = COM1_IRQ,
                 .data_bits = 8,
                 .parity = 'n',
                 .stop_bits = 1},
        .console = CMDLINE_CONSOLE_COM1 | CMDLINE_CONSOLE_VGA,
        .loglvl = CMDLINE_LOG_WARNING,
        .loglvl_limited = CMDLINE_LOG_WARNING,
        .guest_loglvl = CMDLINE_LOG_NONE,
        .guest_loglvl_limited = CMDLINE_LOG_WARNING,
    };
}

int cmdline_parse(const char *line, struct cmdline *out,
                  void (*unknown)(const char *word, size_t len, void *arg), void *arg,
                  char *err, size_t err_len)
{
    struct parser p = {.out = out, .err = err, .err_len = err_len};

    if (err_len)
        err[0] = '\0';
    set_defaults(out);
    for (;;) {
        struct span value;

        p.word = next_word(&line);
        if (p.word.p == p.word.end)
            return p.failed ? -XEN_EINVAL : 0;
        value = p.word;
        if (skip_prefix(&value, "console="))
            take_console(&p, value, unknown, arg);
        else if (!take_word(&p, p.word) && unknown)
            unknown(p.word.p, span_len(p.word), arg);
    }
}

static u64 amount_bytes(const struct cmdline_amount *a, u64 available)
{
    u64 bytes;

    if (a->negative)
        return available > a->bytes ? available - a->bytes : 0;
    bytes = available / 100 * a->percent + available % 100 * a->percent / 100;
    return a->bytes < available - bytes ? bytes + a->bytes : available;
}

u64 cmdline_dom0_bytes(const struct cmdline *c, u64 available)
{
    u64 bytes = available;

    if (c->dom0_mem.set && (c->dom0_mem.bytes || c->dom0_mem.percent))
        bytes = amount_bytes(&c->dom0_mem, available);
    if (c->dom0_mem_min.set)
        bytes = MAX(bytes, amount_bytes(&c->dom0_mem_min, available));
    if (c->dom0_mem_max.set)
        bytes = MIN(bytes, amount_bytes(&c->dom0_mem_max, available));
    return ROUND_DOWN(bytes, PAGE_SIZE);
}

unsigned cmdline_dom0_vcpus(const struct cmdline *c, unsigned cpus)
{
    unsigned n = MAX(cpus, c->dom0_min_vcpus);

    if (c->dom0_max_vcpus)
        n = MIN(n, c->dom0_max_vcpus);
    return MAX(n, 1U);
}
