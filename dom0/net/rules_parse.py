"""The rule language: text to a Ruleset (rules_model.py), or one RulesError that says where and why.

    parse(text) -> Ruleset

The grammar is rules.lark's; what it cannot say is held here: every name is defined before it is used
and only once, numbers are in range, and a rule says nothing that no packet could fulfil.
"""

import functools
import ipaddress
import pathlib
import re

import lark
from lark import Lark

import rules_model as m

LIMITS = {"rules": 8192, "sets": 256, "zones": 252, "rates": 256, "tags": 32, "protocols": 14}
SET_MAX = 65536
SIZE_WITHOUT_A_WORD = 4096
NANOSECONDS_MAX = 1 << 42  # of a burst


class RulesError(Exception):
    """What is wrong, and where: line and column from 1."""

    def __init__(self, line, column, what):
        super().__init__(f"{line}:{column}: {what}")
        self.line, self.column, self.what = line, column, what


def error(token, what):
    return RulesError(token.line, token.column, what)


# ---- lark's errors in our words ----

DESCRIPTIONS = {
    "NAME": "a name", "RULE_ID": "a rule's name and ':'", "INT": "a number", "ADDRESS": "an address",
    "ELEMENT": "an element", "STRING": "a text in quotes", "DOMAIN": "a domain's name",
    "VIF": "DOMID.INDEX", "SAMPLE": "1/N", "DURATION": "a time like 90s, 5m, 2h or 1d",
    "FLAGS": "letters of FSRPAUEC, or 0", "_NL": "end of line", "_FOLD": "", "$END": "end of line",
}


def describe(terminal, parser):
    if terminal in DESCRIPTIONS:
        return [DESCRIPTIONS[terminal]]
    pattern = next(t.pattern for t in parser.terminals if t.name == terminal)
    words = re.findall(r"[A-Za-z0-9.]+|[^\w\s?:|()\\]", pattern.value.replace("\\", ""))
    return [f"'{w}'" for w in words]


def expected_words(terminals, parser):
    words = {w for t in terminals for w in describe(t, parser) if w}
    return ", ".join(sorted(words, key=lambda w: (w[0] == "'", w)))


def syntax_error(text, e, parser):
    """The word that stands where the parser stopped; it may have taken a part of it."""
    if isinstance(e, lark.UnexpectedToken) and e.token.type == "$END":
        lines = text.split("\n")
        last = max((n for n, line in enumerate(lines) if line.partition("#")[0].strip()), default=0)
        line, column, found = last + 1, len(lines[last].partition("#")[0].rstrip()) + 1, "the end"
    else:
        line, column = e.line, e.column
        before, rest = text.split("\n")[line - 1][:column - 1], text.split("\n")[line - 1][column - 1:]
        word = re.match(r"[\w.-]+|\S|$", rest).group()
        begun = re.search(r"\w*$", before).group()
        if begun and re.match(r"\w", word):
            return RulesError(line, column - len(begun), f"'{begun + word}' is not a word of the language")
        found = f"'{word}'" if word else "end of line"
    wanted = e.accepts if isinstance(e, lark.UnexpectedToken) and e.accepts else None
    wanted = wanted or getattr(e, "expected", None) or getattr(e, "allowed", None) or ()
    return RulesError(line, column, f"{found} is not expected here, but {expected_words(wanted, parser)}")


class Syntax:
    """The parser, and a watch that words are apart from each other."""

    WORD = re.compile(r"\w")

    def __init__(self):
        grammar = (pathlib.Path(__file__).resolve().parent / "rules.lark").read_text(encoding="utf-8")
        options = {"parser": "lalr", "lexer": "contextual", "propagate_positions": True,
                   "maybe_placeholders": True}
        names = [t.name for t in Lark(grammar, **options).terminals]
        self.text = ""
        self.lark = Lark(grammar, lexer_callbacks={n: self.watch for n in names if n[0] != "_"}, **options)

    def watch(self, token):
        at = token.start_pos
        if at and self.WORD.match(token) and self.WORD.match(self.text[at - 1]):
            start = re.search(r"[\w.-]*$", self.text[:at]).start()
            word = re.match(r"[\w.-]+", self.text[start:]).group()
            column = start - self.text.rfind("\n", 0, start)
            raise RulesError(token.line, column, f"'{word}' is not a word of the language")
        return token

    def tree(self, text):
        self.text = text
        try:
            return self.lark.parse(text)
        except lark.UnexpectedInput as e:
            raise syntax_error(text, e, self.lark) from None


@functools.lru_cache(maxsize=1)
def syntax():
    return Syntax()


# ---- single values ----


def number(token, low, high, what):
    value = int(token)
    if not low <= value <= high:
        raise error(token, f"{what} is from {low} to {high}")
    return value


def seconds(token):
    value = int(token[:-1]) * m.UNITS[token[-1]]
    if not 0 < value < 1 << 32:
        raise error(token, "a time is from 1s to 7101w")
    return value


def address(token):
    """(version, first, last) of an address or a network."""
    try:
        net = ipaddress.ip_network(str(token), strict=True)
    except ValueError as e:
        raise error(token, f"'{token}' is no address: {e}") from None
    mapped = net.version == 6 and int(net.network_address) >> 32 == 0xFFFF
    if mapped and net.prefixlen >= 96:
        raise error(token, f"'{token}' is IPv4: write it so")
    return net.version, int(net[0]), int(net[-1])


def ip_range(first, last):
    version, low, high = address(first)
    if last is None:
        return m.IpRange(version, low, high)
    other, end, end_high = address(last)
    if "/" in first or "/" in last or other != version:
        raise error(first, "a range is from one address to another of its kind")
    if end < low:
        raise error(first, f"'{first}-{last}' ends before it begins")
    found = m.IpRange(version, low, end_high)
    if any(version == 6 and n.prefixlen >= 96 and int(n[0]) >> 32 == 0xFFFF for n in found.networks()):
        raise error(first, "the range goes across IPv4's addresses: write two")
    return found


def port_range(first, last):
    low = number(first, 0, 65535, "a port")
    high = low if last is None else number(last, 0, 65535, "a port")
    if high < low:
        raise error(first, f"'{first}-{last}' ends before it begins")
    return m.PortRange(low, high)


def string(token):
    return None if token is None else str(token)[1:-1]


# ---- elements of sets ----


class Elements:
    """One method a kind: a token to its elements."""

    def ip(self, token):
        version, low, high = address(token)
        if low != high or "/" in token:
            raise error(token, "this set has single addresses; for networks it would be ': net'")
        return [(version, low)]

    def net(self, token):
        first, dash, last = token.partition("-")
        bounds = [token.update(value=part) if part else None for part in (first, last)]
        found = ip_range(*bounds)
        return [(n.version, int(n.network_address), n.prefixlen) for n in found.networks()]

    def port(self, token):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", token)
        if not match:
            raise error(token, f"'{token}' is no port")
        bounds = [token.update(value=part) if part else None for part in match.groups()]
        found = port_range(*bounds)
        return list(range(found.low, found.high + 1))

    def ip_port(self, token):
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d+)", token)
        if not match:
            raise error(token, f"'{token}' is no ADDRESS:PORT or [ADDRESS]:PORT")
        version, low, _ = address(token.update(value=match[1] or match[2]))
        if (version == 6) != bool(match[1]):
            raise error(token, "IPv6 addresses are in brackets, IPv4's are not")
        return [(version, low, number(token.update(value=match[3]), 0, 65535, "a port"))]

    def mac(self, token):
        if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", token):
            raise error(token, f"'{token}' is no address of Ethernet")
        return [int(token.replace(":", ""), 16)]


def elements_of(kind, tree):
    read = getattr(Elements(), kind.replace(".", "_"))
    found = set()
    for token in tree.children if tree else ():
        found.update(read(token))
        if len(found) > SET_MAX:
            raise error(token, f"a set has at most {SET_MAX} elements")
    return tuple(sorted(found))


# ---- statements ----

CLAUSE_WORDS = {"src": "from", "dst": "to", "protos": "proto", "icmp": "type"}


class Reader:
    """Reads the statements of one ruleset in order."""

    def __init__(self):
        self.out = m.Ruleset()
        self.lets = {}  # name: (token, items)
        self.seen = {}  # (what, name): line
        self.tags = set()
        self.protocols = set()
        self.default_line = 0

    # -- names --

    def define(self, what, token):
        before = self.seen.get((what, str(token)))
        if before:
            raise error(token, f"there is a {what} '{token}' already, in line {before}")
        self.seen[what, str(token)] = token.line

    def known(self, what, token, where):
        if str(token) not in where:
            raise error(token, f"there is no {what} '{token}' before this line")
        return where[str(token)]

    def limited(self, what, token, count):
        if count > LIMITS[what]:
            raise error(token, f"there are at most {LIMITS[what]} {what}")

    # -- definitions --

    def let(self, tree):
        name, items = tree.children
        self.define("let", name)
        kinds, found = set(), []
        for item in items.children:
            if item.data == "let_name":
                found += self.known("let", item.children[0], self.lets)
            else:
                read = ip_range if item.data == "let_address" else port_range
                found.append(read(*item.children))
            kinds.update(type(i) for i in found)
        if len(kinds) > 1:
            raise error(name, f"'{name}' has both addresses and ports")
        self.lets[str(name)] = found

    def set(self, tree):
        name, kind, size, timeout, elements = tree.children
        self.define("set", name)
        kind = str(kind)
        timeout = seconds(timeout.children[0]) if timeout else 0
        size = number(size.children[0], 1, SET_MAX, "a set's size") if size else 0
        size = size or (SIZE_WITHOUT_A_WORD if timeout else 0)
        self.out.sets[str(name)] = m.Set(str(name), kind, size, timeout, elements_of(kind, elements))
        self.limited("sets", name, len(self.out.sets))

    def zone(self, tree):
        name, *members = tree.children
        self.define("zone", name)
        members = tuple(dict.fromkeys(self.where(w) for w in members))
        self.out.zones[str(name)] = m.Zone(str(name), members)
        self.limited("zones", name, len(self.out.zones))

    def rate(self, tree):
        name, amount, unit, burst, per = tree.children
        self.define("rate", name)
        rate = m.Rate(str(name), number(amount, 1, 10**9, "a rate"), str(unit),
                      number(burst.children[0], 1, 10**9, "a burst") if burst else 0,
                      str(per.children[0]) if per else "rule")
        if rate.burst * 10**9 // rate.amount > NANOSECONDS_MAX:
            raise error(burst.children[0], "a burst is of at most an hour's worth")
        self.out.rates[rate.name] = rate
        self.limited("rates", name, len(self.out.rates))

    def default(self, tree):
        action, log = tree.children
        if self.default_line:
            raise error(action, f"there is a default already, in line {self.default_line}")
        self.default_line = action.line
        self.out.default = m.Default(str(action), self.log(log)[1] if log else None)

    # -- parts of rules --

    def where(self, tree):
        if tree.data == "zone_name":
            self.known("zone", tree.children[0], self.out.zones)
            return m.Where("zone", str(tree.children[0]))
        token, *rest = tree.children
        if token.type == "UPLINK":
            name = number(rest[0], 0, 4095, "an uplink") if rest and rest[0] else None
            return m.Where("uplink", name)
        if token.type == "VIF":
            domid, index = (int(n) for n in token.split("."))
            if domid > 0x7FEF or index > 4095:
                raise error(token, "DOMID is at most 32751, INDEX 4095")
            return m.Where("vif", (domid, index))
        if token.type in ("DOMAIN", "NAME"):
            return m.Where("dom" if token.type == "DOMAIN" else "label", str(token))
        return m.Where(str(token))

    def item(self, tree, ports):
        first, *rest = tree.children
        if tree.data in ("ip_range", "port_range"):
            return [(ip_range if tree.data == "ip_range" else port_range)(first, *rest)]
        if tree.data == "fact":
            return [m.Fact(str(first))]
        if tree.data == "let_use":
            items = self.known("let", first, self.lets)
            if isinstance(items[0], m.PortRange) != ports:
                raise error(first, f"'${first}' has {'addresses' if ports else 'ports'}")
            return items
        kind = self.known("set", first, self.out.sets).kind
        if (kind == "port") != ports:
            raise error(first, f"'@{first}' is a set of {kind}")
        return [m.InSet(str(first))]

    def clause(self, tree):
        if tree is None:
            return None
        _, negated, items = tree.children
        ports = tree.data == "port"
        found = [i for item in items.children for i in self.item(item, ports)]
        return m.Clause(negated is not None, m.normal_items(found))

    def end(self, tree):
        negated, where, ip, port = tree.children
        where = self.where(where)
        if negated is not None and where == m.ANYWHERE:
            raise error(negated, "'not any' is nowhere")
        return m.End(negated is not None, where, self.clause(ip), self.clause(port))

    def from_(self, tree):
        return "src", self.end(tree.children[1])

    def to(self, tree):
        return "dst", self.end(tree.children[1])

    def proto(self, tree):
        found = []
        for name in tree.children[1].children:
            token = name.children[0]
            if token.type == "INT":
                found.append(number(token, 0, 255, "a protocol"))
            else:
                found.append(m.PROTOCOLS.get(str(token), m.ARP))
            self.protocols.add(found[-1])
            self.limited("protocols", token, len(self.protocols - {m.ARP}))
        return "protos", m.normal_protocols(found)

    def flags(self, tree):
        _, *words = tree.children
        value, mask = (sum(1 << m.FLAG_LETTERS.index(f) for f in set(w) - {"0"}) for w in words)
        if value & ~mask:
            raise error(words[0], "all flags that are to be set are among those looked at")
        if not mask:
            raise error(words[1], "no flag is looked at")
        return "flags", (value, mask)

    def icmp(self, tree):
        _, kind, code = tree.children
        return "icmp", (number(kind, 0, 255, "a type"),
                        None if code is None else number(code, 0, 255, "a code"))

    def fragments(self, tree):
        return "fragments", True

    def limit(self, tree):
        _, name, otherwise = tree.children
        self.known("rate", name, self.out.rates)
        return "limit", (str(name), str(otherwise or "drop"))

    def log(self, tree):
        _, when, sample, strict, label = tree.children
        n = number(sample.update(value=sample[2:]), 1, (1 << 32) - 1, "N") if sample else 0
        return "log", m.Log(str(when or "all"), n, strict is not None, string(label))

    def dscp(self, tree):
        return "dscp", number(tree.children[1], 0, 63, "a DSCP")

    def tag(self, tree):
        name = tree.children[1]
        self.tags.add(str(name))
        self.limited("tags", name, len(self.tags))
        return "tag", str(name)

    def tagged(self, tree):
        self.known("tag", tree.children[1], {t: t for t in self.tags})
        return "tagged", str(tree.children[1])

    def ttl(self, tree):
        return "ttl", seconds(tree.children[1])

    def note(self, tree):
        return "note", string(tree.children[1])

    # -- rules --

    def action(self, tree):
        word, *rest = tree.children
        extra = rest[0] if rest else None
        return {"action": str(word), "stateless": word == "pass" and extra is not None,
                "reject": str(extra) if word == "reject" and extra is not None else None}

    def rule(self, tree):
        name, action, *clauses = tree.children
        if name is not None:
            self.define("rule", name)
        parts = self.action(action)
        word = action.children[0]
        places = {}
        for clause in clauses:
            token = clause.children[0]
            key, value = getattr(self, {"from": "from_"}.get(clause.data, clause.data))(clause)
            if key in parts:
                raise error(token, f"the rule has a '{CLAUSE_WORDS.get(key, key)}' already")
            parts[key] = value
            places[key] = token
        if "limit" in parts:
            parts["limit"], parts["otherwise"] = parts["limit"]
        line = name.line if name is not None else word.line
        rule = m.Rule(**parts, name=None if name is None else str(name), line=line)
        self.check(rule, places, word)
        self.out.rules.append(rule)
        self.limited("rules", word, len(self.out.rules))

    def check(self, rule, places, word):
        """A rule that no packet could match, or that means less than it says, is a mistake."""
        only = set(rule.protos)
        if rule.flags and only != {6}:
            raise error(places["flags"], "flags need 'proto tcp'")
        if rule.icmp and not (only and only <= {1, 58}):
            raise error(places["icmp"], "a type needs 'proto icmp' or 'proto icmp6'")
        for key, end in (("src", rule.src), ("dst", rule.dst)):
            if end.port and only and not only & m.WITH_PORTS:
                raise error(places[key], "ports need a protocol that has some: tcp, udp, sctp")
        if rule.reject == "rst" and only != {6}:
            raise error(word, "'reject with rst' needs 'proto tcp'")
        if rule.dscp is not None and rule.action not in ("pass", "count"):
            raise error(places["dscp"], f"what is to be marked must pass, it does not by '{rule.action}'")

    def statement(self, tree):
        getattr(self, tree.data)(tree)


def parse(text):
    reader = Reader()
    for tree in syntax().tree(text).children:
        reader.statement(tree)
    return reader.out
