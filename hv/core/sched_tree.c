#include "core/sched_tree.h"

static void update(struct sched_unit *n)
{
    u64 least = tree_from(n);

    if (n->left && virtual_before(n->left->least_from, least))
        least = n->left->least_from;
    if (n->right && virtual_before(n->right->least_from, least))
        least = n->right->least_from;
    n->least_from = least;
}

static void replace(struct sched_unit **root, struct sched_unit *old, struct sched_unit *new)
{
    struct sched_unit *p = old->parent;

    if (!p)
        *root = new;
    else if (p->left == old)
        p->left = new;
    else
        p->right = new;
    if (new)
        new->parent = p;
}

/* 'n' takes the place of its parent. */
static void rotate_up(struct sched_unit **root, struct sched_unit *n)
{
    struct sched_unit *p = n->parent, *moved;

    replace(root, p, n);
    if (p->left == n) {
        moved = n->right;
        n->right = p;
        p->left = moved;
    } else {
        moved = n->left;
        n->left = p;
        p->right = moved;
    }
    p->parent = n;
    if (moved)
        moved->parent = p;
    update(p);
}

void tree_insert(struct sched_unit **root, struct sched_unit *u)
{
    struct sched_unit **at = root, *parent = NULL;

    while (*at) {
        parent = *at;
        if (virtual_before(tree_from(u), parent->least_from))
            parent->least_from = tree_from(u);
        at = virtual_before(u->vdl, parent->vdl) ? &parent->left : &parent->right;
    }
    u->left = u->right = NULL;
    u->parent = parent;
    u->least_from = tree_from(u);
    *at = u;
    if (!parent || parent->prio >= u->prio)
        return;
    while (u->parent && u->parent->prio < u->prio)
        rotate_up(root, u);
    update(u);
}

void tree_remove(struct sched_unit **root, struct sched_unit *u)
{
    struct sched_unit *child, *p;

    while (u->left && u->right)
        rotate_up(root, u->left->prio > u->right->prio ? u->left : u->right);
    child = u->left ? u->left : u->right;
    p = u->parent;
    replace(root, u, child);
    for (; p; p = p->parent)
        update(p);
}

struct sched_unit *tree_earliest(struct sched_unit *n, u64 v)
{
    if (!n || virtual_before(v, n->least_from))
        return NULL;
    for (;;) {
        if (n->left && !virtual_before(v, n->left->least_from))
            n = n->left;
        else if (!virtual_before(v, tree_from(n)))
            return n;
        else
            n = n->right;
    }
}

struct sched_unit *tree_least(struct sched_unit *n)
{
    u64 least = n->least_from;

    while (tree_from(n) != least)
        n = n->left && n->left->least_from == least ? n->left : n->right;
    return n;
}

struct sched_unit *tree_first(struct sched_unit *n)
{
    while (n && n->left)
        n = n->left;
    return n;
}

struct sched_unit *tree_next(struct sched_unit *n)
{
    if (n->right)
        return tree_first(n->right);
    while (n->parent && n->parent->right == n)
        n = n->parent;
    return n->parent;
}
