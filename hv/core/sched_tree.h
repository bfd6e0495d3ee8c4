/*
 * The READY units of a queue: a treap ordered by virtual deadline, first come first among equals,
 * in which every node knows from which virtual time on somebody below it is eligible.
 *
 *  1. in order, vdl never falls
 *  2. a parent's prio is not below its children's
 *  3. least_from is the minimum of tree_from() over the subtree
 *
 * Caller serialises. Virtual times wrap: they are compared by their difference.
 */
#ifndef SERAI_CORE_SCHED_TREE_H
#define SERAI_CORE_SCHED_TREE_H

#include "core/sched_state.h"

static inline bool virtual_before(u64 a, u64 b)
{
    return (s64)(a - b) < 0;
}

static inline u64 tree_from(const struct sched_unit *u)
{
    return u->vrt - u->grace;
}

void tree_insert(struct sched_unit **root, struct sched_unit *u);
void tree_remove(struct sched_unit **root, struct sched_unit *u);

/* The earliest deadline among units that are eligible at v; NULL: none. */
struct sched_unit *tree_earliest(struct sched_unit *root, u64 v);
/* The one that becomes eligible first; the tree is not empty. */
struct sched_unit *tree_least(struct sched_unit *root);

/* The tree is not empty. */
static inline struct sched_unit *tree_leftmost(struct sched_unit *n)
{
    while (n->left)
        n = n->left;
    return n;
}

struct sched_unit *tree_first(struct sched_unit *root);
struct sched_unit *tree_next(struct sched_unit *u);

#endif
