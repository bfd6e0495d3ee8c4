"""serai net capture: packets of an interface as they come by, as text or pcapng.

The hypervisor takes the frames that a filter wants, whole up to a length, hands them out from a ring of its own,
and counts what nobody read in time. The filter is made here of tcpdump's words, those that the hypervisor knows.
"""

import ipaddress
import struct
import sys
import time

import hypercall
import log_records as r
from log_command import Failure, clock, vif_of

ETHERNET = 1
IN, CSUM, GSO = 1, 2, 4
PAUSE = 0.05
DROPS = {"ok", "consumed", "spread"}


# ---- pcapng ----

def _block(kind, body):
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _option(code, data):
    return struct.pack("<HH", code, len(data)) + data + bytes(-len(data) % 4)


END = struct.pack("<HH", 0, 0)


def header():
    return _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(4, b"serai net capture") + END)


def interface(name, snap):
    return _block(1, struct.pack("<HHI", ETHERNET, 0, snap) + _option(2, name.encode()) + _option(9, b"\x09") + END)


def comment(x):
    said = []
    if x["flags"] & CSUM:
        said.append("the checksum is left to the receiver")
    if x["flags"] & GSO:
        said.append("cutting it into segments is left to the receiver")
    if x["reason"] not in DROPS:
        said.append(f"dropped: {x['reason']}")
    return "; ".join(said)


def packet(x, number, lost=0):
    data, said = x["bytes"], comment(x)
    body = struct.pack("<IIIII", number, x["utc"] >> 32, x["utc"] & 0xFFFFFFFF, len(data), x["len"])
    body += data + bytes(-len(data) % 4) + _option(2, struct.pack("<I", 1 if x["flags"] & IN else 2))
    if lost:
        body += _option(4, struct.pack("<Q", lost))
    if said:
        body += _option(1, said.encode())
    return _block(6, body + END)


# ---- which packets ----

ENDS = {"src": 1, "dst": 2}
WAYS = {"in": 1, "out": 2}
FAMILIES = {"arp": 2, "ip": 4, "ip6": 8}
PROTOS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "sctp": 132}
TERMS = 2


class Filter:
    """What struct vfr_filter says; every word makes it want less."""

    def __init__(self, words):
        self.reasons = self.families = self.ways = self.proto = 0
        self.addresses, self.ports = [], []
        self.words = [word for word in words if word != "and"]
        while self.words:
            self.term(self.words.pop(0))

    def next(self, after):
        if not self.words:
            raise Failure(f"{after}: of what?")
        return self.words.pop(0)

    def say(self, name, value, word):
        if getattr(self, name):
            raise Failure(f"{word}: that was said already")
        setattr(self, name, value)

    def term(self, word):
        if word in ENDS:
            self.end(ENDS[word], self.next(word))
        elif word in FAMILIES:
            self.say("families", FAMILIES[word], word)
        elif word in PROTOS or word == "proto":
            self.say("proto", 1 + (PROTOS[word] if word in PROTOS else number(self.next(word), 255)), word)
        elif word in WAYS:
            self.say("ways", WAYS[word], word)
        elif word in ("passed", "dropped", "reason"):
            self.say("reasons", reasons(word, self), word)
        else:
            self.end(3, word)

    def end(self, ends, word):
        if word in ("port", "portrange"):
            low, _, high = self.next(word).partition("-" if word == "portrange" else "\0")
            self.add(self.ports, (number(low, 65535), number(high or low, 65535), ends), word)
            if self.ports[-1][0] > self.ports[-1][1]:
                raise Failure(f"{low}-{high}: the lower one first")
            return
        text = self.next(word) if word in ("host", "net") else word
        try:
            self.add(self.addresses, (*hypercall.prefix_numbers(ipaddress.ip_network(text)), ends), text)
        except ValueError as why:
            raise Failure(f"{text}: neither an address nor a word of a filter: in, out, passed, dropped, reason NAME, arp, "
                          "ip, ip6, tcp, udp, icmp, icmp6, proto N; src, dst, or neither, with host A, net A/N, port N, "
                          "portrange N-M") from why

    @staticmethod
    def add(to, term, word):
        if len(to) == TERMS:
            raise Failure(f"{word}: only {TERMS} addresses and {TERMS} ports can be asked for")
        to.append(term)

    def pack(self):
        addresses = self.addresses + [(0, 0, 0, 0)] * (TERMS - len(self.addresses))
        ports = self.ports + [(0, 0, 0)] * (TERMS - len(self.ports))
        return hypercall.FILTER.pack(self.reasons, *sum(addresses, ()), *sum(ports, ()), self.proto, self.families,
                                     self.ways, 0)


def number(text, most):
    if not text.isdecimal() or int(text) > most:
        raise Failure(f"{text}: not a number up to {most}")
    return int(text)


def reasons(word, words):
    """The bits of what became of a packet."""
    names = {"passed": ["ok", "spread"], "dropped": [x for x in hypercall.REASONS if x not in DROPS]}.get(word)
    bits = 0
    for name in names or words.next(word).split(","):
        if name not in hypercall.REASONS:
            raise Failure(f"{name}: no reason; there are {' '.join(hypercall.REASONS)}")
        bits |= 1 << hypercall.REASONS.index(name)
    return bits


# ---- the command ----

def text(x):
    way = ">" if x["flags"] & IN else "<"
    said = comment(x)
    return f"{clock(x['utc'])} {x['vif']} {way} {x['len']} bytes {x['bytes'][:54].hex()}" + (f" ({said})" if said else "")


class Writer:
    """pcapng; an interface is told of before its first packet."""

    def __init__(self, file, snap):
        self.file, self.snap, self.known = file, snap, {}
        file.write(header())

    def put(self, x, lost):
        if x["vif"] not in self.known:
            self.known[x["vif"]] = len(self.known)
            self.file.write(interface(f"vif{x['vif']}", self.snap))
        self.file.write(packet(x, self.known[x["vif"]], lost))
        self.file.flush()


def packets(router, ring, until):
    """(record, frames lost before it) as they come; the ring is given up as it is read."""
    at, lost = None, 0
    while not until():
        state = router.log_state(ring)
        at = state.consumed if at is None else at
        data, _ = router.log_read(ring, at, done=at)
        records, used = r.split(data)
        at += used
        for head, record in records:
            x = r.decode(head, record)
            lost += x["count"] if x["type"] == "gap" else 0
            if x["type"] == "capture":
                yield x, lost
                lost = 0
        if not used:
            yield None, 0
            time.sleep(PAUSE)


def capture(router, args):
    vif, wanted = vif_of(args.vif), Filter(args.filter)
    if vif == hypercall.EVERYBODY and not wanted.ways:
        wanted.ways = WAYS["in"]  # else what goes from one to another comes twice
    router = hypercall.Router()
    file = None
    if args.write:
        try:
            file = sys.stdout.buffer if args.write == "-" else open(args.write, "wb")
        except OSError as why:
            raise Failure(f"{args.write} cannot be written: {why.strerror}") from why
    writer, seen = Writer(file, args.snaplen) if file else None, 0
    ring = router.capture(vif, args.snaplen, args.seconds, wanted.pack())
    end = time.monotonic() + args.seconds
    try:
        for x, lost in packets(router, ring, lambda: time.monotonic() >= end or args.count and seen >= args.count):
            if x is None:
                continue
            if writer:
                writer.put(x, lost)
            else:
                print(text(x), flush=True)
            seen += 1
            if args.count and seen >= args.count:
                break
    except BrokenPipeError:
        pass
    finally:
        try:
            router.captured(ring)
        except FileNotFoundError:
            pass  # its time was over
    print(f"{seen} packets", file=sys.stderr)


def register(words, add):
    add(words, "capture", capture, (["vif"], {"help": "an interface's number, or 'all'"}),
        (["-w", "--write"], {"metavar": "FILE", "help": "pcapng; -: to standard output"}),
        (["--snaplen"], {"type": int, "default": hypercall.CAPTURE_MAX}),
        (["--seconds"], {"type": int, "default": 600}), (["--count"], {"type": int, "default": 0}),
        (["filter"], {"nargs": "*", "help": "in tcpdump's words: in, out, passed, dropped, reason NAME, arp, ip, ip6, "
                                             "tcp, udp, icmp, icmp6, proto N, [src|dst] host A, net A/N, port N, "
                                             "portrange N-M"}))
