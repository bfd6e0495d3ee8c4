"""What the protocol servers know of leases: who asks, what there is to get, why it was refused.

A backend has these methods; hypercalls are behind the real one, tests put the hypervisor's own code
behind theirs. Times are seconds, counted from when the hypervisor started.

    grant(vif, classes, start, log2, seconds, origin) -> Lease     raises Refused
    extend(lease_id, seconds)      free(lease_id)                  raise Refused
    leases(vif) -> [Lease], those that are held or drain
    resting(vif) -> [Lease], those at rest that this domain had of the address that the interface shares
    now()                          epoch(), when leases were last forgotten
"""
import errno
from dataclasses import dataclass

STREAM, DATAGRAM, SPI, PROTO = 1, 2, 4, 8
BLOCK = STREAM | DATAGRAM
HELD, DRAINING, RESTING = 1, 2, 3
BY_RSIP, BY_PCP, BY_DHCP = 3, 4, 5

BLOCK_FIRST, BLOCK_LOG2_MIN, BLOCK_LOG2_MAX = 4096, 6, 15
LISTEN_MAX = 16  # single ports a domain may have

# Why: another one's, at rest, enough already, none left.
BUSY, RESTS, QUOTA, NONE_LEFT = "busy", "rests", "quota", "none left"
REASONS = {errno.EBUSY: BUSY, errno.EAGAIN: RESTS, errno.E2BIG: QUOTA, errno.ENOSPC: NONE_LEFT,
           errno.ENOMEM: NONE_LEFT}


class Refused(Exception):
    """The hypervisor said no; .why is one of the reasons above or None: the order made no sense."""

    def __init__(self, number):
        super().__init__(errno.errorcode.get(abs(number), number))
        self.number = abs(number)
        self.why = REASONS.get(abs(number))


@dataclass(frozen=True)
class Vif:
    """An interface, as its domain's configuration has it. Addresses are integers."""
    number: int
    uuid: bytes
    inside: int       # its own address, unique on this host
    shared: int = 0   # the address whose ports it may lease
    mac: bytes = bytes(6)
    register: bool = True
    block_log2: int = 12
    own: int = 0      # the address that DHCP gives it; 0: the shared one
    domid: int = 0
    handle: int = 0


@dataclass
class Lease:
    number: int
    start: int
    log2: int
    classes: int
    ends: float       # infinity: never
    origin: int
    state: int = HELD
    vif: int = None   # of those at rest: whose it was

    def covers(self, port, classes):
        return (classes & ~self.classes == 0 and self.state == HELD and
                self.start <= port < self.start + (1 << self.log2))


def is_block(start, count):
    """The ports could be leased as one block."""
    return (count & (count - 1) == 0 and 1 << BLOCK_LOG2_MIN <= count <= 1 << BLOCK_LOG2_MAX and
            start % count == 0 and start >= BLOCK_FIRST)


class Bucket:
    """So many requests a second, so many at once."""

    def __init__(self, rate=10, burst=30):
        self.rate, self.burst, self.level, self.at = rate, burst, burst, None

    def take(self, now):
        if self.at is not None:
            self.level = min(self.burst, self.level + max(0, now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True
