"""What the wire is told of new addresses, and how domain 0's own ends begin."""
import ipaddress
import os
import struct
import subprocess
import sys
from unittest import mock

from host import Skip
import explain
import hypercall
import own
import settings
import vifs
from test_vifs import Store

MAC = bytes.fromhex("02aabbccddee")


def test_gratuitous_arp():
    a = ipaddress.ip_address("192.0.2.7")
    frame = own.gratuitous_arp(MAC, a)
    assert frame[:14] == b"\xff" * 6 + MAC + b"\x08\x06" and len(frame) == 42
    assert frame[22:32] == MAC + a.packed and frame[38:] == a.packed


def test_unsolicited_advertisement():
    a = ipaddress.ip_address("2001:db8::7")
    frame = own.unsolicited_advert(MAC, a)
    assert frame[:14] == bytes.fromhex("333300000001") + MAC + b"\x86\xdd"
    header, message = frame[14:54], frame[54:]
    assert header[7] == 255 and header[8:24] == a.packed and header[24:] == ipaddress.ip_address("ff02::1").packed
    assert struct.unpack(">H", header[4:6])[0] == len(message) == 32
    assert message[:2] == b"\x88\x00" and message[4] == 0x20 and message[8:] == a.packed + b"\x02\x01" + MAC
    assert explain.checksum(header[8:] + struct.pack(">II", len(message), 58) + message) == 0


def test_an_end_is_closed_while_it_is_taken_from_netback():
    """Without a state the kernel removes the device and waits for who takes it: for ever."""
    store = Store()
    front, back = own.FRONT.format(own.CTL) + "/state", own.BACK.format(own.CTL) + "/state"
    seen = []

    def take(_store, _name, _front):
        seen.append((store[front], store[back]))
        store[back] = "6"  # whoever loses it

    with mock.patch.object(own, "run"), mock.patch.object(vifs, "take_from_netback", take):
        mine = own.Control(store, None)
        mine.create()
        assert seen == [("6", "1")] and store[front] == "1"
        assert store[back] == "1"  # a closed one is waited for by the kernel, who does nothing else then
        store[front] = "4"
        mine.create()  # a daemon that begins anew
        assert store[front] == "4" and len(seen) == 1
        store[front] = "6"  # it had not come further
        mine.create()
        assert store[front] == "1" and len(seen) == 2


def test_stations_of_the_bridge_are_on_the_link():
    """The router is told of the bridge's networks, once, and again when they change."""
    bridge = [{"addr_info": [{"family": "inet", "local": "192.0.2.7", "prefixlen": 24},
                             {"family": "inet6", "local": "2001:db8::7", "prefixlen": 64},
                             {"family": "inet", "local": "198.51.100.1", "prefixlen": 32}]}, {}]
    mine, router = own.Uplink(None, settings.Settings("bridge", "xenbr0", MAC)), mock.Mock()
    with mock.patch.object(own, "ip_json", lambda *words: bridge if "addr" in words else []), \
            mock.patch.object(own.Uplink, "mac", lambda _self: MAC):
        mine.index = 3
        mine.describe(hypercall.Vif())
        mine.refresh(router)
        mine.refresh(router)
        networks = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "2001:db8::/64")))
        assert router.set_next_hop.call_args_list == [mock.call(3, MAC, MAC, networks)]
        bridge[0]["addr_info"] = bridge[0]["addr_info"][:1]
        mine.refresh(router)
        assert router.set_next_hop.call_args == mock.call(3, MAC, MAC, networks[:1])
        mine.describe(hypercall.Vif())  # connected anew
        mine.refresh(router)
        assert router.set_next_hop.call_count == 3
        mine.settings.uplink = "route"
        assert mine.networks() == ()


def test_networks_go_to_the_hypervisor_as_prefixes():
    told = []
    router = hypercall.Router.__new__(hypercall.Router)
    router.call = lambda op, data: told.append(hypercall.Vif.unpack(data))
    networks = [ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/64")]
    router.set_next_hop(3, MAC, MAC, networks)
    assert told[0].prefixes == networks and told[0].next_hop == MAC


def test_networks_behind_a_routed_uplink():
    """Domain 0's kernel is told of all, once; single ones it answers for, and the wire is told of them."""
    told, announced = [], []
    mine = own.Uplink(None, settings.Settings("route", "eth0"))
    networks = {ipaddress.ip_network(n) for n in ("192.0.2.7", "10.5.0.0/24", "2001:db8::7", "2001:db8:5::/64")}
    with mock.patch.object(own, "ip", lambda *words, check=True: told.append(" ".join(words))), \
            mock.patch.object(own.Uplink, "announce", lambda _self, addresses: announced.append(addresses)):
        mine.serve(networks)
        assert set(told) == {
            "-4 route replace 192.0.2.7/32 dev up0", "-4 neigh replace proxy 192.0.2.7 dev eth0",
            "-4 route replace 10.5.0.0/24 dev up0",
            "-6 route replace 2001:db8::7/128 via fe80::53:45ff:fe52:4149 dev up0",
            "-6 neigh replace proxy 2001:db8::7 dev eth0",
            "-6 route replace 2001:db8:5::/64 via fe80::53:45ff:fe52:4149 dev up0"}, told
        assert announced == [set(map(ipaddress.ip_address, ("192.0.2.7", "2001:db8::7")))]
        told.clear()
        mine.serve(networks - {ipaddress.ip_network("2001:db8::7")})
        assert told == ["-6 route del 2001:db8::7/128 via fe80::53:45ff:fe52:4149 dev up0",
                        "-6 neigh del proxy 2001:db8::7 dev eth0"] and announced[1] == set()
        told.clear()
        bridged = own.Uplink(None, settings.Settings("bridge", "xenbr0"))
        bridged.serve(networks)
        assert not told and announced[2] == announced[0]


def test_a_routed_uplink_forwards_both():
    """The kernel takes what it is told: with devices of our own, where there are such."""
    if os.geteuid() or not os.path.exists("/dev/net/tun"):
        raise Skip("only root can make devices")
    script = """
import ipaddress, pathlib, sys
sys.path.insert(0, sys.argv[1])
import own, settings
own.run("ip", "tuntap", "add", "up0", "mode", "tap")
own.run("ip", "tuntap", "add", "eth0", "mode", "tap")
own.ip("link", "set", "eth0", "up")
mine = own.Uplink(None, settings.Settings("route", "eth0"))
mine.named = lambda: True
mine.mac = lambda: bytes.fromhex("02aabbccddee")
mine.announce = lambda addresses: None
own.sysctl("net/ipv6/conf/up0/disable_ipv6", "1")
mine.set_up()
mine.serve({ipaddress.ip_network(n) for n in ("192.0.2.7", "10.5.0.0/24", "2001:db8::7", "2001:db8:5::/64")})
for command in ("-6 route get 2001:db8::7", "-6 route get 2001:db8:5::9", "route get 10.5.0.9", "-6 neigh show proxy",
                "-6 neigh show dev up0", "-6 addr show dev up0", "neigh show proxy"):
    print(own.ip(*command.split()).strip().replace(chr(10), " "))
print(pathlib.Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text().strip(),
      pathlib.Path("/proc/sys/net/ipv6/conf/eth0/accept_ra").read_text().strip())
"""
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", script, os.path.dirname(own.__file__)],
                          capture_output=True, text=True, check=False)
    if "tuntap" in done.stderr:
        raise Skip("there are no devices of that kind")
    one, other, four, proxies, neighbour, addresses, proxies4, switches = done.stdout.splitlines()
    via = "via fe80::53:45ff:fe52:4149 dev up0"
    assert via in one and via in other and "dev up0" in four, done
    assert "2001:db8::7 dev eth0" in proxies and "192.0.2.7 dev eth0" in proxies4 and "2001:db8:5" not in proxies
    assert "02:aa:bb:cc:dd:ee PERMANENT" in neighbour and not addresses and switches == "1 2", done.stdout
