"""The servers behind sockets of this machine: streams, foreign clients and a foreign decoder."""
import asyncio
import os
import re
import shutil
import socket
import struct
import subprocess

import pcp
import rsip
import rsip_wire as wire
import serve
from host import GATEWAY, OUT, ROOT, X, Leases, Skip, vif
from test_rsip import NETS, Host, block, error, number, read, run

LOOPBACK = 0x7f000001


def needs(program):
    path = shutil.which(program)
    if not path:
        raise Skip("there is no " + program)
    return path


class World:
    """Interface 1 is 127.0.0.1, 2 is 127.0.0.2, and so on; 127.0.0.9 is nobody."""

    def __init__(self):
        self.leases = Leases()
        self.vifs = {LOOPBACK + n: vif(n + 1) for n in range(4)}
        self.vifs = {a: type(v)(v.number, v.uuid, a, v.shared) for a, v in self.vifs.items()}
        self.rsip = rsip.Server(self.leases, GATEWAY, NETS)
        self.pcp = pcp.Server(self.leases)
        self.listeners = serve.Listeners(self, self.rsip, self.pcp, tick=0.01)

    def by_source(self, address, _port, _classes):
        return self.vifs.get(address)

    async def __aenter__(self):
        sockets = serve.open_sockets("0.0.0.0", rsip_port=0, pcp_port=0)
        await self.listeners.start(sockets)
        self.rsip_port, self.pcp_port = (s.getsockname()[1] for s in (sockets.rsip, sockets.pcp))
        return self

    async def __aexit__(self, *_):
        await self.listeners.stop()


def in_world(test):
    async def inside():
        async with World() as world:
            return await test(world)
    return lambda: asyncio.run(asyncio.wait_for(inside(), 60))


async def connect(world, local="127.0.0.1"):
    return await asyncio.open_connection("127.0.0.1", world.rsip_port, local_addr=(local, 0))


async def message(reader):
    head = await reader.readexactly(4)
    return read(head + await reader.readexactly(number(head[2:]) - 4))


async def stream(world):
    reader, writer = await connect(world)
    # Two in one piece, then one in many.
    writer.write(wire.build(wire.REGISTER_REQUEST) * 2)
    kind, got = await message(reader)
    assert kind == wire.REGISTER_RESPONSE
    client = got[wire.CLIENT_ID][0]
    assert error(await message(reader)) == 302
    query = wire.build(wire.QUERY_REQUEST, (wire.CLIENT_ID, client))
    for i in range(len(query)):
        writer.write(query[i:i + 1])
        await writer.drain()
    assert (await message(reader))[0] == wire.QUERY_RESPONSE
    # What ends without being asked for is told by the same way.
    world.leases.advance(600)
    assert (await message(reader))[0] == wire.DEREGISTER_RESPONSE
    writer.write(b"\x07\x01\x00\x04")
    assert error(await message(reader)) == 106
    assert await reader.read() == b""


async def limits(world):
    open_ones = [await connect(world) for _ in range(4)]
    for reader, writer in open_ones:
        writer.write(wire.build(wire.QUERY_REQUEST, (wire.CLIENT_ID, 1)))
        assert error(await message(reader)) == 301
    reader, _ = await connect(world)
    assert await reader.read() == b""
    reader, writer = await connect(world, "127.0.0.2")
    writer.write(wire.build(wire.REGISTER_REQUEST))
    assert (await message(reader))[0] == wire.REGISTER_RESPONSE
    reader, _ = await connect(world, "127.0.0.9")
    assert await reader.read() == b""
    open_ones[0][1].close()
    await open_ones[0][1].wait_closed()
    while len(world.listeners.connections[1]) == 4:
        await asyncio.sleep(0)
    reader, writer = await connect(world)
    writer.write(wire.build(wire.QUERY_REQUEST, (wire.CLIENT_ID, 1)))
    assert error(await message(reader)) == 301


test_stream = in_world(stream)
test_limits_of_connections = in_world(limits)


# ---- our own client, for guests ----


def client_program():
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "rsip")
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall",
                    "-Wextra", "-Werror", "-fsanitize=address,undefined", "-o", path,
                    os.path.join(ROOT, "dom0", "rsip", "rsip.c")], check=True)
    return path


class Program:
    """The client, run at an address of its own; its lines and the file that it sets."""

    def __init__(self, port, address="127.0.0.1", *words):
        self.file = os.path.join(OUT, "range")
        self.argv = [client_program(), "-g", "127.0.0.1", "-p", str(port), "-a", address, "-r",
                     self.file, *words]

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self

    async def holds(self):
        """The next line: (address, first, last), the same as in the file."""
        line = (await self.process.stdout.readline()).decode().split()
        assert line, await self.process.stderr.read()
        with open(self.file, encoding="ascii") as f:
            assert f.read().split() == line[1:]
        return line[0], int(line[1]), int(line[2])

    async def end(self):
        self.process.terminate()
        _, err = await self.process.communicate()
        assert self.process.returncode == 0, err


async def until(condition):
    """Something that the other side does; in_world() ends what never comes."""
    while not condition():
        await asyncio.sleep(0.002)


async def client_life(world):
    program = await Program(world.rsip_port, "127.0.0.1", "-n", "10", "-t", "2").start()
    address, first, last = await program.holds()
    assert address == "192.0.2.1" and last - first == 1023 and first % 1024 == 0
    assert world.leases.owner(X, 0, first) == world.leases.owner(X, 1, last) == 1
    # Its time is extended by half of itself, whatever the clock here says.
    bind, = world.rsip.clients[1].binds.values()
    for _ in range(2):
        world.leases.advance(1)
        ends = bind.ends
        await until(lambda: bind.ends > ends)
    await program.end()
    assert world.rsip.clients == {} and world.leases.owner(X, 0, first) == 0x2001


async def client_again(world):
    program = await Program(world.rsip_port, "127.0.0.2", "-t", "600").start()
    first = await program.holds()
    # Taken away: it asks for another one.
    lease_id, = world.rsip.clients[2].binds
    world.leases.revoke(lease_id, 3600)
    second = await program.holds()
    assert second != first
    # Killed, it finds the gateway still knowing it; what it gave back then is its own again.
    program.process.kill()
    await program.process.wait()
    program = await program.start()
    assert await program.holds() == second
    world.listeners.tell(world.rsip.dismiss(vif(2)))
    assert await program.holds() == second
    await program.end()


async def client_refused(world):
    world.vifs[LOOPBACK] = vif(1, shared=0)
    program = await Program(world.rsip_port).start()
    _, err = await program.process.communicate()
    assert program.process.returncode == 1 and b"error 304" in err, err
    program = await Program(world.rsip_port, "127.0.0.9").start()
    _, err = await program.process.communicate()
    assert program.process.returncode == 1 and b"does not answer" in err, err


async def client_loss(world):
    """Every other message is lost, either way; and strangers' noise comes in between."""
    noise, answer = [0], world.listeners._rsip_udp

    def lossy(data, peer):
        noise[0] += 1
        for junk in (b"", b"\1", b"\1\3\0\4", b"\1\3\0\x09\4\0\x09ab", os.urandom(40)):
            world.listeners.udp.sendto(junk, peer)
        reply = answer(data, peer) if noise[0] % 3 else None
        return reply if noise[0] % 2 else None

    world.listeners._rsip_udp = lossy
    program = await Program(world.rsip_port, "127.0.0.1", "-n", "6").start()
    _, first, last = await program.holds()
    assert last - first == 63 and len(world.rsip.clients[1].binds) == 1
    await program.end()
    assert world.rsip.clients == {}


test_client = in_world(client_life)
test_client_that_is_forgotten = in_world(client_again)
test_client_that_is_refused = in_world(client_refused)
test_client_when_messages_are_lost = in_world(client_loss)


# ---- a client that others wrote ----


def natpmpc_session():
    """natpmpc wants port 5351 of a gateway: one of this machine's own addresses."""
    async def session():
        program, world = needs("natpmpc"), World()
        gateway = "127.0.0.1"
        try:
            await world.listeners.start(serve.open_sockets(gateway, rsip_port=0))
        except OSError as e:
            raise Skip("port 5351 cannot be had: %s" % e)
        try:
            async def natpmpc(*words):
                world.leases.advance(5)
                p = await asyncio.create_subprocess_exec(
                    program, "-g", gateway, *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                out, _ = await asyncio.wait_for(p.communicate(), 30)
                return p.returncode, out.decode()

            status, out = await natpmpc()
            assert status == 0 and "192.0.2.1" in out, out
            status, out = await natpmpc("-a", "80", "80", "tcp", "600")
            assert "Mapped public port 80 protocol TCP to local port 80 liftime 600" in \
                out.replace("lifetime", "liftime"), out
            assert world.leases.owner(X, 0, 80) == 1 and world.leases.owner(X, 1, 80) == 0x3fff
            # Another port outside than inside: what it gets is the one inside.
            status, out = await natpmpc("-a", "8080", "53", "udp", "600")
            assert "Mapped public port 53 protocol UDP to local port 53" in out, out
            assert world.leases.owner(X, 1, 53) == 1
            world.leases.grant(vif(7), 1, 81, 0, 0, 0)
            status, out = await natpmpc("-a", "81", "81", "tcp", "600")
            assert "Mapped public port" not in out, out
            status, out = await natpmpc("-a", "80", "80", "tcp", "0")
            assert world.leases.owner(X, 0, 80) == 0x2001, out
        finally:
            await world.listeners.stop()
    asyncio.run(session())


def test_natpmpc():
    return natpmpc_session()


# ---- a decoder that others wrote ----


def transcript():
    """(from the host?, UDP payload): a host's day, with all that it may say and be told."""
    leases = Leases()
    server = rsip.Server(leases, GATEWAY, NETS)
    host, packets = Host(server, vif(1)), []

    def receive(interface, transport, peer, data):
        reply = rsip.Server.receive(server, interface, transport, peer, data)
        packets.extend([(True, data), (False, reply)])
        leases.advance(1)
        return reply

    host.server = type("Tap", (), {"receive": staticmethod(receive)})
    host.say(wire.QUERY_REQUEST, (wire.CLIENT_ID, 1))
    host.register()
    _, got = host.assign(ports=run(8))
    bind = (wire.BIND_ID, got[wire.BIND_ID][0])
    host.assign(ports=run(2, 80, 443), kind=wire.LISTEN_REQUEST)
    host.assign(ports=run(1, 999))
    host.assign(block(0, 12), (wire.TUNNEL, 241))
    host.say(wire.EXTEND_REQUEST, host.me(), bind, (wire.LEASE_TIME, 1200))
    host.say(wire.QUERY_REQUEST, host.me(), (wire.INDICATOR, 1), (wire.ADDRESS, b"\1\x64\x40\0\1"))
    host.say(wire.FREE_REQUEST, host.me(), bind)
    packets += [(False, m) for _, m in server.violation(host.vif, 313)]
    host.say(wire.DEREGISTER_REQUEST, host.me())
    packets += [(False, m) for _, m in server.dismiss(host.vif)]
    return packets


def pcap(packets):
    out = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 101)  # raw IP
    for i, (from_host, data) in enumerate(packets):
        ports = (40000, wire.PORT) if from_host else (wire.PORT, 40000)
        udp = struct.pack(">HHHH", *ports, 8 + len(data), 0) + data
        ends = (0x64400001, GATEWAY) if from_host else (GATEWAY, 0x64400001)
        ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0, *ends) + udp
        out += struct.pack("<IIII", i, 0, len(ip), len(ip)) + ip
    return out


def test_tshark_reads_a_transcript():
    program = needs("tshark")
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "rsip.pcap")
    packets = transcript()
    with open(path, "wb") as f:
        f.write(pcap(packets))
    text = subprocess.run([program, "-r", path, "-d", "udp.port==4555,rsip", "-V", "-O", "rsip"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                          text=True).stdout
    frames = text.split("Frame ")[1:]
    assert len(frames) == len(packets)
    for (_, data), shown in zip(packets, frames):
        assert "Realm Specific IP" in shown and "alformed" not in shown, shown
        kind = re.search(r"Message type: .*\((\d+)\)", shown)
        assert kind and int(kind.group(1)) == data[1], shown
        length = re.search(r"Message length: (\d+)", shown)
        assert length and int(length.group(1)) == len(data), shown
        kinds = [int(n) for n in re.findall(r"^ +Type: .*\((\d+)\)$", shown, re.M)]
        assert kinds == list(parameters(data)), shown
    assert "Client ID" in text and "192.0.2.1" in text
    return "%d messages" % len(packets)


def parameters(data):
    at = 4
    while at < len(data):
        yield data[at]
        at += 3 + number(data[at + 1:at + 3])


def test_tshark_reads_pcp():
    program = needs("tshark")
    from test_pcp import Client, port_set
    c, packets = Client(), []
    receive = c.server.receive

    def tap(interface, source, data):
        reply = receive(interface, source, data)
        packets.extend([(True, data), (False, reply)])
        return reply

    c.server.receive = tap
    c.map(80)
    c.map(100, options=port_set(100, 4))
    c.map(100, nonce=b"another one!")
    path = os.path.join(OUT, "pcp.pcap")
    with open(path, "wb") as f:
        f.write(pcap(packets))
    text = subprocess.run([program, "-r", path, "-d", "udp.port==4555,portcontrol", "-V"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                          text=True).stdout
    assert "alformed" not in text and text.count("Port Control Protocol") >= 6, text
    results = [int(n) for n in re.findall(r"Result Code: .*\((\d+)\)", text)]
    assert results == [0, 0, 2], results
