"""Guests behind the virtual firewall router and the world beyond domain 0: addresses by DHCP, files from
outside by a shared address and by one of a guest's own, a way in, and domain 0's daemons killed meanwhile."""

import machine
from world import OWN, SHARED, WORLD, World


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
    w.let_in()
    w.t.sh(f"serai net lease grant {SHARED} {w.vifs()['b']['vif']} --start 80 --size 1")
    w.t.ask("(echo this is b | nc -l -p 80; echo it is still b | nc -l -p 80) &", "b")
    w.t.until("/mnt/ask b 'grep -q :0050 /proc/net/tcp /proc/net/tcp6'")
    said = w.said_at_80()
    w.t.expect(f"'{said}' answers at b's port", said == "this is b\n")
    said = w.t.ask(f"nc {SHARED} 80", "c")
    w.t.expect(f"'{said}' answers c", "it is still b" in said)


def hops(w):
    """The router is one of them."""
    said = w.t.ask(f"traceroute -n -m 1 -q 1 {WORLD}", "c")
    w.t.expect(f"the way is '{said}'", "169.254.0.1" in said)


def survival(w):
    w.fetch("a")
    w.fetch("c")
    w.t.sh("kill -9 $(cat /run/netd.pid)")
    w.t.until("! pgrep -f /served.p[y]")
    w.fetched("a")
    w.fetched("c")
    before = w.leases()
    w.start()
    w.t.expect("leases are not what they were", [x["id"] for x in before] == [x["id"] for x in w.leases()])
    w.t.ask("udhcpc -i eth0 -n -q -O 159 -s /bin/true", "a", 120)
    w.fetch("b")
    w.fetched("b")


def going_on(w):
    """What a guest holds is its own after it was saved, restored and migrated, without its asking."""
    before = [x["first"] for x in w.leases() if x["state"] == "held" and x["vif"] == w.vifs()["a"]["vif"]]
    w.t.sh("xl save a /root/saved; xl restore /root/saved; rm /root/saved", 600)
    w.fetch("a")
    w.fetched("a")
    w.t.sh("xl migrate -s '' a 'xl migrate-receive'", 600)
    w.t.arrived("a")
    w.fetch("a")
    w.fetched("a")
    after = [x["first"] for x in w.leases() if x["state"] == "held" and x["vif"] == w.vifs()["a"]["vif"]]
    w.t.expect(f"a had {before} and has {after}", before and after == before)


def wild(w):
    """Whatever guests say, the servers go on."""
    before = w.t.sh("pgrep -f /served.p[y]")
    for port in (67, 4555, 5351):
        w.t.ask(f"i=0; while [ $i -lt 20 ]; do head -c 300 /dev/urandom | nc -u -w 1 169.254.0.1 {port} > /dev/null; "
                "i=$((i + 1)); done", "c", 120)
    w.t.ask("head -c 5000 /dev/urandom | nc -w 5 169.254.0.1 4555 > /dev/null", "c", 120)
    w.t.expect("the servers have ended", w.t.sh("pgrep -f /served.p[y]") == before)


def test_bridged():
    World().run(addresses, files, inbound, hops, survival, going_on, wild)


def test_routed():
    World("route xenbr0").run(addresses, files, inbound)


machine.main()
