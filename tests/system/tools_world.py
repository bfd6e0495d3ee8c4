"""Guests with the tools that operators use, each with a routed interface and one in the segment 'lab', and a
neighbour on the wire who has the same tools. The wire is a bridge of domain 0's of its own.

    a     10.1.0.1, fd00:1::1, 10.2.0.1    b, c  likewise, with their numbers
    peer  192.0.2.254, fd00:2::fe: the way to everywhere else
"""

import json

import machine
import toolstack
import world

TOOLS = machine.SCRATCH / "tools.sqfs"
PEER, PEER6 = "192.0.2.254", "fd00:2::fe"
ROUTER, ROUTER_MAC = "169.254.0.1", "02:53:45:52:41:49"
RULES = """default drop
iperf: pass from any to any port {5201, 5202, 5203, 5204} proto {tcp, udp}
mark:  pass from domains to any port 7100 proto {tcp, udp} dscp 46
open:  pass from any to any port {7000, 7001} proto tcp
open2: pass from any to any port 7003 proto udp
ssh:   pass from domains to domains port 22 proto tcp log
shut:  drop from any to any port 22 proto tcp log
web:   pass from domains to any port 80 proto tcp log
no:    reject with rst from any to any port 7002 proto tcp
ping:  pass from any to any proto {icmp, icmp6}
"""
WIRE = f"""ip link add wire type bridge; ip link set wire up
ip addr add 192.0.2.1/24 dev wire; ip -6 addr add fd00:2::1/64 dev wire nodad
ip netns add peer; ip link add peer type veth peer name eth0 netns peer; ip link set peer master wire up
ip route replace default via {PEER}; ip -6 route replace default via {PEER6} dev wire"""
# Whoever is on the wire finds the router's guests there.
NEIGHBOUR = f"""ip link set lo up; ip link set eth0 up
ip addr add {PEER}/24 dev eth0; ip -6 addr add {PEER6}/64 dev eth0 nodad
ip route add 10.1.0.0/24 dev eth0; ip -6 route add fd00:1::/64 dev eth0"""


def mount(device, at):
    return (f"mkdir -p {at}; mount -t squashfs -o ro {device} {at}; for d in proc sys dev tmp; do mount -o bind /$d {at}/$d; done")


class World(world.Steps):
    def __init__(self, devices=(), **how):
        drive = f"if=none,id=tools,format=raw,readonly=on,file={TOOLS}"
        devices = ["-drive", drive, "-device", "virtio-blk-pci,drive=tools", *devices]
        self.t = toolstack.Toolstack("serai", devices=devices, **how)
        t = self.t
        t.sh(mount("/dev/vdc", "/tools"))
        t.sh(WIRE)
        t.sh("ip netns exec peer sh -ec '" + NEIGHBOUR.replace("\n", ";") + "'")
        t.sh("printf 'uplink bridge wire\\nsegment lab\\nsegment wire uplink\\n' > /etc/serai/net.conf")
        t.sh(f"cat > /etc/serai/net.rules <<'END'\n{RULES}END")
        t.sh("/usr/lib/serai/net/netd.py --verbose > /run/netd.log 2>&1 & echo $! > /run/netd.pid")
        t.until("grep -q 'servers run' /run/netd.log && ip link show up0 2> /dev/null | grep -q LOWER_UP", 300)

    def guest(self, name, number, words="", vif="", stations=True):
        """It has all that is in its rules of the test's own, and nothing by DHCP; without stations the routed interface only."""
        vifs = [f"mac=00:16:3e:00:01:0{number},ip=10.1.0.{number} fd00:1::{number},script=vif-vfr{vif}"]
        if stations:
            vifs += [f"mac=00:16:3e:00:02:0{number},ip=10.2.0.{number} fd00:3::{number},bridge=lab,script=vif-vfr",
                     f"mac=00:16:3e:00:03:0{number},ip=192.0.2.{number + 1},bridge=wire,script=vif-vfr"]
        vifs = ", ".join(f'"{v}"' for v in vifs)
        self.t.create(name, f"'ramdisk=\"/tools/boot/initrd.gz\"' 'disk=[\"/dev/vdc,raw,xvda,r\"]' 'memory=160' 'vif=[{vifs}]' "
                            f"'extra=\"console=hvc0 quiet panic=1\"' {words}", seconds=300)
        ask = self.t.ask
        ask("until [ -b /dev/xvda ]; do usleep 50000; done; " + mount("/dev/xvda", "/t"), name)
        ask("printf '#!/bin/sh\\nexec chroot /t /usr/bin/env PATH=/usr/local/bin:/usr/sbin:/usr/bin \"$@\"\\n' > /bin/x; chmod +x /bin/x; ip link set lo up", name)
        ask("for i in /proc/sys/net/ipv6/conf/eth[12]; do [ ! -e $i ] || echo 0 > $i/accept_ra; done; "
            "for i in /sys/class/net/eth*; do i=${i##*/}; echo 0 > /proc/sys/net/ipv6/conf/$i/accept_dad; ip link set $i up; done", name)
        ask(f"ip addr add 10.1.0.{number}/32 dev eth0; ip -6 addr add fd00:1::{number}/128 dev eth0; "
            f"ip route add {ROUTER} dev eth0; ip route add default via {ROUTER}", name)
        if stations:
            ask(f"ip addr add 10.2.0.{number}/24 dev eth1; ip -6 addr add fd00:3::{number}/64 dev eth1; "
                f"ip addr add 192.0.2.{number + 1}/32 dev eth2; ip route add {PEER} dev eth2 table 2; "
                f"ip rule add from 192.0.2.{number + 1} table 2", name)
        # IPv6's way out comes by the router's advertisement.
        self.t.until(f"/mnt/ask {name} 'ip -6 route show default | grep -q eth0'")

    def ask(self, name, command, seconds=120):
        return self.t.ask(command, name, seconds)

    def peer(self, command, seconds=120):
        """The neighbour does it, with its tools."""
        return self.t.sh(f"ip netns exec peer chroot /tools {command}", seconds)

    def behind(self, command, name):
        """The same, while the test goes on; its process is in /run/NAME.pid, what it says in /tmp/NAME."""
        self.t.sh(f"ip netns exec peer chroot /tools {command} > /tmp/{name} 2>&1 & echo $! > /run/{name}.pid")

    def vifs(self):
        """By the domain's name, with the interface's number in it behind that: a0, a1."""
        found = json.loads(self.t.sh("serai net show --json"))
        return {f"{v['domain']}{v['handle']}": v for v in found}

    def drops(self, name):
        return dict(self.vifs()[name]["drops"])

    def index(self, name):
        return self.vifs()[name]["vif"]

    def fetch(self, name, source, size=1 << 20, seconds=300):
        """It gets that many bytes by iperf3, the neighbour if there is no name: how many came, in which time."""
        command = f"iperf3 -J -R -n {size} -c {source}"
        said = json.loads(self.ask(name, "x " + command, seconds) if name else self.peer(command, seconds))
        came = said["end"]["sum_received"]
        self.t.expect(f"{came['bytes']} of {size} bytes have come from {source}", came["bytes"] >= size)
        return came["bytes"], came["seconds"]
