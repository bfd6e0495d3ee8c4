"""What the operator has settled about the router's place in domain 0: /etc/serai/net.conf.

    uplink bridge xenbr0       the router is a port of this bridge, as a station of its own
    uplink route xenbr0        domain 0's kernel routes between the router and this interface
    uplink none                domains reach each other only
    gateway 52:55:0a:00:02:02  the bridge's way out; without: of domain 0's default route
    segment lab                an Ethernet segment: interfaces with 'bridge=lab' are switched among themselves
    segment xenbr0 uplink      one whose way to the wire is the router's uplink, a bridge's
    vif DOMAIN[/N] EXCEPTION...  what that domain's interfaces, or its N'th, may do beside speaking for themselves:
                              any-mac, any-ip, any-link-local, router, dhcp-server, or up to 8 further
                              Ethernet addresses; 'managed' and 'other' are what it is told of DHCPv6

Without a file it is as if it said 'uplink none'. A # begins a comment.
"""

import pathlib
import re
from dataclasses import dataclass, field

import hypercall

NAME = "[A-Za-z0-9_.-]{1,15}"  # of a segment
ETHERNET = "([0-9a-f]{2}:){5}[0-9a-f]{2}"
FILE = pathlib.Path("/etc/serai/net.conf")


class BadSetting(Exception):
    """The text says in which line, and what could be there."""


@dataclass
class Exceptions:
    """What an interface may do although it looks like spoofing, and what it is told of routers."""
    may: int = 0
    ra: int = 0
    macs: list = field(default_factory=list)


MAY = {"any-mac": hypercall.MAY_ANY_MAC, "any-ip": hypercall.MAY_ANY_IP, "any-link-local": hypercall.MAY_ANY_LINK_LOCAL,
       "router": hypercall.MAY_ROUTE, "dhcp-server": hypercall.MAY_SERVE_DHCP}
RA = {"managed": hypercall.RA_MANAGED, "other": hypercall.RA_OTHER}


def exceptions(words):
    """None: these are none."""
    found = Exceptions()
    for word in words:
        if word in MAY:
            found.may |= MAY[word]
        elif word in RA:
            found.ra |= RA[word]
        elif re.fullmatch(ETHERNET, word):
            found.macs.append(hypercall.mac_bytes(word))
        else:
            return None
    return found if words and len(found.macs) <= hypercall.MACS else None


@dataclass
class Settings:
    uplink: str = "none"   # bridge, route, none
    device: str = ""       # the bridge, or what is routed to
    gateway: bytes = None  # its Ethernet address
    segments: set = field(default_factory=set)  # names
    wire: str = ""         # the one of them that the uplink is in
    exceptions: dict = field(default_factory=dict)  # (domain's name, handle or None: all): Exceptions

    def exceptions_of(self, name, handle):
        return self.exceptions.get((name, handle)) or self.exceptions.get((name, None)) or Exceptions()


def parse(text):
    found = Settings()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words == ["uplink", "none"]:
            found.uplink = "none"
        elif len(words) == 3 and words[0] == "uplink" and words[1] in ("bridge", "route"):
            found.uplink, found.device = words[1:]
        elif len(words) == 2 and words[0] == "gateway" and re.fullmatch(ETHERNET, words[1]):
            found.gateway = bytes.fromhex(words[1].replace(":", ""))
        elif words[0] == "segment" and len(words) in (2, 3) and re.fullmatch(NAME, words[1]) and \
                words[2:] in ([], ["uplink"]) and not (found.wire and words[2:]):
            found.segments.add(words[1])
            found.wire = words[1] if words[2:] else found.wire
        elif words[0] == "vif" and len(words) > 2 and exceptions(words[2:]):
            name, _, handle = words[1].rpartition("/")
            key = (name, int(handle)) if name and handle.isdigit() else (words[1], None)
            found.exceptions[key] = exceptions(words[2:])
        else:
            raise BadSetting(f"{FILE}:{number}: 'uplink bridge DEVICE', 'uplink route DEVICE', 'uplink none', "
                             f"'gateway ETHERNET-ADDRESS', 'segment NAME [uplink]' or 'vif DOMAIN[/N] EXCEPTION...', "
                             f"not '{line.strip()}'")
    if found.wire and found.uplink != "bridge":
        raise BadSetting(f"{FILE}: 'segment {found.wire} uplink' needs 'uplink bridge DEVICE': only a bridge has stations")
    return found


def read():
    try:
        return parse(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as why:
        raise BadSetting(f"{FILE} cannot be read: {why}") from why
