"""Serai's own hypercall, for domain 0: the interfaces of the virtual firewall router.

The layout is struct serai_vfr_vif's of hv/abi/vfr.h.
"""

import ctypes
import fcntl
import ipaddress
import mmap
import os
import struct
from dataclasses import dataclass, field

HYPERCALL_SERAI = 55
OP_VFR = 8
CONNECT, DISCONNECT, READ, NEXT = range(4)
ROUTED, SWITCHED, UPLINK, PUNT = range(4)
CAN_CSUM4, CAN_CSUM6, CAN_GSO4, CAN_GSO6, CAN_SG = 1, 2, 4, 8, 16

QUEUES, PREFIXES, REASONS = 8, 32, 64
HEAD = struct.Struct("<4H4BI6s6sI")
QUEUE = struct.Struct("<4I")
PREFIX = struct.Struct("<QQB7x")
COUNTS = struct.Struct(f"<4Q{REASONS}Q")
SIZE = HEAD.size + QUEUES * QUEUE.size + PREFIXES * PREFIX.size + COUNTS.size

# privcmd's ioctl: a hypercall's number and five arguments.
IOCTL_HYPERCALL = 48 << 16 | ord("P") << 8


def mac_bytes(text):
    return bytes(int(part, 16) for part in text.split(":"))


def prefix_numbers(network):
    """(high, low, length) of an ipaddress network, IPv4 as the router has it."""
    address, length = int(network.network_address), network.prefixlen
    if network.version == 4:
        address, length = address | 0xFFFF << 32, length + 96
    return address >> 64, address & (1 << 64) - 1, length


def prefix_network(high, low, length):
    if high == 0 and low >> 32 == 0xFFFF and length >= 96:
        return ipaddress.ip_network((low & 0xFFFFFFFF, length - 96))
    return ipaddress.ip_network((high << 64 | low, length))


@dataclass
class Vif:
    """An interface; what is not given to connect() is what read() found."""

    domid: int = 0
    handle: int = 0
    kind: int = ROUTED
    can: int = 0
    mtu: int = 1500
    mac: bytes = bytes(6)
    next_hop: bytes = bytes(6)
    queues: list = field(default_factory=list)  # (tx_ref, rx_ref, tx_port, rx_port)
    prefixes: list = field(default_factory=list)  # of ipaddress networks
    vif: int = 0
    counts: tuple = ()  # packets and bytes sent, received; then drops by reason

    def pack(self, op):
        data = HEAD.pack(op, self.vif, self.domid, self.handle, self.kind, self.can,
                         len(self.queues), len(self.prefixes), self.mtu, self.mac,
                         self.next_hop, 0)
        for queue in self.queues[:QUEUES]:
            data += QUEUE.pack(*queue)
        data = data.ljust(HEAD.size + QUEUES * QUEUE.size, b"\0")
        for network in self.prefixes[:PREFIXES]:
            data += PREFIX.pack(*prefix_numbers(network))
        return data.ljust(SIZE, b"\0")

    @classmethod
    def unpack(cls, data):
        (_, vif, domid, handle, kind, can, _, nr_prefixes, mtu, mac, next_hop,
         _) = HEAD.unpack_from(data)
        at = HEAD.size + QUEUES * QUEUE.size
        prefixes = [prefix_network(*PREFIX.unpack_from(data, at + i * PREFIX.size))
                    for i in range(nr_prefixes)]
        counts = COUNTS.unpack_from(data, at + PREFIXES * PREFIX.size)
        return cls(domid, handle, kind, can, mtu, mac, next_hop, [], prefixes, vif, counts)


class Router:
    """The hypervisor's half. Every failure is an OSError with the hypervisor's errno."""

    def __init__(self):
        self.privcmd = os.open("/dev/xen/privcmd", os.O_RDWR | os.O_CLOEXEC)
        buffers = os.open("/dev/xen/hypercall", os.O_RDWR | os.O_CLOEXEC)
        self.page = mmap.mmap(buffers, mmap.PAGESIZE)
        os.close(buffers)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))

    def call(self, op, vif):
        self.page[:SIZE] = vif.pack(op)
        call = struct.pack("<6Q", HYPERCALL_SERAI, OP_VFR, self.address, 0, 0, 0)
        fcntl.ioctl(self.privcmd, IOCTL_HYPERCALL, call)
        return Vif.unpack(self.page[:SIZE])

    def connect(self, vif):
        return self.call(CONNECT, vif).vif

    def disconnect(self, index):
        self.call(DISCONNECT, Vif(vif=index))

    def vifs(self):
        """All that are up."""
        found, index = [], 0
        while True:
            try:
                found.append(self.call(NEXT, Vif(vif=index)))
            except FileNotFoundError:
                return found
            index = found[-1].vif + 1
