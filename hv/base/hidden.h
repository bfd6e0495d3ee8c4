/* Included first in every hypervisor source: no symbol needs a GOT slot. */
#pragma GCC visibility push(hidden)
