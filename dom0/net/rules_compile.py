"""Rulesets to images.

    compile(ruleset) -> (image's bytes, names)

'names' stays in domain 0: what the numbers of the image are called, as JSON can hold it. With it
rules_decompile.py makes the text again, logs get their labels, and rules_zones.py tells which
interface is in which zones. The same ruleset makes the same bytes, always.
"""

import hashlib

import rules_image as i
import rules_model as m
from rules_parse import RulesError

BUILT_IN = {m.Where("any"): i.ZONE_ANY, m.Where("domains"): i.ZONE_DOMAINS,
            m.Where("uplink"): i.ZONE_UPLINK, m.Where("router"): i.ZONE_ROUTER}
ZONES = 256
MATCHES_MAX, SETS_MAX = 65535, 256
SLOTS_MAX = i.IMAGE_MAX // i.Slot.size // 2


def stable_id(what, text):
    """A number for good, never 0."""
    digest = hashlib.sha256(f"{what} {text}".encode()).digest()
    return int.from_bytes(digest[:4], "little") or 1


def refuse(rule, what):
    return RulesError(rule.line if rule else 1, 1, what)


# ---- sets ----


def element_slot(kind, e):
    """(high, low, rest) of an element, and its prefix's length."""
    if kind == "port":
        return 0, 0, i.SLOT_USED | e
    if kind == "mac":
        return 0, e, i.SLOT_USED
    high, low = i.halves(*e[:2])
    if kind == "net":
        return high, low, i.SLOT_USED | (e[2] + (96 if e[0] == 4 else 0)) << 16
    return high, low, i.SLOT_USED | (e[2] if kind == "ip.port" else 0)


def fill_table(slots, keys, seed):
    """A table of so many slots with the keys near their homes; None: one finds no place."""
    table = [None] * slots
    for key in keys:
        home = i.set_hash(seed, *key)
        for n in range(min(i.SET_PROBE, slots)):
            at = home + n & slots - 1
            if table[at] is None:
                table[at] = i.Slot(*key)
                break
        else:
            return None
    return table


def make_table(keys, seed):
    slots = 4
    while slots < 2 * len(keys):
        slots *= 2
    while (table := fill_table(slots, keys, seed)) is None:
        slots *= 2
    return table


# ---- the compiler ----


class Compiler:
    def __init__(self, ruleset):
        self.ruleset = ruleset
        self.image = i.Image()
        self.zones = dict(BUILT_IN)  # Where: number
        self.sets = {}  # name, or (kind, elements) of a list: index
        self.rates = {}
        self.tags = {}
        self.protos = {m.ARP: i.PROTO_ARP}
        self.ids = {}  # id: title

    # -- zones --

    def zone(self, where, rule):
        if where not in self.zones:
            number = max(len(self.zones), i.ZONE_FIRST)
            if number >= ZONES:
                raise refuse(rule, f"rules name more than {ZONES - i.ZONE_FIRST} zones, domains and interfaces")
            self.zones[where] = number
        return self.zones[where]

    # -- sets --

    def add_set(self, key, entry, elements, kind):
        if len(self.image.sets) == SETS_MAX:
            raise refuse(None, f"more than {SETS_MAX} sets, lists longer than {i.CLAUSE_MAX} included")
        keys = [element_slot(kind, e) for e in elements]
        if keys:
            table = make_table(keys, self.image.header.seed)
            entry.slots, entry.first = len(table), len(self.image.slots)
            self.image.slots += table
        if len(self.image.slots) > SLOTS_MAX:
            raise refuse(None, "the sets are too big together")
        for key_ in keys if kind == "net" else ():
            length = key_[2] >> 16 & 0xFF
            entry.lengths[length // 64] |= 1 << length % 64
        self.sets[key] = len(self.image.sets)
        self.image.sets.append(entry)
        return self.sets[key]

    def named_set(self, s):
        entry = i.Set(id=stable_id(f"set {s.kind}", s.name), kind=i.SET_KINDS.index(s.kind),
                      size=s.size, timeout=s.timeout)
        if any(e.id == entry.id and e.kind == entry.kind for e in self.image.sets):
            raise refuse(None, f"the set '{s.name}' needs another name: its number is another's")
        self.add_set(s.name, entry, s.elements, s.kind)

    def list_set(self, ranges):
        """A long list of a clause, as a set that has no name."""
        if isinstance(ranges[0], m.PortRange):
            kind, elements = "port", [p for r in ranges for p in range(r.low, r.high + 1)]
        else:
            kind = "net"
            elements = [(r.version, int(n[0]), n.prefixlen) for r in ranges for n in r.networks()]
        key = kind, tuple(elements)
        if key in self.sets:
            return self.sets[key]
        entry = i.Set(id=stable_id("list", repr(key)), kind=i.SET_KINDS.index(kind))
        return self.add_set(key, entry, elements, kind)

    # -- rates --

    def rate(self, r):
        if r.unit in ("pps", "cps"):
            burst = r.burst or r.amount
            cost, depth = 10**9 << i.RATE_SHIFT, (burst - 1) * 10**9
            rate = r.amount
        else:
            factor = 1000 if r.unit == "kbit" else 10**6
            rate = r.amount * factor
            burst = r.burst * factor or max(rate // 10, 65536 * 8)
            cost, depth = 8 * 10**9 << i.RATE_SHIFT, burst * 10**9
        self.rates[r.name] = len(self.image.rates)
        self.image.rates.append(i.Rate(stable_id("rate", r.name), i.RATE_UNITS[r.unit],
                                       i.RATE_PERS[r.per], max(cost // rate, 1), depth // rate))

    # -- rules --

    def item(self, item):
        if isinstance(item, m.InSet):
            return i.Match(i.M_SET, self.sets[item.name])
        if isinstance(item, m.Fact):
            return i.Match(i.M_FACT, low_low=i.FACTS[item.name])
        if isinstance(item, m.PortRange):
            return i.Match(i.M_PORT, low_low=item.low, high_low=item.high)
        low, high = i.halves(item.version, item.low), i.halves(item.version, item.high)
        return i.Match(i.M_IP4 if item.version == 4 else i.M_IP6, 0, 0, *low, *high)

    def clause(self, clause, rule):
        """The matches of a clause."""
        items = list(clause.items)
        if len(items) <= i.CLAUSE_MAX:
            return [self.item(x) for x in items]
        ranges = [x for x in items if isinstance(x, (m.IpRange, m.PortRange))]
        others = [x for x in items if x not in ranges]
        if len(others) >= i.CLAUSE_MAX:
            raise refuse(rule, f"a rule names at most {i.CLAUSE_MAX - 1} sets in one list")
        return [i.Match(i.M_SET, self.list_set(ranges))] + [self.item(x) for x in others]

    def clauses(self, rule, out):
        ends = (rule.src.ip, rule.src.port, rule.dst.ip, rule.dst.port)
        for n, clause in enumerate(ends):
            if not clause:
                continue
            matches = self.clause(clause, rule)
            if len(self.image.matches) + len(matches) > MATCHES_MAX:
                raise refuse(rule, f"more than {MATCHES_MAX} addresses and ports in all rules")
            out.clauses[2 * n] = len(self.image.matches)
            out.clauses[2 * n + 1] = len(matches) | (i.CLAUSE_NOT if clause.negated else 0)
            self.image.matches += matches
        port = rule.dst.port
        matches = self.image.matches[out.clauses[6]:] if port else []
        if port and not port.negated and all(x.kind == i.M_PORT for x in matches):
            out.port_low = min(x.low_low for x in matches)
            out.port_span = max(x.high_low for x in matches) - out.port_low

    def protocols(self, rule):
        bits = 0
        for proto in rule.protos:
            bits |= 1 << self.protos.setdefault(proto, len(self.protos))
        return bits or 0xFFFF

    def rule_id(self, rule):
        """Of its name, or of its text; the same text again has a number behind it."""
        text, n = rule.body(), 1
        number = stable_id("rule", rule.name) if rule.name else stable_id("text", text)
        while number in self.ids:
            if rule.name:
                raise refuse(rule, f"'{rule.name}' needs another name: its number is that of "
                                   f"{self.ids[number]}")
            n += 1
            number = stable_id("text", f"{text} #{n}")
        self.ids[number] = rule.title()
        return number

    @staticmethod
    def log(log):
        if not log:
            return 0
        when = {"all": i.LOG_NEW | i.LOG_END | i.LOG_DENY, "new": i.LOG_NEW, "end": i.LOG_END,
                "deny": i.LOG_DENY}[log.when]
        return when | (i.LOG_STRICT if log.strict else 0)

    def extras(self, rule, out):
        what = i.W_NOT_FROM if rule.src.negated else 0
        what |= i.W_NOT_TO if rule.dst.negated else 0
        what |= i.W_FRAGMENT if rule.fragments else 0
        if rule.flags:
            what |= i.W_TCP_FLAGS
            out.tcp_value, out.tcp_mask = rule.flags
        if rule.icmp:
            what |= i.W_ICMP_TYPE | (0 if rule.icmp[1] is None else i.W_ICMP_CODE)
            out.icmp_type, out.icmp_code = rule.icmp[0], rule.icmp[1] or 0
        if rule.ttl:
            what |= i.W_TTL
            out.ttl = rule.ttl
        if rule.tag:
            out.tag = 1 + self.tags.setdefault(rule.tag, len(self.tags))
        if rule.tagged:
            what |= i.W_TAGGED
            out.tagged = 1 + self.tags[rule.tagged]
        if rule.limit:
            out.rate = 1 + self.rates[rule.limit]
            what |= i.W_ELSE_NEXT if rule.otherwise == "next" else 0
        out.what = what

    def rule(self, rule):
        action = "pass stateless" if rule.stateless else rule.action
        out = i.Rule(id=self.rule_id(rule), digest=stable_id("body", rule.body()),
                     action=i.ACTIONS.index(action), reject=i.REJECTS.index(rule.reject),
                     src=self.zone(rule.src.where, rule), dst=self.zone(rule.dst.where, rule),
                     protos=self.protocols(rule), log=self.log(rule.log),
                     sample=rule.log.sample if rule.log else 0)
        if rule.dscp is not None:
            out.dscp = rule.dscp
        self.extras(rule, out)
        self.clauses(rule, out)
        self.image.rules.append(out)

    # -- all --

    def image_bytes(self):
        rs, h = self.ruleset, self.image.header
        h.seed = 0x5E7A15E7A15E7A15
        h.default_action = i.ACTIONS.index(rs.default.action)
        h.default_log = self.log(rs.default.log)
        h.default_sample = rs.default.log.sample if rs.default.log else 0
        for zone in rs.zones.values():
            self.zone(m.Where("zone", zone.name), None)
        for s in rs.sets.values():
            self.named_set(s)
        for r in rs.rates.values():
            self.rate(r)
        for rule in rs.rules:
            self.rule(rule)
        for proto, klass in self.protos.items():
            if proto != m.ARP:
                h.proto_class[proto] = klass
        data = self.image.pack()
        if len(data) > i.IMAGE_MAX:
            raise refuse(None, "the ruleset is too big")
        return data

    def names(self):
        rs = self.ruleset
        zones = {}
        for where, number in self.zones.items():
            members = rs.zones[where.name].members if where.kind == "zone" else (where,)
            zones[str(number)] = {"name": where.name if where.kind == "zone" else None,
                                  "members": [str(w) for w in members]}
        sets = [None] * len(self.sets)
        for key, index in self.sets.items():
            sets[index] = key if isinstance(key, str) else None
        rules = {}
        for out, rule in zip(self.image.rules, rs.rules):
            entry = {"name": rule.name, "note": rule.note,
                     "label": rule.log.label if rule.log else None}
            rules[str(out.id)] = {k: v for k, v in entry.items() if v is not None}
        return {"zones": zones, "sets": sets, "rates": [str(r) for r in rs.rates.values()],
                "tags": list(self.tags), "rules": rules,
                "default": rs.default.log.label if rs.default.log else None}


def compile(ruleset):
    compiler = Compiler(ruleset)
    data = compiler.image_bytes()
    return data, compiler.names()
