/*
 * What xenstore knows about domains: their names, and how much memory they shall have. Without
 * xenstored the names are not known, and nobody can be told anything.
 */
#ifndef SERAI_STORE_H
#define SERAI_STORE_H

#include <stdbool.h>
#include <stddef.h>

/* xenstored answers and knows the domain. */
bool store_knows(unsigned int domid);

/* The domain's name in 'buf', or false. */
#define STORE_NAME_SIZE 64
bool store_name(unsigned int domid, char buf[STORE_NAME_SIZE]);

/* What a guest's balloon driver watches, in KiB: as text, for a buffer; false: there is none. */
#define STORE_TARGET_SIZE 24
bool store_get_target(unsigned int domid, char buf[STORE_TARGET_SIZE]);
/* False and errno. */
bool store_set_target(unsigned int domid, const char *text);

#endif
