#!/usr/bin/python3
"""Sends what no router may take, and prints which reasons it must have counted: malformed ROUTER-MAC

From eth0 with 10.1.0.1 and fd00:1::1, to 10.1.0.2 and fd00:1::2.
"""

import collections
import json
import struct
import sys

from scapy.arch import get_if_hwaddr
from scapy.config import conf
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_RA, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                                IPv6ExtHdrHopByHop, IPv6ExtHdrRouting)
from scapy.layers.l2 import ARP, Dot1Q, Dot3, Ether, LLC
from scapy.packet import Raw

TIMES = 3  # each frame
OPEN = 7003  # UDP's port to which rules let pass
US, THEM, US6, THEM6 = "10.1.0.1", "10.1.0.2", "fd00:1::1", "fd00:1::2"
ROUTER, MAC = sys.argv[1], get_if_hwaddr("eth0")


def ip(**fields):
    return Ether(src=MAC, dst=ROUTER) / IP(**{"src": US, "dst": THEM, **fields})


def ip6(**fields):
    return Ether(src=MAC, dst=ROUTER) / IPv6(**{"src": US6, "dst": THEM6, **fields})


def datagram(length=32):
    return UDP(sport=4000, dport=OPEN, chksum=0) / Raw(b"x" * (length - 8))


def options(data):
    """A header with these, which scapy would have put right."""
    data += b"\0" * (-len(data) % 4)
    head = bytearray(bytes(IP(src=US, dst=THEM, proto=17, ihl=5 + len(data) // 4, len=20 + len(data) + 32, chksum=0))[:20]) + data
    total = sum(struct.unpack(f">{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = struct.pack(">H", total ^ 0xFFFF)
    return Ether(src=MAC, dst=ROUTER, type=0x800) / Raw(bytes(head) + bytes(datagram()))


def cut(packet, length):
    return Raw(bytes(packet)[:length])


def piece(offset, data, more, number, **fields):
    return ip(proto=17, frag=offset // 8, flags="MF" if more else 0, id=number, **fields) / Raw(data)


def piece6(offset, data, more, number):
    return ip6() / IPv6ExtHdrFragment(nh=17, offset=offset // 8, m=more, id=number) / Raw(data)


WRONG = {
    "short": [cut(ip(len=48) / datagram(), 24), ip(len=200) / datagram(), ip() / TCP(dport=80, dataofs=15),
              ip(proto=1) / Raw(b"\x08\0\0\0"), ip(proto=6) / Raw(b"\x10" * 12), cut(ip6(plen=60) / datagram(), 44),
              ip6(plen=300) / datagram()],
    "bad-ip": [ip(version=5) / datagram(), ip(ihl=4) / datagram(), ip(len=10) / datagram(), ip(chksum=0x1234) / datagram(),
               options(b"\x83\x07\x04\x0a\x01\x00\x05"), options(b"\x89\x07\x04\x0a\x01\x00\x05"), options(b"\x07\x01"),
               options(b"\x44\x28\x05\x00"), ip(src="127.0.0.1") / datagram(), ip(src="224.0.0.1") / datagram(),
               ip(src="255.255.255.255") / datagram(), ip(dst="127.0.0.1") / datagram(), ip(dst="0.0.0.0") / datagram(),
               ip() / UDP(sport=1, dport=OPEN, len=4), ip() / UDP(sport=1, dport=OPEN, len=999), ip() / TCP(dport=80, dataofs=4),
               ip(frag=8191, proto=17) / Raw(b"x" * 100), piece(0, b"x" * 33, True, 7), piece(64, b"", True, 8),
               Ether(src=MAC, dst=ROUTER, type=0x86DD) / Raw(bytes(IP(src=US, dst=THEM)) + b"x" * 40),
               ip6(src="ff02::1") / datagram(), ip6(dst="::") / datagram(), ip6(dst="::1") / datagram(),
               ip6(dst="::ffff:10.1.0.2") / datagram(),
               Ether(src=MAC, dst=ROUTER, type=0x806) / Raw(b"\0\6" + bytes(ARP(hwsrc=MAC, psrc=US, pdst=THEM))[2:])],
    "ext-hdr": [ip6() / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / datagram(),
                ip6() / IPv6ExtHdrRouting(type=0, addresses=["fd00:1::3"], segleft=1) / datagram(),
                ip6() / IPv6ExtHdrFragment(nh=44, m=0, id=1) / IPv6ExtHdrFragment(nh=17, id=1) / datagram(),
                ip6(nh=60) / Raw(b"\x3c\0\x01\x04\0\0\0\0" * 9 + bytes(datagram())),
                ip6(nh=60) / Raw(b"\x11\x1e\x01\xf6" + bytes(244) + bytes(datagram()))],
    "frag-tiny": [ip(proto=6, flags="MF", id=10) / Raw(b"\x10" * 8), ip(proto=6, frag=1, id=11) / Raw(b"x" * 32),
                  ip6() / IPv6ExtHdrFragment(nh=6, m=1, id=12) / Raw(b"x" * 8),
                  ip6() / IPv6ExtHdrFragment(nh=60, m=1, id=13) / Raw(b"\x11\x03" + bytes(6))],
    "ethertype": [Ether(src=MAC, dst=ROUTER) / Dot1Q(vlan=5) / IP(src=US, dst=THEM) / datagram(),
                  Ether(src=MAC, dst=ROUTER, type=0x88CC) / Raw(b"x" * 40), Dot3(src=MAC, dst=ROUTER) / LLC() / Raw(b"x" * 40)],
    "spoof-mac": [Ether(src="02:00:00:00:00:99", dst=ROUTER) / IP(src=US, dst=THEM) / datagram()],
    "spoof-ip4": [ip(src=THEM) / datagram(), ip(src="10.1.0.77") / TCP(dport=80)],
    "spoof-ip6": [ip6(src=THEM6) / datagram()],
    "spoof-arp": [Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=2, hwsrc=MAC, psrc=THEM, hwdst=ROUTER, pdst=US),
                  Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc="02:00:00:00:00:99", psrc=US, pdst=THEM)],
    "spoof-nd": [ip6(hlim=255) / ICMPv6ND_NA(tgt=THEM6, R=0)],
    "spoof-ra": [ip6(hlim=255, dst="ff02::1") / ICMPv6ND_RA()],
    "spoof-dhcp": [ip() / UDP(sport=67, dport=68) / BOOTP(op=2, chaddr=b"\0" * 6) / DHCP(options=[("message-type", "offer"), "end"])],
    "tcp-state": [ip() / TCP(sport=4000, dport=7000, flags=flags) for flags in ("A", "F", "R", "FPU", "")],
}

# Pieces, each list with numbers of its own: what becomes of all of its pieces.
whole = bytes(datagram(64))
PIECES = [
    ({"frag-overlap": 1}, lambda n: [piece(0, whole[:32], True, n), piece(24, whole[24:56], True, n)]),
    ({"frag-overlap": 1}, lambda n: [piece(0, whole[:32], True, n), piece(0, whole[:32], True, n)]),
    ({"frag-overlap": 1}, lambda n: [piece(0, whole[:32], True, n), piece(48, whole[48:], False, n), piece(64, whole[:16], True, n)]),
    ({"frag-overlap": 1}, lambda n: [piece6(0, whole[:32], 1, n), piece6(24, whole[24:56], 1, n)]),
    ({"frag-orphan": 1}, lambda n: [piece(32, whole[32:], False, n)]),
    ({"frag-orphan": 2}, lambda n: [piece6(32, whole[32:48], 1, n), piece6(48, whole[48:], 0, n)]),
]


def main():
    expected = collections.Counter()
    with conf.L2socket(iface="eth0") as wire:
        for reason, frames in WRONG.items():
            for frame in frames:
                for _ in range(TIMES):
                    wire.send(frame)
                    expected[reason] += 1
        for number, (reasons, frames) in enumerate(PIECES):
            for time in range(TIMES):
                for frame in frames(1000 + number * TIMES + time):
                    wire.send(frame)
                expected.update(reasons)
    print(json.dumps(expected))


main()
