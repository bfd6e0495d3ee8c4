"""serai net capture: packets of an interface as they come by, as text or pcapng.

The hypervisor hands out each frame's first bytes from a ring of its own, and counts what nobody read in
time. Which of them are wanted libpcap decides here, in tcpdump's words.
"""

import ctypes
import ctypes.util
import struct
import sys
import time

import hypercall
import log_records as r
from log_command import Failure, clock, vif_of

ETHERNET = 1
IN, CSUM, GSO = 1, 2, 4
PAUSE = 0.05
DROPS = {"ok", "consumed"}


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

class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_uint), ("instructions", ctypes.c_void_p)]


class Header(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("rest", ctypes.c_long), ("captured", ctypes.c_uint32),
                ("len", ctypes.c_uint32)]


class Filter:
    """What tcpdump would take; '' takes all."""

    def __init__(self, text):
        self.program = None
        if not text:
            return
        name = ctypes.util.find_library("pcap")
        if name is None:
            raise Failure("a filter needs libpcap: install libpcap0.8, or capture without")
        self.lib = ctypes.CDLL(name)
        self.lib.pcap_open_dead.restype = ctypes.c_void_p
        self.lib.pcap_geterr.restype = ctypes.c_char_p
        self.lib.pcap_geterr.argtypes = [ctypes.c_void_p]
        self.lib.pcap_compile.argtypes = [ctypes.c_void_p, ctypes.POINTER(Program), ctypes.c_char_p, ctypes.c_int,
                                          ctypes.c_uint32]
        self.lib.pcap_offline_filter.argtypes = [ctypes.POINTER(Program), ctypes.POINTER(Header), ctypes.c_char_p]
        pcap = self.lib.pcap_open_dead(ETHERNET, hypercall.CAPTURE_MAX)
        self.program = Program()
        if self.lib.pcap_compile(pcap, ctypes.byref(self.program), text.encode(), 1, 0xFFFFFFFF):
            raise Failure(f"{text}: {self.lib.pcap_geterr(pcap).decode()}")

    def wants(self, x):
        if self.program is None:
            return True
        header_ = Header(0, 0, len(x["bytes"]), x["len"])
        return self.lib.pcap_offline_filter(ctypes.byref(self.program), ctypes.byref(header_), x["bytes"]) != 0


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
    wanted = Filter(" ".join(args.filter))
    router = hypercall.Router()
    file = None
    if args.write:
        try:
            file = sys.stdout.buffer if args.write == "-" else open(args.write, "wb")
        except OSError as why:
            raise Failure(f"{args.write} cannot be written: {why.strerror}") from why
    writer, seen = Writer(file, args.snaplen) if file else None, 0
    ring = router.capture(vif_of(args.vif), args.snaplen, args.seconds)
    end = time.monotonic() + args.seconds
    try:
        for x, lost in packets(router, ring, lambda: time.monotonic() >= end or args.count and seen >= args.count):
            if x is None or not wanted.wants(x):
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
        (["filter"], {"nargs": "*", "help": "in tcpdump's words"}))
