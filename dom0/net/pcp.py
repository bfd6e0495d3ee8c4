"""Port mappings for hosts that know nothing of RSIP: PCP (RFC 6887, 7753) and NAT-PMP (RFC 6886).

Nothing is translated here, so a mapping can only be one of a port to itself: what the client gets is
a lease of that port, or the answer that this one cannot be had.

Total on any bytes: 'receive' returns the answer, or None where there must be none.
"""
import struct

import lease

PORT = 5351
LIFETIME_MIN, LIFETIME_MAX = 120, 86400
ERROR_SOON, ERROR_LATER = 30, 1800
MESSAGE_MAX = 1100

MAP, ANNOUNCE, PEER = 1, 0, 2
THIRD_PARTY, PREFER_FAILURE, FILTER, PORT_SET = 1, 2, 3, 130

(SUCCESS, UNSUPP_VERSION, NOT_AUTHORIZED, MALFORMED_REQUEST, UNSUPP_OPCODE, UNSUPP_OPTION,
 MALFORMED_OPTION, NETWORK_FAILURE, NO_RESOURCES, UNSUPP_PROTOCOL, USER_EX_QUOTA,
 CANNOT_PROVIDE_EXTERNAL, ADDRESS_MISMATCH, EXCESSIVE_REMOTE_PEERS) = range(14)
SOON = {NETWORK_FAILURE, NO_RESOURCES, USER_EX_QUOTA, CANNOT_PROVIDE_EXTERNAL}

CLASS = {6: lease.STREAM, 33: lease.STREAM, 132: lease.STREAM, 17: lease.DATAGRAM,
         136: lease.DATAGRAM}

PMP_SUCCESS, PMP_VERSION, PMP_REFUSED, PMP_NETWORK, PMP_NO_RESOURCES, PMP_OPCODE = range(6)


class Failed(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


def mapped(address):
    """An IPv4 address in 16 bytes."""
    return bytes(10) + b"\xff\xff" + address.to_bytes(4, "big")


class Server:
    def __init__(self, backend):
        self.backend = backend
        self.nonces = {}   # (interface, class, port) -> (nonce, [leases]); NAT-PMP: no nonce
        self.buckets = {}

    def receive(self, vif, source, data):
        if not self.buckets.setdefault(vif.number, lease.Bucket()).take(self.backend.now()):
            return None
        if len(data) < 2 or data[1] & 0x80:
            return None
        if data[0] == 0:
            return self._pmp(vif, data)
        if data[0] != 2:
            return self._header(1, UNSUPP_VERSION, ERROR_LATER, data)
        return self._pcp(vif, source, data)

    def _epoch(self):
        return int(self.backend.now() - self.backend.epoch()) & 0xffffffff

    # ---- leases ----

    def _own(self, vif, port, classes):
        return any(l.log2 and l.covers(port, classes) for l in self.backend.leases(vif))

    def _owned(self, key, nonce):
        """The leases behind a mapping that are still there."""
        vif, classes, port = key
        held = [l for l in self.backend.leases(vif) if l.state == lease.HELD]
        if key not in self.nonces:
            # From before this program was started again: who asks first has made it.
            ours = [l.number for l in held if l.origin == lease.BY_PCP and l.start == port
                    and (l.classes == classes or l.log2)]
            self.nonces[key] = (nonce, ours)
        held = {l.number for l in held}
        known = [n for n in self.nonces[key][1] if n in held]
        if not known:
            del self.nonces[key]
        return known

    def _grant(self, vif, start, log2, classes, seconds):
        try:
            return self.backend.grant(vif, classes, start, log2, seconds, lease.BY_PCP).number
        except lease.Refused as r:
            raise Failed({lease.BUSY: CANNOT_PROVIDE_EXTERNAL, lease.RESTS: CANNOT_PROVIDE_EXTERNAL,
                          lease.QUOTA: USER_EX_QUOTA}.get(r.why, NO_RESOURCES))

    def _give_back(self, numbers):
        for number in numbers:
            try:
                self.backend.free(number)
            except lease.Refused:
                pass  # the clock was faster

    def _new(self, vif, ports, classes, seconds):
        if lease.is_block(ports.start, len(ports)):
            return [self._grant(vif, ports.start, len(ports).bit_length() - 1, lease.BLOCK, seconds)]
        singles = sum(not l.log2 for l in self.backend.leases(vif))
        if singles + len(ports) > lease.LISTEN_MAX:
            raise Failed(USER_EX_QUOTA)
        got = []
        try:
            for port in ports:
                got.append(self._grant(vif, port, 0, classes, seconds))
        except Failed:
            self._give_back(got)
            raise
        return got

    def _map(self, vif, ports, classes, seconds, nonce):
        key = (vif, classes, ports.start)
        known = self._owned(key, nonce)
        if known:
            if self.nonces[key][0] != nonce:
                raise Failed(NOT_AUTHORIZED)
            try:
                for number in known:
                    self.backend.extend(number, seconds)
            except lease.Refused:
                raise Failed(CANNOT_PROVIDE_EXTERNAL)  # it is being revoked
        elif not all(self._own(vif, port, classes) for port in ports):
            self._forget_ended(vif)
            self.nonces[key] = (nonce, self._new(vif, ports, classes, seconds))

    def _forget_ended(self, vif):
        held = {l.number for l in self.backend.leases(vif)}
        self.nonces = {k: v for k, v in self.nonces.items() if k[0] != vif or held & set(v[1])}

    def _unmap(self, vif, port, classes, nonce):
        key = (vif, classes, port)
        known = self._owned(key, nonce)
        if known and self.nonces[key][0] != nonce:
            raise Failed(NOT_AUTHORIZED)
        self._give_back(known)
        self.nonces.pop(key, None)

    def forget(self, vif):
        """A domain has gone; its leases are somebody else's business."""
        self.nonces = {k: v for k, v in self.nonces.items() if k[0].number != vif.number}
        self.buckets.pop(vif.number, None)

    # ---- PCP ----

    def _header(self, opcode, result, lifetime, data):
        """Version 2 and whatever of the request follows its header."""
        head = struct.pack(">BBBBII12x", 2, opcode & 0x7f | 0x80, 0, result, lifetime, self._epoch())
        rest = data[24:MESSAGE_MAX]
        return head + rest + bytes(-len(rest) % 4)

    def _pcp(self, vif, source, data):
        opcode = data[1]
        try:
            if len(data) < 24 or len(data) > MESSAGE_MAX or len(data) % 4:
                raise Failed(MALFORMED_REQUEST)
            lifetime = struct.unpack(">I", data[4:8])[0]
            if data[8:24] != mapped(source):
                raise Failed(ADDRESS_MISMATCH)
            if opcode == ANNOUNCE:
                return self._header(opcode, SUCCESS, 0, b"")
            if opcode != MAP:
                raise Failed(UNSUPP_OPCODE)
            return self._pcp_map(vif, data, lifetime)
        except Failed as f:
            later = ERROR_SOON if f.code in SOON else ERROR_LATER
            return self._header(opcode, f.code, later, data)

    @staticmethod
    def _options(data):
        """{code: value}"""
        found, at = {}, 60
        while at < len(data):
            if at + 4 > len(data):
                raise Failed(MALFORMED_OPTION)
            code, length = data[at], int.from_bytes(data[at + 2:at + 4], "big")
            if at + 4 + length > len(data):
                raise Failed(MALFORMED_OPTION)
            if code in found:
                raise Failed(MALFORMED_OPTION)
            if code not in (PREFER_FAILURE, PORT_SET) and code < 128:
                raise Failed(UNSUPP_OPTION)
            found[code] = data[at + 4:at + 4 + length]
            at += 4 + length + -length % 4
        if found.get(PREFER_FAILURE) or len(found.get(PORT_SET, bytes(5))) != 5:
            raise Failed(MALFORMED_OPTION)
        return found

    def _pcp_map(self, vif, data, lifetime):
        if len(data) < 60:
            raise Failed(MALFORMED_REQUEST)
        nonce, proto, internal, suggested = data[24:36], data[36], *struct.unpack(">HH", data[40:44])
        options = self._options(data)
        if proto == 0 and internal:
            raise Failed(MALFORMED_REQUEST)
        if proto not in CLASS:
            raise Failed(UNSUPP_PROTOCOL)
        if internal == 0:
            # All ports of a protocol: nobody has them all.
            raise Failed(MALFORMED_REQUEST if lifetime == 0 else CANNOT_PROVIDE_EXTERNAL)
        ports = range(internal, internal + 1)
        if PORT_SET in options:
            size, first = struct.unpack(">HH", options[PORT_SET][:4])
            if size == 0 or first != internal or first + size > 65536:
                raise Failed(MALFORMED_OPTION)
            ports = range(first, first + size)
        if lifetime == 0:
            self._unmap(vif, internal, CLASS[proto], nonce)
            return self._mapped(vif, data, ports, 0, options)
        if PREFER_FAILURE in options and suggested not in (0, internal):
            raise Failed(CANNOT_PROVIDE_EXTERNAL)
        if not vif.shared:
            raise Failed(NOT_AUTHORIZED)
        seconds = min(max(lifetime, LIFETIME_MIN), LIFETIME_MAX)
        self._map(vif, ports, CLASS[proto], seconds, nonce)
        return self._mapped(vif, data, ports, seconds, options)

    def _mapped(self, vif, data, ports, seconds, options):
        body = data[24:42] + ports.start.to_bytes(2, "big") + mapped(vif.shared)
        if PREFER_FAILURE in options:
            body += struct.pack(">BBH", PREFER_FAILURE, 0, 0)
        if PORT_SET in options:
            body += struct.pack(">BBHHHB3x", PORT_SET, 0, 5, len(ports), ports.start,
                                options[PORT_SET][4] & 1)
        return self._header(MAP, SUCCESS, seconds, bytes(24) + body)

    # ---- NAT-PMP ----

    def _pmp(self, vif, data):
        opcode = data[1]
        if opcode == 0 and len(data) == 2:
            result = PMP_SUCCESS if vif.shared else PMP_NETWORK
            return struct.pack(">BBHII", 0, 128, result, self._epoch(), vif.shared)
        if opcode not in (0, 1, 2) or len(data) != 12:
            return struct.pack(">BBHI", 0, opcode | 128, PMP_OPCODE, self._epoch())
        internal, wanted, seconds = struct.unpack(">HHI", data[4:12])
        result, external = PMP_SUCCESS, internal
        try:
            seconds = self._pmp_map(vif, opcode, internal, wanted, seconds)
        except Failed as f:
            result = PMP_REFUSED if f.code == NOT_AUTHORIZED else PMP_NO_RESOURCES
        if result != PMP_SUCCESS or seconds == 0:
            external = seconds = 0
        return struct.pack(">BBHIHHI", 0, opcode | 128, result, self._epoch(), internal, external,
                           seconds)

    def _pmp_map(self, vif, opcode, internal, wanted, seconds):
        classes = lease.DATAGRAM if opcode == 1 else lease.STREAM
        if seconds == 0:
            if internal == 0 and wanted:
                raise Failed(NOT_AUTHORIZED)
            mine = [k for k, v in self.nonces.items()
                    if k[:2] == (vif, classes) and v[0] is None and internal in (0, k[2])]
            for key in mine:
                self._unmap(vif, key[2], classes, None)
            return 0
        if internal == 0 or not vif.shared:
            raise Failed(NOT_AUTHORIZED)
        seconds = min(max(seconds, LIFETIME_MIN), LIFETIME_MAX)
        self._map(vif, range(internal, internal + 1), classes, seconds, None)
        return seconds
