"""Domain 0's own ends of the router: stock front ends in domain 0, named up0 (the way to the wire)
and ctl0 (domain 0's daemons), and what domain 0's kernel is told about them.

An Own is one of the two. create() writes what the kernel's xen-netfront looks for, and a back end for
vifs.Backend to serve; set_up() is called when that is connected, and again after a restart: it
changes only what is not yet as it should be.
"""

import hashlib
import ipaddress
import json
import logging
import pathlib
import socket
import struct
import subprocess

import explain
import vifs
from hypercall import MAY_SERVE_DHCP, PUNT, UPLINK

log = logging.getLogger("own")

UP, CTL = 0, 1  # handles of domain 0's
NAMES = {UP: "up0", CTL: "ctl0"}
KINDS = {UP: UPLINK, CTL: PUNT}
FRONT = "/local/domain/0/device/vif/{}"
BACK = "/local/domain/0/backend/vif/0/{}"
# As Linux gives all back ends' devices: higher than any card's, so that no bridge takes it for its own.
OUR_MAC = "fe:ff:ff:ff:ff:ff"
ROUTER = ipaddress.ip_address("169.254.0.1")
ROUTER_MAC = bytes.fromhex("025345524149")
ROUTER6 = "fe80::53:45ff:fe52:4149"
ASIDE = "169.254.0.2"  # nobody's: it stands for the router where the kernel wants a neighbour
TABLE = "4555"
CLOSED = str(vifs.CLOSED)
LINKS_MAX = 8  # VFR_LINKS
ARP, IP6, RAW_ANY = 0x0806, 0x86DD, 0


def run(*words, check=True):
    """Its output; a command that fails is in the log, and no reason to stop."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        log.error("'%s': %s", " ".join(words), done.stderr.strip())
    return done.stdout


def ip(*words, check=True):
    return run("ip", *words, check=check)


def ip_json(*words):
    return json.loads(ip("-j", *words, check=False) or "[]")


def sysctl(key, value):
    path = pathlib.Path("/proc/sys", key)
    if path.exists():
        path.write_text(value, encoding="ascii")


class Own:
    def __init__(self, store, settings, handle):
        self.store, self.settings, self.handle = store, settings, handle
        self.name, self.kind = NAMES[handle], KINDS[handle]

    def possible(self):
        """Is there what it needs in domain 0?"""
        return True

    def create(self):
        run("modprobe", "xen-netfront")
        front, back = FRONT.format(self.handle), BACK.format(self.handle)
        if self.store.read(f"{front}/state") not in (None, CLOSED):
            return
        # The kernel's back ends see ours only when there is a front end, and that connects to whoever answers
        # first: it is closed until the others have been kept from ours.
        self.write(front, backend=back, backend_id=0, state=CLOSED)
        self.write(back, frontend=front, frontend_id=0, online=1, script=vifs.SCRIPT, state=1)
        vifs.take_from_netback(self.store, f"vif-0-{self.handle}", front)
        # Who was taken it from has closed it, and the kernel, looking for a back end that is not closed, would look
        # after nothing else: not after the next one of ours.
        self.store.write(f"{back}/state", "1")
        self.store.write(f"{front}/state", "1")

    def write(self, path, **others):
        values = {**others, "handle": self.handle, "mac": OUR_MAC}
        self.store.write_all(path, {key.replace("_", "-"): str(value) for key, value in values.items()})

    def found(self):
        """What the kernel calls it at the moment."""
        for device in pathlib.Path(f"/sys/bus/xen/devices/vif-{self.handle}/net").glob("*"):
            return device.name
        return None

    def named(self):
        """True: it is there, with the name that it should have."""
        found = self.found()
        if found and found != self.name:
            ip("link", "set", found, "down")
            ip("link", "set", found, "name", self.name)
        # Nobody needs the kernel's own words there.
        sysctl(f"net/ipv6/conf/{self.name}/disable_ipv6", "1")
        return self.found() == self.name


class Uplink(Own):
    def __init__(self, store, settings):
        super().__init__(store, settings, UP)
        self.index = None      # the router's number for it
        self.way = None        # what the router was told of hops and networks
        self.served = set()    # networks that are behind the router
        self.stations = set()  # Ethernet addresses that the bridge was told of

    def possible(self):
        return pathlib.Path(f"/sys/class/net/{self.settings.device}").exists()

    def mac(self):
        """The router's own on the wire: the same one after each start, and no other host's."""
        address = pathlib.Path(f"/sys/class/net/{self.settings.device}/address").read_bytes()
        return b"\x02" + hashlib.sha256(b"serai uplink" + address).digest()[:5]

    def next_hop(self, version):
        """Whom packets to the world are for; zeros: that is not known yet. IPv6 has no other way without a route."""
        if self.settings.uplink == "route":
            return bytes.fromhex(OUR_MAC.replace(":", ""))
        if self.settings.gateway:
            return self.settings.gateway
        family = f"-{version}"
        for route in ip_json(family, "route", "show", "default", "dev", self.settings.device):
            gateway = route.get("gateway")
            if not gateway:
                continue
            for neighbour in ip_json(family, "neigh", "show", gateway, "dev", self.settings.device):
                if "lladdr" in neighbour:
                    return bytes.fromhex(neighbour["lladdr"].replace(":", ""))
            self.ask_for(gateway)
        return bytes(6)

    def ask_for(self, address):
        """Makes the kernel look for a neighbour."""
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.settings.device.encode())
                s.sendto(b"", (address, 9))
            except OSError:
                pass

    def next_hops(self):
        return self.next_hop(4), self.next_hop(6)

    def networks(self):
        """Those whose stations are on the bridge themselves: the ones that domain 0 has an address of there."""
        if self.settings.uplink != "bridge":
            return ()
        found = {ipaddress.ip_interface(f"{a['local']}/{a['prefixlen']}").network
                 for link in ip_json("addr", "show", "dev", self.settings.device, "scope", "global")
                 for a in link.get("addr_info", ()) if "local" in a}
        return tuple(sorted((n for n in found if n.prefixlen < n.max_prefixlen), key=str)[:LINKS_MAX])

    def describe(self, vif):
        vif.kind, vif.mac, self.way = UPLINK, self.mac(), None
        vif.next_hop, vif.next_hop6 = self.next_hops()
        vif.segment = self.settings.wire

    def set_up(self):
        if not self.named():
            return
        ip("link", "set", self.name, "up")
        if self.settings.uplink == "bridge":
            ip("link", "set", self.name, "master", self.settings.device)
            # What the router's station is called is known; nothing else concerns it but what is for all.
            self.stations = set()
            self.let_in({self.mac()})
            run("bridge", "link", "set", "dev", self.name, "flood", "off", "learning", "off")
        else:
            self.set_up_routed()

    def set_up_routed(self):
        """Domain 0 forwards, and answers for single addresses on the wire."""
        sysctl("net/ipv4/ip_forward", "1")
        # Whoever forwards IPv6 believes no router, unless he is told to: 2.
        accepts = pathlib.Path(f"/proc/sys/net/ipv6/conf/{self.settings.device}/accept_ra")
        if accepts.exists() and accepts.read_text(encoding="ascii").strip() == "1":
            sysctl(f"net/ipv6/conf/{self.settings.device}/accept_ra", "2")
        sysctl("net/ipv6/conf/all/forwarding", "1")
        sysctl(f"net/ipv6/conf/{self.settings.device}/proxy_ndp", "1")
        # No address, and nothing to say: the router's is known.
        sysctl(f"net/ipv6/conf/{self.name}/addr_gen_mode", "1")
        sysctl(f"net/ipv6/conf/{self.name}/disable_ipv6", "0")
        ip("-6", "neigh", "replace", ROUTER6, "lladdr", self.mac().hex(":"), "dev", self.name, "nud", "permanent")

    def let_in(self, stations):
        """The bridge sends to up0 what is for these, and for the router's own."""
        if self.settings.uplink != "bridge":
            return
        stations = stations | {self.mac()}
        for new in stations - self.stations:
            run("bridge", "fdb", "replace", new.hex(":"), "dev", self.name, "master", "static")
        for gone in self.stations - stations:
            run("bridge", "fdb", "del", gone.hex(":"), "dev", self.name, "master", check=False)
        self.stations = stations

    def refresh(self, router):
        """From time to time: the gateway may have become another station, the bridge have got another address."""
        hops, networks = self.next_hops(), self.networks()
        if self.index is not None and (hops, networks) != self.way:
            router.set_next_hop(self.index, *hops, networks)
            log.info("packets to the world go to %s, those of IPv6 to %s; on the bridge: %s",
                     *[hop.hex(":") for hop in hops], " ".join(map(str, networks)))
            self.way = hops, networks

    def serve(self, networks):
        """The router has these now: the wire is told of single addresses that are new."""
        new, gone, self.served = networks - self.served, self.served - networks, networks
        if self.settings.uplink == "route":
            for network in gone:
                self.route("del", network, check=False)
            for network in new:
                self.route("replace", network)
        self.announce({n.network_address for n in new if n.prefixlen == n.max_prefixlen})

    def route(self, what, network, check=True):
        family, via = (["-4"], []) if network.version == 4 else (["-6"], ["via", ROUTER6])
        ip(*family, "route", what, str(network), *via, "dev", self.name, check=check)
        if network.prefixlen == network.max_prefixlen:
            ip(*family, "neigh", what, "proxy", str(network.network_address), "dev", self.settings.device, check=check)

    def announce(self, addresses):
        """Gratuitous ARP (RFC 5227, 3), unsolicited advertisements (RFC 4861, 7.2.6): neighbours that had
        another station for it learn of this one."""
        own = pathlib.Path(f"/sys/class/net/{self.settings.device}/address").read_text(encoding="ascii").strip()
        mac = self.mac() if self.settings.uplink == "bridge" else bytes.fromhex(own.replace(":", ""))
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind((self.settings.device, RAW_ANY))
                for address in addresses:
                    s.send(gratuitous_arp(mac, address) if address.version == 4 else unsolicited_advert(mac, address))
        except OSError as why:
            log.error("%s: new addresses cannot be announced: %s", self.settings.device, why)


def gratuitous_arp(mac, address):
    head = b"\xff" * 6 + mac + struct.pack(">HHHBBH", ARP, 1, 0x0800, 6, 4, 1)
    return head + mac + address.packed + bytes(6) + address.packed


def unsolicited_advert(mac, address):
    """From the address itself to all nodes; flags: it overrides what they know."""
    group = ipaddress.ip_address("ff02::1").packed
    message = struct.pack(">BBHI", 136, 0, 0, 0x20000000) + address.packed + b"\x02\x01" + mac
    pseudo = address.packed + group + struct.pack(">II", len(message), 58)
    message = message[:2] + struct.pack(">H", explain.checksum(pseudo + message)) + message[4:]
    head = struct.pack(">IHBB", 6 << 28, len(message), 58, 255) + address.packed + group
    return b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack(">H", IP6) + head + message


class Control(Own):
    """Whoever sends from the router's address sends through it, whomever to."""

    def __init__(self, store, settings):
        super().__init__(store, settings, CTL)

    def describe(self, vif):
        vif.kind, vif.may, vif.prefixes = PUNT, MAY_SERVE_DHCP, [ipaddress.ip_network(ROUTER)]

    def set_up(self):
        if not self.named():
            return
        sysctl(f"net/ipv4/conf/{self.name}/rp_filter", "0")
        ip("link", "set", self.name, "up")
        ip("addr", "replace", f"{ROUTER}/32", "dev", self.name)
        ip("neigh", "replace", ASIDE, "lladdr", ROUTER_MAC.hex(":"), "dev", self.name, "nud", "permanent")
        ip("route", "replace", "default", "via", ASIDE, "dev", self.name, "onlink", "table", TABLE)
        if not ip_json("rule", "show", "from", str(ROUTER)):
            ip("rule", "add", "from", str(ROUTER), "lookup", TABLE)
