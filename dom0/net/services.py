"""netd's side of the servers that guests talk to (served.py): starts them, and answers what they ask.

Nothing that they say is believed: an interface must be one that they were told of, a lease one that
servers made, and the hypervisor checks the rest.
"""

import errno
import ipaddress
import json
import logging
import math
import os
import pathlib
import socket
import subprocess
import sys
import time

import lease
import leases
import own
import serve
from hypercall import BY_SERAI
from log_records import LEASE_REFUSED

PROGRAM = pathlib.Path(__file__).resolve().parent / "served.py"
ORIGINS = (lease.BY_RSIP, lease.BY_PCP, lease.BY_DHCP)
SECONDS_MAX = 86400
RESUMED = 3600  # how long it has that, if it does not ask again
MESSAGE_MAX = 65536
REFUSED_EVERY = 10  # seconds
PAUSE = 2  # seconds, before servers that ended are started again
log = logging.getLogger("services")


class Nonsense(Exception):
    """No server of ours asks that."""


class Services:
    """'sockets' opens those that guests talk to; 'note' writes into the audit log, as hypercall.Router's."""

    def __init__(self, table=None, sockets=lambda: serve.open_sockets(str(own.ROUTER), own.NAMES[own.CTL]), note=None):
        self.table, self.sockets, self.note = table or leases.Leases(), sockets, note
        self.refused = {}  # interface: [since when nothing was noted of it, how often leases were refused]
        self.vifs = {}  # number: lease.Vif
        self.child = self.control = None
        self.ended = -math.inf

    # -- the process --

    def start(self):
        """With the port for daemons being there."""
        if self.child or time.monotonic() < self.ended + PAUSE:
            return
        try:
            sockets = self.sockets()
        except OSError as why:
            log.error("no sockets for the servers: %s", why)
            self.ended = time.monotonic()
            return
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        numbers = [s.fileno() for s in (theirs, *sockets.all())]
        self.child = subprocess.Popen([sys.executable, PROGRAM, *map(str, numbers)], pass_fds=numbers,
                                      stdin=subprocess.DEVNULL, env={"PATH": os.environ.get("PATH", "")})
        for s in (theirs, *sockets.all()):
            s.close()
        self.control.setblocking(False)
        log.info("servers run as process %d", self.child.pid)
        for vif in self.vifs.values():
            self.tell(vif)

    def stop(self):
        if self.child:
            self.child.kill()
            self.child.wait()
            self.control.close()
            self.child = self.control = None
            self.ended = time.monotonic()

    def send(self, message):
        """Who does not listen is of no use."""
        try:
            self.control.send(json.dumps(message).encode())
        except OSError as why:
            log.error("the servers do not listen (%s) and are started again", why)
            self.stop()

    # -- interfaces --

    def tell(self, vif):
        if self.control:
            self.send({"vif": [vif.number, vif.uuid.hex(), vif.inside, vif.shared, vif.mac.hex(), vif.own]})

    def update(self, vifs):
        """These interfaces there are, by number."""
        before, self.vifs = self.vifs, vifs
        for number in before.keys() - vifs.keys():
            if self.control:
                self.send({"gone": number})
        for number, vif in vifs.items():
            if before.get(number) != vif:
                self.tell(vif)
        self.resume(before)

    def resume(self, before):
        """Who was restored or has moved goes on with its ports, under another number or the same."""
        gone = [(number, vif) for number, vif in before.items() if vif != self.vifs.get(number)]
        for number, vif in self.vifs.items():
            if vif != before.get(number):
                self.take_back(vif, self.table.resting(vif))
            for other, was in gone:
                if (was.uuid, was.mac, was.shared) == (vif.uuid, vif.mac, vif.shared):
                    self.take_back(vif, [l for l in self.table.resting(vif) if l.vif == other])

    def take_back(self, vif, found):
        for l in found:
            try:
                self.table.grant(vif, l.classes, l.start, l.log2, 0 if l.origin == BY_SERAI else RESUMED, l.origin)
                log.info("interface %d goes on with ports from %d", vif.number, l.start)
            except lease.Refused as why:
                log.error("interface %d cannot go on with ports from %d: %s", vif.number, l.start, why)

    # -- questions --

    def answer(self):
        """Something came by 'control'."""
        try:
            data = self.control.recv(MESSAGE_MAX)
            if not data:
                raise Nonsense("they have ended")
            result, error = self.act(*json.loads(data)), 0
        except lease.Refused as why:
            result, error = None, why.number
        except BlockingIOError:
            return
        except (Nonsense, OSError, TypeError, ValueError, RecursionError) as why:
            log.error("the servers are started again: %s", why)
            self.stop()
            return
        self.send({"result": result, "error": error, "now": self.table.now(), "epoch": self.table.epoch()})

    def act(self, what, *numbers):
        questions = {"clock": (self.clock, 0), "owner": (self.owner, 3), "grant": (self.grant, 6),
                     "extend": (self.extend, 2), "free": (self.free, 1), "leases": (self.leases, 1)}
        if not isinstance(what, str) or what not in questions or not all(type(n) is int for n in numbers):
            raise Nonsense("they ask what they should not")
        do, count = questions[what]
        if len(numbers) != count:
            raise Nonsense(f"'{what}' with {len(numbers)} numbers")
        return do(*numbers)

    def vif(self, number):
        if number not in self.vifs:
            raise lease.Refused(errno.ENOENT)  # it has just gone
        return self.vifs[number]

    @staticmethod
    def clock():
        """Only the times that go with each answer."""

    @staticmethod
    def pack(found):
        return [found.number, found.start, found.log2, found.classes,
                None if math.isinf(found.ends) else found.ends, found.origin, found.state]

    def leases(self, number):
        return [self.pack(found) for found in self.table.leases(self.vif(number))]

    def owner(self, address, port, classes):
        return self.table.owner(address, port, classes)

    def grant(self, number, classes, start, log2, seconds, origin):
        if (origin not in ORIGINS or not 0 <= seconds <= SECONDS_MAX or classes not in (1, 2, 3) or
                not 0 <= log2 <= lease.BLOCK_LOG2_MAX or not 0 <= start < 65536):
            raise Nonsense("a lease that no server makes")
        vif = self.vif(number)
        try:
            return self.pack(self.table.grant(vif, classes, start, log2, seconds, origin))
        except lease.Refused as why:
            self.note_refused(vif, why, f"start={start} log2={log2} classes={classes}", origin)
            raise

    def note_refused(self, vif, why, what, origin):
        """The first one of an interface, then what came since, each ten seconds: guests must not fill the log."""
        now, (since, count) = time.monotonic(), self.refused.get(vif.number, (-math.inf, 0))
        self.refused[vif.number] = since, count + 1
        if not self.note or now < since + REFUSED_EVERY:
            return
        self.refused[vif.number] = now, 0
        said = f"vif={vif.domid}.{vif.handle} uuid={vif.uuid.hex()} ip={ipaddress.IPv4Address(vif.shared)} {what}"
        try:
            self.note(LEASE_REFUSED, vif.number, after=f"{said} error={why} count={count + 1}", origin=origin)
        except OSError as full:
            log.error("a refused lease is not in the audit log: %s", full)

    def theirs(self, number):
        if not self.table.origin(number) in ORIGINS:
            raise lease.Refused(errno.ENOENT)

    def extend(self, number, seconds):
        if not 0 < seconds <= SECONDS_MAX:
            raise Nonsense("a time that no server asks for")
        self.theirs(number)
        self.table.extend(number, seconds)

    def free(self, number):
        self.theirs(number)
        self.table.free(number)
