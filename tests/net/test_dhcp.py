"""DHCP: the shared address, the way out, the ports."""
import random
import socket
from unittest import mock

import dhcp
import lease
import serve
from host import GATEWAY, X, Leases, vif

SHARED, ROUTER = X.to_bytes(4, "big"), GATEWAY.to_bytes(4, "big")


def message(interface, kind, options=b"", ciaddr=bytes(4), mac=None):
    head = b"\x01\x01\x06\x00" + b"xid!" + bytes(2) + b"\x80\x00" + ciaddr + bytes(12)
    head += (mac or interface.mac) + bytes(202) + dhcp.MAGIC
    return head + bytes([53, 1, kind]) + options + b"\xff"


def read(reply):
    assert reply[:3] == b"\x02\x01\x06" and reply[4:8] == b"xid!" and len(reply) >= 300
    return reply[16:20], dhcp.options(reply[240:])


def test_address_routes_and_ports():
    leases = Leases()
    server, v = dhcp.Server(leases, GATEWAY, (0x01010101,)), vif(1)
    yours, got = read(server.receive(v, message(v, dhcp.DISCOVER)))
    block, = leases.leases(v)
    assert yours == SHARED and got[53] == b"\x02" and got[54] == ROUTER and got[1] == b"\xff" * 4
    assert got[121] == b"\x20" + ROUTER + bytes(4) + b"\x00" + ROUTER
    assert got[26] == b"\x05\xdc" and got[6] == b"\1\1\1\1" and got[51] == b"\0\0\x0e\x10"
    assert got[159] == bytes([0, 4]) + block.start.to_bytes(2, "big") and block.log2 == 12
    # Taken apart as RFC 7618 has it.
    bits = got[159][1]
    psid = int.from_bytes(got[159][2:], "big") >> (16 - bits)
    assert psid << (16 - bits) == block.start
    wanted = bytes([50, 4]) + SHARED
    yours, got = read(server.receive(v, message(v, dhcp.REQUEST, wanted)))
    assert yours == SHARED and got[53] == b"\x05" and len(leases.leases(v)) == 1
    yours, got = read(server.receive(v, message(v, dhcp.REQUEST, ciaddr=SHARED)))
    assert got[53] == b"\x05"
    yours, got = read(server.receive(v, message(v, dhcp.INFORM, ciaddr=SHARED)))
    assert yours == bytes(4) and got[53] == b"\x05" and 51 not in got
    assert 159 not in read(server.receive(v, message(v, dhcp.DISCOVER, b"\x37\x01\x79")))[1]
    assert 159 in read(server.receive(v, message(v, dhcp.DISCOVER, b"\x37\x02\x79\x9f")))[1]


def test_no():
    leases = Leases()
    server, v = dhcp.Server(leases, GATEWAY), vif(1)
    yours, got = read(server.receive(v, message(v, dhcp.REQUEST, b"\x32\x04\x0a\0\0\1")))
    assert yours == bytes(4) and got[53] == b"\x06" and leases.leases(v) == []
    for silent in (message(v, dhcp.REQUEST, b"\x36\x04\x0a\0\0\1\x32\x04" + SHARED),
                   message(v, dhcp.RELEASE, ciaddr=SHARED), message(v, dhcp.DECLINE), message(v, dhcp.OFFER),
                   message(v, dhcp.DISCOVER, mac=bytes(6)), message(v, 0), b"",
                   message(v, dhcp.DISCOVER)[:239], b"\2" + message(v, dhcp.DISCOVER)[1:],
                   message(v, dhcp.DISCOVER, b"\x37\x09"), message(v, dhcp.DISCOVER)[:240]):
        assert server.receive(v, silent) is None
    assert leases.leases(v) == []
    leases.grant(vif(2), lease.BLOCK, 32768, 15, 0, 0)
    leases.grant(vif(2), lease.BLOCK, 16384, 14, 0, 0)
    leases.grant(vif(2), lease.BLOCK, 8192, 13, 0, 0)
    leases.grant(vif(2), lease.BLOCK, 4096, 12, 0, 0)
    assert server.receive(v, message(v, dhcp.DISCOVER)) is None
    other = vif(3, shared=0)
    assert server.receive(other, message(other, dhcp.DISCOVER)) is None


def test_noise():
    rng, leases, answers = random.Random(11), Leases(), 0
    server, v = dhcp.Server(leases, GATEWAY), vif(1)
    for _ in range(20000):
        data = bytearray(message(v, rng.randrange(10), b"\x37\x02\x79\x9f\x32\x04" + SHARED))
        for _ in range(rng.randint(0, 3)):
            at = rng.choice((rng.randrange(len(data)), rng.randrange(236, len(data))))
            data[at] = rng.randrange(256)
        reply = server.receive(v, bytes(data[:rng.choice((300, rng.randrange(260)))]))
        leases.advance(0.1)
        if reply:
            answers += 1
            assert len(reply) >= 300 and dhcp.options(reply[240:]) is not None
    assert len(leases.leases(v)) == 1
    return "%d answers" % answers


def test_where_answers_go():
    """To the interface's own address; to who renews from the address that he has, to that."""
    v, sent = vif(1), []
    who = mock.Mock(by_mac=lambda mac: v if mac == v.mac else None)
    listeners = serve.Listeners(who, None, None, dhcp.Server(Leases(), GATEWAY))
    listeners.parts = [None, None, None, mock.Mock(sendto=lambda data, to: sent.append(to))]
    inside, shared = (socket.inet_ntoa(a.to_bytes(4, "big")) for a in (v.inside, v.shared))
    listeners._dhcp(message(v, dhcp.DISCOVER), ("0.0.0.0", 68))
    listeners._dhcp(message(v, dhcp.REQUEST, ciaddr=SHARED), (shared, 68))
    listeners._dhcp(message(v, dhcp.REQUEST, ciaddr=SHARED), ("0.0.0.0", 68))
    listeners._dhcp(message(v, dhcp.REQUEST, ciaddr=SHARED), (inside, 68))
    assert sent == [(inside, 68), (shared, 68), (inside, 68), (inside, 68)], sent
