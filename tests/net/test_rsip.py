"""The RSIP server: every message in every state with every defect, transcripts, time, noise."""
import copy
import itertools
import random
import struct

import lease
import rsip
import rsip_wire as wire
from host import GATEWAY, X, Leases, vif

NETS = ((0x64400000, 0xffc00000),)
UDP, TCP = rsip.UDP, rsip.TCP

C, B, A, P, L, T = (wire.CLIENT_ID, wire.BIND_ID, wire.ADDRESS, wire.PORTS, wire.LEASE_TIME,
                    wire.TUNNEL)
ANY_ADDRESS, ANY_PORT = (A, b"\x01"), (P, b"\x01")


class Host:
    """A host by the book; its answers as (type, {parameter: [values]})."""

    def __init__(self, server, interface, transport=UDP):
        self.server, self.vif, self.transport = server, interface, transport
        self.count, self.client = 0, None

    def tlvs(self, *parameters):
        self.count = self.count % 0xffffffff + 1
        return list(parameters) + ([(wire.COUNTER, self.count)] if self.transport == UDP else [])

    def send(self, data):
        reply = self.server.receive(self.vif, self.transport, "peer", data)
        return None if reply is None else read(reply)

    def say(self, kind, *parameters):
        return self.send(wire.build(kind, *self.tlvs(*parameters)))

    def register(self):
        kind, got = self.say(wire.REGISTER_REQUEST)
        assert kind == wire.REGISTER_RESPONSE, got
        self.client = number(got[C][0])
        return got

    def me(self):
        return (C, self.client if self.client is not None else 77)

    def assign(self, *more, ports=ANY_PORT, kind=wire.ASSIGN_REQUEST):
        return self.say(kind, self.me(), ANY_ADDRESS, ports, ANY_ADDRESS, ANY_PORT, *more)


def number(value):
    return int.from_bytes(value, "big")


def read(reply):
    """Written apart from the server's own: (type, {parameter: [bytes]}, in order)."""
    assert reply[0] == 1 and number(reply[2:4]) == len(reply) <= 2048
    got, at = {}, 4
    while at < len(reply):
        kind, length = struct.unpack(">BH", reply[at:at + 3])
        assert at + 3 + length <= len(reply)
        got.setdefault(kind, []).append(reply[at + 3:at + 3 + length])
        at += 3 + length
    return reply[1], got


def error(answer):
    return number(answer[1][wire.ERROR][0]) if answer and answer[0] == wire.ERROR_RESPONSE else None


def world(**more):
    leases = Leases(**more)
    return leases, rsip.Server(leases, GATEWAY, NETS)


def block(start, log2, flags=0):
    return (wire.VENDOR, struct.pack(">HHHBB", 65535, 1, start, log2, flags))


def run(count, *numbers):
    return (P, struct.pack(">B%dH" % len(numbers), count, *numbers))


# ---- every message, every state, every defect ----

STATES = ("unregistered", "registered", "assigned")
# What a well-formed message gets in each state.
GOOD = {
    wire.REGISTER_REQUEST: (wire.REGISTER_RESPONSE, 302, 302),
    wire.DEREGISTER_REQUEST: (301, wire.DEREGISTER_RESPONSE, wire.DEREGISTER_RESPONSE),
    wire.ASSIGN_REQUEST: (301, wire.ASSIGN_RESPONSE, wire.ASSIGN_RESPONSE),
    wire.EXTEND_REQUEST: (301, 306, wire.EXTEND_RESPONSE),
    wire.FREE_REQUEST: (301, 306, wire.FREE_RESPONSE),
    wire.QUERY_REQUEST: (301, wire.QUERY_RESPONSE, wire.QUERY_RESPONSE),
    wire.LISTEN_REQUEST: (301, wire.LISTEN_RESPONSE, wire.LISTEN_RESPONSE),
}


def in_state(state, transport):
    leases, server = world()
    host = Host(server, vif(1), transport)
    bind = 4242
    if state != "unregistered":
        host.register()
    if state == "assigned":
        kind, got = host.assign()
        assert kind == wire.ASSIGN_RESPONSE
        bind = number(got[B][0])
    return leases, server, host, bind


def well_formed(host, kind, bind):
    parameters = {
        wire.REGISTER_REQUEST: [],
        wire.DEREGISTER_REQUEST: [host.me()],
        wire.ASSIGN_REQUEST: [host.me(), ANY_ADDRESS, run(4), ANY_ADDRESS, ANY_PORT],
        wire.EXTEND_REQUEST: [host.me(), (B, bind)],
        wire.FREE_REQUEST: [host.me(), (B, bind)],
        wire.QUERY_REQUEST: [host.me()],
        wire.LISTEN_REQUEST: [host.me(), ANY_ADDRESS, run(1, 80), ANY_ADDRESS, ANY_PORT],
    }[kind]
    return host.tlvs(*((k, wire.encode(k, v)) for k, v in parameters))


def defects(kind, tlvs, transport):
    """(name, bytes, error code or None: it is none)"""
    def built(parameters):
        return wire.build(kind, *parameters)

    good = built(tlvs)
    encoded = [(k, wire.encode(k, v)) for k, v in tlvs]
    yield "none", good, None
    yield "nothing", b"", 207
    yield "one byte", good[:1], 207
    yield "three bytes", good[:3], 207
    yield "version 0", b"\x00" + good[1:], 106
    yield "version 2", b"\x02" + good[1:], 106
    yield "version 2 and cut", b"\x02" + good[1:4], 106
    yield "length 0", good[:2] + b"\0\0" + good[4:], 207
    yield "length too small", good[:2] + struct.pack(">H", len(good) - 1) + good[4:], 207
    yield "length too large", good[:2] + struct.pack(">H", len(good) + 1) + good[4:], 207
    yield "more than 2 KiB", built(tlvs + [(wire.VENDOR, bytes(2048))]), 207
    yield "17 parameters", built(tlvs + [(wire.VENDOR, bytes(4))] * (17 - len(tlvs))), 207
    yield "16 parameters", built(tlvs + [(wire.VENDOR, bytes(4))] * (16 - len(tlvs))), None
    for extra in (b"\x04", b"\x04\x00", b"\x04\x00\x05abcd", b"\xff\xff\xff"):
        cut = good[:2] + struct.pack(">H", len(good) + len(extra)) + good[4:] + extra
        yield "cut parameter %r" % extra, cut, 207
    for unknown in (0, 13, 21, 23, 255):
        yield "parameter %d" % unknown, built(encoded + [(unknown, b"abcd")]), 204
    yield "somebody's parameter", built(encoded + [(wire.VENDOR, b"\x00\x09\x00\x01hello")]), None
    yield "cut vendor", built(encoded + [(wire.VENDOR, b"\x00\x09\x00")]), 205
    yield "our vendor's other one", built(encoded + [(wire.VENDOR, b"\xff\xff\x00\x02")]), None
    yield "cut block", built(encoded + [(wire.VENDOR, b"\xff\xff\x00\x01\x10\x00\x0c")]), 205
    two_blocks = [block(0, 12), block(0, 12)]
    yield "two blocks", built(encoded + two_blocks), 202 if kind == wire.ASSIGN_REQUEST else 202
    if kind != wire.ASSIGN_REQUEST:
        yield "a block", built(encoded + [block(0, 12)]), 203
    for k, value in [(wire.METHOD, b"\2"), (wire.ERROR, b"\1\2"), (wire.FLOW_POLICY, b"\1\3"),
                     (wire.SPI, b"\0\0")]:
        yield "foreign %d" % k, built(encoded + [(k, value)]), 203
        yield "foreign %d, too long" % k, built(encoded + [(k, value + b"\0")]), 205
        yield "foreign %d twice" % k, built(encoded + [(k, value)] * 2), 202
    yield "any order", built(reversed_singles(encoded)), None
    for i, (k, value) in enumerate(encoded):
        rest = encoded[:i] + encoded[i + 1:]
        yield "%d. parameter away" % i, built(rest), \
            (105 if transport == UDP else None) if k == wire.COUNTER else 201
        yield "%d. parameter empty" % i, built(encoded[:i] + [(k, b"")] + encoded[i + 1:]), 205
        longer = built(encoded[:i] + [(k, value + b"\0")] + encoded[i + 1:])
        yield "%d. parameter longer" % i, longer, 205
        yield "%d. parameter too often" % i, built(encoded[:i + 1] + [(k, value)] * 2 + rest[i:]), \
            202
    if transport == UDP:
        zero = [(k, bytes(4) if k == wire.COUNTER else v) for k, v in encoded]
        yield "counter 0", built(zero), 205
    for bad in (b"\0", b"\x05", b"\x01abc", b"\x01abcde", b"\x03abcd"):
        yield "address %r" % bad, built(encoded + [(A, bad)]), 205
    for bad in (b"\0", b"\0\0\x50", b"\x02\0", b"\x02\0\1\0\2\0\3", b"\x02\0\1\0\1", b"\x02\xff\xff",
                b"\x02\0\1\0\0"):
        yield "ports %r" % bad, built(encoded + [(P, bad)]), 205


def reversed_singles(encoded):
    """Parameters that come once may come anywhere."""
    once = [p for p in encoded if sum(k == p[0] for k, _ in encoded) == 1]
    return [p for p in reversed(once)] + [p for p in encoded if p not in once]


def snapshot(leases, server):
    return leases.everything(), copy.deepcopy(server.clients)


def test_every_message_in_every_state_with_every_defect():
    cases = 0
    for transport, (s, state), kind in itertools.product((UDP, TCP), enumerate(STATES), GOOD):
        probe = in_state(state, transport)
        names = defects(kind, well_formed(probe[2], kind, probe[3]), transport)
        for i, (name, data, code) in enumerate(names):
            leases, server, host, bind = in_state(state, transport)
            before = snapshot(leases, server)
            where = "%s, %s, message %d, %s" % (transport, state, kind, name)
            answer = host.send(data)
            wanted = code or GOOD[kind][s]
            if wanted > 100:
                assert error(answer) == wanted, "%s: %s, not %s" % (where, answer, wanted)
                assert snapshot(leases, server) == before, where + ": an error changed something"
            else:
                assert answer[0] == wanted, "%s: %s, not %s" % (where, answer, wanted)
            cases += 1
    return "%d cases" % cases


def test_every_type():
    for transport, state in itertools.product((UDP, TCP), STATES):
        leases, server, host, _ = in_state(state, transport)
        before = snapshot(leases, server)
        for kind in range(256):
            if kind in GOOD:
                continue
            leases.advance(1)
            wanted = 208 if kind in (6, 22) else 206
            assert error(host.say(kind, host.me())) == wanted, kind
        assert snapshot(leases, server)[1] == before[1]


def test_errors_of_identity():
    for transport in (UDP, TCP):
        leases, server, host, bind = in_state("assigned", transport)
        before = snapshot(leases, server)
        for kind in set(GOOD) - {wire.REGISTER_REQUEST}:
            tlvs = well_formed(host, kind, bind)
            wrong = [(k, number(v) + 1 if k == C else v) for k, v in tlvs]
            assert error(host.send(wire.build(kind, *wrong))) == 305, kind
        for kind in (wire.EXTEND_REQUEST, wire.FREE_REQUEST):
            answer = host.say(kind, host.me(), (B, bind + 1))
            assert error(answer) == 306 and number(answer[1][B][0]) == bind + 1
            assert number(answer[1][C][0]) == host.client
        assert snapshot(leases, server) == before
        assert number(host.say(wire.REGISTER_REQUEST)[1][C][0]) == host.client


def test_errors_of_policy_and_resources():
    leases, server, host, bind = in_state("registered", UDP)
    other = vif(2)
    taken = leases.grant(other, lease.BLOCK, 8192, 12, 0, 0)
    leases.grant(other, lease.BLOCK, 443, 0, 0, 0)
    rest = leases.grant(other, lease.BLOCK, 444, 0, 0, 0)
    leases.free(rest.number)
    own, foreign = X.to_bytes(4, "big"), (X + 1).to_bytes(4, "big")
    listen = wire.LISTEN_REQUEST
    for name, wanted, ask in [
            ("lease 0", 205, lambda: host.assign((L, 0))),
            ("GRE", 307, lambda: host.assign((T, 2))),
            ("L2TP", 307, lambda: host.assign((T, 3))),
            ("GRE or L2TP", 307, lambda: host.assign((T, 2), (T, 3), kind=listen)),
            ("block of 32", 205, lambda: host.assign(block(0, 5))),
            ("block of 65536", 205, lambda: host.assign(block(0, 16))),
            ("block of 2^255", 205, lambda: host.assign(block(0, 255))),
            ("block askew", 205, lambda: host.assign(block(4100, 12))),
            ("block too low", 205, lambda: host.assign(block(2048, 11))),
            ("block with flags", 205, lambda: host.assign(block(0, 12, 1))),
            ("block taken", 311, lambda: host.assign(block(8192, 12))),
            ("port not ours", 313, lambda: host.assign(ports=run(1, 80))),
            ("port taken", 311, lambda: host.assign(ports=run(1, 443), kind=listen)),
            ("port at rest", 309, lambda: host.assign(ports=run(1, 444), kind=listen)),
            ("ports, one taken", 311, lambda: host.assign(ports=run(3, 441), kind=listen)),
            ("too many ports", 309, lambda: host.assign(ports=run(17, 100), kind=listen))]:
        before = snapshot(leases, server)
        leases.advance(1)
        assert error(ask()) == wanted, name
        if name != "ports, one taken":
            assert snapshot(leases, server) == before, name
    assert server.clients[1].binds == {}
    # What had been had of a request that failed is given back.
    assert leases.owner(X, 0, 441) == leases.owner(X, 0, 442) == 0x2001
    for name, wanted, local, remote in [
            ("IPv6", 308, b"\x03" + own * 4, b"\x01"), ("a name", 205, b"\x04host", b"\x01"),
            ("a mask", 205, b"\x02" + own, b"\x01"), ("another's", 312, b"\x01" + foreign, b"\x01"),
            ("to a mask", 205, b"\x01" + own, b"\x02" + own)]:
        leases.advance(1)
        answer = host.say(wire.ASSIGN_REQUEST, host.me(), (A, local), ANY_PORT, (A, remote), ANY_PORT)
        assert error(answer) == wanted, name
    leases.free(taken.number)
    denied = Host(server, vif(9, register=False))
    assert error(denied.say(wire.REGISTER_REQUEST)) == 304
    nothing = Host(server, vif(8, shared=0))
    assert error(nothing.say(wire.REGISTER_REQUEST)) == 304


def test_transports_do_not_mix():
    for first, second, code in ((UDP, TCP, 207), (TCP, UDP, 102)):
        leases, server, host, bind = in_state("assigned", first)
        host.transport = second
        before = snapshot(leases, server)
        assert error(host.say(wire.QUERY_REQUEST, host.me())) == code
        assert snapshot(leases, server) == before
        # Who has lost all begins again as it likes.
        assert error(host.say(wire.REGISTER_REQUEST)) == 302
        assert host.say(wire.DEREGISTER_REQUEST, host.me())[0] == wire.DEREGISTER_RESPONSE


# ---- what is given ----


def test_block():
    leases, server, host, _ = in_state("registered", UDP)
    kind, got = host.assign(block(0, 12), (T, wire.TUNNEL_NATIVE), (L, 1000))
    assert kind == wire.ASSIGN_RESPONSE
    start, log2, flags = struct.unpack(">HBB", got[wire.VENDOR][0][4:])
    assert log2 == 12 and start % 4096 == 0 and start >= 4096 and not flags
    assert got[P][0] == struct.pack(">BH", 255, start) and got[A][0] == b"\x01" + X.to_bytes(4, "big")
    assert number(got[T][0]) == 241 and len(got[A]) == 2 and number(got[L][0]) == 1000
    assert leases.owner(X, 0, start + 4095) == leases.owner(X, 1, start) == 1
    leases.advance(900)
    kind, got = host.say(wire.EXTEND_REQUEST, host.me(), (B, got[B][0]), (L, 500))
    assert kind == wire.EXTEND_RESPONSE and number(got[L][0]) == 500
    leases.advance(400)
    assert server.tick() == [] and leases.owner(X, 0, start) == 1
    leases.advance(100)
    told = [read(m) for _, m in server.tick()]
    assert [k for k, _ in told] == [wire.FREE_RESPONSE, wire.DEREGISTER_RESPONSE]
    assert [number(t[wire.COUNTER][0]) for _, t in told] == [0, 0]
    assert leases.owner(X, 0, start) == 0x2001 and not server.clients


def test_parameters_are_in_the_order_of_the_grammar():
    leases, server, host, _ = in_state("registered", UDP)
    order = {wire.ASSIGN_REQUEST: [C, B, A, P, A, P, L, T, A, wire.COUNTER],
             wire.LISTEN_REQUEST: [C, B, A, P, A, P, T, L, A, wire.COUNTER]}
    for kind, wanted in order.items():
        data = wire.build(kind, *host.tlvs(host.me(), ANY_ADDRESS, run(1, 80) if kind != 8 else run(1),
                                           ANY_ADDRESS, ANY_PORT))
        reply, kinds, at = server.receive(host.vif, UDP, "peer", data), [], 4
        while at < len(reply):
            kinds.append(reply[at])
            at += 3 + number(reply[at + 1:at + 3])
        assert kinds == wanted, kinds


def test_small_requests_share_a_block():
    leases, server, host, _ = in_state("registered", UDP)
    seen, binds = set(), []
    for count in (1, 7, 20, 36):
        kind, got = host.assign(ports=run(count))
        assert kind == wire.ASSIGN_RESPONSE
        n, start = struct.unpack(">BH", got[P][0])
        assert n == count and not seen & set(range(start, start + n))
        seen |= set(range(start, start + n))
        binds.append(got[B][0])
    assert len(leases.leases(host.vif)) == 1
    # Another 64 need another block; a named port of the block that is taken is in use.
    assert host.assign(ports=run(1))[0] == wire.ASSIGN_RESPONSE and len(leases.leases(host.vif)) == 2
    assert error(host.assign(ports=run(1, min(seen)))) == 311
    # The block stays while one part is left.
    for n, bind in enumerate(binds):
        assert host.say(wire.FREE_REQUEST, host.me(), (B, bind))[0] == wire.FREE_RESPONSE
        assert len(leases.leases(host.vif)) == (2 if n < 3 else 1)


def test_parts_of_the_domains_own_block():
    leases, server = world()
    own = leases.grant(vif(1), lease.BLOCK, 4096, 12, 0, lease.BY_DHCP)
    host = Host(server, vif(1))
    host.register()
    kind, got = host.assign(ports=run(255))
    assert struct.unpack(">BH", got[P][0]) == (255, 4096)
    kind, got = host.assign(ports=run(3, 5000, 6000, 7000))
    assert kind == wire.ASSIGN_RESPONSE and len(leases.leases(host.vif)) == 1
    bind = got[B][0]
    assert error(host.assign(ports=run(1, 6000), kind=wire.LISTEN_REQUEST)) == 311
    host.say(wire.FREE_REQUEST, host.me(), (B, bind))
    assert host.assign(ports=run(1, 6000), kind=wire.LISTEN_REQUEST)[0] == wire.LISTEN_RESPONSE
    # What was not ours to give stays.
    host.say(wire.DEREGISTER_REQUEST, host.me())
    assert [l.number for l in leases.leases(host.vif)] == [own.number]


def test_listen():
    leases, server, host, _ = in_state("registered", TCP)
    kind, got = host.assign((T, 3), (T, 241), ports=run(2, 80, 443), kind=wire.LISTEN_REQUEST)
    assert kind == wire.LISTEN_RESPONSE and number(got[T][0]) == 241
    assert leases.owner(X, 0, 80) == leases.owner(X, 1, 443) == 1
    assert host.say(wire.FREE_REQUEST, host.me(), (B, got[B][0]))[0] == wire.FREE_RESPONSE
    assert leases.owner(X, 0, 80) == leases.owner(X, 1, 443) == 0x2001


def test_limit_of_binds():
    leases, server = world()
    leases.grant(vif(1), lease.BLOCK, 4096, 12, 0, lease.BY_DHCP)
    host = Host(server, vif(1))
    host.register()
    for _ in range(64):
        leases.advance(1)
        assert host.assign()[0] == wire.ASSIGN_RESPONSE
    leases.advance(1)
    assert error(host.assign()) == 309


def test_queries():
    leases, server, host, _ = in_state("registered", UDP)
    inside, out = (A, b"\x01\x64\x40\x01\x02"), (A, b"\x01\x08\x08\x08\x08")
    wide, mask = (A, b"\x02\xff\x00\x00\x00"), (A, b"\x02\xff\xff\x00\x00")

    def ask(*groups):
        leases.advance(1)
        return host.say(wire.QUERY_REQUEST, host.me(), *groups)

    one, two = (wire.INDICATOR, 1), (wire.INDICATOR, b"\x02")
    kind, got = ask(one, inside, one, out)
    assert kind == wire.QUERY_RESPONSE and got[A] == [inside[1]]
    assert got[wire.INDICATOR] == [b"\x00\x01"]
    assert ask(two, inside, mask)[1][A] == [inside[1], mask[1]]
    assert A not in ask(two, inside, wide)[1]
    assert ask()[1][A] == [b"\x01\x64\x40\x00\x00", b"\x02\xff\xc0\x00\x00"]
    for groups, code in [((inside,), 203), ((one,), 201), ((two, inside), 201), ((one, mask), 205),
                         ((two, inside, inside), 205), (((wire.INDICATOR, 3), inside), 205),
                         ((one, ANY_ADDRESS), 205), ((one, inside, inside), 203),
                         ((one, two, inside, mask), 201)]:
        assert error(ask(*groups)) == code, groups


# ---- UDP: what comes twice, and late ----


def test_retransmissions():
    leases, server, host, _ = in_state("registered", UDP)
    data = wire.build(wire.ASSIGN_REQUEST, *host.tlvs(host.me(), ANY_ADDRESS, ANY_PORT, ANY_ADDRESS,
                                                      ANY_PORT))
    first = server.receive(host.vif, UDP, "peer", data)
    for _ in range(7):
        assert server.receive(host.vif, UDP, "peer", data) == first
    assert len(server.clients[1].binds) == 1
    # What comes late is no new request.
    assert host.say(wire.QUERY_REQUEST, host.me())[0] == wire.QUERY_RESPONSE
    before = snapshot(leases, server)
    assert server.receive(host.vif, UDP, "peer", data) is None
    assert snapshot(leases, server) == before
    # An error is answered again, too.
    data = wire.build(wire.FREE_REQUEST, *host.tlvs(host.me(), (B, 5)))
    assert server.receive(host.vif, UDP, "peer", data) == server.receive(host.vif, UDP, "peer", data)


def test_the_counter_wraps():
    leases, server, host, _ = in_state("registered", UDP)
    for start in (0x7ffffff0, 0xf0000000, 0xfffffffd):
        host.count = start
        for _ in range(5):
            leases.advance(1)
            assert host.say(wire.QUERY_REQUEST, host.me())[0] == wire.QUERY_RESPONSE
    assert host.count == 3
    # A host that starts again.
    host.count = 0
    assert error(host.say(wire.REGISTER_REQUEST)) == 302
    assert host.say(wire.DEREGISTER_REQUEST, host.me())[0] == wire.DEREGISTER_RESPONSE


def test_too_many_requests():
    leases, server, host, _ = in_state("registered", TCP)
    answers = [host.say(wire.QUERY_REQUEST, host.me()) for _ in range(100)]
    assert 25 <= sum(a is not None for a in answers) <= 30
    other = Host(server, vif(2))
    other.register()
    leases.advance(1)
    assert sum(host.say(wire.QUERY_REQUEST, host.me()) is not None for _ in range(20)) == 10


# ---- without being asked ----


def test_registration_ends():
    leases, server, host, _ = in_state("registered", UDP)
    leases.advance(599)
    assert server.tick() == []
    leases.advance(1)
    (client, message), = server.tick()
    assert read(message)[0] == wire.DEREGISTER_RESPONSE and client.peer == "peer"
    assert error(host.say(wire.QUERY_REQUEST, host.me())) == 301


def test_registration_lasts_as_long_as_what_was_ever_granted():
    leases, server, host, _ = in_state("registered", UDP)
    bind = host.assign((L, 1000))[1][B][0]
    leases.advance(700)
    assert host.say(wire.FREE_REQUEST, host.me(), (B, bind))[0] == wire.FREE_RESPONSE
    assert server.tick() == []
    leases.advance(300)
    assert len(server.tick()) == 1


def test_revocation():
    leases, server, host, _ = in_state("registered", TCP)
    kind, got = host.assign(block(0, 10))
    bind = got[B][0]
    leases.revoke(number(bind), 60)
    start = leases.leases(host.vif)[0].start
    (_, message), = server.tick()
    assert read(message) == (wire.FREE_RESPONSE, {C: [host.client.to_bytes(4, "big")], B: [bind]})
    # It drains: connections have their minute, nobody has the ports after that.
    assert leases.owner(X, 0, start) == 0x1001
    leases.advance(60)
    assert leases.owner(X, 0, start) == 0x2001
    assert error(host.assign(block(start, 10))) == 309
    assert server.clients[1].binds == {} and server.tick() == []
    (_, message), = server.dismiss(host.vif)
    assert read(message)[0] == wire.DEREGISTER_RESPONSE and server.dismiss(host.vif) == []


def test_misuse_is_told_now_and_then():
    leases, server, host, _ = in_state("registered", UDP)
    (_, message), = server.violation(host.vif, 313)
    assert error(read(message)) == 313
    assert server.violation(host.vif, 313) == [] == server.violation(vif(3), 313)
    leases.advance(1)
    assert len(server.violation(host.vif, 312)) == 1


def test_restart_of_the_server():
    leases, server, host, _ = in_state("registered", UDP)
    bind = host.assign(block(0, 12))[1][B][0]
    listen = host.assign(ports=run(1, 80), kind=wire.LISTEN_REQUEST)[1][B][0]
    host.server = server = rsip.Server(leases, GATEWAY, NETS)
    server.reload([vif(1), vif(2)])
    assert list(server.clients) == [1]
    for b in (bind, listen):
        assert host.say(wire.EXTEND_REQUEST, host.me(), (B, b), (L, 900))[0] == wire.EXTEND_RESPONSE
    assert host.say(wire.FREE_REQUEST, host.me(), (B, listen))[0] == wire.FREE_RESPONSE
    leases.advance(900)
    assert len(server.tick()) == 2


def test_another_domain_with_the_same_number():
    leases, server, host, _ = in_state("registered", UDP)
    stranger = Host(server, lease.Vif(1, b"s" * 16, 5, X))
    assert error(stranger.say(wire.QUERY_REQUEST, host.me())) == 301


# ---- streams ----


def test_framing():
    one = wire.build(wire.REGISTER_REQUEST)
    two = wire.build(wire.QUERY_REQUEST, (C, 1))
    stream, got = b"", []
    for byte in one + two + one:
        stream += bytes([byte])
        message, stream = wire.frame(stream)
        if message:
            got.append(message)
    assert got == [one, two, one] and stream == b""
    for bad, code in ((b"\x02", 106), (b"\x01\x02\x00\x03", 207), (b"\x01\x02\x08\x01", 207)):
        try:
            wire.frame(bad)
            assert False, bad
        except wire.Defect as d:
            assert d.code == code


# ---- noise ----


def seeds(host, bind):
    for kind in GOOD:
        yield wire.build(kind, *well_formed(host, kind, bind))
    yield wire.build(wire.ASSIGN_REQUEST, *host.tlvs(host.me(), ANY_ADDRESS, ANY_PORT, ANY_ADDRESS,
                                                     ANY_PORT, block(0, 12), (T, 241), (L, 100)))
    yield wire.build(wire.QUERY_REQUEST, *host.tlvs(host.me(), (wire.INDICATOR, 2),
                                                    (A, b"\x01\x64\x40\x01\x02"),
                                                    (A, b"\x02\xff\xff\0\0")))


def mutate(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(data) or 1)
        what = rng.randrange(4)
        if what == 0 and data:
            data[at] = rng.choice((0, 1, 2, 4, 5, 9, 255, rng.randrange(256)))
        elif what == 1:
            del data[at:at + rng.randint(1, 5)]
        elif what == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 5))
        else:
            data += data[4:][:rng.randint(0, 40)]
    if rng.randrange(4) and len(data) >= 4:
        data[2:4] = struct.pack(">H", len(data))
    return bytes(data)


def test_noise():
    rng, answers = random.Random(5), 0
    leases, server = world(leases=128, leaves=16)
    hosts = [Host(server, vif(n), (UDP, TCP)[n % 2]) for n in range(1, 5)]
    for k in range(30000):
        host = rng.choice(hosts)
        client = server.clients.get(host.vif.number)
        host.client = client.number if client else 77
        bind = rng.choice(list(client.binds)) if client and client.binds else 5
        data = rng.randbytes(rng.randrange(60)) if rng.randrange(8) == 0 else \
            mutate(rng, rng.choice(list(seeds(host, bind))))
        answer = host.send(data)
        answers += answer is not None
        leases.advance(rng.choice((0.1, 0.1, 0.2, 1)) if rng.randrange(500) else 300)
        for _, message in server.tick():
            read(message)
        for c in server.clients.values():
            held = {l.number for l in leases.leases(c.vif)}
            assert len(c.binds) <= 64 and sum(not l.log2 for l in leases.leases(c.vif)) <= 16
            assert all(set(b.leases) <= held for b in c.binds.values())
            used = [p for b in c.binds.values() if b.inside is not None for p in b.ports.all()]
            assert len(used) == len(set(used))
    return "%d messages, %d answers" % (k + 1, answers)
