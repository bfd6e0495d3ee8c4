/*
 * What the commands of 'serai mem' share: reading the hypervisor's figures about memory, naming
 * domains, and showing an instruction. docs/memory.md tells what it all means.
 */
#ifndef SERAI_MEM_H
#define SERAI_MEM_H

#include "sched.h"
#include "store.h"

extern const struct command command_mem_list, command_mem_show, command_mem_set,
    command_mem_cancel, command_mem_wait;

/* Page sizes are 4 KiB: 256 pages are 1 MiB. */
#define PAGE_KIB 4

/* The domain with this number or name: DONE and *m, or what failed() or misused() gave. */
int mem_get(const char *text, struct serai_memory *m);
/* The same for a command that takes one domain and nothing else. */
int mem_get_one(int argc, char **argv, struct serai_memory *m);
/* The first domain from 'domid' on; false: there is none. */
bool mem_find(unsigned int domid, struct serai_memory *m);
/* The same again; it may have gone meanwhile. */
bool mem_read(struct serai_memory *m);

/* "3 'web'", or "3" */
#define LABEL_SIZE (STORE_NAME_SIZE + 16)
const char *mem_label(char buf[LABEL_SIZE], unsigned int domid);

/* As xenstore has it. */
const char *mem_target(char buf[STORE_TARGET_SIZE], uint64_t pages);
/* Tells the guest how much it shall have; false: xenstored does not answer or know the domain. */
bool mem_tell(unsigned int domid, uint64_t pages);

#define SIZE_SIZE 32
const char *format_size(char buf[SIZE_SIZE], uint64_t pages); /* "12.5 MiB" */
/* "nothing", "cap 10%", "pause" or "destroy" */
const char *mem_otherwise(char buf[DURATION_SIZE], const struct serai_memory *m);
/* Its state in a few words. */
#define SUMMARY_SIZE 128
const char *mem_summary(char buf[SUMMARY_SIZE], const struct serai_memory *m);

struct json_object *mem_json(const struct serai_memory *m);
void mem_print(const struct serai_memory *m);

/*
 * Until the instruction is not pending any more: DONE if it was complied with in time, FAILED and
 * a complaint if not.
 */
int mem_wait(struct serai_memory *m);

#endif
