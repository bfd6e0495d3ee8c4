"""What is odd about a ruleset, and what differs between two.

    warnings(ruleset) -> [(line, text)]     rules no packet reaches, definitions nobody uses
    difference(old, new) -> [text]          of what they say, not how they are written

A rule is unreachable when one rule before it decides about all of its packets; that several do
together is not looked for. What is warned of is so, for every packet.
"""

import difflib

import rules_model as m

# ---- is one thing within another? ----


class Cover:
    def __init__(self, ruleset):
        self.zones = ruleset.zones
        self.known = {}  # answers of where_within()

    def places(self, where):
        """What a zone comes to, without zones."""
        if where.kind != "zone":
            return {where}
        return {p for w in self.zones[where.name].members for p in self.places(w)}

    @staticmethod
    def place_within(inner, outer):
        if inner == outer or outer == m.ANYWHERE:
            return True
        if outer == m.Where("domains"):
            return inner.kind in ("dom", "vif", "label")
        return outer == m.Where("uplink") and inner.kind == "uplink"

    def where_within(self, inner, outer):
        if (inner, outer) not in self.known:
            wide = self.places(outer)
            self.known[inner, outer] = inner == outer or all(
                any(self.place_within(i, o) for o in wide) for i in self.places(inner))
        return self.known[inner, outer]

    @staticmethod
    def item_within(inner, outer):
        if inner == outer:
            return True
        if not (isinstance(inner, m.IpRange) and isinstance(outer, m.IpRange)
                or isinstance(inner, m.PortRange) and isinstance(outer, m.PortRange)):
            return False
        same = getattr(inner, "version", 0) == getattr(outer, "version", 0)
        return same and outer.low <= inner.low and inner.high <= outer.high

    def clause_within(self, inner, outer):
        if outer is None:
            return True
        if inner is None or inner.negated != outer.negated:
            return False
        small, big = (outer, inner) if inner.negated else (inner, outer)
        return all(any(self.item_within(i, o) for o in big.items) for i in small.items)

    def end_within(self, inner, outer):
        if outer.where != m.ANYWHERE:
            if inner.negated != outer.negated:
                return False
            small, big = (outer, inner) if inner.negated else (inner, outer)
            if not self.where_within(small.where, big.where):
                return False
        return self.clause_within(inner.ip, outer.ip) and self.clause_within(inner.port, outer.port)

    def rule_within(self, inner, outer):
        """Every packet that matches 'inner' matches 'outer'."""
        if outer.protos and not (inner.protos and set(inner.protos) <= set(outer.protos)):
            return False
        if outer.flags and not (inner.flags and inner.flags[1] & outer.flags[1] == outer.flags[1]
                                and inner.flags[0] & outer.flags[1] == outer.flags[0]):
            return False
        if outer.icmp and not (inner.icmp and inner.icmp[0] == outer.icmp[0]
                               and outer.icmp[1] in (None, inner.icmp[1])):
            return False
        if (outer.fragments and not inner.fragments) or (outer.tagged and outer.tagged != inner.tagged):
            return False
        return self.end_within(inner.src, outer.src) and self.end_within(inner.dst, outer.dst)


def decides_always(rule):
    """About every packet that matches, for good."""
    return rule.action != "count" and not rule.ttl and not (rule.limit and rule.otherwise == "next")


def never_reached(ruleset):
    """(rule, the one that decides before)."""
    cover, deciding = Cover(ruleset), {}  # where from and to: rules
    for rule in ruleset.rules:
        key = tuple(m.End(end.negated, end.where) for end in (rule.src, rule.dst))
        for (src, dst), before in deciding.items():
            if not (cover.end_within(key[0], src) and cover.end_within(key[1], dst)):
                continue
            first = next((b for b in before if cover.rule_within(rule, b)), None)
            if first:
                yield rule, first
                break
        if decides_always(rule):
            deciding.setdefault(key, []).append(rule)


# ---- what nobody uses ----


def used_names(ruleset):
    used = {"set": set(), "zone": set(), "rate": set(), "tag": set()}
    for rule in ruleset.rules:
        for end in (rule.src, rule.dst):
            for clause in (end.ip, end.port):
                used["set"] |= {x.name for x in clause.items if isinstance(x, m.InSet)} if clause else set()
        used["zone"] |= {e.where.name for e in (rule.src, rule.dst) if e.where.kind == "zone"}
        used["rate"].add(rule.limit)
        used["tag"].add(rule.tagged)
    for zone in ruleset.zones.values():
        used["zone"] |= {w.name for w in zone.members if w.kind == "zone"}
    return used


def unused(ruleset):
    used = used_names(ruleset)
    defined = {"set": ruleset.sets, "zone": ruleset.zones, "rate": ruleset.rates,
               "tag": dict.fromkeys(r.tag for r in ruleset.rules if r.tag)}
    for what, names in defined.items():
        for name in names:
            if name not in used[what]:
                yield f"no rule uses the {what} '{name}'"


def warnings(ruleset):
    found = [(0, text) for text in unused(ruleset)]
    for rule, first in never_reached(ruleset):
        same = (rule.action, rule.stateless, rule.reject) == (first.action, first.stateless, first.reject)
        word = "adds nothing" if same else "is shadowed"
        found.append((rule.line, f"{rule.title()} {word}: {first.title()} decides about all its packets before"))
    return found


# ---- differences ----


def definitions(what, old, new):
    for name in [*old, *(n for n in new if n not in old)]:
        before, after = (str(d[name]) if name in d else None for d in (old, new))
        if before != after:
            yield from (f"- {before}",) if before else ()
            yield from (f"+ {after}",) if after else ()


def rule_lines(old, new):
    """Rules in their order, by what they say; one that only moved is told as moved."""
    a, b = [str(r) for r in old.rules], [str(r) for r in new.rules]
    gone, come = [], []
    for op, a1, a2, b1, b2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if op != "equal":
            gone += a[a1:a2]
            come += [(b[n], b[n - 1] if n else None) for n in range(b1, b2)]
    moved = {text for text, _ in come if text in gone}
    yield from (f"- {text}" for text in gone if text not in moved)
    for text, before in come:
        sign = "moved:" if text in moved else "+"
        yield f"{sign} {text}" + (f"    (after: {before})" if before else "    (first)")


def difference(old, new):
    found = []
    for what in ("zones", "sets", "rates"):
        found += definitions(what, getattr(old, what), getattr(new, what))
    found += definitions("default", {"": old.default}, {"": new.default})
    return found + list(rule_lines(old, new))
