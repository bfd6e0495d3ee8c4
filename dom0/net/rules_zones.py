"""Which interface is in which zones of a ruleset: bits for the hypervisor, from rules_compile's names.

An Interface's 'kind' is domain, uplink or router. The hypervisor is given mask() of every interface
together with a ruleset, and of each that comes later.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Interface:
    kind: str  # domain, uplink, router
    name: str = ""  # the domain's
    domid: int = 0
    index: int = 0  # of the domain's interfaces; of an uplink its number
    labels: frozenset = field(default_factory=frozenset)


def member(text, iface, zones):
    """Is it what one of a zone's members, as text, speaks of?"""
    kind, _, name = text.partition(" ")
    if kind == "any":
        return True
    if kind == "zone":
        return any(member(m, iface, zones) for m in zones[name])
    if kind == "uplink":
        return iface.kind == "uplink" and (not name or int(name) == iface.index)
    if kind == "router":
        return iface.kind == "router"
    if iface.kind != "domain":
        return False
    if kind == "vif":
        return name == f"{iface.domid}.{iface.index}"
    return kind == "domains" or (kind == "dom" and name == iface.name) or (kind == "label" and name in iface.labels)


def mask(names, iface):
    """Bit n: the interface is in zone n."""
    by_name = {z["name"]: z["members"] for z in names["zones"].values() if z["name"] is not None}
    bits = 0
    for number, zone in names["zones"].items():
        if any(member(m, iface, by_name) for m in zone["members"]):
            bits |= 1 << int(number)
    return bits
