#include "guest/logdirty.h"

int logdirty_enable(struct domain *d)
{
    if (d->log_dirty)
        return -XEN_EINVAL;
    d->log_dirty = true;
    return 0;
}

int logdirty_disable(struct domain *d)
{
    if (!d->log_dirty)
        return -XEN_EINVAL;
    d->log_dirty = false;
    return 0;
}
