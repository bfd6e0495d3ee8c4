"""Whose was an address and port at a time? All who may have been meant, and never a guess among them.

A lease is one of the store's rows: held from its grant until it ends, at rest until it is free. What
the wall clock did meanwhile is known too: a time that it showed twice is looked for in both, one that it
never showed is in none.
"""

import ipaddress

import log_records as r

SECOND = 10**9
NUMBERS = {name: number for number, name in r.PROTOS.items()}
STREAM, DATAGRAM, SPI, PROTO = 1, 2, 4, 8


class BadQuestion(Exception):
    """The text says what is wrong with it."""


def parse(text):
    """ADDRESS:PORT/PROTO, IPv6 addresses in brackets: (address, port, protocol's number)."""
    where, slash, proto = text.partition("/")
    address, colon, port = where.rpartition(":")
    try:
        if not slash or not colon:
            raise ValueError("an address, a port and a protocol are needed")
        number = int(proto) if proto.isdigit() else NUMBERS[proto]
        if not 0 <= int(port) <= 65535 or not 0 <= number <= 255:
            raise ValueError("a port is 0 to 65535, a protocol 0 to 255")
        return ipaddress.ip_address(address.strip("[]")), int(port), number
    except (ValueError, KeyError) as why:
        raise BadQuestion(f"{text}: this must be as 192.0.2.1:4100/tcp ({why})") from why


def port_class(proto):
    if proto in (6, 33, 132):
        return STREAM
    if proto in (1, 17, 136):
        return DATAGRAM
    return SPI if proto in (50, 51) else PROTO


class Question:
    def __init__(self, store, address, port, proto, at, skew):
        self.store, self.address, self.port, self.proto = store, address, port, proto
        self.begin, self.end = at - skew, at + skew
        self.steps = {}
        for step in store.all("SELECT * FROM clock ORDER BY seq"):
            self.steps.setdefault(step["boot"], []).append(step)

    def spans(self, boot, seq, begin, until_seq, until):
        """What the wall clock showed between two records of one start of the machine."""
        pieces = []
        for step in self.steps.get(boot, ()):
            if step["seq"] > seq and (until_seq is None or step["seq"] < until_seq):
                pieces.append((begin, step["before"]))
                begin = step["after"]
        return pieces + [(begin, until)]

    def meets(self, pieces):
        return any(begin <= self.end and (end is None or end >= self.begin) for begin, end in pieces)

    def when(self, row, end, free):
        """'held', 'resting', 'held or resting', None."""
        held = self.meets(self.spans(row["boot"], row["seq_start"], row["t_start"], row["seq_" + end],
                                     row["t_" + end]))
        rests = free and row["t_" + end] is not None and self.meets(
            self.spans(row["boot"], row["seq_" + end] or 1 << 62, row["t_" + end], row["seq_" + free],
                       row["t_" + free]))
        return " or ".join(word for word, is_so in (("held", held), ("resting", rests)) if is_so) or None

    def leases(self):
        number = self.proto if port_class(self.proto) == PROTO else self.port
        for row in self.store.all("SELECT * FROM lease WHERE ip = ? AND class = ? AND lo <= ? AND hi >= ? "
                                  "ORDER BY boot, seq_start", str(self.address), port_class(self.proto),
                                  number, number):
            status = self.when(row, "end", "free")
            if status:
                yield {"domain": row["dom_name"], "uuid": row["dom_uuid"], "domid": row["domid"],
                       "vif": row["vif"], "by": "lease", "lease": row["id"], "first": row["lo"],
                       "last": row["hi"], "status": status, "from": row["t_start"], "until": row["t_end"],
                       "free": row["t_free"], "why": row["reason"],
                       "evidence": {"start": row["boot"], "record": row["seq_start"], "hash": row["hash"]}}

    def owners(self):
        """Interfaces that had the address for themselves."""
        for row in self.store.all("SELECT * FROM vif ORDER BY boot, seq_start"):
            if not any(self.covers(word) for word in row["addresses"].split(",") if word):
                continue
            status = self.when(row, "end", None)
            if status:
                yield {"domain": row["name"], "uuid": row["uuid"], "domid": row["domid"], "vif": row["number"],
                       "by": "address", "status": status, "from": row["t_start"], "until": row["t_end"],
                       "evidence": {"start": row["boot"], "record": row["seq_start"]}}

    def covers(self, word):
        if word.endswith("/shared"):
            return False
        network, _, length = word.partition("/")
        if "." not in network:
            network = str(ipaddress.IPv6Address(int(network, 16)))
        network = ipaddress.ip_network(f"{network}/{length}")
        return self.address.version == network.version and self.address in network

    def flows(self, most=20):
        """What the flow log has of it."""
        found = []
        for head, record in self.store.records("flow", begin=self.begin - 86400 * SECOND,
                                               end=self.end + 86400 * SECOND):
            if head.type & ~r.IP6 not in (r.FLOW_NEW, r.FLOW_END):
                continue
            x = r.decode(head, record)
            begin = x["utc"] - x.get("ms", 0) * 1000000
            ours = (str(self.address), self.port)
            if (x["proto"] == self.proto and begin <= self.end and x["utc"] >= self.begin and
                    ours in ((x["src"], x["sport"]), (x["dst"], x["dport"]))):
                found.append(x)
                if len(found) == most:
                    break
        return found


def ask(store, address, port, proto, at, skew=0, flows=True):
    """The answer as JSON has it; 'verdict' is 'one', 'ambiguous' or 'not leased'."""
    q = Question(store, address, port, proto, at, skew)
    candidates = [*q.leases(), *q.owners()]
    last = store.one("SELECT max(last) AS last FROM boot")["last"]
    return {"address": str(address), "port": port, "proto": proto, "at": at, "skew": skew,
            "verdict": "not leased" if not candidates else "one" if len(candidates) == 1 else "ambiguous",
            "candidates": candidates, "log_ends": last, "beyond_log": last is None or q.end > last,
            "clock_steps": [{"before": s["before"], "after": s["after"]} for steps in q.steps.values() for s in steps
                            if min(s["before"], s["after"]) <= q.end and max(s["before"], s["after"]) >= q.begin],
            "flows": q.flows() if flows else []}
