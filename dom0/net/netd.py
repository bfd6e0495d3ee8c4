#!/usr/bin/python3
"""Serves domains' network interfaces by the hypervisor's virtual firewall router.

usage: netd.py [--verbose]

Takes the place of the kernel's xen-netback, which must not be loaded. If it ends, packets go on as
they did; started again, it takes over what is connected.
"""

import argparse
import contextlib
import logging
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), "/usr/lib/xen-4.17/lib/python"]
import xen.lowlevel.xs  # noqa: E402  (Debian's xen-utils)

import hypercall  # noqa: E402
import policy  # noqa: E402
import vifs  # noqa: E402

BACKENDS = "/local/domain/0/backend/vif"
log = logging.getLogger("netd")


class Store:
    """Xenstore as vifs.Backend wants it."""

    def __init__(self, handle, transaction=""):
        self.xs, self.id = handle, transaction

    def read(self, path):
        value = self.xs.read(self.id, path)
        return None if value is None else value.decode("utf-8", "replace")

    def write(self, path, value):
        self.xs.write(self.id, path, value)

    def ls(self, path):
        return self.xs.ls(self.id, path) or []

    @contextlib.contextmanager
    def transaction(self):
        """Not repeated: only this process writes there."""
        t = Store(self.xs, self.xs.transaction_start())
        yield t
        self.xs.transaction_end(t.id)


class Daemon:
    def __init__(self):
        self.xs = xen.lowlevel.xs.xs()
        self.store = Store(self.xs)
        self.router = hypercall.Router()
        self.policy = policy.Policy()
        if self.router.generation() == 0:
            self.policy.install(self.router, policy.FILE.read_text(), {})
        self.backends = {}  # (domid, handle): Backend
        self.connected = {(v.domid, v.handle): v.vif for v in self.router.vifs()}

    def find_new(self):
        for domid in self.store.ls(BACKENDS):
            for handle in self.store.ls(f"{BACKENDS}/{domid}"):
                key = int(domid), int(handle)
                if key in self.backends or not self.store.read(f"{BACKENDS}/{domid}/{handle}/frontend"):
                    continue
                backend = vifs.Backend(self.store, self.router, self.policy, *key)
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

    def run(self):
        self.xs.watch(BACKENDS, BACKENDS)
        while True:
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
        Daemon().run()
    except KeyboardInterrupt:
        return 130
    except (OSError, policy.Refused) as why:
        print(f"netd: {why}: this must run as root in domain 0 on Serai, with rules in {policy.FILE}",
              file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
