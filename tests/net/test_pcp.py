"""PCP and NAT-PMP: a port to itself or not at all."""
import random
import struct

import lease
import pcp
from host import X, Leases, vif

TCP, UDP = 6, 17
NONCE = b"nonce nonce!"


class Client:
    def __init__(self, leases=None, interface=None):
        self.leases = leases or Leases()
        self.vif = interface or vif(1)
        self.server = pcp.Server(self.leases)

    def raw(self, data, source=None):
        self.leases.advance(0.2)
        return self.server.receive(self.vif, source or self.vif.inside, data)

    def map(self, internal, proto=TCP, lifetime=3600, suggested=0, options=b"", nonce=NONCE):
        data = struct.pack(">BBHI", 2, 1, 0, lifetime) + pcp.mapped(self.vif.inside) + nonce
        data += struct.pack(">B3xHH", proto, internal, suggested) + bytes(16) + options
        reply = self.raw(data)
        version, op, _, result, life, epoch = struct.unpack(">BBBBII", reply[:12])
        assert (version, op) == (2, 0x81) and len(reply) % 4 == 0 and reply[12:24] == bytes(12)
        assert result or reply[24:42] == data[24:42]
        assert result or reply[42:60] == internal.to_bytes(2, "big") + pcp.mapped(X)
        return result, life, reply[60:]

    def owner(self, port, cls=0):
        return self.leases.owner(X, cls, port)


def prefer():
    return struct.pack(">BBH", 2, 0, 0)


def port_set(first, size):
    return struct.pack(">BBHHHB3x", 130, 0, 5, size, first, 0)


def test_map():
    c = Client()
    assert c.map(80) == (0, 3600, b"")
    assert c.owner(80) == 1 and c.owner(80, 1) == 0x3fff
    assert c.map(80, UDP, suggested=81)[0] == 0 and c.owner(80, 1) == 1
    assert c.map(443, lifetime=1)[1] == 120 and c.map(444, lifetime=2**32 - 1)[1] == 86400
    # It is the same mapping, with the same nonce only.
    c.leases.advance(3000)
    assert c.map(80) == (0, 3600, b"") and len(c.leases.leases(c.vif)) == 3
    assert c.map(80, nonce=b"another's!!!")[0] == pcp.NOT_AUTHORIZED
    assert c.map(80, lifetime=0, nonce=b"another's!!!")[0] == pcp.NOT_AUTHORIZED
    c.leases.advance(3000)
    assert c.owner(80) == 1
    assert c.map(80, lifetime=0)[:2] == (0, 0) and c.owner(80) == 0x2001
    assert c.map(80, lifetime=0)[:2] == (0, 0)


def test_restart_of_the_server():
    c = Client()
    assert c.map(80)[0] == 0 and c.map(8192, options=port_set(8192, 64))[0] == 0
    c.server = pcp.Server(c.leases)
    c.leases.advance(3000)
    assert c.map(80)[0] == 0 and c.map(8192, options=port_set(8192, 64))[0] == 0
    assert c.map(80, nonce=b"another's!!!")[0] == pcp.NOT_AUTHORIZED
    c.leases.advance(3000)
    assert c.owner(80) == 1 == c.owner(8200)
    assert c.map(80, lifetime=0)[0] == 0 and c.owner(80) == 0x2001


def test_prefer_failure():
    c = Client()
    assert c.map(80, options=prefer()) == (0, 3600, prefer())
    assert c.map(81, suggested=81, options=prefer())[0] == 0
    assert c.map(82, suggested=83, options=prefer())[0] == pcp.CANNOT_PROVIDE_EXTERNAL
    assert c.owner(82) == 0x3fff == c.owner(83)


def test_refusals():
    leases = Leases(leases=30)
    a, b = Client(leases), Client(leases, vif(2))
    assert a.map(80)[0] == 0
    assert b.map(80)[:2] == (pcp.CANNOT_PROVIDE_EXTERNAL, 30)
    a.map(80, lifetime=0)
    assert b.map(80)[0] == pcp.CANNOT_PROVIDE_EXTERNAL
    for port in range(100, 116):
        assert a.map(port)[0] == 0
    assert a.map(116)[:2] == (pcp.USER_EX_QUOTA, 30)
    for port in range(200, 213):
        assert b.map(port)[0] == 0
    assert b.map(213)[0] == pcp.NO_RESOURCES
    assert Client(leases, vif(3, shared=0)).map(90)[0] == pcp.NOT_AUTHORIZED


def test_own_block_needs_no_lease():
    c = Client()
    own = c.leases.grant(c.vif, lease.BLOCK, 8192, 12, 0, lease.BY_DHCP)
    assert c.map(9000)[0] == 0 and c.map(9001, UDP)[0] == 0
    assert c.map(9000, options=port_set(9000, 1000))[0] == 0
    assert c.map(9000, lifetime=0)[0] == 0
    assert [l.number for l in c.leases.leases(c.vif)] == [own.number] and c.owner(9000) == 1


def test_port_sets():
    c = Client()
    c.leases.grant(vif(2), lease.STREAM, 102, 0, 0, 0)
    result, life, options = c.map(200, options=port_set(200, 5))
    assert (result, options) == (0, port_set(200, 5))
    assert [c.owner(p) for p in range(199, 206)] == [0x3fff] + [1] * 5 + [0x3fff]
    # All of it or nothing, whoever has one of them.
    assert c.map(100, options=port_set(100, 5))[0] == pcp.CANNOT_PROVIDE_EXTERNAL
    assert c.owner(100) == c.owner(101) == 0x2001
    assert c.map(300, options=port_set(300, 12))[0] == pcp.USER_EX_QUOTA
    assert c.map(8192, options=port_set(8192, 1024) + prefer())[0] == 0
    assert c.owner(8192) == c.owner(9215, 1) == 1 and c.owner(9216) == 0x3fff
    assert c.map(8192, lifetime=0, options=port_set(8192, 1024))[0] == 0
    assert c.owner(9000) == 0x2001


def test_malformed():
    c = Client()
    good = struct.pack(">BBHI", 2, 1, 0, 3600) + pcp.mapped(c.vif.inside) + NONCE
    good += struct.pack(">B3xHH", TCP, 80, 0) + bytes(16)

    def result(data, source=None):
        reply = c.raw(data, source)
        return reply and reply[3]

    assert c.raw(b"") is c.raw(b"\2") is c.raw(b"\2\x81" + good[2:]) is None
    for cut in (2, 4, 20, 23, 25, 40, 56):
        assert result(good[:cut]) == pcp.MALFORMED_REQUEST, cut
    assert result(good + bytes(1044)) == pcp.MALFORMED_REQUEST
    assert result(b"\1" + good[1:]) == result(b"\3" + good[1:]) == pcp.UNSUPP_VERSION
    assert result(good, 5) == pcp.ADDRESS_MISMATCH
    assert result(good[:1] + b"\2" + good[2:]) == result(good[:1] + b"\x7f" + good[2:]) == \
        pcp.UNSUPP_OPCODE
    assert result(good[:1] + b"\0" + good[2:24]) == 0
    for code in (0, 1, 3, 4, 127):
        assert result(good + bytes([code, 0, 0, 0])) == pcp.UNSUPP_OPTION, code
    assert result(good + b"\x80\0\0\1abcd") == 0
    for option in (b"\x82\0\0\0", b"\2\0\0\1abcd", b"\x82\0\0\x09aaaa", port_set(80, 0), port_set(81, 1),
                   port_set(80, 65530), prefer() * 2):
        assert result(good + option) == pcp.MALFORMED_OPTION, option
    for proto, wanted in ((0, pcp.MALFORMED_REQUEST), (1, pcp.UNSUPP_PROTOCOL),
                          (50, pcp.UNSUPP_PROTOCOL), (132, 0)):
        assert result(good[:36] + bytes([proto]) + good[37:]) == wanted, proto
    assert result(good[:40] + bytes(2) + good[42:]) == pcp.CANNOT_PROVIDE_EXTERNAL


def test_epoch():
    c = Client()
    first = struct.unpack(">I", c.raw(b"\0\0")[4:8])[0]
    c.leases.advance(100)
    assert struct.unpack(">I", c.raw(b"\0\0")[4:8])[0] - first in (100, 101)


def test_nat_pmp():
    c = Client()

    def pmp(op, internal, wanted, seconds):
        reply = c.raw(struct.pack(">BBHHHI", 0, op, 0, internal, wanted, seconds))
        version, code, result, _, a, b, life = struct.unpack(">BBHIHHI", reply)
        assert (version, code, a) == (0, 128 + op, internal)
        return result, b, life

    reply = c.raw(b"\0\0")
    assert reply[:4] == b"\0\x80\0\0" and reply[8:] == X.to_bytes(4, "big")
    assert pmp(2, 22, 2222, 7200) == (0, 22, 7200) and c.owner(22) == 1
    assert pmp(1, 22, 0, 60) == (0, 22, 120) and c.owner(22, 1) == 1
    c.leases.grant(vif(2), lease.BLOCK, 23, 0, 0, 0)
    assert pmp(2, 23, 23, 7200) == (4, 0, 0)
    assert pmp(2, 24, 24, 7200)[0] == 0
    assert pmp(2, 22, 0, 0) == (0, 0, 0) and c.owner(22) == 0x2001 and c.owner(22, 1) == 1
    assert pmp(2, 0, 0, 0) == (0, 0, 0) and c.owner(24) == 0x2001 and c.owner(22, 1) == 1
    assert pmp(2, 0, 5, 0)[0] == pmp(2, 0, 5, 100)[0] == 2
    for bad in (b"\0\1", b"\0\0\0", b"\0\3" + bytes(10), b"\0\x7f"):
        assert c.raw(bad)[2:4] == b"\0\5"
    # A mapping with a nonce is not one of a client without.
    assert c.map(25)[0] == 0 and pmp(2, 25, 25, 100)[0] == 2


def test_noise():
    rng, c = random.Random(7), Client(Leases(leases=128))
    good = struct.pack(">BBHI", 2, 1, 0, 3600) + pcp.mapped(c.vif.inside) + NONCE
    good += struct.pack(">B3xHH", TCP, 80, 0) + bytes(16)
    seeds = [good, good + prefer(), good + port_set(80, 3), b"\0\0",
             struct.pack(">BBHHHI", 0, 1, 0, 70, 70, 600)]
    succeeded = 0
    for _ in range(30000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(0, 3)):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 255, rng.randrange(256)))
        if rng.randrange(4) == 0:
            data = data[:rng.randrange(len(data))] + rng.randbytes(rng.randrange(8))
        reply = c.raw(bytes(data))
        assert reply is None or (len(reply) <= 1100 and reply[1] & 0x80)
        if reply and reply[0] == 2 and len(reply) >= 60 and reply[1:4] == b"\x81\0\0":
            succeeded += 1
            assert reply[40:42] == reply[42:44]
        assert sum(not l.log2 for l in c.leases.leases(c.vif)) <= 16
        assert len(c.server.nonces) <= 64
    return "%d mapped" % succeeded
