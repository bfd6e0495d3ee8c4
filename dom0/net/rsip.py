"""The RSIP server (RFC 3102, 3103): a state machine from messages to messages, without sockets.

A client is an interface, whatever it says: the network guarantees who sends. Per interface there is
at most one registration; it and its leases survive this program, for both numbers come from what the
hypervisor knows: the client's from the domain's identity, a bind's from the lease.

    Unregistered --REGISTER--> Registered --ASSIGN, LISTEN--> with binds --FREE, its time--> ...
         ^---DE-REGISTER, its time, administrator---+

Errors have one order: form (rsip_wire), registered, transport, client, bind, policy, resources. An
error changes nothing.

A request for single ports is served from blocks that the client has, then from a new small block.
Ports that are named and not the client's are leased one by one, by LISTEN only.
"""
import hashlib
from dataclasses import dataclass, field

import lease
import rsip_wire as wire
from rsip_wire import Defect

LEASE_DEFAULT, LEASE_MAX = 600, 86400
BINDS_MAX = 64
UDP, TCP = "udp", "tcp"
OUR_BIND = 0x80000000  # binds that are no lease of their own
SERVED_TUNNELS = (wire.TUNNEL_IPIP, wire.TUNNEL_NATIVE)
VIOLATION_GAP = 1.0    # seconds between two errors about misuse that are sent unasked


@dataclass
class Bind:
    number: int
    request: int                 # ASSIGN_REQUEST or LISTEN_REQUEST
    ports: wire.Ports
    ends: float
    tunnel: int
    block: wire.Block = None     # it is all of this
    leases: list = field(default_factory=list)  # that are its own
    inside: int = None           # the lease it is part of


@dataclass
class Client:
    vif: lease.Vif
    number: int
    ends: float
    transport: str = None
    peer: object = None
    binds: dict = field(default_factory=dict)
    own: set = field(default_factory=set)  # small blocks leased for parts
    next_bind: int = OUR_BIND


@dataclass
class Line:
    """What is remembered of an interface, registered or not."""
    uuid: bytes
    bucket: lease.Bucket = field(default_factory=lease.Bucket)
    request: bytes = None  # the last one by UDP, and what was answered
    reply: bytes = None
    counter: int = None
    violation: float = None
    quiet: int = 0         # requests without an answer: too many of them


def client_number(vif):
    digest = hashlib.sha256(vif.uuid + vif.number.to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") or 1


class Server:
    def __init__(self, backend, gateway, inside_nets=()):
        """'gateway' is our end of a tunnel; 'inside_nets' are (address, mask), all integers."""
        self.backend, self.gateway, self.inside_nets = backend, gateway, tuple(inside_nets)
        self.clients, self.lines = {}, {}

    # ---- in and out ----

    def receive(self, vif, transport, peer, data):
        """The answer to one message of this interface; None: there is none."""
        now = self.backend.now()
        line = self._line(vif)
        if transport == UDP and data == line.request:
            return line.reply
        if not line.bucket.take(now):
            line.quiet += 1
            return None
        reply, counter = self._judge(vif, line, transport, peer, data)
        if transport == UDP and reply is not None and counter is not None:
            line.request, line.reply, line.counter = data, reply, counter
        return reply

    def _line(self, vif):
        line = self.lines.get(vif.number)
        if not line or line.uuid != vif.uuid:
            # Another domain has the interface's number now.
            line = self.lines[vif.number] = Line(vif.uuid)
            self.clients.pop(vif.number, None)
        return line

    def _judge(self, vif, line, transport, peer, data):
        counter = None
        try:
            message = wire.parse(data, transport == UDP)
            counter = message.one(wire.COUNTER)
            if transport == UDP and self._is_stale(line, message, counter):
                return None, None
            return self._serve(vif, message, transport, peer), counter
        except Defect as d:
            number = d.client
            return self._error(d.code, d.counter or counter, number, d.bind), d.counter or counter

    @staticmethod
    def _is_stale(line, message, counter):
        """An earlier message that comes late. A host that starts again counts anew."""
        if line.counter is None or message.type == wire.REGISTER_REQUEST:
            return False
        return not 0 < (counter - line.counter) % (1 << 32) < 1 << 31

    @staticmethod
    def _error(code, counter, client, bind):
        return wire.build(wire.ERROR_RESPONSE, (wire.ERROR, code),
                          counter is not None and (wire.COUNTER, counter),
                          client is not None and (wire.CLIENT_ID, client),
                          bind is not None and (wire.BIND_ID, bind))

    # ---- who may say what ----

    def _serve(self, vif, message, transport, peer):
        client = self.clients.get(vif.number)
        if message.type == wire.REGISTER_REQUEST:
            return self._register(vif, client, message, transport, peer)
        if not client:
            raise Defect(wire.E_REGISTER_FIRST)
        if client.transport and client.transport != transport:
            raise Defect(wire.E_USE_TCP if client.transport == TCP else wire.E_BAD_MESSAGE,
                         client=client.number)
        if message.one(wire.CLIENT_ID) != client.number:
            raise Defect(wire.E_CLIENT_ID)
        client.transport, client.peer = transport, peer
        bind = None
        if message.type in (wire.EXTEND_REQUEST, wire.FREE_REQUEST):
            number = message.one(wire.BIND_ID)
            bind = client.binds.get(number)
            if not bind:
                raise Defect(wire.E_BIND_ID, client=client.number, bind=number)
        try:
            return self._act(client, bind, message)
        except Defect as d:
            d.client = client.number
            raise

    def _act(self, client, bind, message):
        if message.type in (wire.ASSIGN_REQUEST, wire.LISTEN_REQUEST):
            return self._assign(client, message)
        if message.type == wire.EXTEND_REQUEST:
            return self._extend(client, bind, message)
        if message.type == wire.FREE_REQUEST:
            self._drop(client, bind)
            return self._with_counter(message, wire.FREE_RESPONSE, (wire.CLIENT_ID, client.number),
                                      (wire.BIND_ID, bind.number))
        if message.type == wire.QUERY_REQUEST:
            return self._query(client, message)
        self._forget(client)
        return self._with_counter(message, wire.DEREGISTER_RESPONSE, (wire.CLIENT_ID, client.number))

    @staticmethod
    def _with_counter(message, kind, *parameters):
        counter = message.one(wire.COUNTER)
        return wire.build(kind, *parameters, counter is not None and (wire.COUNTER, counter))

    def _register(self, vif, client, message, transport, peer):
        now = self.backend.now()
        if client:
            # A host that has lost its state may come by the other transport.
            client.transport, client.peer = transport, peer
            raise Defect(wire.E_ALREADY_REGISTERED, client=client.number)
        if not vif.register or not vif.shared:
            raise Defect(wire.E_DENIED)
        client = Client(vif, client_number(vif), now + LEASE_DEFAULT, transport, peer)
        self.clients[vif.number] = client
        return self._with_counter(
            message, wire.REGISTER_RESPONSE, (wire.CLIENT_ID, client.number),
            (wire.LEASE_TIME, LEASE_DEFAULT),
            (wire.FLOW_POLICY, (wire.LOCAL_MACRO, wire.REMOTE_NONE)),
            (wire.METHOD, wire.METHOD_RSAP), *((wire.TUNNEL, t) for t in SERVED_TUNNELS))

    # ---- policy ----

    def _lease_time(self, message):
        seconds = message.one(wire.LEASE_TIME, LEASE_DEFAULT)
        if seconds == 0:
            raise Defect(wire.E_BAD_PARAM)
        return min(seconds, LEASE_MAX)

    @staticmethod
    def _tunnel(message):
        wanted = message.all(wire.TUNNEL) or [wire.TUNNEL_IPIP]
        for tunnel in wanted:
            if tunnel in SERVED_TUNNELS:
                return tunnel
        raise Defect(wire.E_TUNNEL)

    @staticmethod
    def _check_addresses(client, local, remote):
        if local.kind in (wire.MASK4, wire.FQDN) or remote.kind == wire.MASK4:
            raise Defect(wire.E_BAD_PARAM)
        if local.kind != wire.IP4:
            raise Defect(wire.E_ADDR_UNAVAILABLE)
        if local.value and int.from_bytes(local.value, "big") != client.vif.shared:
            raise Defect(wire.E_ADDR_UNALLOWED)

    @staticmethod
    def _check_block(block):
        size = 1 << block.log2 if block.log2 <= lease.BLOCK_LOG2_MAX else 0
        if block.flags or not size or not lease.is_block(block.start or 32768, size):
            raise Defect(wire.E_BAD_PARAM)

    def _assign(self, client, message):
        local, remote = message.all(wire.ADDRESS)
        ports = message.all(wire.PORTS)[0]
        block = next((v for v in message.all(wire.VENDOR) if v), None)
        seconds = self._lease_time(message)
        self._check_addresses(client, local, remote)
        if block:
            self._check_block(block)
        tunnel = self._tunnel(message)
        if len(client.binds) >= BINDS_MAX:
            raise Defect(wire.E_PORT_UNAVAILABLE)
        ends = self.backend.now() + seconds
        bind = Bind(None, message.type, ports, ends, tunnel)
        if block:
            self._bind_block(client, bind, block, seconds)
        elif ports.numbers:
            self._bind_named(client, bind, seconds)
        else:
            self._bind_any(client, bind, seconds)
        client.binds[bind.number] = bind
        client.ends = max(client.ends, ends)
        return self._assigned(client, bind, message, seconds)

    # ---- resources ----

    def _grant(self, client, classes, start, log2, seconds):
        try:
            return self.backend.grant(client.vif, classes, start, log2, seconds, lease.BY_RSIP)
        except lease.Refused as r:
            raise Defect({lease.BUSY: wire.E_PORT_INUSE, lease.RESTS: wire.E_PORT_UNAVAILABLE,
                          lease.QUOTA: wire.E_PORT_UNAVAILABLE,
                          lease.NONE_LEFT: wire.E_PORT_UNAVAILABLE}.get(r.why, wire.E_INTERNAL))

    @staticmethod
    def _ours(client):
        client.next_bind += 1
        return client.next_bind

    def _bind_block(self, client, bind, block, seconds):
        got = self._grant(client, lease.BLOCK, block.start, block.log2, seconds)
        bind.number, bind.leases = got.number, [got.number]
        bind.block = wire.Block(got.start, got.log2)
        bind.ports = wire.Ports(min(255, 1 << got.log2), (got.start,))

    def _parts(self, client):
        """Blocks of which parts may be given: its own small ones, and those it has anyhow."""
        whole = {n for b in client.binds.values() for n in b.leases}
        return [l for l in self.backend.leases(client.vif)
                if l.log2 and l.number not in whole and l.covers(l.start, lease.BLOCK)]

    @staticmethod
    def _used(client):
        return {p for b in client.binds.values() if b.inside is not None for p in b.ports.all()}

    def _bind_named(self, client, bind, seconds):
        ports, used = list(bind.ports.all()), self._used(client)
        for part in self._parts(client):
            if all(part.covers(p, lease.BLOCK) for p in ports):
                if used & set(ports):
                    raise Defect(wire.E_PORT_INUSE)
                self._bind_part(client, bind, part, seconds)
                return
        if bind.request != wire.LISTEN_REQUEST:
            raise Defect(wire.E_PORT_UNALLOWED)
        singles = sum(not l.log2 for l in self.backend.leases(client.vif))
        if singles + len(ports) > lease.LISTEN_MAX:
            raise Defect(wire.E_PORT_UNAVAILABLE)
        try:
            for port in ports:
                got = self._grant(client, lease.BLOCK, port, 0, seconds)
                bind.leases.append(got.number)
        except Defect:
            self._give_back(bind.leases)
            raise
        bind.number = bind.leases[0]

    def _bind_any(self, client, bind, seconds):
        count, used = bind.ports.count, self._used(client)
        for part in self._parts(client):
            run = 0
            for port in range(part.start, part.start + (1 << part.log2)):
                run = run + 1 if port not in used else 0
                if run == count:
                    bind.ports = wire.Ports(count, (port - count + 1,))
                    self._bind_part(client, bind, part, seconds)
                    return
        log2 = max((count - 1).bit_length(), lease.BLOCK_LOG2_MIN)
        got = self._grant(client, lease.BLOCK, 0, log2, seconds)
        client.own.add(got.number)
        bind.ports = wire.Ports(count, (got.start,))
        bind.number, bind.inside = self._ours(client), got.number

    def _bind_part(self, client, bind, part, seconds):
        if part.number in client.own and bind.ends > part.ends:
            self.backend.extend(part.number, seconds)
        bind.number, bind.inside = self._ours(client), part.number

    def _assigned(self, client, bind, message, seconds):
        remote = ((wire.ADDRESS, wire.Address(wire.IP4)),
                  (wire.PORTS, wire.Ports(message.all(wire.PORTS)[1].count)))
        time, tunnel = (wire.LEASE_TIME, seconds), (wire.TUNNEL, bind.tunnel)
        listen = bind.request == wire.LISTEN_REQUEST
        return self._with_counter(
            message, wire.LISTEN_RESPONSE if listen else wire.ASSIGN_RESPONSE,
            (wire.CLIENT_ID, client.number), (wire.BIND_ID, bind.number),
            (wire.ADDRESS, wire.ip4(client.vif.shared)), (wire.PORTS, bind.ports), *remote,
            *((tunnel, time) if listen else (time, tunnel)),
            bind.tunnel == wire.TUNNEL_IPIP and (wire.ADDRESS, wire.ip4(self.gateway)),
            bind.block and (wire.VENDOR, bind.block))

    def _extend(self, client, bind, message):
        seconds = self._lease_time(message)
        ends = self.backend.now() + seconds
        try:
            if bind.inside in client.own:
                # Other parts of it may last longer.
                last = max(b.ends for b in client.binds.values() if b.inside == bind.inside)
                self.backend.extend(bind.inside, int(max(seconds, last - self.backend.now())))
            for number in bind.leases:
                self.backend.extend(number, seconds)
        except lease.Refused:
            # Revoked, or its time went this moment: what the next tick will say.
            raise Defect(wire.E_PORT_UNAVAILABLE, bind=bind.number)
        bind.ends = ends
        client.ends = max(client.ends, ends)
        return self._with_counter(message, wire.EXTEND_RESPONSE, (wire.CLIENT_ID, client.number),
                                  (wire.BIND_ID, bind.number), (wire.LEASE_TIME, seconds))

    def _give_back(self, numbers):
        for number in numbers:
            try:
                self.backend.free(number)
            except lease.Refused:
                pass  # the clock was faster

    def _drop(self, client, bind, gone=()):
        """What has 'gone' is not ours to give back: when revoked it may be draining."""
        client.binds.pop(bind.number, None)
        self._give_back(n for n in bind.leases if n not in gone)
        if bind.inside in client.own and all(b.inside != bind.inside
                                             for b in client.binds.values()):
            client.own.discard(bind.inside)
            self._give_back({bind.inside} - set(gone))

    def _forget(self, client):
        for bind in list(client.binds.values()):
            self._drop(client, bind)
        self.clients.pop(client.vif.number, None)

    # ---- queries ----

    def _groups(self, message):
        """[(indicator, address, mask or None)]"""
        groups, rest = [], [(k, v) for k, v in message.parameters
                            if k in (wire.INDICATOR, wire.ADDRESS)]
        while rest:
            kind, value = rest.pop(0)
            if kind != wire.INDICATOR:
                raise Defect(wire.E_EXTRA)
            if value not in (1, 2):
                raise Defect(wire.E_BAD_PARAM)
            wanted = (wire.IP4,) if value == 1 else (wire.IP4, wire.MASK4)
            got = rest[:value]
            del rest[:value]
            if [k for k, _ in got] != [wire.ADDRESS] * value:
                raise Defect(wire.E_MISSING)
            if tuple(a.kind for _, a in got) != wanted or not all(a.value for _, a in got):
                raise Defect(wire.E_BAD_PARAM)
            groups.append((value, *(int.from_bytes(a.value, "big") for _, a in got), None)[:3])
        return groups

    def _is_local(self, address, mask):
        return any(mask & m == m and address & m == net for net, m in self.inside_nets)

    def _query(self, client, message):
        """What is on this side; of all else the host assumes that it is not."""
        groups = self._groups(message)
        if not groups:
            found = [(2, net, mask) for net, mask in self.inside_nets]
        else:
            found = [g for g in groups
                     if self._is_local(g[1], 0xffffffff if g[2] is None else g[2])]
        out = []
        for kind, address, mask in found[:4]:
            out += [(wire.INDICATOR, kind), (wire.ADDRESS, wire.ip4(address))]
            if mask is not None:
                out.append((wire.ADDRESS, wire.Address(wire.MASK4, mask.to_bytes(4, "big"))))
        return self._with_counter(message, wire.QUERY_RESPONSE, (wire.CLIENT_ID, client.number),
                                  *out)

    # ---- what happens without being asked for ----

    def _unasked(self, client, kind, *parameters):
        counter = client.transport == UDP and (wire.COUNTER, 0)
        return client, wire.build(kind, (wire.CLIENT_ID, client.number), *parameters, counter)

    def tick(self):
        """What has ended: [(client, message)] for those that can be told."""
        now, out = self.backend.now(), []
        for client in list(self.clients.values()):
            held = {l.number for l in self.backend.leases(client.vif) if l.state == lease.HELD}
            for bind in list(client.binds.values()):
                gone = set(bind.leases + ([bind.inside] if bind.inside is not None else [])) - held
                if bind.ends <= now or gone:
                    self._drop(client, bind, gone)
                    out.append(self._unasked(client, wire.FREE_RESPONSE, (wire.BIND_ID, bind.number)))
            if client.ends <= now and not client.binds:
                out.append(self._unasked(client, wire.DEREGISTER_RESPONSE))
                self._forget(client)
        return out

    def dismiss(self, vif):
        """The administrator, or the domain's end."""
        client = self.clients.get(vif.number)
        if not client:
            return []
        self._forget(client)
        return [self._unasked(client, wire.DEREGISTER_RESPONSE)]

    def violation(self, vif, code):
        """It sends what it may not (3103, 10.4): tell it, now and then."""
        client, now = self.clients.get(vif.number), self.backend.now()
        line = self._line(vif)
        if not client or (line.violation is not None and now - line.violation < VIOLATION_GAP):
            return []
        line.violation = now
        counter = 0 if client.transport == UDP else None
        return [(client, self._error(code, counter, client.number, None))]

    def reload(self, vifs):
        """After a restart: whoever has leases of ours is registered, its binds are its leases."""
        for vif in vifs:
            self._line(vif)
            ours = [l for l in self.backend.leases(vif) if l.origin == lease.BY_RSIP
                    and l.state == lease.HELD]
            if not ours:
                continue
            client = Client(vif, client_number(vif), max(l.ends for l in ours))
            self.clients[vif.number] = client
            for l in ours:
                block = wire.Block(l.start, l.log2) if l.log2 else None
                ports = wire.Ports(min(255, 1 << l.log2), (l.start,))
                client.binds[l.number] = Bind(
                    l.number, wire.ASSIGN_REQUEST if block else wire.LISTEN_REQUEST, ports, l.ends,
                    wire.TUNNEL_NATIVE, block, [l.number])
