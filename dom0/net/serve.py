"""The servers' sockets: RSIP by UDP and TCP, PCP and NAT-PMP, DHCP; all in one loop.

Who sends is known by the address and the port it sends from, of DHCP by the Ethernet address it names:
the router lets no guest send with another's. Nothing here understands a message; what waits for a guest
is bounded, and a slow one only harms itself.
"""
import asyncio
import socket
from dataclasses import dataclass

import lease

import pcp
import rsip
import rsip_wire as wire

CONNECTIONS_MAX = 4   # of an interface, at a time
SILENCE = 900         # seconds after which a connection that says nothing ends
BACKLOG_MAX = 16384   # bytes that a guest does not fetch
DHCP_PORT, DHCP_CLIENT = 67, 68


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer):
        self.answer = answer

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        reply = self.answer(data, peer)
        if reply is not None:
            self.transport.sendto(reply, peer)


@dataclass
class Sockets:
    """Bound ones; DHCP's is left out where nobody is served by it."""
    stream: socket.socket
    rsip: socket.socket
    pcp: socket.socket
    dhcp: socket.socket = None

    def all(self):
        return [s for s in (self.stream, self.rsip, self.pcp, self.dhcp) if s]


def bound(kind, address, port, device=None):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if device:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    s.bind((address, port))
    return s


def open_sockets(address, device=None, rsip_port=wire.PORT, pcp_port=pcp.PORT):
    """With a device: only what comes by that, DHCP too."""
    stream = bound(socket.SOCK_STREAM, address, rsip_port, device)
    stream.listen()
    rsip_port = stream.getsockname()[1]
    found = Sockets(stream, bound(socket.SOCK_DGRAM, address, rsip_port, device),
                    bound(socket.SOCK_DGRAM, address, pcp_port, device))
    if device:
        # Who has no address yet asks everybody.
        found.dhcp = bound(socket.SOCK_DGRAM, "0.0.0.0", DHCP_PORT, device)
    return found


class Listeners:
    """
    'who' tells interfaces apart: by_source(address, port, classes), by_mac(bytes), each None if there
    is none such.
    """

    def __init__(self, who, rsip_server, pcp_server, dhcp_server=None, tick=1.0):
        self.who, self.rsip, self.pcp, self.dhcp, self.every = who, rsip_server, pcp_server, dhcp_server, tick
        self.connections = {}
        self.parts = []

    def _vif(self, peer, classes=lease.DATAGRAM):
        return self.who.by_source(int.from_bytes(socket.inet_aton(peer[0]), "big"), peer[1], classes)

    async def start(self, sockets):
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._stream, sock=sockets.stream, limit=wire.MESSAGE_MAX)
        self.parts = [server]
        answers = [(sockets.rsip, self._rsip_udp), (sockets.pcp, self._pcp)]
        if sockets.dhcp:
            answers.append((sockets.dhcp, self._dhcp))
        for sock, answer in answers:
            part, _ = await loop.create_datagram_endpoint(lambda a=answer: _Datagrams(a), sock=sock)
            self.parts.append(part)
        self.udp = self.parts[1]
        self.clock = asyncio.ensure_future(self._clock())

    async def stop(self):
        self.clock.cancel()
        for part in self.parts:
            part.close()
        for writers in self.connections.values():
            for writer in writers:
                writer.close()

    def _rsip_udp(self, data, peer):
        vif = self._vif(peer)
        return vif and self.rsip.receive(vif, rsip.UDP, peer, data)

    def _pcp(self, data, peer):
        vif = self._vif(peer)
        source = int.from_bytes(socket.inet_aton(peer[0]), "big")
        return vif and self.pcp.receive(vif, source, data)

    def _dhcp(self, data, peer):
        """
        The answer goes to the interface by its own address, whatever address it offers; to who asks from an address
        that he has, to that (RFC 2131, 4.3.2). Of a shared one the router looks for the Ethernet address that is named.
        """
        vif = self.who.by_mac(data[28:34])
        reply = vif and self.dhcp.receive(vif, data)
        if reply:
            asks_from = socket.inet_aton(peer[0])
            to = asks_from if any(asks_from) and asks_from == data[12:16] else vif.inside.to_bytes(4, "big")
            self.parts[3].sendto(reply, (socket.inet_ntoa(to), DHCP_CLIENT))

    async def _stream(self, reader, writer):
        vif = self._vif(writer.get_extra_info("peername"), lease.STREAM)
        mine = self.connections.setdefault(vif.number, set()) if vif else set()
        if vif and len(mine) < CONNECTIONS_MAX:
            mine.add(writer)
            try:
                await self._messages(vif, reader, writer)
            except (ConnectionError, asyncio.TimeoutError):
                pass
            finally:
                mine.discard(writer)
        writer.close()

    async def _messages(self, vif, reader, writer):
        buffer = b""
        while data := await asyncio.wait_for(reader.read(wire.MESSAGE_MAX), SILENCE):
            buffer += data
            while True:
                try:
                    message, buffer = wire.frame(buffer)
                except wire.Defect:
                    # The server's words for it, and the end: nobody knows where the next begins.
                    message, buffer, data = buffer[:wire.MESSAGE_MAX], b"", b""
                if not message:
                    break
                reply = self.rsip.receive(vif, rsip.TCP, writer, message)
                if reply:
                    self._write(writer, reply)
            await writer.drain()
            if not data:
                return

    @staticmethod
    def _write(writer, data):
        if writer.is_closing() or writer.transport.get_write_buffer_size() > BACKLOG_MAX:
            writer.transport.abort()
        else:
            writer.write(data)

    def tell(self, messages):
        """What the RSIP server wants clients to know unasked."""
        for client, data in messages:
            if client.transport == rsip.UDP:
                self.udp.sendto(data, client.peer)
            elif client.transport == rsip.TCP:
                self._write(client.peer, data)

    async def _clock(self):
        while True:
            await asyncio.sleep(self.every)
            self.tell(self.rsip.tick())
