"""The servers' sockets: RSIP by UDP and TCP, PCP and NAT-PMP, DHCP; all in one loop.

Who sends is known by the address it sends from: the router lets no guest send from another's. Nothing
here understands a message; what waits for a guest is bounded, and a slow one only harms itself.
"""
import asyncio
import socket

import pcp
import rsip
import rsip_wire as wire

CONNECTIONS_MAX = 4   # of an interface, at a time
SILENCE = 900         # seconds after which a connection that says nothing ends
BACKLOG_MAX = 16384   # bytes that a guest does not fetch


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer):
        self.answer = answer

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        reply = self.answer(data, peer)
        if reply is not None:
            self.transport.sendto(reply, peer)


class Listeners:
    """'vif_of' gives the interface that has an inside address (an integer), or None."""

    def __init__(self, vif_of, rsip_server, pcp_server, tick=1.0):
        self.vif_of, self.rsip, self.pcp, self.every = vif_of, rsip_server, pcp_server, tick
        self.connections = {}
        self.parts = []

    def _vif(self, peer):
        return self.vif_of(int.from_bytes(socket.inet_aton(peer[0]), "big"))

    async def start(self, address, rsip_port=wire.PORT, pcp_port=pcp.PORT):
        """Returns the ports, for tests that let the system choose them."""
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._stream, address, rsip_port, limit=wire.MESSAGE_MAX)
        rsip_port = server.sockets[0].getsockname()[1]
        self.udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._rsip_udp), local_addr=(address, rsip_port))
        mapping, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._pcp), local_addr=(address, pcp_port))
        self.parts = [server, self.udp, mapping]
        self.clock = asyncio.ensure_future(self._clock())
        return rsip_port, mapping.get_extra_info("sockname")[1]

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

    async def _stream(self, reader, writer):
        vif = self._vif(writer.get_extra_info("peername"))
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
