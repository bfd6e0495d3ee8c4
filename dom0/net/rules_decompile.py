"""Images to rulesets: what the hypervisor judges by, as text.

    decompile(image's bytes, names) -> Ruleset

Names are rules_compile.py's. Whether they belong to the image is proved: the result, compiled, is
that image and those names again, or it is no result but a Broken.
"""

import rules_compile
import rules_image as i
import rules_model as m
import rules_parse


def version_of(high, low):
    return 4 if high == 0 and low >> 32 == 0xFFFF else 6


def number_of(version, high, low):
    return low & 0xFFFFFFFF if version == 4 else high << 64 | low


def where_of(text):
    """One of names' members, by the language's own parser."""
    return rules_parse.parse(f"zone z = {text}\n").zones["z"].members[0]


class Decompiler:
    def __init__(self, image, names):
        self.image, self.names = image, names
        self.zones = {}
        self.protos = {k: n for n, k in reversed(list(enumerate(image.header.proto_class))) if k}
        self.protos[i.PROTO_ARP] = m.ARP
        self.rates = []

    # -- definitions --

    def read_zones(self, out):
        for number, zone in sorted(self.names["zones"].items(), key=lambda kv: int(kv[0])):
            if zone["name"] is None:
                self.zones[int(number)] = where_of(zone["members"][0])
                continue
            self.zones[int(number)] = m.Where("zone", zone["name"])
            text = "".join(f"{z}\n" for z in out.zones.values())
            text += f"zone {zone['name']} = " + ", ".join(zone["members"])
            out.zones[zone["name"]] = rules_parse.parse(text).zones[zone["name"]]

    def elements(self, entry):
        kind, found = i.SET_KINDS[entry.kind], []
        for s in self.image.slots[entry.first:entry.first + entry.slots]:
            if not s.rest:
                continue
            version = version_of(s.high, s.low)
            number, port, length = number_of(version, s.high, s.low), s.rest & 0xFFFF, s.rest >> 16 & 0xFF
            if kind == "net":
                version = 6 if length < 96 else version
                found.append((version, number_of(version, s.high, s.low), length - (96 if version == 4 else 0)))
            else:
                found.append({"ip": (version, number), "ip.port": (version, number, port), "port": port,
                              "mac": s.low}[kind])
        return tuple(sorted(found))

    def read_sets(self, out):
        for name, entry in zip(self.names["sets"], self.image.sets):
            if name is not None:
                out.sets[name] = m.Set(name, i.SET_KINDS[entry.kind], entry.size, entry.timeout,
                                       self.elements(entry))

    # -- rules --

    def list_items(self, entry):
        elements = self.elements(entry)
        if i.SET_KINDS[entry.kind] == "port":
            return m.joined(m.PortRange(p, p) for p in elements)
        spans = [(v, n, n | (1 << (32 if v == 4 else 128) - length) - 1) for v, n, length in elements]
        return [m.IpRange(*s) for s in spans]

    def items(self, match):
        if match.kind == i.M_SET:
            name = self.names["sets"][match.set]
            return [m.InSet(name)] if name is not None else self.list_items(self.image.sets[match.set])
        if match.kind == i.M_FACT:
            return [m.Fact(next(n for n, bit in i.FACTS.items() if bit == match.low_low))]
        if match.kind == i.M_PORT:
            return [m.PortRange(match.low_low, match.high_low)]
        version = 4 if match.kind == i.M_IP4 else 6
        return [m.IpRange(version, number_of(version, match.low_high, match.low_low),
                          number_of(version, match.high_high, match.high_low))]

    def clause(self, r, which):
        first, nr = r.clauses[2 * which:2 * which + 2]
        if not nr:
            return None
        matches = self.image.matches[first:first + (nr & ~i.CLAUSE_NOT)]
        return m.Clause(bool(nr & i.CLAUSE_NOT), tuple(x for match in matches for x in self.items(match)))

    def end(self, r, zone, negated, ip, port):
        return m.End(bool(r.what & negated), self.zones[zone], self.clause(r, ip), self.clause(r, port))

    @staticmethod
    def log(bits, sample, label):
        if not bits:
            return None
        when = {i.LOG_NEW: "new", i.LOG_END: "end", i.LOG_DENY: "deny"}.get(bits & 7, "all")
        return m.Log(when, sample, bool(bits & i.LOG_STRICT), label)

    def protocols(self, bits):
        if bits == 0xFFFF:
            return ()
        return m.normal_protocols(self.protos[n] for n in range(16) if bits >> n & 1)

    def rule(self, r):
        said = self.names["rules"].get(str(r.id), {})
        action = i.ACTIONS[r.action]
        code = r.icmp_code if r.what & i.W_ICMP_CODE else None
        return m.Rule(
            action=action.split()[0], stateless=action == "pass stateless", reject=i.REJECTS[r.reject],
            src=self.end(r, r.src, i.W_NOT_FROM, i.SRC_IP, i.SRC_PORT),
            dst=self.end(r, r.dst, i.W_NOT_TO, i.DST_IP, i.DST_PORT),
            protos=self.protocols(r.protos),
            flags=(r.tcp_value, r.tcp_mask) if r.what & i.W_TCP_FLAGS else None,
            icmp=(r.icmp_type, code) if r.what & i.W_ICMP_TYPE else None,
            fragments=bool(r.what & i.W_FRAGMENT),
            limit=self.rates[r.rate - 1] if r.rate else None,
            otherwise="next" if r.what & i.W_ELSE_NEXT else "drop",
            log=self.log(r.log, r.sample, said.get("label")),
            dscp=None if r.dscp == i.DSCP_NONE else r.dscp,
            tag=self.names["tags"][r.tag - 1] if r.tag else None,
            tagged=self.names["tags"][r.tagged - 1] if r.tagged else None,
            ttl=r.ttl or None, note=said.get("note"), name=said.get("name"))

    def ruleset(self):
        out, h = m.Ruleset(), self.image.header
        self.read_zones(out)
        self.read_sets(out)
        out.rates = rules_parse.parse("".join(f"{r}\n" for r in self.names["rates"])).rates
        self.rates = list(out.rates)
        out.default = m.Default(i.ACTIONS[h.default_action],
                                self.log(h.default_log, h.default_sample, self.names["default"]))
        out.rules = [self.rule(r) for r in self.image.rules]
        return out


def decompile(data, names):
    try:
        out = rules_parse.parse(str(Decompiler(i.unpack(data), names).ruleset()))
        again = rules_compile.compile(out)
    except (LookupError, StopIteration, TypeError, ValueError, rules_parse.RulesError) as e:
        raise i.Broken(f"the names are not this image's: {e!r}") from e
    if again != (data, names):
        raise i.Broken("the names are not this image's")
    return out
