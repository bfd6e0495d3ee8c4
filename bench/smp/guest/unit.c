/* What the build-like load compiles. What it does does not matter; it must not take long. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *left, *right;
    unsigned long key, uses;
    char name[24];
};

static unsigned long seed = 1;

static unsigned long draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static struct node *insert(struct node **root, unsigned long key)
{
    while (*root) {
        if ((*root)->key == key)
            return *root;
        root = key < (*root)->key ? &(*root)->left : &(*root)->right;
    }
    *root = calloc(1, sizeof(**root));
    if (*root) {
        (*root)->key = key;
        snprintf((*root)->name, sizeof((*root)->name), "n%lu", key);
    }
    return *root;
}

static unsigned depth(const struct node *n)
{
    if (!n)
        return 0;
    unsigned l = depth(n->left), r = depth(n->right);
    return 1 + (l > r ? l : r);
}

static int words_of(const char *text, char out[][16], int most)
{
    int n = 0, at = 0;
    for (; *text && n < most; text++) {
        if (isalnum((unsigned char)*text)) {
            if (at < 15)
                out[n][at++] = (char)toupper((unsigned char)*text);
        } else if (at) {
            out[n++][at] = 0;
            at = 0;
        }
    }
    if (at && n < most)
        out[n++][at] = 0;
    return n;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

int unit_main(int argc, char **argv)
{
    struct node *root = NULL;
    char words[64][16];

    for (int i = 0; i < 1000; i++) {
        struct node *n = insert(&root, draw() % 500);
        if (!n)
            return 1;
        n->uses++;
    }
    int n = words_of(argc > 1 ? argv[1] : "a few words", words, 64);
    qsort(words, (size_t)n, sizeof(words[0]), compare);
    for (int i = 0; i < n; i++)
        printf("%s ", words[i]);
    printf("%u\n", depth(root));
    return 0;
}
