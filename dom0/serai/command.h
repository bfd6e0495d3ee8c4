/*
 * What a command of the program is, how it is found and run, and how it says that something is
 * wrong. One file holds one command, with its help text.
 *
 * Exit codes: 0 done; 1 it could not be done; 2 it was asked wrongly. After 1 and 2 nothing has
 * changed, and standard error tells what happened, why, and what to do.
 */
#ifndef SERAI_COMMAND_H
#define SERAI_COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

enum { DONE, FAILED, MISUSED };

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the name */
    const char *args;                  /* what follows the name, for the usage line */
    const char *summary;               /* one line */
    const char *help;                  /* more lines, or NULL */
};

/* Runs that of 'list' (NULL at its end) which argv[1] names; 'prefix' is what came before it. */
int command_run(const char *prefix, const struct command *const list[], int argc, char **argv);

/* These print "serai: " and the message; the second one the running command's usage too. */
int failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
int misused(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The next option's 'val', -1 at their end, or '?' after it has complained. */
int next_option(int argc, char **argv, const struct option *options);

/* For commands with nothing but --json and at most 'words' arguments; *json if it was given. */
bool take_json(int argc, char **argv, int words, bool *json);

/* A decimal number of at most 'max' and nothing else. */
bool parse_number(const char *text, unsigned long max, unsigned long *out);

extern const struct command command_counters, command_kernels, command_log, command_mem,
    command_net, command_sched;

#endif
