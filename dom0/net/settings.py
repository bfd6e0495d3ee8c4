"""What the operator has settled about the router's place in domain 0: /etc/serai/net.conf.

    uplink bridge xenbr0       the router is a port of this bridge, as a station of its own
    uplink route xenbr0        domain 0's kernel routes between the router and this interface
    uplink none                domains reach each other only
    gateway 52:55:0a:00:02:02  the bridge's way out; without: of domain 0's default route
    segment lab                an Ethernet segment: interfaces with 'bridge=lab' are switched among themselves
    segment xenbr0 uplink      one whose way to the wire is the router's uplink, a bridge's

Without a file it is as if it said 'uplink none'. A # begins a comment.
"""

import pathlib
import re
from dataclasses import dataclass, field

NAME = "[A-Za-z0-9_.-]{1,15}"  # of a segment
FILE = pathlib.Path("/etc/serai/net.conf")


class BadSetting(Exception):
    """The text says in which line, and what could be there."""


@dataclass
class Settings:
    uplink: str = "none"   # bridge, route, none
    device: str = ""       # the bridge, or what is routed to
    gateway: bytes = None  # its Ethernet address
    segments: set = field(default_factory=set)  # names
    wire: str = ""         # the one of them that the uplink is in


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
        elif len(words) == 2 and words[0] == "gateway" and re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", words[1]):
            found.gateway = bytes.fromhex(words[1].replace(":", ""))
        elif words[0] == "segment" and len(words) in (2, 3) and re.fullmatch(NAME, words[1]) and \
                words[2:] in ([], ["uplink"]) and not (found.wire and words[2:]):
            found.segments.add(words[1])
            found.wire = words[1] if words[2:] else found.wire
        else:
            raise BadSetting(f"{FILE}:{number}: 'uplink bridge DEVICE', 'uplink route DEVICE', 'uplink none', "
                             f"'gateway ETHERNET-ADDRESS' or 'segment NAME [uplink]', not '{line.strip()}'")
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
