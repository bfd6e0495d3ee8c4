"""Debian guests that share an address, as the README's: ports asked for by DHCP, NAT-PMP (Debian's natpmpc) and
RSIP, and what comes to them from outside."""

import machine
from world import SHARED, WORLD, World

ROUTER = "169.254.0.1"
# What tests/system/domu/init does, typed at a login.
SERVE = "stty -echo; while read -r line; do eval \"$line\" 2>&1; echo \"[done $?]\"; done"


def begin(w):
    for name in ("one", "two"):
        start(w, name)


def start(w, name):
    log = w.t.log(name)
    w.t.sh(f"rm -f {log}; xl create /etc/xen/shared.cfg 'name=\"{name}\"'", 300)
    w.t.until(f"grep -q 'login:' {log}", 300)
    w.t.tell("root", name)
    w.t.until(f"grep -q 'root@' {log}", 120)
    w.t.tell("exec env PS1= TERM=dumb dash", name)
    w.t.tell(SERVE, name)
    w.t.ask("true", name)


def ports(w, name):
    first, last = w.t.ask("cat /proc/sys/net/ipv4/ip_local_port_range", name).split()
    return int(first), int(last)


def held(w, name):
    """First and last ports of its leases."""
    vif = w.vifs()[name]["vif"]
    return {(x["first"], x["last"]) for x in w.leases() if x["state"] == "held" and x["vif"] == vif}


def by_dhcp(w):
    for name in ("one", "two"):
        w.t.expect(f"{name} has another address", f"{SHARED}/32" in w.t.ask("ip addr show eth0", name))
        w.t.expect(f"{name}: {ports(w, name)} is not leased", held(w, name) == {ports(w, name)})
    w.t.ask(f"ping -c 1 -e {ports(w, 'one')[0]} {WORLD}", "one")


def hops(w):
    said = w.t.run(f"/mnt/ask one 'ping -t 1 -c 1 -e {ports(w, 'one')[0]} {WORLD}'")[1]
    w.t.expect(f"the router says '{said}'", f"From {ROUTER}" in said and "Time to live exceeded" in said)


def by_nat_pmp(w):
    said = w.t.ask(f"natpmpc -g {ROUTER}", "one")
    w.t.expect(f"natpmpc says '{said}'", f"Public IP address : {SHARED}" in said)
    said = w.t.ask(f"natpmpc -g {ROUTER} -a 80 80 tcp 3600", "one")
    w.t.expect(f"natpmpc says '{said}'", "Mapped public port 80 protocol TCP to local port 80" in said)
    w.t.expect("one does not hold port 80", (80, 80) in held(w, "one"))
    w.t.run(f"/mnt/ask two 'natpmpc -g {ROUTER} -a 80 80 tcp 3600'")
    w.t.expect("port 80 has two owners", (80, 80) not in held(w, "two"))
    w.let_in()
    w.t.ask("(echo this is one | nc -l 80 > /dev/null) &", "one")
    w.t.until("/mnt/ask one 'grep -q :0050 /proc/net/tcp /proc/net/tcp6'")
    said = w.said_at_80()
    w.t.expect(f"'{said}' answers at one's port", said == "this is one\n")
    w.t.ask(f"natpmpc -g {ROUTER} -a 80 80 tcp 0", "one")
    w.t.expect("one holds port 80 still", (80, 80) not in held(w, "one"))


def by_rsip(w):
    before = held(w, "two")
    w.t.ask("rsip > /tmp/rsip & echo $! > /tmp/rsip.pid", "two")
    w.t.until("/mnt/ask two 'grep -q . /tmp/rsip'")
    address, first, last = w.t.ask("cat /tmp/rsip", "two").split()
    block = int(first), int(last)
    w.t.expect(f"two got {address}", address == SHARED)
    w.t.expect(f"{block} is not leased", held(w, "two") == before | {block})
    w.t.expect("the kernel takes other ports", ports(w, "two") == block)
    w.fetch("two")
    w.fetched("two")
    w.t.ask("kill $(cat /tmp/rsip.pid)", "two")
    w.t.until("/mnt/ask two '! pidof rsip'")
    w.t.expect(f"{block} is not given back", held(w, "two") == before)


def test_clients():
    World().run(begin, by_dhcp, hops, by_nat_pmp, by_rsip)


machine.main()
