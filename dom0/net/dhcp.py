"""DHCP for an interface of one (RFC 2131): its address as /32, the way out, and of a shared one its ports.

The client's identity is the interface; the server only says what the leases say, and leases a block
for a domain that has none. Total on any bytes.
"""
import struct

import lease

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
MAGIC = b"\x63\x82\x53\x63"
LEASE_SECONDS = 3600
MTU = 1500

(O_MASK, O_ROUTER, O_DNS, O_MTU, O_WANTED, O_TIME, O_TYPE, O_SERVER, O_LIST, O_ROUTES,
 O_PORTS) = 1, 3, 6, 26, 50, 51, 53, 54, 55, 121, 159


def options(data):
    """{code: value}, long ones joined (RFC 3396); None: they are not formed like options."""
    found, at = {}, 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return None
        found[data[at]] = found.get(data[at], b"") + data[at + 2:at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def address(vif):
    return (vif.own or vif.shared).to_bytes(4, "big")


def routes(gateway):
    """RFC 3442: the gateway is on the link, everything else behind it."""
    return b"\x20" + gateway + bytes(4) + b"\x00" + gateway


def port_parameters(start, log2):
    """RFC 7618: no offset; the upper bits of each port are those of the first."""
    return struct.pack(">BBH", 0, 16 - log2, start)


class Server:
    def __init__(self, backend, gateway, dns=()):
        self.backend = backend
        self.gateway = gateway.to_bytes(4, "big")
        self.dns = b"".join(d.to_bytes(4, "big") for d in dns)
        self.buckets = {}

    def receive(self, vif, data):
        """The answer to broadcast on the interface; None: there is none."""
        if len(data) < 240 or data[:3] != b"\x01\x01\x06" or data[236:240] != MAGIC:
            return None
        if data[28:34] != vif.mac or not (vif.own or vif.shared):
            return None
        asked = options(data[240:])
        if not asked or len(asked.get(O_TYPE, b"")) != 1:
            return None
        if not self.buckets.setdefault(vif.number, lease.Bucket()).take(self.backend.now()):
            return None
        kind = asked[O_TYPE][0]
        if kind == DISCOVER:
            return self._answer(vif, data, asked, OFFER)
        if kind == REQUEST:
            return self._requested(vif, data, asked)
        if kind == INFORM:
            return self._answer(vif, data, asked, ACK, inform=True)
        return None  # a lease ends with its domain, not with a client's word

    def _requested(self, vif, data, asked):
        if asked.get(O_SERVER, self.gateway) != self.gateway:
            return None  # it has chosen another one
        wanted = asked.get(O_WANTED, data[12:16])
        if wanted != address(vif):
            return self._reply(data, NAK, bytes(4), b"")
        return self._answer(vif, data, asked, ACK)

    def _block(self, vif):
        """Its first block, leased now if it has none; None: there is none to be had."""
        blocks = [l for l in self.backend.leases(vif) if l.log2 and l.state == lease.HELD]
        if blocks:
            return min(blocks, key=lambda l: (l.origin != lease.BY_DHCP, l.number))
        try:
            return self.backend.grant(vif, lease.BLOCK, 0, vif.block_log2, 0, lease.BY_DHCP)
        except lease.Refused:
            return None

    def _answer(self, vif, data, asked, kind, inform=False):
        block = None if vif.own else self._block(vif)
        if not (vif.own or block):
            return None
        body = b"" if inform else option(O_TIME, LEASE_SECONDS.to_bytes(4, "big"))
        body += option(O_MASK, b"\xff\xff\xff\xff") + option(O_MTU, MTU.to_bytes(2, "big"))
        # Who knows the former does not heed the latter (RFC 3442).
        body += option(O_ROUTES, routes(self.gateway)) + option(O_ROUTER, self.gateway)
        if self.dns:
            body += option(O_DNS, self.dns)
        # A client that says what it understands gets the ports only if they are among that.
        if block and O_PORTS in asked.get(O_LIST, bytes([O_PORTS])):
            body += option(O_PORTS, port_parameters(block.start, block.log2))
        yours = bytes(4) if inform else address(vif)
        return self._reply(data, kind, yours, body)

    def _reply(self, data, kind, yours, body):
        ciaddr = data[12:16] if kind == ACK else bytes(4)
        head = b"\x02\x01\x06\x00" + data[4:8] + bytes(2) + data[10:12] + ciaddr + yours
        head += bytes(4) + data[24:44] + bytes(192) + MAGIC
        out = head + option(O_TYPE, bytes([kind])) + option(O_SERVER, self.gateway) + body + b"\xff"
        return out + bytes(max(0, 300 - len(out)))


def option(code, value):
    return bytes([code, len(value)]) + value
