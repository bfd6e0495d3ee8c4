#!/usr/bin/python3
"""Takes the virtual firewall router's records out of the hypervisor's rings and stores them.

usage: logd.py [--verbose] [--home DIRECTORY]

If it ends, the hypervisor goes on: of flows it counts what is lost, changes it refuses once their
ring is full. Started again, it goes on where its store ends: nothing is lost or there twice.
"""

import argparse
import errno
import logging
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import hypercall  # noqa: E402
import log_records as r  # noqa: E402
import log_store  # noqa: E402

PAUSE = 0.1       # seconds between two looks at the rings
HOUSEKEEPING = 10
HOUR = 3600
log = logging.getLogger("logd")


def domain_name(domid):
    """As xenstore has it; '': it has none, or is gone."""
    try:
        said = subprocess.run(["xenstore-read", f"/local/domain/{domid}/name"], capture_output=True, text=True,
                              timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip()


class Daemon:
    def __init__(self, router, store, name_of=domain_name, clock=time.monotonic):
        self.router, self.store, self.name_of, self.clock = router, store, name_of, clock
        self.housekeeping = self.checkpoint = clock()
        self.in_trouble = False

    def begin(self):
        last = self.store.one("SELECT * FROM boot ORDER BY no DESC LIMIT 1")
        state = self.state(hypercall.RING_AUDIT)
        if last and state and last["boot"] == state.boot:
            last = self.store.one("SELECT * FROM boot WHERE no < ? ORDER BY no DESC LIMIT 1", last["no"])
        said = f"start={last['no']} records={last['records']} head={last['head']}" if last else ""
        self.note(r.DAEMON_BEGAN, 0, said, "logd")

    def note(self, op, target, before, after):
        self.router.note(op, target, before, after)

    def state(self, ring):
        try:
            return self.router.log_state(ring)
        except FileNotFoundError:
            return None

    def step(self):
        """True: there may be more at once."""
        state = self.state(hypercall.RING_AUDIT)
        if state is None:
            return False
        more = False
        for ring in [hypercall.RING_AUDIT, *range(state.cpus)]:
            more |= self.drain(ring)
        return more

    def drain(self, ring):
        state = self.state(ring)
        if state.consumed == state.produced:
            return False
        at, _ = self.store.position(ring, state.boot) or (state.consumed, 0)
        if not state.consumed <= at <= state.produced:
            log.error("ring %#x is not where the store says: somebody else reads it", ring)
            at = state.consumed
        data, _ = self.router.log_read(ring, at, done=at)
        if data:
            records, used = r.split(data)
            self.store.take(ring, state.boot, at + used, records, self.name_of)
            at += used
        _, state = self.router.log_read(ring, at, room=0, done=at)
        return state.consumed != state.produced

    def keep_house(self):
        now = self.clock()
        if now - self.housekeeping < HOUSEKEEPING:
            return
        self.housekeeping = now
        self.store.rotate(self.note)
        if now - self.checkpoint >= HOUR:
            self.checkpoint = now
            self.store.prune(self.note, self.state(hypercall.RING_AUDIT).utc)
            self.router.checkpoint()

    def careful_step(self):
        """A full disk is no reason to end: what is not stored stays in the ring, and fills it."""
        try:
            more = self.step()
            self.keep_house()
            if self.in_trouble:
                log.error("records are stored again")
            self.in_trouble = False
            return more
        except (OSError, sqlite3.Error) as why:
            if isinstance(why, OSError) and why.errno in (errno.ENOSYS, errno.EPERM):
                raise
            if not self.in_trouble:
                log.error("nothing is stored: %s; soon changes will be refused", why)
            self.in_trouble = True
            return False

    def say(self, function, *what):
        """A note, for which there is room when what was there is stored."""
        while self.careful_step():
            pass
        try:
            function(*what)
        except OSError as why:
            if why.errno != errno.ENOBUFS:
                raise
            log.error("the audit log is full, and nothing is stored")

    def run(self, until):
        self.say(self.begin)
        while not until():
            if not self.careful_step():
                time.sleep(1 if self.in_trouble else PAUSE)
        self.say(self.note, r.DAEMON_ENDED, 0, "logd", "")
        while self.careful_step():
            pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    parser.add_argument("--home", default=log_store.HOME, type=pathlib.Path)
    args = parser.parse_args()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO if args.verbose else logging.WARNING)
    ended = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.append(True))
    try:
        Daemon(hypercall.Router(), log_store.Store(args.home)).run(lambda: ended)
    except OSError as why:
        print(f"logd: {why}: this must run as root in domain 0 on Serai", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
