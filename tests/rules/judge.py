"""The hypervisor's judge (judge.c) from Python."""

import ctypes
import os
from types import SimpleNamespace

import rules_image as i
import rules_zones

LIBRARY = os.environ.get("VFR_JUDGE", "build/rules/judge.so")
U8, U16, U32, U64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
P_PORTS, P_FRAGMENT, P_QUERY = 1, 2, 0x40
C_ARP, C_IP4, C_IP6 = 1, 2, 3
STEPS = ["", "from", "to", "proto", "flags", "type", "fragments", "tagged", "ttl", "from ip", "from port",
         "to ip", "to port", "limit", "matches", "decides"]
MAX_STEPS = 8192


class Addr(ctypes.Structure):
    _fields_ = [("high", U64), ("low", U64)]


class Probe(ctypes.Structure):
    _fields_ = [("src", Addr), ("dst", Addr), ("eth_src", U64), ("eth_dst", U64), ("now", U64),
                ("from_zones", U64 * 4), ("to_zones", U64 * 4), ("len", U32), ("flags", U16), ("sport", U16),
                ("dport", U16), ("vif", U16), ("klass", U8), ("proto", U8), ("tcp_flags", U8),
                ("icmp_type", U8), ("icmp_code", U8), ("from_facts", U8), ("to_facts", U8), ("commit", U8)]


class Verdict(ctypes.Structure):
    _fields_ = [("action", U8), ("reject", U8), ("reason", U8), ("beyond", ctypes.c_bool),
                ("metered", ctypes.c_bool), ("log", U8), ("dscp", U8), ("rule", U16),
                ("id", U32), ("log_id", U32), ("sample", U32), ("tags", U32)]


class Element(ctypes.Structure):
    _fields_ = [("addr", Addr), ("port", U16), ("length", U8)]


class Step(ctypes.Structure):
    _fields_ = [("rule", U16), ("end", U16)]


def addr(version, number):
    return Addr(*i.halves(version, number))


def words(mask):
    return (U64 * 4)(*(mask >> 64 * n & i.MASK64 for n in range(4)))


class Judge:
    def __init__(self):
        self.lib = ctypes.CDLL(os.path.abspath(LIBRARY))
        self.lib.judge_load.argtypes = [ctypes.c_char_p, U64]
        for f in (self.lib.judge_add, self.lib.judge_remove):
            f.argtypes = [U32, ctypes.POINTER(Element), U64]
        for n, kind in enumerate((Probe, Verdict, Element, Step)):
            if self.lib.judge_sizes(n) != ctypes.sizeof(kind):
                raise SystemExit(f"{kind.__name__} is not what judge.c has")
        self.steps = (Step * MAX_STEPS)()

    def load(self, data, names):
        self.names = names
        return self.lib.judge_load(data, len(data))

    def change(self, act, name, kind, e, now):
        """act: 'add' or 'remove'; an element as the language's sets have them."""
        element = Element()
        if kind == "mac":
            element.addr = Addr(0, e)
        elif kind == "port":
            element.port = e
        else:
            element.addr = addr(*e[:2])
            element.port = e[2] if kind == "ip.port" else 0
            element.length = e[2] + (96 if e[0] == 4 else 0) if kind == "net" else 0
        index = self.names["sets"].index(name)
        return getattr(self.lib, "judge_" + act)(index, ctypes.byref(element), now)

    def probe(self, p, ends, vif, now):
        out = Probe(addr(p.version, p.src), addr(p.version, p.dst), p.mac_src, p.mac_dst, now)
        for word, end in (("from", ends[0]), ("to", ends[1])):
            setattr(out, word + "_zones", words(rules_zones.mask(self.names, end.iface)))
            setattr(out, word + "_facts", sum(i.FACTS[f] for f in end.facts))
        out.len, out.sport, out.dport, out.vif = p.len, p.sport, p.dport, vif
        query = p.proto in (1, 58) and not p.arp and (p.sport or p.dport)
        out.flags = (P_PORTS if p.has_ports else P_PORTS | P_QUERY if query else 0) | (P_FRAGMENT if p.fragment else 0)
        out.klass = C_ARP if p.arp else C_IP4 if p.version == 4 else C_IP6
        for name in ("proto", "tcp_flags", "icmp_type", "icmp_code"):
            setattr(out, name, getattr(p, name))
        return out

    def ask(self, probe, commit=True, trace=False):
        """The verdict; with a trace, of each rule that was tested what became of it."""
        v = Verdict()
        probe.commit = commit
        nr = self.lib.judge_ask(ctypes.byref(probe), ctypes.byref(v), self.steps, MAX_STEPS if trace else 0)
        steps = [(s.rule, STEPS[s.end]) for s in self.steps[:nr]]
        log = {name for name, bit in (("new", 1), ("end", 2), ("deny", 4), ("strict", 8)) if v.log & bit}
        tags = {t for n, t in enumerate(self.names["tags"]) if v.tags >> n & 1}
        return SimpleNamespace(
            action=i.ACTIONS[v.action], reject=i.REJECTS[v.reject], rule=v.rule, id=v.id, log=log,
            log_id=v.log_id, sample=v.sample, dscp=None if v.dscp == i.DSCP_NONE else v.dscp,
            tags=tags, beyond=v.beyond, metered=v.metered, steps=steps)
