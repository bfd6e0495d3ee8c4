"""What a ruleset says, after parsing: plain values without names left to look up, and their text.

str() of each is its one canonical form. Parsing that form gives an equal value, so equal values are
equal text; `$names` have been replaced by what they stand for.
"""

import ipaddress
from dataclasses import dataclass, field

# Longer lists of addresses or ports become sets in the image; they have a form that does not
# depend on the order they were written in.
LIST_MAX = 32

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "sctp": 132, "esp": 50, "ah": 51, "gre": 47}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
ARP = "arp"
# Protocols that have ports.
WITH_PORTS = {6, 17, 33, 132, 136}

FLAG_LETTERS = "FSRPAUEC"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration_text(seconds):
    for unit in "wdhm":
        if seconds % UNITS[unit] == 0:
            return f"{seconds // UNITS[unit]}{unit}"
    return f"{seconds}s"


def quoted(text):
    return f'"{text}"'


def braces(items):
    return items[0] if len(items) == 1 else "{" + ", ".join(items) + "}"


# ---- lists of addresses and ports ----


@dataclass(frozen=True, order=True)
class IpRange:
    version: int
    low: int
    high: int

    def networks(self):
        make = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        return list(ipaddress.summarize_address_range(make(self.low), make(self.high)))

    def __str__(self):
        make = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        if self.low == self.high:
            return str(make(self.low))
        nets = self.networks()
        return str(nets[0]) if len(nets) == 1 else f"{make(self.low)}-{make(self.high)}"


@dataclass(frozen=True, order=True)
class PortRange:
    low: int
    high: int

    def __str__(self):
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True)
class InSet:
    name: str

    def __str__(self):
        return "@" + self.name


@dataclass(frozen=True)
class Fact:
    name: str  # own, shared, inside; leased

    def __str__(self):
        return self.name


def joined(ranges):
    """Ranges, sorted, those that touch as one."""
    out = []
    for r in sorted(ranges):
        last = out[-1] if out else None
        if last and getattr(last, "version", 0) == getattr(r, "version", 0) and r.low <= last.high + 1:
            merged = {"low": last.low, "high": max(last.high, r.high)}
            if hasattr(r, "version"):
                merged["version"] = r.version
            out[-1] = type(r)(**merged)
        else:
            out.append(r)
    return out


def normal_items(items):
    """A list without repetitions; a long one sorted: ranges of addresses as prefixes."""
    items = list(dict.fromkeys(items))
    ranges = [i for i in items if isinstance(i, (IpRange, PortRange))]
    others = [i for i in items if not isinstance(i, (IpRange, PortRange))]
    if len(items) <= LIST_MAX:
        return tuple(items)
    ranges = joined(ranges)
    if ranges and isinstance(ranges[0], IpRange):
        ranges = [IpRange(r.version, int(n[0]), int(n[-1])) for r in ranges for n in r.networks()]
    return tuple(ranges + others)


def normal_protocols(found):
    return tuple(sorted(set(found), key=lambda p: (p == ARP, p if p != ARP else 0)))


@dataclass(frozen=True)
class Clause:
    negated: bool
    items: tuple

    def __str__(self):
        return ("not " if self.negated else "") + braces([str(i) for i in self.items])


# ---- ends ----


@dataclass(frozen=True)
class Where:
    kind: str  # any, domains, router, uplink, dom, vif, label, zone
    name: object = None  # uplink: its number, or None; vif: (domid, index)

    def __str__(self):
        if self.kind == "vif":
            return f"vif {self.name[0]}.{self.name[1]}"
        return self.kind if self.name is None else f"{self.kind} {self.name}"


ANYWHERE = Where("any")


@dataclass(frozen=True)
class End:
    negated: bool = False
    where: Where = ANYWHERE
    ip: Clause = None
    port: Clause = None

    def __str__(self):
        parts = [("not " if self.negated else "") + str(self.where)]
        parts += [f"ip {self.ip}"] if self.ip else []
        parts += [f"port {self.port}"] if self.port else []
        return " ".join(parts)


EVERY_END = End()


# ---- statements ----


@dataclass(frozen=True)
class Log:
    when: str = "all"
    sample: int = 0
    strict: bool = False
    label: str = None

    def __str__(self):
        text = "log" + ("" if self.when == "all" else " " + self.when)
        text += f" sample 1/{self.sample}" if self.sample else ""
        text += " strict" if self.strict else ""
        return text + (f" as {quoted(self.label)}" if self.label is not None else "")


def flags_text(bits):
    return "".join(letter for n, letter in enumerate(FLAG_LETTERS) if bits >> n & 1) or "0"


@dataclass(frozen=True)
class Rule:
    action: str  # pass, drop, reject, count
    stateless: bool = False
    reject: str = None
    src: End = EVERY_END
    dst: End = EVERY_END
    protos: tuple = ()  # numbers, and ARP; none: all
    flags: tuple = None  # value, mask
    icmp: tuple = None  # type, code or None
    fragments: bool = False
    limit: str = None
    otherwise: str = "drop"
    log: Log = None
    dscp: int = None
    tag: str = None
    tagged: str = None
    ttl: int = None
    note: str = None
    name: str = None
    line: int = field(default=0, compare=False)

    def body(self):
        """Its text without name and note: what a rule is known by."""
        words = [self.action]
        words += ["stateless"] if self.stateless else []
        words += [f"with {self.reject}"] if self.reject else []
        words += [f"from {self.src}"] if self.src != EVERY_END else []
        words += [f"to {self.dst}"] if self.dst != EVERY_END else []
        if self.protos:
            words.append("proto " + braces([PROTOCOL_NAMES.get(p, str(p)) for p in self.protos]))
        words += ["flags " + "/".join(flags_text(f) for f in self.flags)] if self.flags else []
        if self.icmp:
            code = "" if self.icmp[1] is None else f" code {self.icmp[1]}"
            words.append(f"type {self.icmp[0]}{code}")
        words += ["fragments"] if self.fragments else []
        if self.limit:
            words.append(f"limit {self.limit}" + (" else next" if self.otherwise == "next" else ""))
        words += [str(self.log)] if self.log else []
        words += [f"dscp {self.dscp}"] if self.dscp is not None else []
        words += [f"tag {self.tag}"] if self.tag else []
        words += [f"tagged {self.tagged}"] if self.tagged else []
        words += [f"ttl {duration_text(self.ttl)}"] if self.ttl else []
        return " ".join(words)

    def __str__(self):
        text = f"{self.name}: " if self.name else ""
        return text + self.body() + (f" note {quoted(self.note)}" if self.note is not None else "")

    def title(self):
        return self.name or f"line {self.line}"


@dataclass(frozen=True)
class Set:
    name: str
    kind: str  # ip, net, port, ip.port, mac
    size: int = 0
    timeout: int = 0
    elements: tuple = ()  # ip: (version, number); net: (version, number, length); port: number;
    #                       ip.port: (version, number, port); mac: number; sorted

    def element_text(self, e):
        if self.kind == "port":
            return str(e)
        if self.kind == "mac":
            return ":".join(f"{e >> 8 * n & 255:02x}" for n in reversed(range(6)))
        ip = str((ipaddress.IPv4Address if e[0] == 4 else ipaddress.IPv6Address)(e[1]))
        if self.kind == "net":
            return f"{ip}/{e[2]}"
        if self.kind == "ip.port":
            return f"{ip}:{e[2]}" if e[0] == 4 else f"[{ip}]:{e[2]}"
        return ip

    def __str__(self):
        text = f"set {self.name} : {self.kind}"
        text += f" size {self.size}" if self.size else ""
        text += f" timeout {duration_text(self.timeout)}" if self.timeout else ""
        if self.elements:
            text += " = {" + ", ".join(self.element_text(e) for e in self.elements) + "}"
        return text


@dataclass(frozen=True)
class Zone:
    name: str
    members: tuple

    def __str__(self):
        return f"zone {self.name} = " + ", ".join(str(m) for m in self.members)


@dataclass(frozen=True)
class Rate:
    name: str
    amount: int
    unit: str  # pps, cps, kbit, mbit
    burst: int = 0  # 0: the usual one
    per: str = "rule"

    def __str__(self):
        text = f"rate {self.name} = {self.amount} {self.unit}"
        text += f" burst {self.burst}" if self.burst else ""
        return text + ("" if self.per == "rule" else f" per {self.per}")


@dataclass(frozen=True)
class Default:
    action: str = "drop"
    log: Log = None

    def __str__(self):
        return f"default {self.action}" + (f" {self.log}" if self.log else "")


@dataclass
class Ruleset:
    sets: dict = field(default_factory=dict)
    zones: dict = field(default_factory=dict)
    rates: dict = field(default_factory=dict)
    default: Default = Default()
    rules: list = field(default_factory=list)

    def __str__(self):
        parts = [*self.zones.values(), *self.sets.values(), *self.rates.values(), self.default,
                 *self.rules]
        return "".join(f"{p}\n" for p in parts)
