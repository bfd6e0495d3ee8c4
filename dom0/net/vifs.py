"""The back end's half of the handshake with a network front end, over xenstore.

A Backend follows one interface: step() looks at both ends' states and does what is next; call it
whenever something below one of paths() changes. The store has read, write, write_all and ls;
the router connects and disconnects (hypercall.Router); the policy tells an interface's zones
(policy.Policy). None of them is touched but through these.

Interfaces are ours whose 'script' is vif-vfr. The kernel's xen-netback may be loaded and serve the
others: it takes ours, too, and each is taken from it again. That it is loaded first makes sure of it:
when it is loaded it takes all that is there. A front end that is up already, in a guest that gets one
interface more, may have come to terms with it by then: the rings say how far, and the router goes on.

A guest's interface is connected only when its script has run, as netback does it: the toolstack starts
that when it sees the state in which the back end waits, and would miss a short one.
"""

import contextlib
import ipaddress
import logging
import pathlib
import subprocess
import time

import lease
import rate
from hypercall import (CAN_CSUM4, CAN_CSUM6, CAN_GSO4, CAN_GSO6, CAN_SG, ROUTED, SWITCHED, Vif, mac_bytes)

log = logging.getLogger("vifs")

INIT, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED = range(1, 7)
MAX_QUEUES = 8
SHARE = 7  # an order about leases: an address is one that domains share
SCRIPT = "vif-vfr"
PICKUP = 30  # seconds in which a domain that was restored or has moved may go on with its TCP connections
NETBACK = pathlib.Path("/sys/bus/xen-backend/drivers/vif")
NETBACK_PATIENCE = 5  # seconds until it has seen an interface

# What the router can take, in the words of the protocol.
OFFERS = {
    "feature-sg": 1,
    "feature-gso-tcpv4": 1,
    "feature-gso-tcpv6": 1,
    "feature-ipv6-csum-offload": 1,
    "feature-rx-copy": 1,
    "feature-rx-flip": 0,
    "feature-multicast-control": 0,
    "feature-dynamic-multicast-control": 0,
    "feature-split-event-channels": 1,
    "feature-xdp-headroom": 0,
    "feature-ctrl-ring": 0,
    "multi-queue-max-queues": MAX_QUEUES,
}


class BadFrontend(Exception):
    """What a front end wrote makes no sense; the text says what."""


def number(store, path, otherwise=0):
    """A number that a guest may have written; what is no number is as if it were not there."""
    text = store.read(path)
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 10:
        return otherwise
    return int(text)


def addresses(text):
    """The networks that an interface's 'ip' names, by spaces, and those it shares: ADDRESS/shared."""
    networks, shared = [], set()
    for word in (text or "").split():
        network = ipaddress.ip_network(word.removesuffix("/shared"))
        networks.append(network)
        if word.endswith("/shared"):
            shared.add(network)
    return networks, shared


def inside_of(networks, shared, domid, handle):
    """
    The IPv4 address that is this interface's alone, under which domain 0's daemons know it: the first one
    that it was given, else one made of its number (RFC 6598). None: it has no IPv4.
    """
    for network in networks:
        if network.version == 4 and network.prefixlen == 32 and network not in shared:
            return network.network_address
    if shared:
        return ipaddress.IPv4Address("100.64.0.0") + (domid << 4 | handle & 15)
    return None


def is_ours(store, path):
    """Does the back end below 'path' say that the router is to serve it?"""
    script = store.read(f"{path}/script")
    return bool(script) and script.rpartition("/")[2] == SCRIPT and bool(store.read(f"{path}/frontend"))


def load_netback():
    """No error where there is none: then nobody takes anything."""
    subprocess.run(["modprobe", "-q", "xen-netback"], check=False)


def take_from_netback(store, name, front, patience=NETBACK_PATIENCE):
    """
    The driver keeps its hands off from then on. Not when the front end has no state: then the kernel removes the
    device, and that and the driver's going wait for each other. No patience: it had taken what it wanted.
    """
    until = time.monotonic() + patience
    while NETBACK.exists() and store.read(f"{front}/state"):
        if (NETBACK / name).exists():
            with contextlib.suppress(OSError):  # the interface is going just now
                (NETBACK / "unbind").write_text(name, encoding="ascii")
            return
        if time.monotonic() > until:
            return  # somebody has unbound it before
        time.sleep(0.05)


class Backend:
    """
    'own' is what domain 0 itself has at the other end (own.Own), None for a guest's. 'segments' are those that
    there are: an interface whose 'bridge' is none of them is routed, for the toolstack names one always.
    'exceptions' (settings.Settings.exceptions_of) says what a domain's interface may do.
    """

    def __init__(self, store, router, policy, domid, handle, own=None, segments=(), exceptions=None):
        self.store, self.router, self.policy, self.own, self.segments = store, router, policy, own, segments
        self.exceptions = exceptions
        self.domid, self.handle = domid, handle
        self.offered = False
        self.path = f"/local/domain/0/backend/vif/{domid}/{handle}"
        self.front = store.read(f"{self.path}/frontend")
        self.index = None  # the router's number, while it is connected
        self.rate = ""     # what the store said last of what it may send

    def __repr__(self):
        return f"vif {self.domid}.{self.handle}"

    def paths(self):
        return [f"{self.front}/state", f"{self.path}/rate"]

    def state(self):
        return number(self.store, f"{self.path}/state")

    def write(self, **values):
        self.store.write_all(self.path, {key: str(value) for key, value in values.items()}, there="state")

    def set_state(self, state):
        if self.state() != state:
            self.write(state=state)

    def step(self):
        """False: the interface is gone, and this object with it."""
        if self.store.read(f"{self.path}/state") is None:
            self.disconnect()
            return False
        front, ours = number(self.store, f"{self.front}/state", CLOSED), self.state()
        if front in (INIT, INIT_WAIT):
            if not self.offered or ours in (INIT, CLOSING, CLOSED) or self.index is not None:
                self.disconnect()
                self.offer()
        elif front in (INITIALISED, CONNECTED) and ours in (INIT, INIT_WAIT, CONNECTED):
            self.claim()
            if self.is_plugged():
                self.connect()
                self.follow_rate()
        elif front == CLOSING and ours != CLOSED:
            self.disconnect()
            self.set_state(CLOSING)
        elif front == CLOSED or front > CLOSED:
            self.disconnect()
            self.set_state(CLOSED)
        return True

    def offer(self):
        self.claim()
        self.set_state(INIT_WAIT)

    def claim(self):
        """From netback, unless the hypervisor has it; the front end is told what the router can take."""
        if self.offered or self.index is not None:
            return
        if not self.own:
            before = self.store.read(f"{self.path}/router") is not None
            take_from_netback(self.store, f"vif-{self.domid}-{self.handle}", self.front,
                              0 if before else NETBACK_PATIENCE)
        self.offered = True
        self.write(**OFFERS, router="served")  # the latter is what vif-vfr waits for

    def is_plugged(self):
        return self.own or self.index is not None or self.store.read(f"{self.path}/hotplug-status") == "connected"

    def connect(self):
        """Also after a restart: then the hypervisor has it already, or no longer."""
        if self.index is not None and self.state() == CONNECTED:
            return
        try:
            if self.index is None:
                vif = self.describe()
                self.share(vif)
                self.index = self.policy.connect(self.router, vif, self.domain_name())
                log.info("%r is interface %d of the router", self, self.index)
        except (BadFrontend, OSError, ValueError) as why:
            log.error("%r cannot be connected: %s", self, why)
            self.write(error=why)
            self.set_state(CLOSING)
            return
        self.set_state(CONNECTED)

    def follow_rate(self):
        """As xen-netback does: who has the store changes it there."""
        text = self.store.read(f"{self.path}/rate")
        if self.index is None or text == self.rate:
            return
        self.rate = text
        try:
            self.router.set_rate(self.index, rate.stored(text))
        except (OSError, ValueError) as why:
            log.error("%r keeps the rate that it has: %s", self, why)

    def share(self, vif):
        for network in vif.shared:
            try:
                self.router.change_lease(SHARE, ip=network.network_address)
            except FileExistsError:
                pass  # as an earlier one has it

    def disconnect(self):
        if self.index is None:
            return
        try:
            self.router.disconnect(self.index)
        except FileNotFoundError:
            pass  # the hypervisor was faster: the domain is going
        log.info("%r is disconnected", self)
        self.index = None

    def domain_name(self):
        return self.store.read(f"/local/domain/{self.domid}/name") or ""

    def describe(self):
        """What the hypervisor is to connect, from what both ends wrote."""
        if number(self.store, f"{self.front}/request-rx-copy") != 1:
            raise BadFrontend("the front end does not copy (request-rx-copy is not 1)")
        prefixes, shared = addresses(self.store.read(f"{self.path}/ip"))
        bridge = self.store.read(f"{self.path}/bridge")
        segment = bridge if bridge in self.segments else ""
        if segment and shared:
            raise BadFrontend(f"stations of a segment ({segment}) cannot share addresses: neighbours tell them apart "
                              "by these")
        inside = inside_of(prefixes, shared, self.domid, self.handle)
        if inside and ipaddress.ip_network(inside) not in prefixes:
            prefixes.append(ipaddress.ip_network(inside))
        vif = Vif(
            domid=self.domid, handle=self.handle, kind=SWITCHED if segment else ROUTED, segment=segment,
            can=self.abilities(),
            mtu=number(self.store, f"{self.path}/mtu", 1500),
            mac=mac_bytes(self.store.read(f"{self.path}/mac")),
            queues=self.queues(), prefixes=prefixes, shared=shared, pickup=PICKUP,
            rate=rate.stored(self.store.read(f"{self.path}/rate")))
        if self.own:
            self.own.describe(vif)
        elif self.exceptions:
            its = self.exceptions(self.domain_name(), self.handle)
            vif.may, vif.ra, vif.macs = its.may, its.ra, its.macs
        return vif

    def client(self):
        """What the servers are to know of a guest's connected interface; None: it cannot ask them."""
        prefixes, shared = addresses(self.store.read(f"{self.path}/ip"))
        inside = inside_of(prefixes, shared, self.domid, self.handle)
        uuid = (self.store.read(f"/local/domain/{self.domid}/vm") or "").rpartition("/")[2].replace("-", "")
        if not inside or len(uuid) != 32:
            return None
        first = prefixes[0].network_address
        return lease.Vif(self.index, bytes.fromhex(uuid), int(inside),
                         int(min(shared).network_address) if shared else 0,
                         mac_bytes(self.store.read(f"{self.path}/mac")),
                         own=int(first) if first == inside else 0, domid=self.domid, handle=self.handle)

    def abilities(self):
        def has(feature):
            return number(self.store, f"{self.front}/feature-{feature}")
        can = 0 if has("no-csum-offload") else CAN_CSUM4
        for feature, bit in (("ipv6-csum-offload", CAN_CSUM6), ("gso-tcpv4", CAN_GSO4),
                             ("gso-tcpv6", CAN_GSO6), ("sg", CAN_SG)):
            can |= bit if has(feature) else 0
        return can

    def queues(self):
        count = number(self.store, f"{self.front}/multi-queue-num-queues", 1)
        if not 1 <= count <= MAX_QUEUES:
            raise BadFrontend(f"{count} queues; 1 to {MAX_QUEUES} are possible")
        if count == 1:
            return [self.queue(self.front)]
        return [self.queue(f"{self.front}/queue-{i}") for i in range(count)]

    def queue(self, at):
        def needed(*keys):
            for key in keys:
                value = number(self.store, f"{at}/{key}", None)
                if value is not None:
                    return value
            raise BadFrontend(f"{at} has no {' or '.join(keys)}")
        return (needed("tx-ring-ref"), needed("rx-ring-ref"),
                needed("event-channel-tx", "event-channel"),
                needed("event-channel-rx", "event-channel"))
