#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WITHIN_MIN 1000000UL /* ns; as hv/core/memtarget.h */
#define WITHIN_MAX (30UL * 24 * 3600 * 1000000000)

/* A whole number and one of 'units' right behind it: *out is their product. */
struct unit {
    const char *name;
    uint64_t factor;
};

static bool parse_unit(const char *text, const struct unit *units, uint64_t *out)
{
    char digits[20];
    size_t n = strspn(text, "0123456789");
    unsigned long number;

    if (n >= sizeof(digits))
        return false;
    memcpy(digits, text, n);
    digits[n] = 0;
    if (!parse_number(digits, ~0UL, &number))
        return false;
    for (; units->name; units++)
        if (!strcmp(text + n, units->name))
            return !__builtin_mul_overflow(number, units->factor, out);
    return false;
}

static int take_pages(const char *text, uint64_t *out)
{
    unsigned long n;

    if (!parse_number(text, 1UL << 40, &n) || !n)
        return misused("'%s' is no number of pages (of 4 KiB)", text);
    *out = n;
    return DONE;
}

static int take_size(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"K", 1}, {"M", 1024}, {"G", 1024 * 1024}, {"T", 1UL << 30}, {0}};
    uint64_t kib;

    if (!parse_unit(text, units, &kib) || kib < PAGE_KIB)
        return misused("size '%s' is none: like 512M it should be, a whole number with K, M, G "
                       "or T, at least 4K",
                       text);
    *out = kib / PAGE_KIB;
    return DONE;
}

static int take_within(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000}, {0}};

    if (!parse_unit(text, units, out) || *out < WITHIN_MIN || *out > WITHIN_MAX)
        return misused("'%s' is no time: like 500ms it should be, a whole number with ms, s, m "
                       "or h, from 1ms to 720h",
                       text);
    return DONE;
}

static int take_otherwise(const char *text, struct serai_memory *m)
{
    static const char *const words[] = {"nothing", "cap", "pause", "destroy"};
    uint64_t all = (uint64_t)count_cpus() * 1000000;
    int i = find_name(words, 4, text);

    if (!strncmp(text, "cap=", 4)) {
        if (!parse_percent(text + 4, &m->cap_ppm) || !m->cap_ppm || m->cap_ppm > all)
            return misused(
                "cap '%s' is no percentage of a CPU: from above 0 to %u, all CPUs of "
                "this machine",
                text + 4, count_cpus() * 100);
        i = SERAI_ELSE_CAP;
    } else if (i < 0 || i == SERAI_ELSE_CAP) {
        return misused("'%s' is no consequence: it is one of nothing, cap=PERCENT, pause, "
                       "destroy",
                       text);
    }
    m->otherwise = (uint8_t)i;
    return DONE;
}

/* ---- why the hypervisor refused ----------------------------------------------------------- */

static int explain(const struct serai_memory *m)
{
    int error = errno;
    char label[LABEL_SIZE];

    mem_label(label, m->domid);
    if (error == EINVAL && !m->domid && m->otherwise)
        return failed("domain 0 cannot be threatened: without it nobody could take the "
                      "consequence back. Leave --else out.");
    if (error == EINVAL)
        return failed("domain %s cannot be told to have %llu pages: this machine has not so "
                      "many.",
                      label, (unsigned long long)m->pages);
    if (error == ESRCH)
        return failed("domain %s is being destroyed. 'serai mem list' shows those there are.",
                      label);
    errno = error;
    return op_failed("there is no instruction, and nothing has changed");
}

/* A guest that is told to have more than it ever can tries, and may choke on it. */
static int check(const struct serai_memory *m, const struct serai_memory *now)
{
    uint64_t limit =
        now->pages_max > now->pages_max_before ? now->pages_max : now->pages_max_before;
    struct serai_memory op = *m;
    char label[LABEL_SIZE], size[SIZE_SIZE];

    op.op = SERAI_MEMORY_CHECK;
    if (serai_op(SERAI_OP_MEMORY, &op, sizeof(op)))
        return explain(m);
    if (m->pages <= limit)
        return DONE;
    return failed("domain %s may have %s at most. 'xl mem-max' raises that; then 'xl mem-set' "
                  "gives it more.",
                  mem_label(label, m->domid), format_size(size, limit));
}

/*
 * The guest first: if we are killed in between, it knows what it should do and no deadline
 * threatens it. When the hypervisor refuses all the same, it is told what it was told before; if
 * that is nothing, to have what it has.
 */
static int give(struct serai_memory *m, uint64_t pages_now)
{
    char before[STORE_TARGET_SIZE], label[LABEL_SIZE];
    int rc;

    if (!store_get_target(m->domid, before))
        mem_target(before, pages_now);
    if (!mem_tell(m->domid, m->pages))
        return failed("domain %s cannot be told: xenstored does not answer, or does not know "
                      "the domain. Nothing has changed. Is xenstored running ('service xen "
                      "start'), and has xl made the domain?",
                      mem_label(label, m->domid));
    if (!serai_op(SERAI_OP_MEMORY, m, sizeof(*m)))
        return DONE;
    rc = explain(m);
    (void)!store_set_target(m->domid, before);
    return rc;
}

/* ---- the command -------------------------------------------------------------------------- */

static const struct option options[] = {
    {"pages", required_argument, NULL, 'p'},  {"size", required_argument, NULL, 's'},
    {"within", required_argument, NULL, 't'}, {"else", required_argument, NULL, 'e'},
    {"wait", no_argument, NULL, 'w'},         {0}};

static int take_option(int option, struct serai_memory *m, bool *wait)
{
    switch (option) {
    case 'p':
        return take_pages(optarg, &m->pages);
    case 's':
        return take_size(optarg, &m->pages);
    case 't':
        return take_within(optarg, &m->within);
    case 'e':
        m->cap_ppm = 0;
        return take_otherwise(optarg, m);
    case 'w':
        *wait = true;
        return DONE;
    default:
        return MISUSED;
    }
}

static int run(int argc, char **argv)
{
    struct serai_memory m = {.op = SERAI_MEMORY_SET}, d;
    bool wait = false;
    int c, rc = DONE;

    while (!rc && (c = next_option(argc, argv, options)) != -1)
        rc = take_option(c, &m, &wait);
    if (rc)
        return rc;
    if (argc - optind != 1)
        return misused(argc == optind ? "which domain? Its number or name is missing"
                                      : "one domain at a time; options begin with --");
    if (!m.pages)
        return misused("how much may it have? --pages or --size is missing");
    if (!m.within)
        return misused("until when? --within is missing");
    rc = mem_get(argv[optind], &d);
    if (rc)
        return rc;
    m.domid = d.domid;
    rc = check(&m, &d);
    if (!rc)
        rc = give(&m, d.pages_now);
    return rc || !wait ? rc : mem_wait(&m);
}

const struct command command_mem_set = {
    "set", run,
    "DOM --size SIZE|--pages N --within TIME\n"
    "                     [--else nothing|cap=PERCENT|pause|destroy] [--wait]",
    "tell a domain to have no more than so much by a deadline",
    "The guest is told in xenstore, as by 'xl mem-set'; the hypervisor watches what it does.\n"
    "Once it has given enough back it cannot get more than SIZE again. Otherwise, at the\n"
    "deadline, also when nobody is there to see to it:\n"
    "  nothing      it is reported, no more ('serai mem show DOM')\n"
    "  cap=PERCENT  of one CPU is all the time it gets, until it complies\n"
    "  pause        it stands still until 'xl unpause', 'serai mem cancel' or 'serai mem set'\n"
    "  destroy      it ends as if it had crashed; what then is up to its on_crash setting\n"
    "A new instruction takes the place of one before. --wait is 'serai mem wait' right after "
    "it."};
