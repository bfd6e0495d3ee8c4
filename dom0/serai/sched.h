/*
 * What the commands of 'serai sched' share: reading the hypervisor's figures with the errors
 * explained, and the words and forms in which they are shown. docs/scheduling.md tells what the
 * figures mean.
 */
#ifndef SERAI_SCHED_H
#define SERAI_SCHED_H

#include <json-c/json.h>
#include <stdint.h>

#include "abi/serai.h"
#include "command.h"
#include "hypercall.h"

extern const struct command command_list, command_vcpus, command_cpus, command_set, command_pin,
    command_pool, command_cpu, command_trace;

/* -- Reading. The functions that return int give DONE, or what failed() or misused() gave. */

int get_domain(const char *text, struct serai_sched_domain *d);
/* The first domain from 'domid' on: true and *d, or false when there is none. */
bool find_domain(unsigned int domid, struct serai_sched_domain *d);
/* A vcpu, CPU or pool by its number; false when there is none. */
bool find_vcpu(unsigned int domid, unsigned int vcpu, struct serai_sched_vcpu *v);
bool find_cpu(unsigned int cpu, struct serai_sched_cpu *c);
bool find_pool(unsigned int pool, struct serai_sched_pool *p);
unsigned int count_cpus(void);
uint64_t all_cpus(void);
uint64_t online_cpus(void);

/* Since the hypervisor started. */
uint64_t uptime_ns(void);

/* -- Sets of CPUs: "0-3,5", "all" and "none" */

#define CPULIST_SIZE 200 /* of a buffer for any of them */

const char *cpulist_format(char buf[CPULIST_SIZE], uint64_t set);
/* Complains with the role that the list has ("CPULIST", "--soft"). */
int cpulist_parse(const char *role, const char *text, uint64_t *set);
struct json_object *cpulist_json(uint64_t set); /* those that exist */

/* -- Words and numbers */

enum { STATE_OFF, STATE_BLOCKED, STATE_READY, STATE_RUNNING, STATE_PARKED };

extern const char *const state_names[SERAI_SCHED_STATES];
extern const char *const gang_names[4], *const latency_names[3];

/* Index of 'word' among n names, or -1. */
int find_name(const char *const *names, int n, const char *word);
const char *name_of(const char *const *names, unsigned int n, unsigned int i);

#define DURATION_SIZE 24
const char *format_duration(char buf[DURATION_SIZE], uint64_t ns);
/* "12.5%"; ppm are parts per million. */
const char *format_percent(char buf[DURATION_SIZE], uint64_t ppm);
/* "12.5" or "12.5%"; what comes after the third decimal is refused. */
bool parse_percent(const char *text, uint32_t *ppm);
uint64_t ratio_ppm(uint64_t part, uint64_t whole);

/* Of the time it wanted to run: the part in which it had to wait for others. */
uint64_t steal_ppm(const uint64_t time[SERAI_SCHED_STATES]);

/* core/cache/node/farther */
const char *format_migrations(char buf[96], const uint64_t m[SERAI_SCHED_DISTANCES]);
/* The bound below which 'percent' of the wake-ups ran. */
const char *format_wakeup(char buf[DURATION_SIZE], const uint64_t h[SERAI_SCHED_LATENCIES],
                          unsigned int percent);

/* -- JSON: all numbers are integers */

void json_add(struct json_object *o, const char *name, uint64_t value);
void json_add_text(struct json_object *o, const char *name, const char *value);
void json_add_times(struct json_object *o, const uint64_t time[SERAI_SCHED_STATES]);
void json_add_migrations(struct json_object *o, const uint64_t m[SERAI_SCHED_DISTANCES]);
void json_add_wakeup(struct json_object *o, const uint64_t h[SERAI_SCHED_LATENCIES]);
/* Prints and releases it. */
int json_print(struct json_object *o);

#endif
