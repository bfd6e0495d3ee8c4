/*
 * Where the events of 'serai sched trace read' go.
 */
#ifndef SERAI_SCHED_TRACE_H
#define SERAI_SCHED_TRACE_H

#include "sched.h"

struct trace_sink {
    int (*events)(const struct serai_sched_event *e, size_t n); /* DONE, or an exit code */
    int (*lost)(uint64_t n); /* so many were overwritten before what comes next */
};

extern const struct trace_sink trace_text, trace_json, trace_raw;

/* Before the first event goes to trace_raw: makes the file. */
int trace_raw_open(const char *path);

#endif
