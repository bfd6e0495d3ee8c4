"""A hypervisor that logs, for tests: its own code, its clock in our hands, as hypercall.Router has it."""
import ctypes
import errno
import os
import random
import subprocess

import host
import hypercall
import lease
import log_records as r

SECOND = 10**9


class Ring(ctypes.Structure):
    _fields_ = [("magic", ctypes.c_uint32), ("size", ctypes.c_uint32), ("cpu", ctypes.c_uint16),
                ("boot", ctypes.c_uint16), ("reserved", ctypes.c_uint32), ("lost", ctypes.c_uint64),
                ("pad", ctypes.c_uint64 * 5), ("produced", ctypes.c_uint64), ("pad2", ctypes.c_uint64 * 7),
                ("consumed", ctypes.c_uint64), ("pad3", ctypes.c_uint64 * 7)]


class Entry(ctypes.Structure):
    _fields_ = [("origin", ctypes.c_uint8), ("op", ctypes.c_uint16), ("uid", ctypes.c_uint32),
                ("pid", ctypes.c_uint32), ("vif", ctypes.c_uint32), ("object", ctypes.c_uint64),
                ("before", ctypes.c_char_p), ("after", ctypes.c_char_p), ("before_len", ctypes.c_uint32),
                ("after_len", ctypes.c_uint32)]


def library():
    os.makedirs(host.OUT, exist_ok=True)
    path = os.path.join(host.OUT, "log_host.so")
    sources = ["tests/net/log_host.c", "hv/base/sha256.c"] + [
        "hv/core/vfr_%s.c" % n for n in ("log", "log_stream", "audit")]
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu11", "-O2", "-g", "-shared", "-fPIC", "-Wall",
                    "-Werror", "-DSERAI_HOST", "-D__XEN_TOOLS__", "-Ihv", "-fvisibility=hidden",
                    "-o", path] + sources, cwd=host.ROOT, check=True)
    lib = ctypes.CDLL(path)
    lib.host_create.restype = lib.host_data.restype = ctypes.c_void_p
    lib.host_ring.restype = ctypes.POINTER(Ring)
    lib.host_ring.argtypes = lib.host_data.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.host_flow.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32,
                              ctypes.c_uint16, ctypes.c_uint16]
    lib.host_tick.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    lib.host_audit.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.POINTER(Entry)]
    lib.host_head.restype = lib.host_lost.restype = ctypes.c_uint64
    lib.host_head.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.host_lost.argtypes = lib.host_destroy.argtypes = [ctypes.c_void_p]
    return lib


LIBRARY = None


class World:
    """hypercall.Router's half that reads logs, and what fills them."""

    def __init__(self, boot=7, utc=1_795_000_000 * SECOND):
        global LIBRARY
        LIBRARY = LIBRARY or library()
        self.lib, self.boot, self.utc = LIBRARY, boot, utc
        self.world = self.lib.host_create(boot)
        self.change(r.BEGIN, after=f"boot={boot} cpus=1", origin=0)

    def __del__(self):
        self.lib.host_destroy(self.world)

    # -- as hypercall.Router --

    def ring(self, number):
        return self.lib.host_ring(self.world, number == hypercall.RING_AUDIT).contents

    def log_state(self, number):
        ring = self.ring(number)
        head = ctypes.create_string_buffer(32)
        records = self.lib.host_head(self.world, head)
        return hypercall.LogState(ring.consumed, 0, 0, 0, ring.produced, ring.consumed, ring.lost, ring.size,
                                  self.boot, 1, 0, self.utc, records, head.raw)

    def log_read(self, number, at, room=1 << 16, done=hypercall.SAME):
        ring = self.ring(number)
        assert ring.consumed <= at <= ring.produced and (done == hypercall.SAME or ring.consumed <= done <= at)
        if done != hypercall.SAME:
            ring.consumed = done
        data = ctypes.string_at(self.lib.host_data(self.world, number == hypercall.RING_AUDIT), ring.size)
        size = min(room, ring.produced - at)
        begin = at % ring.size
        out = (data + data)[begin:begin + size]
        return out, self.log_state(number)._replace(at=at + size)

    def note(self, op, target, before="", after="", origin=hypercall.BY_DAEMON):
        self.change(op, target, before, after, origin=origin)

    def checkpoint(self):
        pass

    # -- what happens --

    def change(self, op, target=0, before="", after="", vif=0, origin=1):
        before, after = before.encode(), after.encode()
        e = Entry(origin, op, 0, os.getpid(), vif, target, before, after, len(before), len(after))
        rc = self.lib.host_audit(self.world, self.utc, ctypes.byref(e))
        if rc:
            raise OSError(errno.ENOBUFS if rc == -errno.EAGAIN else -rc, "refused")

    def connect(self, number, uuid, addresses):
        self.change(r.CONNECT, number, after=f"domid={number + 1} handle=0 uuid={uuid.hex()} kind=0 "
                    f"mac=020000000001 mtu=1500 may=0 macs=0 addresses={addresses}", vif=(number + 1) << 16)

    def disconnect(self, number, uuid):
        self.change(r.DISCONNECT, number, before=f"domid={number + 1} handle=0 uuid={uuid.hex()}",
                    vif=(number + 1) << 16, origin=0)

    def lease(self, order):
        """A host.Order that was checked, as the hypervisor writes it down."""
        ip = ".".join(str(order.ip >> shift & 255) for shift in (24, 16, 8, 0))
        self.change(r.LEASE, order.id if order.op < host.SHARE else order.ip,
                    after=f"op={order.op} ip={ip} start={order.start} log2={order.log2} classes={order.classes} "
                          f"vif={order.vif} seconds={order.seconds} uuid={bytes(order.uuid).hex()}",
                    vif=(order.vif + 1) << 16, origin=order.origin)

    def set_clock(self, utc):
        self.change(r.SET_CLOCK, before=f"utc={self.utc}", after=f"utc={utc}")
        self.utc = utc

    def flow(self, what, sport=4100, src=0xC0000201, dst=0x01020304, reason=24):
        return self.lib.host_flow(self.world, what, self.utc, src, dst, sport, reason)

    def tick(self):
        self.lib.host_tick(self.world, self.utc)
