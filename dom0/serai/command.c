#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What runs, for usage lines: the words before its name, and itself. */
static const char *running_prefix = "serai";
static const struct command *running;

static void print_usage(FILE *to)
{
    fprintf(to, "usage: %s %s %s\n", running_prefix, running->name, running->args);
}

static int print_list(FILE *to, const char *prefix, const struct command *const list[])
{
    fprintf(to, "usage: %s COMMAND\n\n", prefix);
    for (; *list; list++)
        fprintf(to, "  %-9s %s\n", (*list)->name, (*list)->summary);
    fprintf(to, "\n'%s COMMAND --help' tells more.\n", prefix);
    return to == stdout ? DONE : MISUSED;
}

static bool is_help(const char *word)
{
    return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help");
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return true;
    return false;
}

static int run_one(const struct command *c, int argc, char **argv)
{
    running = c;
    if (!c->help || !wants_help(argc, argv))
        return c->run(argc, argv);
    print_usage(stdout);
    printf("\n%s\n", c->help);
    return DONE;
}

int command_run(const char *prefix, const struct command *const list[], int argc, char **argv)
{
    running_prefix = prefix;
    if (argc < 2)
        return print_list(stderr, prefix, list);
    for (int i = 0; list[i]; i++)
        if (!strcmp(argv[1], list[i]->name))
            return run_one(list[i], argc - 1, argv + 1);
    if (is_help(argv[1]))
        return print_list(stdout, prefix, list);
    fprintf(stderr, "serai: there is no command '%s %s'\n", prefix, argv[1]);
    return print_list(stderr, prefix, list);
}

static void print_message(const char *format, va_list args)
{
    fflush(stdout);
    fprintf(stderr, "serai: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int failed(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_message(format, args);
    va_end(args);
    return FAILED;
}

int misused(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_message(format, args);
    va_end(args);
    print_usage(stderr);
    return MISUSED;
}

int next_option(int argc, char **argv, const struct option *options)
{
    int c;

    opterr = 0;
    c = getopt_long(argc, argv, ":", options, NULL);
    if (c == ':')
        misused("option %s needs a value", argv[optind - 1]);
    else if (c == '?' && optopt && optopt < 128)
        misused("there is no option -%c", optopt);
    else if (c == '?')
        misused("option %s is not understood", argv[optind - 1]);
    return c == ':' ? '?' : c;
}

bool take_json(int argc, char **argv, int words, bool *json)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    int c;

    *json = false;
    while ((c = next_option(argc, argv, options)) != -1) {
        if (c != 'j')
            return false;
        *json = true;
    }
    if (argc - optind <= words)
        return true;
    misused("'%s' is one argument too many", argv[optind + words]);
    return false;
}

bool parse_number(const char *text, unsigned long max, unsigned long *out)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return !*end && !errno && *out <= max;
}
