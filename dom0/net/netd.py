#!/usr/bin/python3
"""Serves domains' network interfaces by the hypervisor's virtual firewall router.

usage: netd.py [--verbose]

Serves those whose 'script' is vif-vfr; others are xen-netback's. Reads /etc/serai/net.conf, which says how
the router reaches the world, and /etc/serai/net.rules if no rules are in force. If it ends, packets go
on as they did; started again, it takes over what is connected.

Exit status: 2 if it cannot work on this hypervisor; 3 if what is written in one of the files is wrong.
"""

import argparse
import logging
import pathlib
import select
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), "/usr/lib/xen-4.17/lib/python"]
import xen.lowlevel.xs  # noqa: E402  (Debian's xen-utils)

import hypercall  # noqa: E402
import own  # noqa: E402
import policy  # noqa: E402
import services  # noqa: E402
import settings  # noqa: E402
import store  # noqa: E402
import vifs  # noqa: E402

BACKENDS = "/local/domain/0/backend/vif"
SOON, REFRESH = 1, 5  # seconds
log = logging.getLogger("netd")


class Daemon:
    def __init__(self):
        self.settings = settings.read()
        vifs.load_netback()
        self.xs = xen.lowlevel.xs.xs()
        self.store = store.Store(self.xs)
        self.router = hypercall.Router()
        self.policy = policy.Policy()
        if self.router.generation() == 0:
            self.policy.install(self.router, policy.FILE.read_text(), {})
        self.backends = {}  # (domid, handle): Backend
        self.connected = {(v.domid, v.handle): v.vif for v in self.router.vifs()}
        self.own = {own.CTL: own.Control(self.store, self.settings)}
        if self.settings.uplink != "none":
            self.own[own.UP] = own.Uplink(self.store, self.settings)
        self.waiting = set(self.own.values())  # those that are still to be created
        self.ready = set()  # those that the kernel was told of
        self.services = services.Services(note=self.router.note)
        self.clients = {}   # (domid, handle): what the servers know of it

    def find_new(self):
        for domid in self.store.ls(BACKENDS):
            for handle in self.store.ls(f"{BACKENDS}/{domid}"):
                key = int(domid), int(handle)
                if key in self.backends or not vifs.is_ours(self.store, f"{BACKENDS}/{domid}/{handle}"):
                    continue
                mine = self.own.get(key[1]) if key[0] == 0 else None
                backend = vifs.Backend(self.store, self.router, self.policy, *key, mine,
                                       self.settings.segments, self.settings.exceptions_of)
                backend.index = self.connected.pop(key, None)
                self.backends[key] = backend
                for path in backend.paths():
                    self.xs.watch(path, backend)

    def step_all(self):
        for key, backend in list(self.backends.items()):
            if backend.step():
                continue
            for path in backend.paths():
                self.xs.unwatch(path, backend)
            del self.backends[key]
        self.set_up_own()
        self.tell_services()

    def set_up_own(self):
        """What depends on interfaces being connected."""
        for handle, mine in self.own.items():
            backend = self.backends.get((0, handle))
            index = backend.index if backend else None
            if index is None:
                self.ready.discard(handle)
            elif handle not in self.ready:
                mine.set_up()
                self.ready.add(handle)
        if own.UP in self.ready:
            self.own[own.UP].index = self.backends[0, own.UP].index
            self.own[own.UP].serve(self.networks())
            self.own[own.UP].let_in(self.stations())

    def tell_services(self):
        guests = {key: b for key, b in self.backends.items() if key[0] and b.index is not None}
        self.clients = {key: self.clients[key] if key in self.clients and self.clients[key] and
                        self.clients[key].number == b.index else b.client() for key, b in guests.items()}
        self.services.update({c.number: c for c in self.clients.values() if c})

    def networks(self):
        """Those behind the router: it answers on the wire for single addresses."""
        return {p for v in self.router.vifs() if v.kind == hypercall.ROUTED for p in v.prefixes}

    def stations(self):
        """Those that are on the bridge themselves."""
        return {v.mac for v in self.router.vifs() if v.kind == hypercall.SWITCHED and v.segment == self.settings.wire}

    def refresh(self):
        """What nobody tells of when it changes."""
        for mine in [m for m in self.waiting if m.possible()]:
            mine.create()
            self.waiting.remove(mine)
        if own.UP in self.ready:
            self.own[own.UP].refresh(self.router)
        if own.CTL in self.ready:
            self.services.start()

    def is_starting(self):
        return self.waiting or self.ready != self.own.keys() or not self.services.control

    def run(self):
        self.xs.watch(BACKENDS, BACKENDS)
        due = time.monotonic()
        while True:
            left = due - time.monotonic()
            if left <= 0:
                self.refresh()
                due = time.monotonic() + (SOON if self.is_starting() else REFRESH)
                continue
            control = [self.services.control] if self.services.control else []
            ready = select.select([self.xs.fileno(), *control], [], [], left)[0]
            if control and control[0] in ready:
                self.services.answer()
            if self.xs.fileno() in ready:
                self.xs.read_watch()
                self.find_new()
                self.step_all()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    args = parser.parse_args()
    logging.basicConfig(format="%(name)s: %(message)s",
                        level=logging.INFO if args.verbose else logging.WARNING)
    try:
        daemon = Daemon()
    except (settings.BadSetting, policy.Refused) as why:
        print(f"netd: {why}", file=sys.stderr)
        return 3
    except OSError as why:
        print(f"netd: {why}: this must run as root in domain 0 on Serai, with rules in {policy.FILE}",
              file=sys.stderr)
        return 2
    try:
        daemon.run()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
