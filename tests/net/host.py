"""The lease backend of the tests: the hypervisor's own code, its clock in our hands."""
import ctypes
import math
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "build", "net")
sys.path.insert(0, os.path.join(ROOT, "dom0", "net"))

import lease  # noqa: E402

GRANT, EXTEND, FREE, REVOKE, EXPIRE, RELEASE, SHARE, UNSHARE = range(1, 9)
NOBODY = 0x3fff
SECOND = 10**9


class Order(ctypes.Structure):
    _fields_ = [("op", ctypes.c_uint8), ("origin", ctypes.c_uint8), ("classes", ctypes.c_uint8),
                ("log2", ctypes.c_uint8), ("start", ctypes.c_uint16), ("vif", ctypes.c_uint16),
                ("ip", ctypes.c_uint32), ("id", ctypes.c_uint32), ("seconds", ctypes.c_uint32),
                ("spare", ctypes.c_uint32), ("uuid", ctypes.c_uint8 * 16)]


class Info(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint32), ("ip", ctypes.c_uint32), ("start", ctypes.c_uint16),
                ("vif", ctypes.c_uint16), ("log2", ctypes.c_uint8), ("classes", ctypes.c_uint8),
                ("state", ctypes.c_uint8), ("origin", ctypes.c_uint8), ("since", ctypes.c_int64),
                ("ends", ctypes.c_int64), ("uuid", ctypes.c_uint8 * 16)]


def library():
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "lease_host.so")
    sources = ["tests/net/lease_host.c"] + ["hv/core/vfr_%s.c" % n
                                            for n in ("ports", "lease", "lease_check")]
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu11", "-O2", "-g", "-shared", "-fPIC", "-Wall",
                    "-Werror", "-DSERAI_HOST", "-D__XEN_TOOLS__", "-Ihv", "-fvisibility=hidden",
                    "-o", path] + sources, cwd=ROOT, check=True)
    lib = ctypes.CDLL(path)
    lib.host_create.restype = ctypes.c_void_p
    lib.host_create.argtypes = [ctypes.c_uint32] * 3
    lib.host_change.argtypes = [ctypes.c_void_p, ctypes.POINTER(Order), ctypes.c_int64]
    lib.host_due.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(Order)]
    lib.host_list.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(Info),
                              ctypes.c_uint32]
    lib.host_owner.argtypes = [ctypes.c_void_p] + [ctypes.c_uint32] * 3
    lib.host_check.argtypes = lib.host_destroy.argtypes = [ctypes.c_void_p]
    return lib


class Skip(Exception):
    """What the test needs is not here."""


LIBRARY = None


class Leases:
    def __init__(self, addresses=(0xc0000201,), leases=256, leaves=64):
        global LIBRARY
        LIBRARY = LIBRARY or library()
        self.lib, self.time = LIBRARY, 1000.0
        self.world = self.lib.host_create(64, leases, leaves)
        for ip in addresses:
            assert self.change(Order(op=SHARE, ip=ip)) == 0

    def __del__(self):
        self.lib.host_destroy(self.world)

    def _ns(self):
        return int(self.time * SECOND)

    def change(self, order):
        rc = self.lib.host_change(self.world, ctypes.byref(order), self._ns())
        assert self.lib.host_check(self.world) == 0
        return rc

    def _done(self, order):
        rc = self.change(order)
        if rc:
            raise lease.Refused(rc)
        return order

    def advance(self, seconds):
        self.time += seconds
        order = Order()
        while self.lib.host_due(self.world, self._ns(), ctypes.byref(order)):
            assert self.lib.host_check(self.world) == 0

    # ---- as dom0/net/lease.py wants it ----

    def now(self):
        return self.time

    def epoch(self):
        return 0.0

    def grant(self, vif, classes, start, log2, seconds, origin):
        o = self._done(Order(op=GRANT, origin=origin, classes=classes, log2=log2, start=start,
                             vif=vif.number, ip=vif.shared, seconds=int(seconds),
                             uuid=(ctypes.c_uint8 * 16)(*vif.uuid)))
        return lease.Lease(o.id, o.start, log2, classes,
                           self.time + seconds if seconds else math.inf, origin)

    def extend(self, number, seconds):
        self._done(Order(op=EXTEND, id=number, seconds=int(seconds)))

    def free(self, number):
        self._done(Order(op=FREE, id=number))

    def revoke(self, number, seconds):
        self._done(Order(op=REVOKE, id=number, seconds=seconds))

    def _list(self, vif):
        """The domain's."""
        cursor, info, out = ctypes.c_uint32(0), (Info * 16)(), []
        while n := self.lib.host_list(self.world, ctypes.byref(cursor), info, 16):
            out += [lease.Lease(i.id, i.start, i.log2, i.classes,
                                math.inf if i.ends == 2**63 - 1 else i.ends / SECOND, i.origin,
                                i.state, i.vif)
                    for i in info[:n] if bytes(i.uuid) == vif.uuid]
        return out

    def leases(self, vif):
        return [l for l in self._list(vif) if l.vif == vif.number and l.state != lease.RESTING]

    def resting(self, vif):
        return [l for l in self._list(vif) if l.state == lease.RESTING]

    # ---- for tests ----

    def owner(self, ip, cls, port):
        return self.lib.host_owner(self.world, ip, cls, port)

    def everything(self):
        """All there is, for comparing."""
        cursor, info, out = ctypes.c_uint32(0), (Info * 16)(), []
        while n := self.lib.host_list(self.world, ctypes.byref(cursor), info, 16):
            out += [bytes(i) for i in info[:n]]
        return out


X = 0xc0000201
GATEWAY = 0xa9fe0001  # 169.254.0.1


def vif(number, **more):
    return lease.Vif(number, bytes([number]) * 16, 0x64400000 + number, more.pop("shared", X),
                     bytes([2, 0, 0, 0, 0, number]), **more)
