/* The shipped interrupt lines, and a count of those that were ever bound: they are kept. */
#include "kern/line.c"
#include "fuzz/machine/audit.h"

u64 lines_kept(void)
{
    u64 n = 0;

    for (unsigned i = 0; i < MAX_LINES; i++) {
        n += lines[i] != NULL;
        REQUIRE(!lines[i] || !lines[i]->shares);
    }
    return n;
}
