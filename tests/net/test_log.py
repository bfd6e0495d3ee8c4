"""The daemon that stores records, the chain of changes, and who had a port when."""
import gzip
import os
import random
import shutil
import sqlite3
import struct
import tempfile

import audit
import host
import hypercall
import ipaddress
import log_records as r
import log_store
import logd
import who
from log_world import SECOND, World

NAMES = {number + 1: f"dom{number}" for number in range(8)}


class Place:
    """A directory that a store and its daemons are in."""

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="serai-log-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.home)

    def store(self, **how):
        return log_store.Store(self.home, **how)

    def daemon(self, world):
        return logd.Daemon(world, self.store(), lambda domid: NAMES.get(domid, ""))

    def run(self, world):
        """A daemon's life."""
        daemon = self.daemon(world)
        while daemon.step():
            pass
        daemon.store.close()

    def verify(self, world=None):
        store = self.store(writable=False)
        try:
            return audit.verify(store, world and world.log_state(hypercall.RING_AUDIT))
        finally:
            store.close()


def stored(place, *streams):
    store = place.store(writable=False)
    try:
        return [r.decode(*x) for x in store.records(*streams)]
    finally:
        store.close()


def numbers(records):
    return [x["seq"] for x in records]


def test_records_are_stored_once():
    with Place() as place:
        world = World()
        for port in range(100):
            world.flow(0, port)
            world.flow(1, port)
        place.run(world)
        place.run(world)
        flows = stored(place, "flow")
        assert numbers(flows) == list(range(200))
        assert flows[1]["end"] == "24" and flows[1]["packets"] == 3 and flows[1]["ms"] == 1500
        assert flows[0]["src"] == "192.0.2.1" and flows[0]["in"] == "5.0" and flows[0]["rule"] == 77


class Killed(Exception):
    pass


def kill_at(daemon, step):
    """The daemon dies at the n'th thing that it does to the outside; nothing after it happens."""
    left = [step]

    def dying(function):
        def call(*args, **more):
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            return function(*args, **more)
        return call
    daemon.router = type("R", (), {name: staticmethod(dying(getattr(daemon.router, name)))
                                   for name in ("log_state", "log_read", "note", "checkpoint")})()
    daemon.store._flush = dying(daemon.store._flush)
    daemon.store._append = dying(daemon.store._append)
    daemon.store._store = dying(daemon.store._store)
    return left


def test_killed_at_every_step():
    for step in range(0, 150, 3):
        with Place() as place:
            world = World()
            for port in range(20):
                world.flow(0, port)
                world.change(r.RULES, port, after="generation=1")
            daemon = place.daemon(world)
            kill_at(daemon, step)
            try:
                while daemon.step():
                    pass
            except Killed:
                pass
            for _, file in daemon.store.files.values():
                file.flush()  # as the kernel may have it
            daemon.store.db.close()
            world.flow(0, 99)
            place.run(world)
            assert numbers(stored(place, "flow")) == list(range(21)), step
            assert numbers(stored(place, "audit")) == list(range(21)), step
            place.verify(world)


def test_every_loss_is_accounted_for():
    with Place() as place:
        world, kept = World(), 0
        for round_ in range(5):
            kept += sum(world.flow(0, port) for port in range(900))
            place.run(world)
        world.flow(0, 1)
        place.run(world)
        records = stored(place, "flow")
        lost = sum(x["count"] for x in records if x["type"] == "gap")
        assert lost == world.lib.host_lost(world.world) > 0
        assert len(records) + lost == records[-1]["seq"] + 1
        store = place.store(writable=False)
        assert store.one("SELECT sum(count) AS n FROM gap")["n"] == lost


def test_full_audit_log_refuses():
    world = World()
    refused = 0
    for i in range(1000):
        try:
            world.change(r.RULES, i, after="generation=%d" % i)
        except OSError:
            refused += 1
    assert refused
    with Place() as place:
        place.run(world)
        world.change(r.RULES, 5000)
        place.run(world)
        assert len(stored(place, "audit")) == 1002 - refused
        place.verify(world)


def filled(place):
    world = World()
    for i in range(60):
        world.change(r.RULES, i, before="x" * i, after="generation=%d" % i)
    place.run(world)
    return world


def tampered(place, world, change):
    """What verification says after the change; None: it is content."""
    path = os.path.join(place.home, "audit-00000001.seg")
    with open(path, "rb") as file:
        good = file.read()
    change(path, good)
    try:
        place.verify(world)
        return None
    except audit.Broken as why:
        return str(why)
    finally:
        with open(path, "wb") as file:
            file.write(good)


def test_every_flipped_byte_is_found():
    with Place() as place:
        world = filled(place)
        assert place.verify(world)["records"] == 61
        size = os.path.getsize(os.path.join(place.home, "audit-00000001.seg"))
        for at in range(0, size, 97):
            def flip(path, good):
                with open(path, "wb") as file:
                    file.write(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
            assert tampered(place, world, flip), at


def test_a_cut_tail_is_found():
    with Place() as place:
        world = filled(place)
        for cut in (8, 64, 200, 1000):
            def cut_off(path, good):
                with open(path, "wb") as file:
                    file.write(good[:-cut])
            assert "cut" in tampered(place, world, cut_off)


def test_a_tail_cut_with_care_is_found():
    """Whoever cuts may change the database too; the hypervisor knows better, and the next start."""
    with Place() as place:
        world = filled(place)
        path = os.path.join(place.home, "audit-00000001.seg")
        with open(path, "rb") as file:
            records = r.split(file.read())[0]
        kept = records[:-3]
        with open(path, "wb") as file:
            file.write(b"".join(record for _, record in kept))
        db = sqlite3.connect(os.path.join(place.home, "store.db"))
        db.execute("UPDATE segment SET bytes = ?", (sum(len(x) for _, x in kept),))
        db.execute("DELETE FROM audit WHERE seq >= ?", (len(kept),))
        db.execute("UPDATE boot SET records = ?, head = ?", (len(kept), kept[-1][1][-32:].hex()))
        db.commit()
        db.close()
        assert place.verify()["complete"] is False
        try:
            place.verify(world)
        except audit.Broken as why:
            assert "cut off" in str(why)
        else:
            raise AssertionError("nothing was found")


def test_starts_of_the_machine():
    with Place() as place:
        first = filled(place)
        second = World(boot=9, utc=first.utc + 1000 * SECOND)
        daemon = place.daemon(second)
        daemon.begin()
        while daemon.step():
            pass
        daemon.store.close()
        assert place.verify(second)["starts"] == 2
        began = [x for x in stored(place, "audit") if x["op"] == "daemon-began"][0]
        assert "records=61" in began["before"]


def test_segments_are_closed_and_deleted():
    with Place() as place:
        world = filled(place)
        world.flow(0)
        daemon = place.daemon(world)
        for _ in range(3):
            while daemon.step():
                pass
            daemon.store.rotate(world.note, size=1)
            world.change(r.RULES, 1)
            world.flow(0)
        while daemon.step():
            pass
        assert numbers([r.decode(*x) for x in daemon.store.records("flow")]) == list(range(4))
        place.verify(world)
        daemon.store.prune(world.note, world.utc, {"flow": (30, 0)})
        while daemon.step():
            pass
        daemon.store.close()
        assert numbers(stored(place, "flow")) == [3]
        gone = [x for x in stored(place, "audit") if x["op"] == "deleted"]
        assert len(gone) == 3 and all("sha256=" in x["before"] for x in gone)
        place.verify(world)
        # One that nobody said was deleted.
        os.unlink(os.path.join(place.home, "audit-00000001.gz"))
        try:
            place.verify(world)
        except audit.Broken:
            return
        raise AssertionError("nothing was found")


def test_nothing_is_deleted_that_cannot_be_told():
    with Place() as place:
        world = World()
        world.flow(0)
        daemon = place.daemon(world)
        daemon.step()
        daemon.store.rotate(world.note, size=1)

        def full(*_):
            raise OSError("no room")
        try:
            daemon.store.prune(full, world.utc, {"flow": (30, 0)})
        except OSError:
            pass
        assert len(list(daemon.store.records("flow"))) == 1


def test_a_full_disk():
    with Place() as place:
        world = World()
        world.flow(0, 1)
        daemon = place.daemon(world)
        flush = daemon.store._flush

        def full():
            raise OSError(28, "no space left on device")
        daemon.store._flush = full
        assert daemon.careful_step() is False and daemon.in_trouble
        world.flow(0, 2)
        daemon.store._flush = flush
        while daemon.careful_step():
            pass
        assert not daemon.in_trouble
        assert numbers([r.decode(*x) for x in daemon.store.records("flow")]) == [0, 1]


def test_a_daemon_that_finds_a_full_log():
    with Place() as place:
        world = World()
        try:
            while True:
                world.change(r.RULES, 1)
        except OSError:
            pass
        daemon = place.daemon(world)
        daemon.run(lambda: True)
        daemon.store.close()
        ops = [x["op"] for x in stored(place, "audit")]
        assert ops[-2:] == ["daemon-began", "daemon-ended"]
        place.verify(world)


# ---- who ----

class Truth:
    """Who had which port at each moment, asked of the hypervisor's own lease code."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.leases, self.world = host.Leases(), World()
        self.vifs = [bytes([n + 1]) * 16 for n in range(4)]
        for number, uuid in enumerate(self.vifs):
            self.world.connect(number, uuid, f"192.0.2.1/32/shared,10.0.0.{number + 1}/32")
        self.samples = []  # (utc, port, owner or None, resting)
        self.ids = []

    def do(self, order):
        """Checked, written down, done."""
        rc = self.leases.change(order)
        if rc == 0:
            self.world.lease(order)
        return rc

    def step(self):
        choice = self.random.random()
        if choice < 0.4:
            number = self.random.randrange(4)
            size = self.random.choice((6, 7, 8, 12))
            start = self.random.randrange(4096 >> size, 8192 >> size) << size
            order = host.Order(op=host.GRANT, origin=1, classes=3, log2=size, start=start, vif=number, ip=host.X,
                               seconds=self.random.choice((0, 0, 50, 300)),
                               uuid=(host.ctypes.c_uint8 * 16)(*self.vifs[number]))
            if self.do(order) == 0:
                self.ids.append(order.id)
        elif choice < 0.7 and self.ids:
            op = self.random.choice((host.FREE, host.REVOKE, host.EXTEND))
            self.do(host.Order(op=op, origin=1, id=self.random.choice(self.ids),
                               seconds=self.random.choice((0, 40)) if op != host.EXTEND else 90))
        self.advance(self.random.choice((1, 5, 30, 70)))

    def advance(self, seconds):
        end = self.leases.time + seconds
        order = host.Order()
        # Ends of leases come at their time, one by one.
        while self.leases.time < end:
            self.leases.time += 1
            self.world.utc += SECOND
            while self.leases.lib.host_due(self.leases.world, self.leases._ns(), host.ctypes.byref(order)):
                self.world.lease(order)
        self.world.utc += SECOND // 2  # between two changes
        for _ in range(3):
            port = self.random.randrange(4096, 8192)
            word = self.leases.owner(host.X, 1, port)
            self.samples.append((self.world.utc, port, word & 0xFFF if word >> 12 < 2 else None,
                                 word >> 12 == 2))
        self.world.utc += SECOND // 2


def test_who_against_the_truth():
    asked = ambiguous = 0
    for seed in range(4):
        with Place() as place:
            truth = Truth(seed)
            for _ in range(150):
                truth.step()
                place.run(truth.world) if truth.random.random() < 0.2 else None
            place.run(truth.world)
            store = place.store(writable=False)
            for utc, port, owner, resting in truth.samples:
                found = who.ask(store, ipaddress.ip_address("192.0.2.1"), port, 17, utc, 0, flows=False)
                held = [c for c in found["candidates"] if c["status"] == "held"]
                if owner is not None:
                    assert [c["uuid"] for c in held] == [truth.vifs[owner].hex()], (seed, utc, port, found)
                else:
                    assert not held, (seed, utc, port, found)
                assert bool([c for c in found["candidates"] if c["status"] == "resting"]) == resting
                asked += 1
                wide = who.ask(store, ipaddress.ip_address("192.0.2.1"), port, 17, utc, 200 * SECOND, flows=False)
                assert all(c in wide["candidates"] or c["lease"] in [w["lease"] for w in wide["candidates"]]
                           for c in found["candidates"])
                seen = {truth.vifs[o].hex() for t, p, o, _ in truth.samples
                        if p == port and o is not None and abs(t - utc) <= 200 * SECOND}
                assert seen <= {c["uuid"] for c in wide["candidates"]}
                assert (wide["verdict"] == "ambiguous") == (len(wide["candidates"]) > 1)
                ambiguous += wide["verdict"] == "ambiguous"
            store.close()
    assert asked > 1000 and ambiguous > 10
    return f"{asked} instants, {ambiguous} ambiguous with a skew of 200 s"


def test_who_when_the_clock_steps():
    with Place() as place:
        world = World()
        t0 = world.utc
        address = ipaddress.ip_address("192.0.2.1")
        a, b = b"\1" * 16, b"\2" * 16

        def order(op, vif, uuid, number):
            return host.Order(op=op, origin=1, classes=3, log2=12, start=4096, vif=vif, ip=host.X, id=number,
                              uuid=(host.ctypes.c_uint8 * 16)(*uuid))
        world.lease(order(host.GRANT, 0, a, 1))
        world.utc = t0 + 100 * SECOND
        world.lease(order(host.FREE, 0, a, 1))
        world.lease(order(host.RELEASE, 0, a, 1))
        world.set_clock(t0 + 20 * SECOND)  # 80 s back
        world.utc = t0 + 30 * SECOND
        world.lease(order(host.GRANT, 1, b, 2))
        world.utc = t0 + 200 * SECOND
        world.change(r.RULES)
        place.run(world)
        store = place.store(writable=False)

        def names(seconds):
            found = who.ask(store, address, 4100, 6, t0 + seconds * SECOND, 0, flows=False)
            return found["verdict"], [c["uuid"][:2] for c in found["candidates"] if "held" in c["status"]]
        assert names(10) == ("one", ["01"])
        assert names(25) == ("one", ["01"])
        assert names(50) == ("ambiguous", ["01", "02"])  # the clock showed this twice
        assert names(150) == ("one", ["02"])
        assert names(-5) == ("not leased", [])


def test_who_had_an_address():
    with Place() as place:
        world = World()
        world.connect(0, b"\1" * 16, "10.0.0.1/32,20010db8000000000000000000000001/128")
        t = world.utc
        world.utc += 50 * SECOND
        world.flow(0, 4100, src=0x0A000001)
        world.disconnect(0, b"\1" * 16)
        world.utc += 50 * SECOND
        world.connect(1, b"\2" * 16, "10.0.0.1/32")
        place.run(world)
        store = place.store(writable=False)
        one = who.ask(store, *who.parse("10.0.0.1:4100/tcp"), t + 50 * SECOND, 0)
        assert [c["domain"] for c in one["candidates"]] == ["dom0"] and len(one["flows"]) == 1
        assert not who.ask(store, *who.parse("10.0.0.1:4100/tcp"), t + 70 * SECOND, 0)["candidates"]
        both = who.ask(store, *who.parse("10.0.0.1:4100/tcp"), t + 75 * SECOND, 30 * SECOND)
        assert both["verdict"] == "ambiguous"
        assert [c["domain"] for c in who.ask(store, *who.parse("[2001:db8::1]:1/17"), t, 0)["candidates"]] == ["dom0"]
        for wrong in ("10.0.0.1", "10.0.0.1:5", "10.0.0.1:70000/tcp", "10.0.0.1:5/tco", "x:5/tcp"):
            try:
                who.parse(wrong)
            except who.BadQuestion:
                continue
            raise AssertionError(wrong)


def test_the_store_refuses_two_owners():
    with Place() as place:
        store = place.store()
        row = ("192.0.2.1", 1, 4096, 8191)
        sql = "INSERT INTO lease(id, ip, class, lo, hi) VALUES (1, ?, ?, ?, ?)"
        store.db.execute(sql, row)
        for lo, hi in ((4096, 8191), (4096, 4159), (8000, 8063), (4000, 9000)):
            try:
                store.db.execute(sql, ("192.0.2.1", 1, lo, hi))
            except sqlite3.IntegrityError:
                continue
            raise AssertionError((lo, hi))
        store.db.execute(sql, ("192.0.2.1", 2, 4096, 8191))
