"""Random rulesets, as text, and random packets that have to do with them."""

import ipaddress
from types import SimpleNamespace

import rules_model as m
from rules_zones import Interface

PORTS = [22, 53, 80, 81, 443, 4096, 8191, 65535, 0]
IP4 = [int(ipaddress.ip_address(a)) for a in
       ("10.0.0.1", "10.0.0.2", "10.0.1.7", "10.255.255.255", "192.0.2.1", "198.51.100.9", "0.0.0.0", "255.255.255.255")]
IP6 = [int(ipaddress.ip_address(a)) for a in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::", "fe80::1", "::", "::1")]
MACS = [0x00163E000001, 0x00163E000002, 0xFFFFFFFFFFFF]
PROTOS = ["tcp", "udp", "icmp", "icmp6", "sctp", "esp", "ah", "gre", "arp", "99", "0", "136"]
WHERES = ["any", "domains", "dom web1", "dom web2", "dom db1", "vif 3.0", "vif 3.1", "label blue", "label red",
          "uplink", "uplink 0", "uplink 1", "router"]
IFACES = [Interface("domain", "web1", 1, 0, frozenset({"blue"})), Interface("domain", "web2", 2, 0),
          Interface("domain", "db1", 3, 0, frozenset({"blue", "red"})), Interface("domain", "db1", 3, 1),
          Interface("domain", "any", 4, 0, frozenset({"web1"})), Interface("uplink", index=0),
          Interface("uplink", index=1), Interface("router")]
# Rates whose cost is a whole number of nanoseconds: the oracle does not round.
RATES = ["10 cps burst 3", "4 pps burst 5", "100 cps", "80 kbit burst 8", "8 mbit burst 4"]
SET_KINDS = ["ip", "net", "port", "ip.port", "mac"]
SECOND = 10**9


class World:
    def __init__(self, rng):
        self.rng = rng
        self.sets, self.zones, self.rates, self.tags, self.lets = {}, [], [], [], {}
        self.many = rng.random() < 0.05  # a ruleset with long lists

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, *args):
        return self.rng.choice(*args)

    # ---- values ----

    def ip_text(self):
        version = self.pick((4, 4, 6))
        number = self.pick(IP4 if version == 4 else IP6)
        make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        return make, number, 32 if version == 4 else 128

    def net_text(self):
        make, number, width = self.ip_text()
        length = self.pick((0, 1, 7, 8, 16, 24, 31, width - 1, width))
        shift = width - length
        return f"{make(number >> shift << shift)}/{length}"

    def range_text(self):
        make, a, width = self.ip_text()
        b = min((1 << width) - 1, a + self.rng.randrange(1 << self.rng.randrange(1, 20)))
        return f"{make(a)}-{make(b)}"

    def address_text(self):
        make, number, _ = self.ip_text()
        return self.pick((str(make(number)), self.net_text(), self.range_text()))

    def port_text(self):
        a = self.pick(PORTS)
        return str(a) if self.chance(0.6) else f"{a}-{min(65535, a + self.rng.randrange(3000))}"

    def element_text(self, kind):
        make, number, width = self.ip_text()
        if kind == "ip":
            return str(make(number))
        if kind == "net":
            return self.pick((self.net_text(), self.range_text()))
        if kind == "port":
            return self.port_text()
        if kind == "ip.port":
            return (f"{make(number)}" if width == 32 else f"[{make(number)}]") + f":{self.pick(PORTS)}"
        mac = self.pick(MACS)
        return ":".join(f"{mac >> 8 * n & 255:02x}" for n in reversed(range(6)))

    def braces(self, items):
        return items[0] if len(items) == 1 and self.chance(0.7) else "{" + ",".join(items) + "}"

    # ---- statements ----

    def definitions(self):
        for n in range(self.rng.randrange(4)):
            kind = self.pick(SET_KINDS)
            name = f"s{n}"
            self.sets[name] = kind
            items = [self.element_text(kind) for _ in range(self.pick((0, 1, 2, 3, 5, 40)))]
            size = self.pick(("", " size 500", " timeout 5s", " size 500 timeout 2s"))
            yield f"set {name} : {kind}{size}" + (" = {" + " , ".join(items) + "}" if items else "")
        for n in range(self.rng.randrange(3)):
            ports = self.chance(0.5)
            self.lets[f"l{n}"] = ports
            make = self.port_text if ports else self.address_text
            yield f"let l{n} = " + self.braces([make() for _ in range(self.rng.randrange(1, 4))])
        for n in range(self.pick((0, 1, 2, 3, 30))):
            members = [self.where() for _ in range(self.rng.randrange(1, 4))]
            self.zones.append(f"z{n}")
            yield f"zone z{n} = " + ", ".join(members)
        for n in range(self.pick((0, 1, 2))):
            self.rates.append(f"r{n}")
            yield f"rate r{n} = {self.pick(RATES)}" + self.pick(("", " per vif", " per src", " per dst", " per rule"))
        if self.chance(0.7):
            yield "default " + self.pick(("drop", "reject")) + (" " + self.log() if self.chance(0.5) else "")

    def where(self):
        return f"zone {self.pick(self.zones)}" if self.zones and self.chance(0.4) else self.pick(WHERES)

    def items(self, ports):
        one = self.port_text if ports else self.address_text
        items = []
        for _ in range(self.rng.randrange(30, 60) if self.many and self.chance(0.3) else self.rng.randrange(1, 4)):
            names = [s for s, kind in self.sets.items() if (kind == "port") == ports]
            lets = [n for n, of_ports in self.lets.items() if of_ports == ports]
            choice = self.rng.random()
            if choice < 0.2 and names:
                items.append("@" + self.pick(names))
            elif choice < 0.3 and lets:
                items.append("$" + self.pick(lets))
            elif choice < 0.4:
                items.append("leased" if ports else self.pick(("own", "shared", "inside")))
            else:
                items.append(one())
        return ("not " if self.chance(0.2) else "") + self.braces(items)

    def end(self, ports):
        where = self.where()
        text = ("not " if where != "any" and self.chance(0.15) else "") + where
        text += " ip " + self.items(False) if self.chance(0.3) else ""
        return text + (" port " + self.items(True) if ports and self.chance(0.4) else "")

    def log(self):
        text = "log" + self.pick(("", " all", " new", " end", " deny"))
        text += self.pick(("", " sample 1/16")) + self.pick(("", " strict"))
        return text + self.pick(("", ' as "some label"'))

    def flags(self):
        mask = {self.pick(m.FLAG_LETTERS) for _ in range(3)}
        value = {f for f in mask if self.chance(0.4)}
        return f"flags {''.join(value) or 0}/{''.join(mask)}"

    def rule(self, n):
        protos = [self.pick(PROTOS[:6] if self.chance(0.7) else PROTOS) for _ in range(self.rng.randrange(1, 4))]
        protos = protos if self.chance(0.6) else []
        ports = not protos or bool({"tcp", "udp", "sctp", "136"} & set(protos))
        clauses = [f"from {self.end(ports)}"] if self.chance(0.8) else []
        clauses += [f"to {self.end(ports)}"] if self.chance(0.8) else []
        clauses += ["proto " + self.braces(protos)] if protos else []
        clauses += [self.flags()] if protos and set(protos) == {"tcp"} and self.chance(0.5) else []
        if protos and set(protos) <= {"icmp", "icmp6"} and self.chance(0.6):
            clauses.append(f"type {self.pick((0, 3, 8))}" + (f" code {self.pick((0, 4))}" if self.chance(0.5) else ""))
        clauses += ["fragments"] if self.chance(0.05) else []
        clauses += [f"limit {self.pick(self.rates)}" + self.pick(("", " else drop", " else next"))] \
            if self.rates and self.chance(0.4) else []
        clauses += [self.log()] if self.chance(0.3) else []
        clauses += [f"tagged {self.pick(self.tags)}"] if self.tags and self.chance(0.2) else []
        clauses += ["ttl " + self.pick(("1s", "3s", "1h"))] if self.chance(0.05) else []
        clauses += ['note "why not"'] if self.chance(0.05) else []
        if self.chance(0.15):
            self.tags.append(f"t{self.rng.randrange(5)}")
            clauses.append(f"tag {self.tags[-1]}")
        actions = ["pass", "pass", "pass stateless", "drop", "reject", "reject with admin", "reject with port",
                   "reject with host", "count", "count", "count"]
        actions += ["reject with rst"] * 3 if set(protos) == {"tcp"} else []
        name = f"rule{n}: " if self.chance(0.3) else ""
        action = self.pick(actions)
        if action.split()[0] in ("pass", "count") and self.chance(0.3):
            clauses.append(f"dscp {self.rng.randrange(64)}")
        self.rng.shuffle(clauses)
        return name + " ".join([action, *clauses])

    def ruleset(self):
        lines = list(self.definitions())
        lines += [self.rule(n) for n in range(self.pick((1, 3, 8, 20, 40)))]
        return "".join(line + self.pick(("", "  # because", "\t")) + "\n" for line in lines)

    # ---- packets ----

    def near(self, number, width):
        if self.chance(0.7):
            return number
        return (number + self.rng.randrange(-3, 4) * self.pick((1, 1, 256, 1 << 16))) % (1 << width)

    def packet(self):
        arp = self.chance(0.05)
        version = 4 if arp else self.pick((4, 4, 6))
        proto = 0 if arp else self.pick((6, 6, 17, 17, 1, 58, 132, 50, 47, 99, 0, 136, 33, 200))
        width, pool = (32, IP4) if version == 4 else (128, IP6)
        has_ports = proto in (6, 17, 132, 136, 33)
        query = proto in (1, 58) and self.chance(0.5)
        ident = self.pick(PORTS) if query else 0
        ports = [self.near(self.pick(PORTS), 16) if has_ports else ident for _ in range(2)]
        icmp = proto in (1, 58)
        return SimpleNamespace(
            version=version, arp=arp, src=self.near(self.pick(pool), width), dst=self.near(self.pick(pool), width),
            sport=ports[0], dport=ports[1], has_ports=has_ports, proto=proto, len=self.rng.randrange(60, 1500),
            tcp_flags=self.rng.randrange(256) if proto == 6 else 0, fragment=not arp and self.chance(0.1),
            icmp_type=self.pick((0, 3, 8)) if icmp else 0, icmp_code=self.pick((0, 4)) if icmp else 0,
            mac_src=self.pick(MACS), mac_dst=self.pick(MACS))

    def ends(self):
        return [SimpleNamespace(iface=self.pick(IFACES),
                                facts={f for f in ("own", "shared", "inside", "leased") if self.chance(0.3)})
                for _ in range(2)]
