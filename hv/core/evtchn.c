#include "core/evtchn.h"
#include <xen/xen.h>

int port_find_free(const struct port_table *t, int *chunk)
{
    *chunk = -1;
    for (u32 c = 0; c * PORTS_PER_CHUNK < t->limit; c++) {
        if (!t->chunks[c]) {
            if (t->limit < 2)
                break;
            *chunk = (int)c;
            return c ? (int)(c * PORTS_PER_CHUNK) : 1;
        }
        for (u32 i = c ? 0 : 1; i < PORTS_PER_CHUNK && c * PORTS_PER_CHUNK + i < t->limit; i++)
            if (t->chunks[c][i].state == PORT_FREE)
                return (int)(c * PORTS_PER_CHUNK + i);
    }
    return -XEN_ENOSPC;
}

bool virq_is_per_vcpu(unsigned virq)
{
    return virq == VIRQ_TIMER || virq == VIRQ_DEBUG || virq == VIRQ_XENOPROF ||
           virq == VIRQ_XENPMU;
}

bool port_may_move(struct port p)
{
    return p.state == PORT_UNBOUND || p.state == PORT_INTERDOMAIN || p.state == PORT_PIRQ ||
           p.state == PORT_SERVICE || (p.state == PORT_VIRQ && !virq_is_per_vcpu(p.number));
}
