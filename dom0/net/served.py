#!/usr/bin/python3
"""The servers that guests talk to, shut in: RSIP, PCP and NAT-PMP, DHCP. netd starts this.

usage: served.py CONTROL STREAM RSIP PCP DHCP      numbers of open files

What comes from guests is looked at here and nowhere else. This process has no way to the hypervisor:
leases are asked of netd by CONTROL, which tells in turn which interfaces there are. It has nobody's
rights, an empty directory for a file system and no network but these sockets, and ends with netd.
"""

import asyncio
import ctypes
import json
import math
import os
import pathlib
import resource
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import dhcp  # noqa: E402
import lease  # noqa: E402
import pcp  # noqa: E402
import rsip  # noqa: E402
import serve  # noqa: E402

GATEWAY = 0xa9fe0001  # 169.254.0.1
NOBODY = 65534
EMPTY = pathlib.Path("/run/serai-net")
MESSAGE_MAX = 65536
CLONE_NEWNET, PR_SET_NO_NEW_PRIVS = 0x40000000, 38
MEMORY_MAX = 256 << 20


class Link:
    """netd, as a lease backend (lease.py) and as who tells interfaces apart (serve.Listeners)."""

    def __init__(self, control):
        self.control = control
        self.vifs, self.addresses, self.macs = {}, {}, {}
        self.ahead = self.began = 0.0

    def hear(self, message):
        """What netd says unasked: an interface is there, or no more."""
        if "vif" in message:
            number, uuid, inside, shared, mac, own = message["vif"]
            self.vifs[number] = lease.Vif(number, bytes.fromhex(uuid), inside, shared, bytes.fromhex(mac), own=own)
        else:
            self.vifs.pop(message["gone"], None)
        found = {}
        for vif in self.vifs.values():
            found.setdefault(vif.mac, []).append(vif)
        self.macs = {mac: them[0] for mac, them in found.items() if len(them) == 1}
        self.addresses = {vif.inside: vif for vif in self.vifs.values()}

    def receive(self):
        data = self.control.recv(MESSAGE_MAX)
        if not data:
            raise SystemExit(0)  # netd has ended
        return json.loads(data)

    def drain(self):
        self.hear(self.receive())

    def ask(self, *question):
        self.control.send(json.dumps(question).encode())
        while True:
            message = self.receive()
            if "result" in message:
                break
            self.hear(message)
        self.ahead, self.began = message["now"] - time.monotonic(), message["epoch"]
        if message["error"]:
            raise lease.Refused(message["error"])
        return message["result"]

    # -- who is it --

    def by_source(self, address, port, classes):
        vif = self.addresses.get(address)
        if not vif and any(v.shared == address for v in self.vifs.values()):
            vif = self.vifs.get(self.ask("owner", address, port, classes))
        return vif

    def by_mac(self, mac):
        return self.macs.get(bytes(mac))

    # -- leases --

    def now(self):
        return time.monotonic() + self.ahead

    def epoch(self):
        return self.began

    @staticmethod
    def unpack(number, start, log2, classes, ends, origin, state):
        return lease.Lease(number, start, log2, classes, math.inf if ends is None else ends, origin, state)

    def grant(self, vif, classes, start, log2, seconds, origin):
        return self.unpack(*self.ask("grant", vif.number, classes, start, log2, int(seconds), origin))

    def extend(self, number, seconds):
        self.ask("extend", number, int(seconds))

    def free(self, number):
        self.ask("free", number)

    def leases(self, vif):
        return [self.unpack(*found) for found in self.ask("leases", vif.number)]


def shut_in():
    libc = ctypes.CDLL(None, use_errno=True)
    EMPTY.mkdir(mode=0o755, exist_ok=True)
    os.chroot(EMPTY)
    os.chdir("/")
    if libc.unshare(CLONE_NEWNET) or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot be shut in")
    for what, most in ((resource.RLIMIT_AS, MEMORY_MAX), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NPROC, 0),
                       (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


async def run(link, sockets):
    listeners = serve.Listeners(link, rsip.Server(link, GATEWAY), pcp.Server(link), dhcp.Server(link, GATEWAY))
    asyncio.get_running_loop().add_reader(link.control, link.drain)
    await listeners.start(sockets)
    await asyncio.get_running_loop().create_future()


def main():
    control, *others = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    link = Link(control)
    link.ask("clock")
    loop = asyncio.new_event_loop()  # opens files
    shut_in()
    for s in others:
        s.setblocking(False)
    loop.run_until_complete(run(link, serve.Sockets(*others)))


if __name__ == "__main__":
    main()
