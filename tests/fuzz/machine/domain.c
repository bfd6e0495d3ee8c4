/* The shipped table of domains, and a count of the pages that it keeps for domains to come. */
#include "guest/domain.c"
#include "fuzz/machine/audit.h"

u64 domain_pages_kept(void)
{
    u64 pages = 0;

    REQUIRE(!gone_domains);
    for (const struct domain *d = free_domains; d; d = d->next_free)
        pages += BIT(DOMAIN_ORDER);
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        pages += table[i] != NULL;
    return pages;
}
