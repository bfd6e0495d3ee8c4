"""Guests behind the virtual firewall router and the world beyond domain 0: addresses by DHCP, files from
outside by a shared address and by one of a guest's own, a way in, and domain 0's daemons killed meanwhile."""

import hashlib
import json
import os
import shlex
import socket

import machine
import toolstack
from machine import PATIENCE, Failure

EXTRA = "'extra=\"console=hvc0 quiet panic=1\"'"
SHARED, OWN = "10.0.2.100", "10.0.2.101"
WORLD = "10.0.2.2"  # the test's own machine, as QEMU's user network has it
# One line, for the guest's console reads lines.
SCRIPT = ("[ $1 = bound ] || exit 0; ip addr add $ip/32 dev eth0; ip route add $router dev eth0; "
          "ip route add default via $router; [ -n \"$opt159\" ] || exit 0; "
          "p=$((0x$(echo $opt159 | cut -c5-8))); echo $p $((p + 4095)) > /proc/sys/net/ipv4/ip_local_port_range")


class World:
    def __init__(self):
        self.data = os.urandom(1 << 20)
        self.sum = hashlib.sha256(self.data).hexdigest()
        self.server = machine.serve(self.data)
        self.port = machine.free_port()
        card = machine.network()
        card[1] += f",hostfwd=tcp:127.0.0.1:{self.port}-{SHARED}:80"
        self.t = toolstack.Toolstack("serai", devices=card)
        self.start()

    def start(self):
        self.t.sh("/usr/lib/serai/net/netd.py --verbose > /run/netd.log 2>&1 & echo $! > /run/netd.pid")
        # Not by 'serai net': each start of Python takes the CPU away from the daemon.
        self.t.until("grep -q 'servers run' /run/netd.log && ip link show up0 2> /dev/null | grep -q xenbr0", 300)

    def vifs(self):
        return {v["domain"]: v for v in json.loads(self.t.sh("serai net show --json"))}

    def leases(self):
        return json.loads(self.t.sh("serai net lease list --json"))

    def guest(self, name, addresses):
        self.t.create(name, f"'vif=[\"ip={addresses},script=vif-vfr\"]' {EXTRA}")
        self.t.ask("echo '#!/bin/sh' > /tmp/s; chmod +x /tmp/s; ip link set eth0 up", name)
        self.t.ask(f"echo {shlex.quote(SCRIPT)} >> /tmp/s; udhcpc -i eth0 -n -q -O 159 -s /tmp/s", name, 120)

    def fetch(self, name):
        """Begins to; the guest writes down what came."""
        url = f"http://{WORLD}:{self.server.server_address[1]}/"
        self.t.ask(f"rm -f /tmp/sum; (wget -q -O - {url} | sha256sum > /tmp/new; mv /tmp/new /tmp/sum) &", name)

    def fetched(self, name):
        self.t.until(f"/mnt/ask {name} 'test -e /tmp/sum'", 180)
        self.t.expect(f"{name} has got something else", self.sum in self.t.ask("cat /tmp/sum", name))


def addresses(w):
    w.guest("a", f"{SHARED}/shared")
    w.guest("b", f"{SHARED}/shared")
    w.guest("c", OWN)
    for name, address in (("a", SHARED), ("b", SHARED), ("c", OWN)):
        w.t.expect(f"{name} has another address", f"{address}/32" in w.t.ask("ip addr show eth0", name))
    ports = [w.t.ask("cat /proc/sys/net/ipv4/ip_local_port_range", name).split()[0] for name in "ab"]
    held = {str(x["first"]): x["vif"] for x in w.leases() if x["state"] == "held"}
    w.t.expect(f"ports are {ports}, leases {held}",
               [held.get(p) for p in ports] == [w.vifs()[name]["vif"] for name in "ab"])


def files(w):
    for name in "abc":
        w.fetch(name)
    for name in "abc":
        w.fetched(name)
    for name in "abc":
        w.t.expect(f"{name} sent from another's port", "rsip-port" not in w.vifs()[name]["drops"])


def inbound(w):
    w.t.sh("(cat /etc/serai/net.rules; "
           "echo 'web: pass from uplink to domains port 80 proto tcp') > /tmp/rules; serai net rule load /tmp/rules")
    w.t.sh(f"serai net lease grant {SHARED} {w.vifs()['b']['vif']} --start 80 --size 1")
    w.t.ask("echo this is b | nc -l -p 80 &", "b")
    w.t.until("/mnt/ask b 'grep -q :0050 /proc/net/tcp /proc/net/tcp6'")
    with socket.create_connection(("127.0.0.1", w.port), 60 * PATIENCE) as s:
        said = s.makefile().readline()
    w.t.expect(f"'{said}' answers at b's port", said == "this is b\n")


def survival(w):
    w.fetch("a")
    w.fetch("c")
    w.t.sh("kill -9 $(cat /run/netd.pid)")
    w.t.until("! pidof -x served.py")
    w.fetched("a")
    w.fetched("c")
    before = w.leases()
    w.start()
    w.t.expect("leases are not what they were", [x["id"] for x in before] == [x["id"] for x in w.leases()])
    w.t.ask("udhcpc -i eth0 -n -q -O 159 -s /bin/true", "a", 120)
    w.fetch("b")
    w.fetched("b")


def wild(w):
    """Whatever guests say, the servers go on."""
    before = w.t.sh("pidof -x served.py")
    for port in (67, 4555, 5351):
        w.t.ask(f"i=0; while [ $i -lt 20 ]; do head -c 300 /dev/urandom | nc -u -w 1 169.254.0.1 {port} > /dev/null; "
                "i=$((i + 1)); done", "c", 120)
    w.t.ask("head -c 5000 /dev/urandom | nc -w 5 169.254.0.1 4555 > /dev/null", "c", 120)
    w.t.expect("the servers have ended", w.t.sh("pidof -x served.py") == before)


def test_world():
    w = World()
    try:
        addresses(w)
        files(w)
        inbound(w)
        survival(w)
        wild(w)
        w.t.power_off()
    except Failure:
        print(w.t.run("cat /run/netd.log; serai net show; serai net rule show; serai net lease list; ip -br addr")[1])
        raise
    finally:
        w.server.shutdown()
        w.t.close()


machine.main()
