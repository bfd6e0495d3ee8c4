"""What the store has, for others: IPFIX (RFC 7011, 8158, 5103), syslog (RFC 5424), JSON lines.

What IPFIX has no element for is enterprise-specific, of the number that RFC 5612 keeps for examples:
1 the rule's id, 2 the reason (hv/abi/vfr.h).
"""

import ipaddress
import json
import socket
import struct

import log_records as r

OURS = 32473
REVERSE = 29305  # the same element of the answers
MESSAGE = 1400
TEMPLATES_EVERY = 60 * 10**9
TEMPLATES_AFTER = 4096

# Element, bytes, and whose it is.
COMMON = [(7, 2, 0), (11, 2, 0), (4, 1, 0), (10, 4, 0), (14, 4, 0)]
FLOW = COMMON + [(152, 8, 0), (153, 8, 0), (1, 8, 0), (2, 8, 0), (1, 8, REVERSE), (2, 8, REVERSE), (136, 1, 0),
                 (148, 8, 0), (1, 4, OURS)]
REFUSED = COMMON + [(323, 8, 0), (2, 8, 0), (6, 1, 0), (233, 1, 0), (1, 4, OURS), (2, 2, OURS)]
IP4, IP6 = [(8, 4, 0), (12, 4, 0)], [(27, 16, 0), (28, 16, 0)]
BLOCK = [(323, 8, 0), (230, 1, 0), (225, 4, 0), (361, 2, 0), (362, 2, 0), (463, 4, 0), (371, 65535, 0)]
SINGLE = [(323, 8, 0), (230, 1, 0), (225, 4, 0), (4, 1, 0), (7, 2, 0), (227, 2, 0), (371, 65535, 0)]
QUOTA = [(323, 8, 0), (230, 1, 0), (466, 4, 0), (473, 4, 0), (2, 8, 0), (10, 4, 0)]
EXHAUSTED = [(323, 8, 0), (230, 1, 0), (225, 4, 0), (4, 1, 0), (2, 8, 0), (10, 4, 0)]
TEMPLATES = {256: IP4 + FLOW, 257: IP6 + FLOW, 258: IP4 + REFUSED, 259: IP6 + REFUSED, 260: BLOCK, 261: SINGLE,
             262: QUOTA + [(8, 4, 0)], 263: QUOTA + [(27, 16, 0)], 264: EXHAUSTED}
EXHAUSTED_PORTS, QUOTA_EXCEEDED = 12, 13
# What packets die of when something of an interface is used up: natQuotaExceededEvent, and how many it may have.
QUOTAS = {"flow-quota": (3, 16384),  # entries of one user: VFR_FLOW_QUOTA
          "frag-limit": (5, 64)}     # datagrams in pieces: VFR_PAYER_CONTEXTS
BLOCK_BEGINS, BLOCK_ENDS, PORT_BEGINS, PORT_ENDS = 16, 17, 8, 9
REASON_END = {name: number for number, name in r.ENDS.items()}


def templates():
    out = b""
    for number, fields in TEMPLATES.items():
        out += struct.pack(">HH", number, len(fields))
        for element, size, whose in fields:
            out += struct.pack(">HH", element | (0x8000 if whose else 0), size)
            out += struct.pack(">I", whose) if whose else b""
    return struct.pack(">HH", 2, len(out) + 4) + out


def milliseconds(utc):
    return utc // 10**6


def number(vif):
    domid, _, handle = vif.partition(".")
    return int(domid) << 16 | int(handle)


def _ends(x):
    src, dst = ipaddress.ip_address(x["src"]), ipaddress.ip_address(x["dst"])
    if src.version != dst.version:
        raise ValueError("addresses of two kinds")
    return src.version == 6, src.packed + dst.packed + struct.pack(
        ">HHBII", x["sport"], x["dport"], x["proto"], number(x["in"]), number(x["out"]))


def flow(x):
    long, ends = _ends(x)
    return 256 + long, ends + struct.pack(
        ">QQQQQQBQI", milliseconds(x["utc"]) - x["ms"], milliseconds(x["utc"]), x["bytes"], x["packets"],
        x["bytes_back"], x["packets_back"], REASON_END.get(x["end"], 4), x["flow"], x["rule"])


FLOW_CREATED, FLOW_DENIED = 1, 3  # firewallEvent


def refused(x, event=FLOW_DENIED):
    long, ends = _ends(x)
    return 258 + long, ends + struct.pack(">QQBBIH", milliseconds(x["utc"]), x["count"], x["tcp_flags"], event, x["rule"],
                                          r.REASONS.index(x["reason"]))


def exceeded(x):
    """Packets that died of a quota, those of a second as one."""
    source = ipaddress.ip_address(x["src"])
    event, limit = QUOTAS[x["reason"]]
    return 262 + (source.version == 6), struct.pack(
        ">QBIIQI", milliseconds(x["utc"]), QUOTA_EXCEEDED, event, limit, x["count"], number(x["in"])) + source.packed


def exhausted(x, said):
    """A lease that was refused because no port is left, those of a while as one."""
    return 264, struct.pack(">QB4sBQI", milliseconds(x["utc"]), EXHAUSTED_PORTS, ipaddress.ip_address(said["ip"]).packed,
                            {1: 6, 2: 17}.get(int(said["classes"]), 0), int(said["count"]), number(said["vif"]))


def name(text):
    data = text.encode()[:254]
    return bytes([len(data)]) + data


def lease(row, begins):
    """A row of the store's table of leases."""
    ip = ipaddress.ip_address(row["ip"]).packed
    utc = milliseconds(row["t_start"] if begins else row["t_end"])
    who = name(row["dom_name"] or row["dom_uuid"])
    if row["lo"] == row["hi"]:
        proto = {1: 6, 2: 17, 4: 50}.get(row["class"], row["lo"] & 255)
        return 261, struct.pack(">QB4sBHH", utc, PORT_BEGINS if begins else PORT_ENDS, ip, proto, row["lo"],
                                row["lo"]) + who
    return 260, struct.pack(">QB4sHHI", utc, BLOCK_BEGINS if begins else BLOCK_ENDS, ip, row["lo"], row["hi"], 0) + who


class Ipfix:
    """Messages of an exporting process; send(bytes) takes each."""

    def __init__(self, send, domain=1):
        self.send, self.domain = send, domain
        self.sequence = self.pending = self.since = 0
        self.told = None  # when templates were sent last
        self.sets, self.size = [], 0

    def _message(self, body, now):
        self.send(struct.pack(">HHIII", 10, 16 + len(body), now // 10**9 & 0xFFFFFFFF, self.sequence & 0xFFFFFFFF,
                              self.domain) + body)

    def flush(self, now):
        if not self.sets:
            return
        self._message(b"".join(struct.pack(">HH", number_, len(data) + 4) + data for number_, data in self.sets), now)
        self.sequence += self.pending
        self.sets, self.size, self.pending = [], 0, 0

    def add(self, template, data, now):
        if self.told is None or now - self.told >= TEMPLATES_EVERY or self.since >= TEMPLATES_AFTER:
            self.flush(now)
            self._message(templates(), now)
            self.told, self.since = now, 0
        if self.size + len(data) + 4 > MESSAGE - 16:
            self.flush(now)
        if self.sets and self.sets[-1][0] == template:
            self.sets[-1] = template, self.sets[-1][1] + data
        else:
            self.sets.append((template, data))
            self.size += 4
        self.size += len(data)
        self.pending += 1
        self.since += 1

    def record(self, x, now):
        """A decoded record; those that IPFIX has no template for are passed over."""
        if x["type"] == "end":
            self.add(*flow(x), now)
        elif x["type"] == "deny":
            self.add(*refused(x), now)
        elif x["type"] == "pass":
            self.add(*refused(x, FLOW_CREATED), now)
        elif x["type"] == "drops" and x["reason"] in QUOTAS:
            self.add(*exceeded(x), now)
        elif x["type"] == "audit" and x["op"] == "lease-refused":
            said = r.words(x["after"])
            if said["error"] == "ENOSPC":
                self.add(*exhausted(x, said), now)


# ---- syslog ----

FACILITY = 13  # log audit
SEVERITY = {"audit": 5, "deny": 4, "drops": 4, "gap": 3, "clock": 5}


def timestamp(utc):
    import datetime
    at = datetime.datetime.fromtimestamp(utc // 10**9, datetime.timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{utc % 10**9 // 1000:06}Z"


def quoted(value):
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return "".join(c if c.isprintable() else "?" for c in text)


def syslog(x, host):
    """RFC 5424; None: it is not for there."""
    severity = SEVERITY.get(x["type"])
    if severity is None:
        return None
    data = " ".join(f'{key}="{quoted(value)}"' for key, value in x.items() if key not in ("type", "utc"))
    return (f"<{FACILITY * 8 + severity}>1 {timestamp(x['utc'])} {host} serai-net - {x['type']} "
            f"[serai@{OURS} {data}]").encode()


def line(x):
    return json.dumps({key: value for key, value in x.items() if not isinstance(value, bytes)})


# ---- where to ----

def sender(kind, where, port, stream):
    """A function that sends a message's bytes."""
    host, _, given = where.rpartition(":") if where.count(":") == 1 else (where, "", "")
    address = (host or where, int(given) if given else port)
    family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)[0]
    s = socket.socket(*family[:3])
    s.connect(family[4])
    if not stream:
        return s.send
    if kind == "syslog":  # RFC 6587
        return lambda data: s.sendall(b"%d %s" % (len(data), data))
    return s.sendall
