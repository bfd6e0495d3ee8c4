"""Domain 0 whose router reaches a world that is the test's own machine, and small guests behind it."""

import hashlib
import json
import os
import shlex
import socket

import machine
import toolstack

EXTRA = "'extra=\"console=hvc0 quiet panic=1\"'"
SHARED, OWN = "10.0.2.100", "10.0.2.101"
WORLD = "10.0.2.2"  # as QEMU's user network has it
# One line, for the guest's console reads lines.
SCRIPT = ("[ $1 = bound ] || exit 0; ip addr add $ip/32 dev eth0; ip route add $router dev eth0; "
          "ip route add default via $router; [ -n \"$opt159\" ] || exit 0; "
          "p=$((0x$(echo $opt159 | cut -c5-8))); echo $p $((p + 4095)) > /proc/sys/net/ipv4/ip_local_port_range")


class Steps:
    """A test's steps, each a function of the world that it happens in; 't' is that one's toolstack."""

    def run(self, *steps):
        try:
            for step in steps:
                step(self)
            self.t.power_off()
        except machine.Failure:
            print(self.t.run("cat /run/netd.log; serai net show; serai net rule show; serai net lease list; "
                             "ip -br addr; dmesg | tail -5")[1])
            raise
        finally:
            self.close()

    def close(self):
        self.t.close()


class World(Steps):
    def __init__(self, uplink="bridge xenbr0"):
        self.data = os.urandom(1 << 20)
        self.sum = hashlib.sha256(self.data).hexdigest()
        self.server = machine.serve(self.data)
        self.port = machine.free_port()
        card = machine.network()
        card[1] += f",hostfwd=tcp:127.0.0.1:{self.port}-{SHARED}:80"
        self.t = toolstack.Toolstack("serai", devices=card)
        self.t.sh(f"echo uplink {uplink} > /etc/serai/net.conf")
        self.start()

    def start(self):
        self.t.sh("/usr/lib/serai/net/netd.py --verbose > /run/netd.log 2>&1 & echo $! > /run/netd.pid")
        # Not by 'serai net': each start of Python takes the CPU away from the daemon.
        self.t.until("grep -q 'servers run' /run/netd.log && ip link show up0 2> /dev/null | grep -q LOWER_UP", 300)

    def vifs(self):
        return {v["domain"]: v for v in json.loads(self.t.sh("serai net show --json"))}

    def leases(self):
        return json.loads(self.t.sh("serai net lease list --json"))

    def guest(self, name, addresses):
        self.t.create(name, f"'vif=[\"ip={addresses},script=vif-vfr\"]' {EXTRA}")
        self.t.ask("echo '#!/bin/sh' > /tmp/s; chmod +x /tmp/s; ip link set eth0 up", name)
        self.t.ask(f"echo {shlex.quote(SCRIPT)} >> /tmp/s; udhcpc -i eth0 -n -q -O 159 -s /tmp/s", name, 120)

    def let_in(self):
        """By the rules: whoever wants to may speak to port 80 of a guest."""
        self.t.sh("(cat /etc/serai/net.rules; "
                  "echo 'web: pass from any to domains port 80 proto tcp') > /tmp/rules; serai net rule load /tmp/rules")

    def said_at_80(self):
        """What the shared address says to somebody from outside."""
        with socket.create_connection(("127.0.0.1", self.port), 60 * machine.PATIENCE) as s:
            return s.makefile().readline()

    def fetch(self, name):
        """Begins to; the guest writes down what came."""
        get = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {WORLD} {self.server.server_address[1]}"
        self.t.ask(f"rm -f /tmp/sum; ({get} | tail -c {len(self.data)} | sha256sum > /tmp/new; mv /tmp/new /tmp/sum) &", name)

    def fetched(self, name):
        self.t.until(f"/mnt/ask {name} 'test -e /tmp/sum'", 180)
        self.t.expect(f"{name} has got something else", self.sum in self.t.ask("cat /tmp/sum", name))

    def close(self):
        self.server.shutdown()
        super().close()
