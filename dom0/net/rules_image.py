"""The image of a ruleset as the hypervisor reads it: hv/abi/vfr_rules.h in Python.

Fields have that header's names; pack() and unpack() are each other's inverse.
"""

import struct
from dataclasses import dataclass, field, fields

MAGIC, VERSION, IMAGE_MAX = 0x52524656, 1, 32 << 20
CLAUSE_MAX, SET_PROBE = 32, 32
PROTO_ARP = 15
LOG_NEW, LOG_END, LOG_DENY, LOG_STRICT = 1, 2, 4, 8
DSCP_NONE = 64
(W_NOT_FROM, W_NOT_TO, W_TCP_FLAGS, W_ICMP_TYPE, W_ICMP_CODE, W_FRAGMENT, W_TTL, W_TAGGED,
 W_ELSE_NEXT) = (1 << n for n in range(9))
CLAUSE_NOT = 0x8000
SRC_IP, SRC_PORT, DST_IP, DST_PORT = range(4)
M_IP4, M_IP6, M_PORT, M_SET, M_FACT = range(1, 6)
SLOT_USED = 1 << 24
RATE_SHIFT = 16
GATE_ZONES, GATE_FROM, GATE_TO = 24, 16, 40
ZONE_ANY, ZONE_DOMAINS, ZONE_UPLINK, ZONE_ROUTER, ZONE_FIRST = range(5)
ACTIONS = ["drop", "reject", "pass", "pass stateless", "count"]
REJECTS = [None, "rst", "port", "admin", "host"]
SET_KINDS = [None, "ip", "net", "port", "ip.port", "mac"]
RATE_UNITS = {"cps": 1, "pps": 2, "kbit": 3, "mbit": 3}
RATE_PERS = {"rule": 1, "vif": 2, "src": 3, "dst": 4}
FACTS = {"own": 1, "shared": 2, "inside": 4, "leased": 8}
MASK64 = (1 << 64) - 1


class Broken(Exception):
    """Bytes that are no image."""


def record(cls):
    """A dataclass whose 'layout' packs its fields in order; lists are spread."""
    cls = dataclass(cls)
    codec = struct.Struct(cls.layout)
    cls.size = codec.size

    def pack(self):
        values = []
        for f in fields(self):
            value = getattr(self, f.name)
            values += value if isinstance(value, list) else [value]
        return codec.pack(*values)

    def unpack(data, at):
        values = list(codec.unpack_from(data, at))
        out = cls()
        for f in fields(out):
            before = getattr(out, f.name)
            if isinstance(before, list):
                setattr(out, f.name, [values.pop(0) for _ in before])
            else:
                setattr(out, f.name, values.pop(0))
        return out

    cls.pack, cls.unpack = pack, staticmethod(unpack)
    return cls


@record
class Header:
    layout = "<IHHQ5I7IQ3B5xII256B"
    magic: int = MAGIC
    version: int = VERSION
    header: int = 344
    len: int = 0
    counts: list = field(default_factory=lambda: [0] * 5)  # rules, matches, sets, rates, slots
    places: list = field(default_factory=lambda: [0] * 7)
    seed: int = 0
    default_action: int = 0
    default_reject: int = 0
    default_log: int = 0
    default_sample: int = 0
    zero2: int = 0
    proto_class: list = field(default_factory=lambda: [0] * 256)


@record
class Rule:
    layout = "<II4BHH4B8HIHBBIBBBBHH8x"
    id: int = 0
    digest: int = 0
    action: int = 0
    reject: int = 0
    src: int = 0
    dst: int = 0
    protos: int = 0xFFFF
    what: int = 0
    tcp_mask: int = 0
    tcp_value: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    clauses: list = field(default_factory=lambda: [0] * 8)  # first, nr of each
    ttl: int = 0
    rate: int = 0
    log: int = 0
    dscp: int = DSCP_NONE
    sample: int = 0
    zero: int = 0
    tag: int = 0
    tagged: int = 0
    zero2: int = 0
    port_low: int = 0
    port_span: int = 0xFFFF

    def gate(self):
        gate = ~self.protos & 0xFFFF
        if self.src and not self.what & W_NOT_FROM:
            gate |= 1 << GATE_FROM + (self.src - 1) % GATE_ZONES
        if self.dst and not self.what & W_NOT_TO:
            gate |= 1 << GATE_TO + (self.dst - 1) % GATE_ZONES
        return gate


@record
class Match:
    layout = "<HHIQQQQ"
    kind: int = 0
    set: int = 0
    zero: int = 0
    low_high: int = 0
    low_low: int = 0
    high_high: int = 0
    high_low: int = 0


@record
class Set:
    layout = "<IB3xIIIIQQQ"
    id: int = 0
    kind: int = 0
    size: int = 0
    timeout: int = 0
    slots: int = 0
    first: int = 0
    lengths: list = field(default_factory=lambda: [0] * 3)


@record
class Rate:
    layout = "<IBB2xQQ"
    id: int = 0
    unit: int = 0
    per: int = 0
    cost: int = 0
    depth: int = 0


@record
class Slot:
    layout = "<QQII"
    high: int = 0
    low: int = 0
    rest: int = 0
    zero: int = 0


def set_hash(seed, high, low, rest):
    h = (high ^ seed) * 0x9E3779B97F4A7C15 & MASK64
    h = (h ^ h >> 32 ^ low) * 0xD6E8FEB86659FD93 & MASK64
    h = (h ^ h >> 32 ^ rest) * 0xA0761D6478BD642F & MASK64
    return h ^ h >> 32


def halves(version, number):
    """An address as the router has it: IPv4 inside ::ffff:0:0/96."""
    if version == 4:
        number |= 0xFFFF << 32
    return number >> 64, number & MASK64


@dataclass
class Image:
    header: Header = field(default_factory=Header)
    rules: list = field(default_factory=list)
    matches: list = field(default_factory=list)
    sets: list = field(default_factory=list)
    rates: list = field(default_factory=list)
    slots: list = field(default_factory=list)  # Slot, or None for an empty one

    def pack(self):
        order = sorted(range(len(self.rules)), key=lambda n: self.rules[n].id)
        order = struct.pack(f"<{len(order)}H", *order)
        empty = bytes(Slot.size)
        parts = [struct.pack(f"<{len(self.rules)}Q", *(r.gate() for r in self.rules)),
                 b"".join(r.pack() for r in self.rules), order + bytes(-len(order) % 8),
                 b"".join(r.pack() for r in self.matches), b"".join(r.pack() for r in self.sets),
                 b"".join(r.pack() for r in self.rates),
                 b"".join(s.pack() if s else empty for s in self.slots)]
        h = self.header
        h.counts = [len(p) for p in (self.rules, self.matches, self.sets, self.rates, self.slots)]
        at = Header.size
        for n, part in enumerate(parts):
            h.places[n] = at
            at += len(part)
        h.len = at
        return h.pack() + b"".join(parts)


def unpack(data):
    if len(data) < Header.size:
        raise Broken("too short")
    h = Header.unpack(data, 0)
    if (h.magic, h.version, h.header, h.len) != (MAGIC, VERSION, Header.size, len(data)):
        raise Broken("not an image of this version")
    image = Image(h)
    kinds = zip((Rule, Match, Set, Rate, Slot), h.counts, (h.places[n] for n in (1, 3, 4, 5, 6)))
    for part, (kind, nr, at) in zip((image.rules, image.matches, image.sets, image.rates, image.slots), kinds):
        if at > len(data) or nr * kind.size > len(data) - at:
            raise Broken("its parts are not in it")
        part += [kind.unpack(data, at + n * kind.size) for n in range(nr)]
    return image
