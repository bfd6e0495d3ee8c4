"""Serai's own hypercalls, for domain 0: what concerns the virtual firewall router.

The layouts are those of hv/abi/vfr.h and hv/abi/vfr_lease.h. Every failure is an OSError with the
hypervisor's errno.
"""

import ctypes
import errno
import fcntl
import ipaddress
import math
import mmap
import os
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

HYPERCALL_SERAI = 55
OP_VIF, OP_RULES, OP_LEASE, OP_LOG = 8, 9, 10, 12
OP_SET, OP_EXPLAIN = 16, 17
CONNECT, DISCONNECT, READ, NEXT, NEXT_HOP, RATE = range(6)
INSTALL, CHECK, READ_RULES, CONFIRM, ROLL_BACK = range(5)
SET_ADD, SET_REMOVE, SET_LIST = range(3)
EXPLAIN_PACKET, EXPLAIN_WATCH, EXPLAIN_COLLECT = range(3)
CHANGE_LEASE, CHECK_LEASE, LIST_LEASES = range(3)
READ_LOG, NOTE, CHECKPOINT, CAPTURE, CAPTURED = range(5)
RING_AUDIT = 0x100
RING_CAPTURE = 0x200
EVERYBODY = 0xFFFF  # instead of an interface
CAPTURE_MAX = 9216
SAME = (1 << 64) - 1
BY_SERAI, BY_DAEMON = 1, 2
NOTE_MAX = 32768  # bytes of a note
ROUTED, SWITCHED, UPLINK, PUNT = range(4)
MAY_ANY_MAC, MAY_ANY_IP, MAY_ANY_LINK_LOCAL, MAY_ROUTE, MAY_SERVE_DHCP = 1, 2, 4, 8, 16
RA_MANAGED, RA_OTHER = 1, 2
KINDS = ("routed", "switched", "uplink", "punt")
CAN_CSUM4, CAN_CSUM6, CAN_GSO4, CAN_GSO6, CAN_SG = 1, 2, 4, 8, 16
ZONE_BYTES = 32

REASONS = """ok short bad-ip csum-unsupp gso-bad ext-hdr ethertype spoof-mac spoof-ip4 spoof-ip6 spoof-arp spoof-nd
    spoof-ra spoof-dhcp rsip-addr rsip-port no-owner quarantined icmp-unsolicited icmp-id-busy frag-overlap frag-tiny
    frag-orphan frag-limit rule default tcp-state flow-quota flow-rate rate rx-full rx-slow no-route ttl mtu ring-error
    vif-down log-full punt-full consumed spread""".split()

NOBODY = 0xFFFF
STAGES = ("", "packet", "anti-spoof", "router", "lease", "route", "flow", "rules", "sent")
FLOWS = ("none", "begins", "belongs", "judged again")
STEPS = ("", "from", "to", "proto", "flags", "type", "fragments", "tagged", "ttl", "from ip", "from port",
         "to ip", "to port", "limit", "matches", "decides")

QUEUES, PREFIXES, MACS, DROPS, NAME = 8, 32, 8, 64, 16
HEAD = struct.Struct(f"<4H4BI6s6s4BII{ZONE_BYTES}s{MACS * 6}s")
QUEUE = struct.Struct("<4I")
PREFIX = struct.Struct("<QQBB6x")
COUNTS = struct.Struct(f"<4Q{DROPS}Q")
TAIL = struct.Struct(f"<{ZONE_BYTES}sQII{NAME}s6s2x")
TAIL_AT = HEAD.size + QUEUES * QUEUE.size + PREFIXES * PREFIX.size + COUNTS.size
ZONES = struct.Struct(f"<H6x{ZONE_BYTES}s")
RULES = struct.Struct("<II3QIIQIIII")
COUNTER = struct.Struct("<QQ")
ELEMENT = struct.Struct("<QQHB5xQ")
SET = struct.Struct(f"<4I{ELEMENT.size}sQQII")
STEP = struct.Struct("<HH")
EXPLAIN = struct.Struct("<4HI4BIIQHH8BHHIIQ4QHHHH256s256s")
ORDER = struct.Struct("<4BHHIIII16s")
LEASE = struct.Struct(f"<II{ORDER.size}sIIIIQ")
LEASE_INFO = struct.Struct("<IIHH4Bqq16s")
FILTER = struct.Struct("<Q QQBB6x QQBB6x HHB3x HHB3x HBBI")
LOG = struct.Struct(f"<II7QIHHqQQ32sHBBIIIQIIIIQII{FILTER.size}s")

# privcmd's ioctl: a hypercall's number and five arguments.
IOCTL_HYPERCALL = 48 << 16 | ord("P") << 8


def mac_bytes(text):
    return bytes(int(part, 16) for part in text.split(":"))


def mac_text(mac):
    return ":".join(f"{byte:02x}" for byte in mac)


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
    """An interface; what is not given to connect() is what vifs() found."""

    domid: int = 0
    handle: int = 0
    kind: int = ROUTED
    can: int = 0
    mtu: int = 1500
    mac: bytes = bytes(6)
    next_hop: bytes = bytes(6)
    may: int = 0
    next_hop6: bytes = bytes(6)  # zeros: the same
    queues: list = field(default_factory=list)  # (tx_ref, rx_ref, tx_port, rx_port)
    prefixes: list = field(default_factory=list)  # of ipaddress networks
    shared: set = field(default_factory=set)  # of those: the ones that others use too
    generation: int = 0  # of the rules that 'zones' are of
    zones: int = 0  # a bit per zone
    zones_before: int = 0  # the same by the rules that come back if these are not confirmed
    rate: tuple = (0, 0)  # bytes in microseconds that it may send; 0 and 0: as many as it likes
    origin: int = 0  # who changes the rate
    macs: list = field(default_factory=list)  # further stations behind it
    ra: int = 0  # what router advertisements say, RA_
    pickup: int = 0  # so many seconds long TCP may begin in the middle
    segment: str = ""  # of a switched one, and of the uplink if it is one's way to the wire
    vif: int = 0
    counts: tuple = (0,) * (4 + DROPS)  # packets and bytes sent, received; drops by reason

    def pack(self, op):
        data = HEAD.pack(op, self.vif, self.domid, self.handle, self.kind, self.can,
                         len(self.queues), len(self.prefixes), self.mtu, self.mac,
                         self.next_hop, self.may, len(self.macs), self.ra, self.pickup, self.generation, 0,
                         self.zones.to_bytes(ZONE_BYTES, "little"), b"".join(self.macs[:MACS]))
        for queue in self.queues[:QUEUES]:
            data += QUEUE.pack(*queue)
        data = data.ljust(HEAD.size + QUEUES * QUEUE.size, b"\0")
        for network in self.prefixes[:PREFIXES]:
            data += PREFIX.pack(*prefix_numbers(network), network in self.shared)
        return data.ljust(TAIL_AT, b"\0") + TAIL.pack(self.zones_before.to_bytes(ZONE_BYTES, "little"), *self.rate,
                                                      self.origin, self.segment.encode(), self.next_hop6)

    @classmethod
    def unpack(cls, data):
        (_, vif, domid, handle, kind, can, _, nr_prefixes, mtu, mac, next_hop,
         may, nr_macs, ra, *_, macs) = HEAD.unpack_from(data)
        found = cls(domid, handle, kind, can, mtu, mac, next_hop, may, ra=ra, vif=vif,
                    macs=[macs[6 * i:6 * i + 6] for i in range(nr_macs)])
        at = HEAD.size + QUEUES * QUEUE.size
        for i in range(nr_prefixes):
            *numbers, shared = PREFIX.unpack_from(data, at + i * PREFIX.size)
            found.prefixes.append(prefix_network(*numbers))
            if shared:
                found.shared.add(found.prefixes[-1])
        found.counts = COUNTS.unpack_from(data, at + PREFIXES * PREFIX.size)
        _, *rate, _, segment, found.next_hop6 = TAIL.unpack_from(data, TAIL_AT)
        found.rate, found.segment = tuple(rate), segment.rstrip(b"\0").decode("utf-8", "replace")
        return found


@dataclass
class LeaseInfo:
    id: int
    ip: ipaddress.IPv4Address
    start: int
    log2: int
    classes: int
    state: int
    origin: int
    vif: int
    since: float  # seconds since the hypervisor started
    ends: float  # infinity: never


class LogState(NamedTuple):
    """struct serai_vfr_log from 'done' to 'head'."""
    done: int
    at: int
    buffer: int
    capacity: int
    produced: int
    consumed: int
    lost: int
    size: int
    boot: int
    cpus: int
    now: int
    utc: int
    records: int
    head: bytes


@dataclass
class Explained:
    """What became, or would become, of a packet; names as in hv/abi/vfr_explain.h."""

    vif: int
    len: int
    reason: str
    stage: str
    to: int | None
    flow: str
    is_answer: bool
    judged: bool
    action: int
    beyond: bool
    rule: int
    rule_id: int
    generation: int
    queue: int
    flow_id: int
    flow_packets: tuple
    flow_bytes: tuple
    owners: tuple  # of the source's port, of the destination's, as VFR_PORT(); None: not shared
    reply: bytes
    head: bytes
    copies: int  # if it is spread: to how many, 'to' one of them
    steps: list  # (rule, what became of it)


class Memory:
    """Pages that hypercalls may name; a caller's as long as it is in use."""

    def __init__(self, size):
        buffers = os.open("/dev/xen/hypercall", os.O_RDWR | os.O_CLOEXEC)
        try:
            self.bytes = mmap.mmap(buffers, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        finally:
            os.close(buffers)
        self.handle = ctypes.c_char.from_buffer(self.bytes)
        self.address = ctypes.addressof(self.handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        del self.handle
        self.bytes.close()

    def put(self, data, at=0):
        self.bytes[at:at + len(data)] = data
        return self.address + at


class Router:
    """The hypervisor's half of the router."""

    def __init__(self):
        self.privcmd = os.open("/dev/xen/privcmd", os.O_RDWR | os.O_CLOEXEC)
        self.page = Memory(mmap.PAGESIZE)
        self.buffer = None

    def call(self, op, data):
        self.page.put(data)
        call = struct.pack("<6Q", HYPERCALL_SERAI, op, self.page.address, 0, 0, 0)
        fcntl.ioctl(self.privcmd, IOCTL_HYPERCALL, call)
        return self.page.bytes[:len(data)]

    # -- interfaces --

    def connect(self, vif):
        return Vif.unpack(self.call(OP_VIF, vif.pack(CONNECT))).vif

    def disconnect(self, index):
        self.call(OP_VIF, Vif(vif=index).pack(DISCONNECT))

    def set_next_hop(self, index, mac, mac6, networks=()):
        """Networks: those whose stations are on the link themselves."""
        self.call(OP_VIF, Vif(vif=index, next_hop=mac, next_hop6=mac6, prefixes=list(networks)).pack(NEXT_HOP))

    def set_rate(self, index, rate, origin=BY_DAEMON):
        self.call(OP_VIF, Vif(vif=index, rate=rate, origin=origin).pack(RATE))

    def vifs(self):
        """All that are up."""
        found, index = [], 0
        while True:
            try:
                found.append(Vif.unpack(self.call(OP_VIF, Vif(vif=index).pack(NEXT))))
            except FileNotFoundError:
                return found
            index = found[-1].vif + 1

    # -- rules --

    def generation(self):
        return RULES.unpack(self.call(OP_RULES, RULES.pack(READ_RULES, *[0] * 11)))[1]

    def counters(self):
        """Packets and bytes of each rule in order, the default's last."""
        count = RULES.unpack(self.call(OP_RULES, RULES.pack(READ_RULES, *[0] * 11)))[8] + 1
        with Memory(count * COUNTER.size) as memory:
            op = RULES.pack(READ_RULES, 0, 0, 0, 0, 0, count, memory.address, 0, 0, 0, 0)
            count = min(count, RULES.unpack(self.call(OP_RULES, op))[8] + 1)
            return [COUNTER.unpack_from(memory.bytes, i * COUNTER.size) for i in range(count)]

    def waiting(self):
        """Seconds that the rules in force have left to be confirmed; 0: they wait for nothing."""
        return RULES.unpack(self.call(OP_RULES, RULES.pack(READ_RULES, *[0] * 11)))[11]

    def decide(self, op, generation):
        """CONFIRM or ROLL_BACK rules that wait; the generation then in force."""
        return RULES.unpack(self.call(OP_RULES, RULES.pack(op, generation, *[0] * 10)))[1]

    def install(self, image, generation, zones, check_only=False, seconds=0):
        """The image takes the place of 'generation', for good or until it is not confirmed in so
        many seconds; zones: {vif: bits}. The new generation."""
        table = b"".join(ZONES.pack(vif, bits.to_bytes(ZONE_BYTES, "little"))
                         for vif, bits in zones.items())
        at = -(-len(image) // 8) * 8
        with Memory(at + len(table) + 8) as memory:
            memory.put(image)
            memory.put(table, at)
            op = RULES.pack(CHECK if check_only else INSTALL, generation, memory.address, len(image),
                            memory.address + at, len(zones), 0, 0, 0, 0, 0, seconds)
            return RULES.unpack(self.call(OP_RULES, op))[1]

    # -- elements of sets --

    def change_set(self, op, number, kind, element, seconds=0):
        """'element': high, low, port, length."""
        self.call(OP_SET, SET.pack(op, number, kind, 0, ELEMENT.pack(*element, seconds), 0, 0, 0, 0))

    def elements(self, number, kind):
        """(high, low, port, length, seconds left) of each, 2^64 - 1: for ever."""
        found, cursor, most = [], 0, mmap.PAGESIZE // ELEMENT.size
        with Memory(mmap.PAGESIZE) as memory:
            while True:
                op = SET.pack(SET_LIST, number, kind, most, bytes(ELEMENT.size), memory.address, cursor, 0, 0)
                *_, cursor, count, _ = SET.unpack(self.call(OP_SET, op))
                found += [ELEMENT.unpack_from(memory.bytes, i * ELEMENT.size) for i in range(count)]
                if count < most:
                    return found

    # -- explanations --

    def explain(self, vif, head, length, *, csum_blank=False, gso=(0, 0), max_steps=8192):
        head = head[:256]
        with Memory(max_steps * STEP.size) as memory:
            op = EXPLAIN.pack(EXPLAIN_PACKET, vif, len(head), gso[1], length, gso[0], csum_blank, 1, 0,
                              max_steps, 0, memory.address, *[0] * 23, b"", head)
            found = self.explained(self.call(OP_EXPLAIN, op))
            found.steps = [self.step(memory.bytes, i) for i in range(min(found.steps, max_steps))]
            return found

    @staticmethod
    def step(data, i):
        rule, end = STEP.unpack_from(data, i * STEP.size)
        return rule, STEPS[end]

    def watch(self, vif, count):
        self.call(OP_EXPLAIN, EXPLAIN.pack(EXPLAIN_WATCH, vif, 0, 0, count, *[0] * 30, b"", b""))

    def collect(self):
        """A packet that was watched, or None: none has come."""
        try:
            data = self.call(OP_EXPLAIN, EXPLAIN.pack(EXPLAIN_COLLECT, *[0] * 34, b"", b""))
        except BlockingIOError:
            return None
        found = self.explained(data)
        found.head, found.steps = found.head[:EXPLAIN.unpack(data)[2]], []
        return found

    @staticmethod
    def explained(data):
        (_, vif, have, _, length, _, _, _, _, _, nr_steps, _, reason, to, stage, flow, is_answer, judged,
         action, _, beyond, _, rule, queue, rule_id, generation, flow_id, p0, p1, b0, b1, source, dest,
         reply_len, copies, reply, head) = EXPLAIN.unpack(data)
        owners = tuple(None if x == NOBODY else x for x in (source, dest))
        return Explained(vif, length, REASONS[reason], STAGES[stage], None if to == NOBODY else to, FLOWS[flow],
                         bool(is_answer), bool(judged), action, bool(beyond), rule, rule_id, generation, queue,
                         flow_id, (p0, p1), (b0, b1), owners, reply[:reply_len], head, copies, nr_steps)

    # -- leases --

    def change_lease(self, op, *, ip=0, vif=0, classes=0, start=0, log2=0, seconds=0, lease=0, origin=1):
        """(id, first port) of the lease."""
        order = ORDER.pack(op, origin, classes, log2, start, vif, int(ip), lease, seconds, 0, bytes(16))
        data = self.call(OP_LEASE, LEASE.pack(CHANGE_LEASE, 0, order, 0, 0, 0, 0, 0))
        order = ORDER.unpack(LEASE.unpack(data)[2])
        return order[7], order[4]

    def leases(self):
        found, cursor, most = [], 0, mmap.PAGESIZE // LEASE_INFO.size
        with Memory(mmap.PAGESIZE) as memory:
            while True:
                op = LEASE.pack(LIST_LEASES, 0, bytes(ORDER.size), cursor, most, 0, 0, memory.address)
                _, _, _, cursor, _, count, *_ = LEASE.unpack(self.call(OP_LEASE, op))
                if not count:
                    return found
                for i in range(count):
                    found.append(self.lease_info(memory.bytes, i * LEASE_INFO.size))

    @staticmethod
    def lease_info(data, at):
        (number, ip, start, vif, log2, classes, state, origin, since, ends,
         _) = LEASE_INFO.unpack_from(data, at)
        return LeaseInfo(number, ipaddress.IPv4Address(ip), start, log2, classes, state, origin, vif,
                         since / 1e9, math.inf if ends == 2**63 - 1 else ends / 1e9)

    # -- logs --

    def _log(self, op, ring=0, done=0, at=0, buffer=0, capacity=0, note=0, origin=0, target=0, text=0,
             lengths=(0, 0), capture=(0, 0, 0), wanted=b""):
        return LogState(*LOG.unpack(self.call(OP_LOG, LOG.pack(
            op, ring, done, at, buffer, capacity, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"", note, origin, 0,
            os.getuid() if note else 0, os.getpid() if note else 0, 0, target, *capture,
            0, text, *lengths, wanted)))[2:16])

    def log_state(self, ring):
        """Without reading; FileNotFoundError: there is no such ring, or nothing was ever written."""
        try:
            return self._log(READ_LOG, ring, SAME)
        except OSError as why:
            if why.errno != errno.EINVAL:
                raise
            return LogState(*LOG.unpack(self.page.bytes[:LOG.size])[2:16])  # 0 is nowhere, else told

    def log_read(self, ring, at, room=1 << 16, done=SAME):
        """(bytes from 'at' on, state). What lies before 'done' may be overwritten from now on."""
        if self.buffer is None:
            self.buffer = Memory(1 << 16)
        state = self._log(READ_LOG, ring, done, at, self.buffer.address, min(room, 1 << 16))
        return self.buffer.bytes[:state.at - at], state

    def note(self, op, target, before="", after="", origin=BY_DAEMON):
        """An audit record of ours; OSError ENOBUFS: there is no room, so it must not be done."""
        before, after = before.encode(), after.encode()
        with Memory(len(before) + len(after) + 8) as memory:
            memory.put(before + after)
            self._log(NOTE, note=op, origin=origin, target=target, text=memory.address,
                      lengths=(len(before), len(after)))

    def capture(self, vif, snap, seconds, wanted):
        """The ring of a capture that begins, of what this FILTER wants."""
        self._log(CAPTURE, capture=(vif, snap, seconds), wanted=wanted)
        return LOG.unpack(self.page.bytes[:LOG.size])[1]

    def captured(self, ring):
        self._log(CAPTURED, ring)

    def checkpoint(self):
        return self._log(CHECKPOINT)
