"""What leaves domain 0: IPFIX and syslog as others read them, and the same counts everywhere."""
import json
import os
import re
import shutil
import socket
import struct
import subprocess
from unittest import mock

import audit  # noqa: F401
import export
import host
import lease
import log_command
import log_records as r
from host import Skip
from log_world import SECOND, World
from test_log import Place, stored


def pcap(messages, port):
    """Datagrams to this port, as a file that everybody reads."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    for i, data in enumerate(messages):
        udp = struct.pack(">HHHH", 40000, port, 8 + len(data), 0) + data
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
        total = sum(struct.unpack(">10H", ip))
        total = (total & 0xFFFF) + (total >> 16)
        ip = ip[:10] + struct.pack(">H", ~total & 0xFFFF) + ip[12:]
        out += struct.pack("<IIII", i, 0, len(ip + udp), len(ip + udp)) + ip + udp
    return out


def world_with_everything(place):
    world = World()
    for number in range(2):
        world.connect(number, bytes([number + 1]) * 16, f"10.0.0.{number + 1}/32")
    for log2, number, start in ((12, 1, 4096), (0, 2, 80)):
        world.lease(host.Order(op=host.GRANT, origin=1, classes=3 if log2 else 1, log2=log2, start=start, vif=0,
                               ip=host.X, id=number, uuid=(host.ctypes.c_uint8 * 16)(*[1] * 16)))
    world.utc += 10 * SECOND
    world.lease(host.Order(op=host.FREE, origin=1, id=1, ip=host.X, log2=12, start=4096, classes=3,
                           uuid=(host.ctypes.c_uint8 * 16)(*[1] * 16)))
    for port in range(50):
        world.flow(0, 5000 + port)
        world.flow(1, 5000 + port)
        world.flow(2, 5000 + port, dst=0x08080000 + 256 * port)
        world.utc += SECOND
    place.run(world)
    return world


def messages(place, *streams):
    store, out, now = place.store(writable=False), [], [1_795_000_000 * SECOND]
    ipfix = export.Ipfix(out.append)
    for row in store.all("SELECT * FROM lease"):
        ipfix.add(*export.lease(row, True), now[0])
        if row["t_end"]:
            ipfix.add(*export.lease(row, False), now[0])
    for head, record in store.records(*(streams or ("flow", "deny"))):
        now[0] += SECOND
        ipfix.record(r.decode(head, record), now[0])
    ipfix.flush(now[0])
    return out, ipfix


def tshark(place, data, *fields):
    if not shutil.which("tshark"):
        raise Skip("there is no tshark")
    path = os.path.join(place.home, "out.pcap")
    with open(path, "wb") as file:
        file.write(data)
    command = ["tshark", "-r", path, "-d", "udp.port==4739,cflow", "-T", "json", "-n"]
    said = subprocess.run(command + list(fields), capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


def values(tree, key):
    """All values of a field, however deep and often."""
    if isinstance(tree, dict):
        for k, v in tree.items():
            if k == key:
                yield v
            yield from values(v, key)
    elif isinstance(tree, list):
        for v in tree:
            yield from values(v, key)


def test_tshark_reads_our_ipfix():
    with Place() as place:
        world_with_everything(place)
        out, ipfix = messages(place)
        text = json.dumps(tshark(place, pcap(out, 4739), "--no-duplicate-keys"))
        tree = json.loads(text)
        assert "_ws.malformed" not in text and "Malformed" not in text

        def flat(key):
            found = []
            for v in values(tree, key):
                found += v if isinstance(v, list) else [v]
            return found
        assert len(flat("cflow.flow_id")) == 50
        assert len(flat("cflow.firewall_event")) == 50
        assert {"16", "17", "8"} <= set(flat("cflow.nat_event"))
        starts, ends = flat("cflow.port_range_start"), flat("cflow.port_range_end")
        assert "4096" in starts and "8191" in ends
        numbers = [int(v) for v in flat("cflow.sequence")]
        assert numbers == sorted(numbers) and ipfix.sequence > 100
        return f"{len(out)} messages, {ipfix.sequence} records"


def test_ipfix_by_its_own_rules():
    """Templates are there before records, are sent again, and sequence numbers count records."""
    with Place() as place:
        world_with_everything(place)
        out, ipfix = messages(place)
        sizes, count, templates_seen = {}, 0, 0
        for message in out:
            version, size, _, sequence, _ = struct.unpack_from(">HHIII", message)
            assert version == 10 and size == len(message) <= export.MESSAGE and sequence == count
            at = 16
            while at < size:
                number, length = struct.unpack_from(">HH", message, at)
                if number == 2:
                    templates_seen += 1
                    sizes = {n: sum(s for _, s, _ in f) for n, f in export.TEMPLATES.items()}
                elif number in (260, 261):
                    body = message[at + 4:at + length]
                    fixed = sizes[number] - 65535
                    while body:
                        body = body[fixed + 1 + body[fixed]:]
                        count += 1
                else:
                    assert (length - 4) % sizes[number] == 0
                    count += (length - 4) // sizes[number]
                at += length
        assert count == ipfix.sequence and templates_seen >= 2


def test_quotas():
    """What was dropped because an interface had used up its quota is told as RFC 8158's event, with its number."""
    with Place() as place:
        world = World()
        world.connect(0, bytes([1]) * 16, "10.0.0.1/32")
        for reason in ("flow-quota", "frag-limit", "no-route"):
            for port in range(7):
                world.flow(3, 6000 + port, reason=r.REASONS.index(reason))
            world.utc += 2 * SECOND
            world.tick()
        place.run(world)
        told = {}
        for x in stored(place, "deny"):
            told[x["reason"]] = told.get(x["reason"], 0) + x["count"]
        assert told == {"flow-quota": 7, "frag-limit": 7, "no-route": 7}, told
        out, _ = messages(place)
        seen = {}
        for message in out:
            at = 16
            while at < len(message):
                number, length = struct.unpack_from(">HH", message, at)
                body = message[at + 4:at + length]
                for i in range(0, len(body) if number == 262 else 0, 33):
                    _, event, quota, limit, count, vif, source = struct.unpack_from(">QBIIQI4s", body, i)
                    assert (event, vif, source) == (13, 5 << 16, bytes([192, 0, 2, 1]))
                    seen[quota, limit] = seen.get((quota, limit), 0) + count
                at += length
        assert seen == {(3, 16384): 7, (5, 64): 7}, seen
        tree = tshark(place, pcap(out, 4739), "--no-duplicate-keys")
        assert "Malformed" not in json.dumps(tree)
        assert "13" in list(values(tree, "cflow.nat_event")) and set(values(tree, "cflow.nat_quota_exceeded_event")) >= {"3", "5"}


def test_exhaustion():
    """A lease that was refused for want of ports is RFC 8158's event 12; one of another's ports is none."""
    with Place() as place:
        world = World()
        for error, count in (("ENOSPC", 3), ("EBUSY", 1)):
            world.change(r.LEASE_REFUSED, 4, after=f"vif=5.1 uuid={bytes(16).hex()} ip=192.0.2.1 start=0 log2=12 classes=2 "
                         f"error={error} count={count}", origin=lease.BY_RSIP)
        place.run(world)
        out, ipfix = messages(place, "audit")
        assert ipfix.sequence == 1
        template, data = next(export.exhausted(x, r.words(x["after"])) for x in stored(place, "audit")
                              if x["op"] == "lease-refused")
        assert template == 264 and len(data) == sum(size for _, size, _ in export.TEMPLATES[264])
        assert struct.unpack(">QB4sBQI", data)[1:] == (12, bytes([192, 0, 2, 1]), 17, 3, 5 << 16 | 1)
        tree = tshark(place, pcap(out, 4739), "--no-duplicate-keys")
        assert "Malformed" not in json.dumps(tree) and "12" in list(values(tree, "cflow.nat_event"))


def test_leases_are_followed():
    """Each beginning and end once, those that come while somebody listens too."""
    with Place() as place:
        world, told = World(), []
        out = mock.Mock(add=lambda template, data, now: told.append(data[8]))
        world.connect(0, bytes([1]) * 16, "192.0.2.1/32/shared")
        place.run(world)
        since = log_command.leases_to(out, place.store(writable=False), 0)
        assert not told
        for op in (host.GRANT, host.FREE):
            world.utc += SECOND
            world.lease(host.Order(op=op, ip=0xC0000201, start=4096, log2=12, classes=3, id=1, origin=1))
            place.run(world)
            since = log_command.leases_to(out, place.store(writable=False), since)
            since = log_command.leases_to(out, place.store(writable=False), since)
        assert told == [16, 16, 17, 17], told  # of each class


def test_packets_without_a_flow():
    """A rule without flows that logs: its packets are no denies."""
    with Place() as place:
        world = World()
        world.flow(2, 6000, reason=0)
        place.run(world)
        x, = stored(place, "deny")
        assert x["type"] == "pass" and " pass " in log_command.text(x)
        out, ipfix = messages(place)
        assert ipfix.sequence == 1 and export.syslog(x, "h") is None
        assert export.refused(x, export.FLOW_CREATED)[1] != export.refused(x)[1]


def test_quotas_of_six():
    x = {"utc": 5 * SECOND, "reason": "flow-quota", "count": 2, "in": "5.1", "src": "2001:db8::1", "dst": "::"}
    template, data = export.exceeded(x)
    assert template == 263 and len(data) == sum(size for _, size, _ in export.TEMPLATES[263])


def test_limits_are_the_hypervisors():
    hv = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../hv/core")
    for reason, file, define in (("flow-quota", "vfr_flow.h", "VFR_FLOW_QUOTA"), ("frag-limit", "vfr_fragment.h", "VFR_PAYER_CONTEXTS")):
        with open(os.path.join(hv, file), encoding="ascii") as text:
            assert int(re.search(rf"#define {define} +([0-9]+)", text.read())[1]) == export.QUOTAS[reason][1]


def test_the_same_counts_everywhere():
    with Place() as place:
        world_with_everything(place)
        records = stored(place, "flow", "deny")
        out, ipfix = messages(place)
        store = place.store(writable=False)
        ends = sum(x["type"] == "end" for x in records)
        denies = sum(x["type"] == "deny" for x in records)
        assert ends == denies == 50
        leases = store.one("SELECT count(*) + count(t_end) AS n FROM lease")["n"]
        assert ipfix.sequence == ends + denies + leases
        assert len([json.loads(export.line(x)) for x in records]) == 150
        assert store.one("SELECT sum(records) AS n FROM segment WHERE stream != 'audit'")["n"] == len(records)
        assert sum(export.syslog(x, "h") is not None for x in records) == denies


def test_syslog():
    with Place() as place:
        world = World()
        world.change(r.RULES_TEXT, 1, after='a "quoted" ] text\nwith a line')
        place.run(world)
        lines = [export.syslog(x, "host1").decode() for x in stored(place, "audit")]
        form = re.compile(r'^<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z host1 serai-net - audit '
                          r'\[serai@32473( [a-z_]+="([^"\\\]]|\\["\\\]])*")+\]$')
        assert all(form.match(line) for line in lines), lines
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(5)
            send = export.sender("syslog", f"127.0.0.1:{server.getsockname()[1]}", 514, False)
            send(lines[0].encode())
            assert server.recv(4096).decode() == lines[0]


def test_times():
    assert log_command.moment("2026-11-22T10:00:07Z") == 1795341607 * SECOND
    assert log_command.moment("1795341607.5") == 1795341607 * SECOND + SECOND // 2
    assert log_command.span("2s") == 2 * SECOND and log_command.span("500ms") == SECOND // 2
    for wrong in ("yesterday", "2026-13-01", ""):
        try:
            log_command.moment(wrong)
        except log_command.Failure:
            continue
        raise AssertionError(wrong)


def test_texts():
    with Place() as place:
        world_with_everything(place)
        lines = [log_command.text(x) for x in stored(place, "audit", "flow", "deny")]
        assert any("deny 5.0>6.0 tcp 192.0.2.1:5000 > 8.8.0.0:443 rule 77 rule x1" in line for line in lines)
        assert any("3+2 packets 300+200 bytes" in line for line in lines)
