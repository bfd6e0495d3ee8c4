"""The lease backend of the servers (lease.py says what that is): the hypervisor's own leases.

The layouts are those of hv/abi/vfr_lease.h.
"""
import ctypes
import dataclasses
import fcntl
import math
import mmap
import os
import struct
import time

import hypercall
import lease

OP_LEASE = 10
CHANGE, CHECK, LIST = range(3)
GRANT, EXTEND, FREE, REVOKE = 1, 2, 3, 4

ORDER = struct.Struct("<4B2H4I16s")
INFO = struct.Struct("<2I2H4B2q16s")
ENTRIES = 512  # where in the page
AT_ONCE = (mmap.PAGESIZE - ENTRIES) // INFO.size
NEVER = 2**63 - 1
SECOND = 10**9


def operation(op, order=bytes(ORDER.size), cursor=0, entries=0):
    return struct.pack("<2I40s4IQ2q", op, 0, order, cursor, AT_ONCE, 0, 0, entries, 0, 0)


RESULT = struct.Struct("<2I40s4IQ2q")


def seconds(ns):
    return math.inf if ns == NEVER else ns / SECOND


class Hypercall:
    """A page that the hypervisor reads and writes, and the way to tell it to."""

    def __init__(self):
        self.privcmd = os.open("/dev/xen/privcmd", os.O_RDWR | os.O_CLOEXEC)
        buffers = os.open("/dev/xen/hypercall", os.O_RDWR | os.O_CLOEXEC)
        self.page = mmap.mmap(buffers, mmap.PAGESIZE)
        os.close(buffers)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))

    def __call__(self):
        """Raises an OSError with the hypervisor's errno."""
        call = struct.pack("<6Q", hypercall.HYPERCALL_SERAI, OP_LEASE, self.address, 0, 0, 0)
        fcntl.ioctl(self.privcmd, hypercall.IOCTL_HYPERCALL, call)


class Leases:
    def __init__(self, call=None, clock=time.monotonic):
        self.call, self.clock = call or Hypercall(), clock
        self.ahead = self.began = 0.0  # the hypervisor's clock of ours; its epoch
        self._list()

    def _do(self, data):
        self.call.page[:len(data)] = data
        try:
            self.call()
        except OSError as why:
            raise lease.Refused(why.errno) from why
        _, _, order, cursor, _, count, _, _, now, epoch = RESULT.unpack(
            self.call.page[:RESULT.size])
        self.ahead, self.began = now / SECOND - self.clock(), epoch / SECOND
        return order, cursor, count

    def _change(self, op, **what):
        return ORDER.unpack(self._do(operation(CHANGE, order(op, **what)))[0])

    def _list(self):
        """Everything: (interface, uuid, address, lease)."""
        cursor, count, found = 0, 1, []
        while count:
            _, cursor, count = self._do(operation(LIST, cursor=cursor,
                                                  entries=self.call.address + ENTRIES))
            for i in range(count):
                number, ip, start, vif, log2, classes, state, origin, _, ends, uuid = \
                    INFO.unpack_from(self.call.page, ENTRIES + i * INFO.size)
                found.append((vif, uuid, ip, lease.Lease(number, start, log2, classes, seconds(ends),
                                                     origin, state)))
        return found

    def now(self):
        return self.clock() + self.ahead

    def epoch(self):
        return self.began

    def grant(self, vif, classes, start, log2, duration, origin):
        got = self._change(GRANT, vif=vif, classes=classes, start=start, log2=log2,
                           duration=duration, origin=origin)
        ends = self.now() + duration if duration else math.inf
        return lease.Lease(got[7], got[4], log2, classes, ends, origin)

    def extend(self, number, duration):
        self._change(EXTEND, number=number, duration=duration)

    def free(self, number):
        self._change(FREE, number=number)

    def revoke(self, number, duration, origin=0):
        self._change(REVOKE, number=number, duration=duration, origin=origin)

    def leases(self, vif):
        return [l for number, uuid, _, l in self._list()
                if number == vif.number and uuid == vif.uuid and l.state != lease.RESTING]

    def resting(self, vif):
        return [dataclasses.replace(l, vif=number) for number, uuid, ip, l in self._list()
                if uuid == vif.uuid and ip == vif.shared and l.state == lease.RESTING]

    def owner(self, address, port, classes):
        """The number of the interface that may send from there, or None."""
        for number, _, ip, l in self._list():
            if ip == address and l.state != lease.RESTING and l.classes & classes == classes and \
                    l.start <= port < l.start + (1 << l.log2):
                return number
        return None

    def origin(self, number):
        return next((l.origin for *_, l in self._list() if l.number == number), None)


def order(op, number=0, duration=0, vif=None, classes=0, start=0, log2=0, origin=0):
    return ORDER.pack(op, origin, classes, log2, start, vif.number if vif else 0,
                      vif.shared if vif else 0, number, int(duration), 0,
                      vif.uuid if vif else bytes(16))
