"""The router's records as they lie in the hypervisor's rings and in segment files, hv/abi/vfr_log.h.

split() cuts bytes into records; decode() makes a dictionary of one, whose keys stay what they are:
they are the JSON of `serai net log` and `audit`.
"""

import ipaddress
import struct
from typing import NamedTuple

from hypercall import REASONS

FLOW_NEW, FLOW_END, DENY, DROPS, GAP, CLOCK, CAPTURE = range(1, 8)
AUDIT, CHECKPOINT = 16, 17
IP6 = 0x100
TYPES = {FLOW_NEW: "new", FLOW_END: "end", DENY: "deny", DROPS: "drops", GAP: "gap", CLOCK: "clock",
         CAPTURE: "capture", AUDIT: "audit", CHECKPOINT: "checkpoint"}

(BEGIN, RULES, CONNECT, DISCONNECT, LEASE, CAPTURE_ON, CAPTURE_OFF, SET_CLOCK, LIMITS,
 SET) = range(1, 11)
DAEMON_BEGAN, DAEMON_ENDED, RULES_TEXT, DELETED, CLOSED, COMMAND, LEASE_REFUSED = range(0x100, 0x107)
OPS = {BEGIN: "begin", RULES: "rules", CONNECT: "connect", DISCONNECT: "disconnect", LEASE: "lease",
       CAPTURE_ON: "capture", CAPTURE_OFF: "captured", SET_CLOCK: "clock", LIMITS: "limits", SET: "set",
       DAEMON_BEGAN: "daemon-began", DAEMON_ENDED: "daemon-ended", RULES_TEXT: "rules-text",
       DELETED: "deleted", CLOSED: "closed", COMMAND: "command", LEASE_REFUSED: "lease-refused"}
ACTORS = ("hypervisor", "serai", "daemon", "rsip", "pcp", "dhcp", "toolstack")

# Why a flow ended: IPFIX element 136.
ENDS = {1: "idle", 2: "active", 3: "end", 4: "forced", 5: "resources"}
PROTOS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 50: "esp", 51: "ah", 58: "icmp6",
          132: "sctp", 136: "udplite"}

HEAD = struct.Struct("<HHIQIHH")
WHERE = struct.Struct("<II")
WHAT = struct.Struct("<HHBBHIIQ")
COUNTS = struct.Struct("<4Q")
DROP = struct.Struct("<IHHQQ4QHHB3x")
LOST = struct.Struct("<IIQQ")
STEP = struct.Struct("<QQII")
CAPTURED = struct.Struct("<IHBBII")
CHANGE = struct.Struct("<4B2H3I2HQ")
PROGRESS = struct.Struct("<4Q")
CHAIN = 64
LONGEST = 8192


class BadRecord(Exception):
    """Bytes that are no records."""


class Head(NamedTuple):
    type: int
    len: int
    seq: int
    utc: int
    generation: int
    boot: int
    cpu: int


def split(data):
    """[(head, record)], and how many bytes they are: the last one may be there in part."""
    found, at = [], 0
    while len(data) - at >= HEAD.size:
        head = Head(*HEAD.unpack_from(data, at))
        if head.len < HEAD.size or head.len % 8 or head.type & ~IP6 not in TYPES:
            raise BadRecord(f"there is no record at byte {at}")
        if len(data) - at < head.len:
            break
        found.append((head, bytes(data[at:at + head.len])))
        at += head.len
    return found, at


def address(high, low):
    if high == 0 and low >> 32 == 0xFFFF:
        return str(ipaddress.IPv4Address(low & 0xFFFFFFFF))
    return str(ipaddress.IPv6Address(high << 64 | low))


def words(text):
    """NAME=VALUE by spaces, as the hypervisor says how things are."""
    return dict(word.partition("=")[::2] for word in text.split())


def vif_name(number):
    return f"{number >> 16}.{number & 0xFFFF}"


def _flow(head, record, out):
    seen, lost = WHERE.unpack_from(record, HEAD.size)
    at = HEAD.size + WHERE.size
    if head.type & IP6:
        numbers = struct.unpack_from("<4Q", record, at)
        out["src"], out["dst"] = address(*numbers[:2]), address(*numbers[2:])
        at += 32
    else:
        src, dst = struct.unpack_from("<II", record, at)
        out["src"], out["dst"] = address(0, 0xFFFF << 32 | src), address(0, 0xFFFF << 32 | dst)
        at += 8
    sport, dport, proto, flags, reason, rule, count, flow = WHAT.unpack_from(record, at)
    out.update({"in": vif_name(seen), "out": vif_name(lost), "sport": sport, "dport": dport,
                "proto": proto, "rule": rule})
    kind = head.type & ~IP6
    if kind == DENY:
        out.update({"reason": REASONS[reason], "count": count, "tcp_flags": flags})
        out["type"] = "deny" if reason else "pass"  # without a flow
        return
    out["flow"] = flow
    if kind == FLOW_NEW:
        out["tcp_flags"] = flags
        return
    packets, packets_back, size, size_back = COUNTS.unpack_from(record, at + WHAT.size)
    out.update({"end": ENDS.get(reason, str(reason)), "ms": count, "packets": packets, "bytes": size,
                "packets_back": packets_back, "bytes_back": size_back})


def _drops(head, record, out):
    vif, reason, _, count, size, *numbers, sport, dport, proto = DROP.unpack_from(record, HEAD.size)
    out.update({"in": vif_name(vif), "reason": REASONS[reason], "count": count, "bytes": size,
                "src": address(*numbers[:2]), "dst": address(*numbers[2:]), "sport": sport,
                "dport": dport, "proto": proto})


def _gap(head, record, out):
    first, count, begin, end = LOST.unpack_from(record, HEAD.size)
    out.update({"first": first, "count": count, "begin": begin, "end": end})


def _clock(head, record, out):
    before, after, source, _ = STEP.unpack_from(record, HEAD.size)
    out.update({"before": before, "after": after, "source": source})


def _audit(head, record, out):
    origin, part, parts, _, op, _, uid, pid, vif, before, after, target = CHANGE.unpack_from(
        record, HEAD.size)
    at = HEAD.size + CHANGE.size
    out.update({"actor": ACTORS[origin] if origin < len(ACTORS) else str(origin), "uid": uid, "pid": pid,
                "vif": vif_name(vif), "op": OPS.get(op, str(op)), "object": target, "part": part,
                "parts": parts, "before": record[at:at + before].decode("utf-8", "replace"),
                "after": record[at + before:at + before + after].decode("utf-8", "replace"),
                "hash": record[-32:].hex()})


def _checkpoint(head, record, out):
    records, refused, logged, lost = PROGRESS.unpack_from(record, HEAD.size)
    out.update({"records": records, "refused": refused, "logged": logged, "lost": lost,
                "hash": record[-32:].hex()})


def _captured(head, record, out):
    vif, reason, capture, flags, captured, size = CAPTURED.unpack_from(record, HEAD.size)
    at = HEAD.size + CAPTURED.size
    out.update({"vif": vif_name(vif), "reason": REASONS[reason], "capture": capture, "flags": flags,
                "len": size, "bytes": record[at:at + captured]})


DECODERS = {FLOW_NEW: _flow, FLOW_END: _flow, DENY: _flow, DROPS: _drops, GAP: _gap, CLOCK: _clock,
            AUDIT: _audit, CHECKPOINT: _checkpoint, CAPTURE: _captured}


def decode(head, record):
    kind = head.type & ~IP6
    out = {"type": TYPES[kind], "seq": head.seq, "utc": head.utc, "generation": head.generation,
           "boot": head.boot, "cpu": head.cpu}
    try:
        DECODERS[kind](head, record, out)
    except (struct.error, IndexError) as why:
        raise BadRecord(f"record {head.seq} is shorter than its kind: {why}") from why
    return out
