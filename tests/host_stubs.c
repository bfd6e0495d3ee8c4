/* What the pure floors expect from above, for programs on the host. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

void bug_report(const char *expr, const char *file, int line)
{
    fprintf(stderr, "BUG: %s at %s:%d\n", expr, file, line);
    abort();
}
