"""The servers as netd runs them: a process of their own, without rights, and what it may ask."""
import dataclasses
import ipaddress
import json
import math
import os
import select
import socket
import struct
import time
from unittest import mock

import hypercall
import lease
import log_records
import serve
import served
import services
from host import Leases, Skip, X, vif

LOOPBACK = 0x7f000001

class Table(Leases):
    """netd's."""

    def owner(self, address, port, classes):
        found = super().owner(address, classes.bit_length() - 1, port)
        return found & 0x3fff if found >> 14 else None

    def origin(self, number):
        return next((l.origin for v in (vif(1), vif(2)) for l in self.leases(v) if l.number == number), None)

class World:
    """Interface 1 is 127.0.0.1."""

    def __init__(self):
        if os.geteuid():
            raise Skip("only root can start what gives up its rights")
        self.ports = None
        self.services = services.Services(Table(), self.open)
        v = vif(1)
        self.vif = type(v)(v.number, v.uuid, LOOPBACK, v.shared, v.mac)
        self.services.update({1: self.vif})

    def open(self):
        sockets = serve.open_sockets("0.0.0.0", rsip_port=0, pcp_port=0)
        sockets.dhcp = serve.bound(socket.SOCK_DGRAM, "0.0.0.0", 0)
        self.ports = [s.getsockname()[1] for s in sockets.all()]
        return sockets

    def __enter__(self):
        self.services.start()
        return self

    def __exit__(self, *_):
        self.services.stop()

    def answer_until(self, condition):
        """netd's loop."""
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            if select.select([self.services.control], [], [], 0.1)[0]:
                self.services.answer()

    def ask(self, port, data, source="127.0.0.1"):
        """An answer by UDP."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((source, 0))
            s.sendto(data, ("127.0.0.1", port))
            self.answer_until(lambda: select.select([s], [], [], 0)[0])
            return s.recv(2048)

def test_a_mapping_by_a_process_of_nobody():
    with World() as world:
        said = world.ask(world.ports[2], struct.pack(">BBHHHI", 0, 2, 0, 80, 80, 600))
        assert struct.unpack(">BBH", said[:4]) == (0, 130, 0)
        held, = world.services.table.leases(world.vif)
        assert (held.start, held.log2, held.origin) == (80, 0, lease.BY_PCP)
        with open(f"/proc/{world.services.child.pid}/status", encoding="ascii") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        assert status["Uid"].split() == ["65534"] * 4
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1"
        root = f"/proc/{world.services.child.pid}/root"
        assert os.listdir(root) == []
        files = {os.readlink(f"/proc/{world.services.child.pid}/fd/{n}").split(":")[0]
                 for n in os.listdir(f"/proc/{world.services.child.pid}/fd")}
        assert not any(f.startswith("/dev/xen") for f in files), files

def test_who_sends_from_a_shared_address_is_known_by_the_port():
    asked = []

    def ask(*question):
        asked.append(question)
        return 1 if question == ("owner", X, 4100, lease.DATAGRAM) else None

    link = served.Link(None)
    link.ask = ask
    for number in (1, 2):
        v = vif(number)
        link.hear({"vif": [number, v.uuid.hex(), v.inside, v.shared, v.mac.hex(), 0]})
    assert link.by_source(vif(2).inside, 1, lease.DATAGRAM).number == 2 and not asked
    assert link.by_source(X, 4100, lease.DATAGRAM).number == 1
    assert link.by_source(X, 4100, lease.STREAM) is None
    asked.clear()
    assert link.by_source(0x0a000001, 4100, lease.DATAGRAM) is None and not asked
    assert link.by_mac(vif(1).mac).number == 1
    v = vif(3)
    link.hear({"vif": [3, v.uuid.hex(), v.inside, v.shared, vif(1).mac.hex(), 0]})
    assert link.by_mac(vif(1).mac) is None, "two have it"
    link.hear({"gone": 3})
    assert link.by_mac(vif(1).mac).number == 1


def renumbered(v, number):
    return dataclasses.replace(v, number=number)


def held(table, v):
    return [(l.start, l.log2, l.origin) for l in table.leases(v)]


def test_who_moves_or_is_restored_goes_on_with_its_ports():
    table, v = Table(), vif(1)
    s = services.Services(table, None)
    s.update({1: v})
    table.grant(v, lease.BLOCK, 8192, 12, 600, lease.BY_DHCP)
    table.grant(v, lease.STREAM, 80, 0, 0, hypercall.BY_SERAI)
    before = held(table, v)
    moved = renumbered(v, 5)
    s.update({1: v, 5: moved})
    assert held(table, v) == before and not held(table, moved), "both are there"
    for l in table.leases(v):
        table.free(l.number)  # as the hypervisor does
    s.update({5: moved})
    assert sorted(held(table, moved)) == sorted(before)
    assert [l.ends for l in table.leases(moved) if l.origin == hypercall.BY_SERAI] == [math.inf]
    for l in table.leases(moved):
        table.free(l.number)
    s.update({5: dataclasses.replace(moved, domid=7)})
    assert sorted(held(table, moved)) == sorted(before), "moved again, and got the number that was free"
    for l in table.leases(moved):
        table.free(l.number)
    s.update({})
    s.update({5: vif(2)})
    assert not held(table, renumbered(vif(2), 5)), "another domain's"
    table.advance(60)
    s.update({5: vif(2), 1: v})
    assert sorted(held(table, v)) == sorted(before), "restored"
    table.free(table.leases(v)[0].number)
    s.update({1: v})
    assert len(held(table, v)) == 1, "it gave that back itself"


def test_servers_are_started_again():
    with World() as world:
        first = world.services.child
        first.kill()
        world.answer_until(lambda: not world.services.child)
        world.services.start()
        assert not world.services.child, "at once"
        world.services.ended = -1e9
        world.services.start()
        said = world.ask(world.ports[2], b"\0\0")
        assert said[8:12] == X.to_bytes(4, "big")

def test_what_servers_may_not_ask_ends_them():
    for question in (["revoke", 1], ["grant", 1, 3, 4096, 12, 0, 1], ["grant", 1, 15, 0, 0, 0, 3],
                     ["free", "1"], ["free"], [], {}, 7, ["grant", 1, 3, -1, 12, 0, 4], ["extend", 1, 0], [[]],
                     ["free", True]):
        s = services.Services(Table(), None)
        s.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.child = type("Child", (), {"kill": lambda self: None, "wait": lambda self: None})()
        theirs.send(json.dumps(question).encode())
        s.answer()
        assert not s.child, question
        theirs.close()

def test_refused_leases_are_noted():
    """In the audit log, the first one at once, then how many there were."""
    notes, mine = [], dataclasses.replace(vif(1), domid=7, handle=2)
    s = services.Services(Table(), None, lambda op, target, after, origin: notes.append((op, target, after, origin)))
    s.update({1: mine})
    held = s.grant(1, lease.BLOCK, 0, 15, 0, lease.BY_RSIP)
    clock = [1000.0]
    with mock.patch.object(services.time, "monotonic", lambda: clock[0]):
        for n in range(5):
            try:
                s.grant(1, lease.BLOCK, 0, 15, 0, lease.BY_RSIP)
                raise AssertionError("granted")
            except lease.Refused as why:
                assert why.why == lease.NONE_LEFT
        assert len(notes) == 1
        clock[0] += services.REFUSED_EVERY
        try:
            s.grant(1, lease.STREAM, held[1], 0, 0, lease.BY_PCP)
            raise AssertionError("granted")
        except lease.Refused:
            pass
    (op, target, after, origin), (_, _, again, other) = notes
    assert (op, target, origin, other) == (log_records.LEASE_REFUSED, 1, lease.BY_RSIP, lease.BY_PCP)
    said = log_records.words(after)
    assert said["vif"] == "7.2" and said["error"] == "ENOSPC" and said["count"] == "1" and said["log2"] == "15"
    assert said["ip"] == str(ipaddress.IPv4Address(X)) and said["uuid"] == mine.uuid.hex()
    assert log_records.words(again)["count"] == "5" and log_records.words(again)["error"] == "EBUSY"


def test_a_full_log_is_no_reason_to_end():
    def full(*_, **__):
        raise OSError(28, "full")
    s = services.Services(Table(), None, full)
    s.update({1: vif(1)})
    try:
        s.grant(1, lease.BLOCK, 4097, 12, 0, lease.BY_RSIP)
        raise AssertionError("granted")
    except lease.Refused:
        pass


def test_a_lease_of_the_operators_is_not_theirs():
    s = services.Services(Table(), None)
    s.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.child = True
    operators = s.table.grant(vif(1), lease.BLOCK, 4096, 12, 0, 1)
    theirs.send(json.dumps(["free", operators.number]).encode())
    s.answer()
    assert json.loads(theirs.recv(1000))["error"] and len(s.table.leases(vif(1))) == 1
    s.child = s.control = None
    theirs.close()
