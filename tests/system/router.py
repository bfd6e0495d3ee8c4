"""Two guests whose interfaces the virtual firewall router serves: what passes, what does not and why,
one address for both, and domain 0's daemon killed and started again."""

import json
import time

import machine
import toolstack
from machine import Failure

EXTRA = "'extra=\"console=hvc0 quiet panic=1\"'"
SHARED = "192.0.2.1"
RULES = """default drop
ping: pass from domains to domains proto icmp
file: pass from any to any port 7000 proto tcp
no:   reject with rst from any to any port 7001 proto tcp
"""


class Router:
    def __init__(self, t):
        self.t = t
        t.sh("rmmod xen_netback")
        self.start()

    def start(self):
        self.t.sh("/usr/lib/serai/net/netd.py > /run/netd.log 2>&1 & echo $! > /run/netd.pid")

    def stop(self):
        self.t.sh("kill -9 $(cat /run/netd.pid)")

    def show(self):
        return {v["domain"]: v for v in json.loads(self.t.sh("serai net show --json"))}

    def drops(self, name, reason):
        return self.show()[name]["drops"].get(reason, 0)

    def guest(self, name, number):
        vif = f"mac=00:16:3e:00:01:0{number},ip=10.1.0.{number} {SHARED}/shared,script=vif-vfr"
        self.t.create(name, f"'vif=[\"{vif}\"]' {EXTRA}")
        self.address(name, f"10.1.0.{number}")

    def address(self, name, address):
        """The guest has this one and no other."""
        self.t.ask(f"ip addr flush dev eth0; ip addr add {address}/32 dev eth0; ip link set eth0 up; "
                   "ip route add 169.254.0.1 dev eth0; ip route add default via 169.254.0.1", name)

    def refused(self, command, name):
        """Seconds until a command in the guest has failed."""
        start = time.monotonic()
        status, _ = self.t.run(f"/mnt/ask {name} '{command}'")
        self.t.expect(f"'{command}' succeeds in {name}", status != 0)
        return time.monotonic() - start


def receive(t, name):
    """The guest waits for a file at port 7000. Its nc ends when either side has no more to say."""
    t.ask("tail -f /dev/null | nc -l -p 7000 > /tmp/in &", name)
    t.until(f"/mnt/ask {name} 'grep -q :1B58 /proc/net/tcp /proc/net/tcp6'")


def default_rules(t, r):
    t.ask("ping -c 3 -w 20 10.1.0.2", "a")
    t.ask("ping -c 3 -w 20 10.1.0.1", "b")
    t.ask("ping -c 1 -w 20 169.254.0.1", "a")
    t.expect("something is dropped by default", r.drops("a", "default") == 0)
    r.refused("nc -w 2 10.1.0.2 7000 < /dev/null", "a")
    t.expect("nothing is dropped by default", r.drops("a", "default") > 0)


def loading(t):
    t.sh(f"cat > /tmp/rules <<'END'\n{RULES}END")
    t.sh("serai net rule check /tmp/rules")
    t.sh("serai net rule load /tmp/rules --generation 1")
    status, said = t.run("serai net rule load /tmp/rules --generation 1")
    t.expect(f"rules replace others unseen: {said}", status == 1 and "somebody else" in said)
    t.sh("echo 'pass frm any' > /tmp/wrong")
    status, said = t.run("serai net rule load /tmp/wrong")
    t.expect(f"no place in: {said}", status == 1 and "/tmp/wrong:1:6:" in said)


def a_file(t):
    t.ask("head -c 3000000 /dev/urandom > /tmp/out", "a")
    receive(t, "b")
    t.ask("nc 10.1.0.2 7000 < /tmp/out", "a")
    t.until("[ \"$(/mnt/ask b 'stat -c %s /tmp/in')\" = 3000000 ]")
    t.expect("what a sent is not what came", t.ask("sha256sum < /tmp/out", "a") == t.ask("sha256sum < /tmp/in", "b"))


def liars(t, r):
    seconds = r.refused("nc -w 20 10.1.0.2 7001 < /dev/null", "a")
    t.expect(f"it takes {seconds:.0f} s to be refused", seconds < 15)
    t.expect("no rule dropped it", r.drops("a", "rule") > 0)
    t.ask("ip addr add 10.1.0.9/32 dev eth0", "a")
    r.refused("ping -c 1 -w 2 -I 10.1.0.9 10.1.0.2", "a")
    t.expect("another's address passes", r.drops("a", "spoof-ip4") > 0)


def sharing(t, r):
    vifs = r.show()
    for name, start in (("a", 4096), ("b", 8192)):
        t.sh(f"serai net lease grant {SHARED} {vifs[name]['vif']} --start {start}")
    r.address("a", SHARED)
    t.ask("echo 4096 8191 > /proc/sys/net/ipv4/ip_local_port_range", "a")
    status, said = t.run(f"serai net lease grant {SHARED} {vifs['b']['vif']} --start 4096")
    t.expect(f"a port has two owners: {said}", status == 1 and "leased already" in said)
    receive(t, "b")
    t.ask("echo from a | nc 10.1.0.2 7000", "a")
    t.until("/mnt/ask b 'grep -q \"from a\" /tmp/in'")
    t.expect("a port that it owns is refused", r.drops("a", "rsip-port") == 0)
    t.ask("echo 8192 8300 > /proc/sys/net/ipv4/ip_local_port_range", "a")
    seconds = r.refused("nc -w 60 10.1.0.2 7000 < /dev/null", "a")
    t.expect(f"it takes {seconds:.0f} s to be told so", seconds < 45)
    t.expect("a port of b's passes", r.drops("a", "rsip-port") > 0)
    r.address("a", "10.1.0.1")


def survival(t, r):
    r.stop()
    t.ask("ping -c 3 -w 20 10.1.0.2", "a")
    generation = json.loads(t.sh("serai net rule show --json"))["generation"]
    r.start()
    t.xl("destroy a")
    t.until("! serai net show | grep -q ' a '")
    t.expect("rules are not what they were",
             json.loads(t.sh("serai net rule show --json"))["generation"] == generation)
    t.expect("a's leases are still held", "held" not in [
        x["state"] for x in json.loads(t.sh("serai net lease list --json")) if x["first"] == 4096])
    r.guest("a", 1)
    t.ask("ping -c 3 -w 20 10.1.0.2", "a")


def test_router():
    t = toolstack.Toolstack("serai")
    try:
        r = Router(t)
        r.guest("a", 1)
        r.guest("b", 2)
        default_rules(t, r)
        loading(t)
        a_file(t)
        liars(t, r)
        sharing(t, r)
        survival(t, r)
        t.power_off()
    except Failure:
        print(t.run("cat /run/netd.log; serai net show; serai net rule show; serai net lease list")[1])
        raise
    finally:
        t.close()


if __name__ == "__main__":
    machine.main()
