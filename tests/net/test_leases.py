"""The real backend's half in domain 0, over the hypervisor's code instead of its hypercall."""
import ctypes
import math
import os

import lease
import leases
import rsip
from host import GATEWAY, X, Info, Leases, Order, vif
from test_rsip import Host, block
import rsip_wire as wire


class Operation(ctypes.Structure):
    """struct serai_vfr_lease"""
    _fields_ = [("op", ctypes.c_uint32), ("events", ctypes.c_uint32), ("order", Order),
                ("cursor", ctypes.c_uint32), ("capacity", ctypes.c_uint32),
                ("count", ctypes.c_uint32), ("reserved", ctypes.c_uint32),
                ("entries", ctypes.c_uint64), ("now", ctypes.c_int64), ("epoch", ctypes.c_int64)]


class Call:
    def __init__(self, world):
        self.world = world
        self.page = bytearray(4096)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))

    def __call__(self):
        op = Operation.from_address(self.address)
        rc = 0
        if op.op == leases.LIST:
            cursor, at = ctypes.c_uint32(op.cursor), op.entries
            assert self.address < at and at + op.capacity * 48 <= self.address + 4096
            out = (Info * op.capacity).from_address(at)
            op.count = self.world.lib.host_list(self.world.world, ctypes.byref(cursor), out, op.capacity)
            op.cursor = cursor.value
        else:
            rc = self.world.change(op.order)
        op.now, op.epoch = self.world._ns(), 7 * 10**9
        if rc:
            raise OSError(-rc, os.strerror(-rc))


def create():
    world = Leases(leases=300)
    return world, leases.Leases(Call(world), lambda: world.time - 500)


def test_orders_and_lists():
    assert ctypes.sizeof(Operation) == leases.RESULT.size == 88
    assert ctypes.sizeof(Info) == leases.INFO.size and ctypes.sizeof(Order) == leases.ORDER.size
    world, backend = create()
    assert backend.now() == world.time == 1000 and backend.epoch() == 7
    v = vif(3)
    got = backend.grant(v, lease.BLOCK, 0, 12, 600, lease.BY_DHCP)
    assert world.owner(X, 0, got.start) == 3 and got.ends == 1600
    for port in range(1, 51):
        backend.grant(vif(4 + port // 26), lease.STREAM, port, 0, 0, lease.BY_PCP)
    assert backend.leases(v) == [got] and len(backend.leases(vif(4))) == 25
    assert all(l.ends == math.inf and l.origin == lease.BY_PCP for l in backend.leases(vif(5)))
    # Another domain with that interface's number has nothing.
    assert backend.leases(lease.Vif(3, b"?" * 16, 1, X)) == []
    backend.extend(got.number, 900)
    assert backend.leases(v)[0].ends == 1900
    try:
        backend.grant(vif(9), lease.BLOCK, got.start, 12, 0, 0)
        assert False
    except lease.Refused as r:
        assert r.why == lease.BUSY
    backend.revoke(got.number, 60)
    assert backend.leases(v)[0].state == lease.DRAINING
    backend.free(got.number)
    assert backend.leases(v) == [] and world.owner(X, 0, got.start) == 0x2003


def test_the_server_over_it():
    world, backend = create()
    host = Host(rsip.Server(backend, GATEWAY), vif(1))
    host.register()
    kind, got = host.assign(block(0, 12), (wire.LEASE_TIME, 700))
    assert kind == wire.ASSIGN_RESPONSE and len(backend.leases(host.vif)) == 1
    world.advance(700)
    assert len(host.server.tick()) == 2 and not host.server.clients
