"""What a ruleset says about a packet, said again: slow, over the parsed text, sharing nothing with the
compiler and the hypervisor but the reading of the language.

A packet is a SimpleNamespace: version (4, 6), arp, src, dst (numbers), sport, dport, has_ports, proto,
tcp_flags, icmp_type, icmp_code, fragment, mac_src, mac_dst, len; ends are SimpleNamespaces with iface (an
rules_zones.Interface) and facts (a set of words).
"""

from fractions import Fraction
from types import SimpleNamespace

import rules_model as m

SECOND = 10**9


class Oracle:
    def __init__(self, ruleset, installed=0):
        self.rs, self.installed = ruleset, installed
        self.added = {}  # (set, element): until, None: for good
        self.buckets = {}  # (rate, whose): (tokens, when)

    # ---- clauses ----

    def in_zone(self, where, iface):
        if where.kind == "zone":
            return any(self.in_zone(w, iface) for w in self.rs.zones[where.name].members)
        return {
            "any": True,
            "domains": iface.kind == "domain",
            "router": iface.kind == "router",
            "uplink": iface.kind == "uplink" and where.name in (None, iface.index),
            "dom": iface.kind == "domain" and iface.name == where.name,
            "vif": iface.kind == "domain" and (iface.domid, iface.index) == where.name,
            "label": iface.kind == "domain" and where.name in iface.labels,
        }[where.kind]

    def elements(self, s, now):
        live = [e for (name, e), until in self.added.items() if name == s.name and (until is None or until > now)]
        return [*s.elements, *live]

    def in_set(self, name, side, now):
        s = self.rs.sets[name]
        if s.kind in ("port", "ip.port") and not side.has_ports:
            return False
        for e in self.elements(s, now):
            width = 128 if s.kind == "net" and e[0] == 6 else 32
            if {"ip": lambda: e == (side.version, side.ip),
                "net": lambda: e[0] == side.version and (e[1] ^ side.ip) >> width - e[2] == 0,
                "port": lambda: e == side.port,
                "ip.port": lambda: e == (side.version, side.ip, side.port),
                "mac": lambda: e == side.mac}[s.kind]():
                return True
        return False

    def item_holds(self, item, side, now):
        if isinstance(item, m.InSet):
            return self.in_set(item.name, side, now)
        if isinstance(item, m.Fact):
            return item.name in side.facts
        if isinstance(item, m.PortRange):
            return item.low <= side.port <= item.high
        return item.version == side.version and item.low <= side.ip <= item.high

    def clause_holds(self, clause, side, now):
        return clause is None or clause.negated != any(self.item_holds(i, side, now) for i in clause.items)

    def failures(self, rule, p, ends, tags, now):
        """The names of the clauses that do not hold."""
        out = set()
        for word, end, side in (("from", rule.src, ends[0]), ("to", rule.dst, ends[1])):
            if end.negated == self.in_zone(end.where, side.iface):
                out.add(word)
            if not self.clause_holds(end.ip, side, now):
                out.add(word + " ip")
            if end.port and not (side.has_ports and self.clause_holds(end.port, side, now)):
                out.add(word + " port")
        checks = {
            "proto": rule.protos and (m.ARP if p.arp else p.proto) not in rule.protos,
            "flags": rule.flags and p.tcp_flags & rule.flags[1] != rule.flags[0],
            "type": rule.icmp and (p.icmp_type != rule.icmp[0] or rule.icmp[1] not in (None, p.icmp_code)),
            "fragments": rule.fragments and not p.fragment,
            "tagged": rule.tagged and rule.tagged not in tags,
            "ttl": rule.ttl and now - self.installed >= rule.ttl * SECOND,
        }
        return out | {word for word, fails in checks.items() if fails}

    # ---- rates ----

    def take(self, rule, p, vif, now):
        rate = self.rs.rates[rule.limit]
        whose = {"rule": id(rule), "vif": vif, "src": (p.version, p.src), "dst": (p.version, p.dst)}[rate.per]
        if rate.unit in ("pps", "cps"):
            a_second, burst, least, units = rate.amount, rate.burst or rate.amount, 1, 1
        else:
            factor = 1000 if rate.unit == "kbit" else 10**6
            a_second = Fraction(rate.amount * factor, 8)
            burst = Fraction(rate.burst * factor, 8) or max(a_second / 10, 65536)
            least, units = 0, p.len
        tokens, when = self.buckets.get((rate.name, whose), (burst, now))
        tokens = min(burst, tokens + Fraction(now - when, SECOND) * a_second)
        enough = tokens >= least
        self.buckets[rate.name, whose] = (tokens - units if enough else tokens, now)
        return enough

    # ---- verdict ----

    def judge(self, p, ends, vif, now):
        v = SimpleNamespace(rule=None, log=set(), log_rule=None, sample=0, dscp=None, tags=set(),
                            beyond=False, metered=False, steps=[], reject=None, takes=0)
        for side, end in zip(ends, ("src", "dst")):
            side.version, side.ip, side.mac = p.version, getattr(p, end), getattr(p, "mac_" + end)
            side.port, side.has_ports = getattr(p, end[0] + "port"), p.has_ports
        for n, rule in enumerate(self.rs.rules):
            fails = self.failures(rule, p, ends, v.tags, now)
            if not fails and rule.limit:
                v.beyond = not self.take(rule, p, vif, now)
                v.takes += 1
                if v.beyond and rule.otherwise == "next":
                    fails, v.beyond = {"limit"}, False
            v.steps.append(fails)
            if fails:
                continue
            self.mark(v, rule.log, n)
            v.dscp = v.dscp if rule.dscp is None else rule.dscp
            v.tags |= {rule.tag} - {None}
            if rule.action == "count" and not v.beyond:
                continue
            v.rule, v.action = n, "drop" if v.beyond else "pass stateless" if rule.stateless else rule.action
            v.metered = bool(v.action[:4] == "pass" and rule.limit and self.rs.rates[rule.limit].unit != "cps")
            return self.finish(v, rule.reject, p)
        self.mark(v, self.rs.default.log, None)
        v.action = self.rs.default.action
        return self.finish(v, None, p)

    @staticmethod
    def mark(v, log, n):
        if log and not v.log:
            v.log_rule, v.sample = n, log.sample
        if log:
            v.log |= {"new", "end", "deny"} if log.when == "all" else {log.when}
            v.log |= {"strict"} if log.strict else set()

    @staticmethod
    def finish(v, reject, p):
        if v.action == "reject":
            v.reject = reject or ("rst" if p.proto == 6 and not p.arp else "port")
        return v
