"""Stock guests and a neighbour on the wire with the tools that operators use: segments, IPv6 to the wire, marks,
rates, what a scan finds open, and frames that are wrong in every way, by the router's own counters; logins and files,
and what a collector is told of them."""

import json
import re

import machine
from tools_world import PEER, PEER6, ROUTER_MAC, World

RATE = 200_000  # bytes a second, less than any machine sends
BURST = 128 << 10
SIZE = 1 << 20


def begin(w):
    w.guest("a", 1)
    w.guest("b", 2, vif=",rate=50MB/s@20ms")
    w.ask("a", "x iperf3 -s -D")
    for command in ("x iperf3 -s -D", "x nc -klu 7003 > /tmp/udp &", "tail -f /dev/null | x nc -kl 7000 > /dev/null &",
                    "tail -f /dev/null | x nc -kl 7005 > /dev/null &"):
        w.ask("b", command)
    w.peer("iperf3 -s -D")
    for port in ("1451", "1B58", "1B5D"):  # 5201, 7000, 7005
        w.t.until(f"/mnt/ask b 'grep -q \":{port} .* 0A \" /proc/net/tcp /proc/net/tcp6'")


def world6(w):
    """IPv6 to the wire and back, which nothing but the router's advertisement had told the guest of."""
    w.ask("a", f"x ping -6 -c 2 -w 60 {PEER6}")
    w.peer("ping -6 -c 2 -w 60 fd00:1::2")
    w.fetch("a", PEER6)
    w.fetch(None, "fd00:1::2")
    w.t.sh("ip netns exec peer chroot /tools timeout 300 sh -c 'nc -6 -l 7000 > /tmp/six' & echo $!")
    w.t.until("ip netns exec peer ss -6ltn | grep -q :7000 || ip netns exec peer grep -q ':1B58 ' /proc/net/tcp6")
    w.ask("b", "echo by IPv6 | x nc -6 -N " + PEER6 + " 7000")
    w.t.until("grep -q 'by IPv6' /tmp/six")


def segment(w):
    """Stations of a segment reach each other under their own Ethernet addresses, and nobody else's."""
    w.ask("a", "x ping -c 2 -w 60 10.2.0.2")
    neighbour = w.ask("a", "x ip neigh show 10.2.0.2")
    w.t.expect(f"b's address is '{neighbour}'", "00:16:3e:00:02:02" in neighbour)
    for to in ("10.2.0.2", "fd00:3::2"):
        w.fetch("a", to)
    status, _ = w.t.run("/mnt/ask a 'x ping -c 1 -w 3 -I eth1 10.2.0.77'")
    w.t.expect("somebody who is not there answers", status != 0)
    w.ask("a", "ip addr add 10.2.0.9/24 dev eth1")
    before = w.drops("a1")
    w.t.run("/mnt/ask a 'x ping -c 1 -w 3 -I 10.2.0.9 10.2.0.2'")
    after = w.drops("a1")
    w.ask("a", "ip addr del 10.2.0.9/24 dev eth1")
    lies = sum(after.get(x, 0) - before.get(x, 0) for x in ("spoof-ip4", "spoof-arp"))
    w.t.expect(f"another's address passes: {before} {after}", lies > 0)
    w.ask("a", "x ping -b -c 3 -i 1 -w 3 10.2.0.255 || true")
    w.t.expect("nothing was for all of the segment", w.drops("a1").get("spread", 0) > 0)
    # The wire's segment: the neighbour sees the guest's own Ethernet address.
    w.ask("a", f"x ping -c 2 -w 60 -I 192.0.2.2 {PEER}")
    seen = w.t.sh("ip netns exec peer ip neigh show 192.0.2.2")
    w.t.expect(f"the wire sees '{seen}'", "00:16:3e:00:03:01" in seen)


def marks(w):
    """Rules mark what passes, and its answers; tcpdump shows the marks at both ends."""
    for to, protocol, mark in (("10.1.0.2", "ip", "tos 0xb8"), (PEER6, "ip6", "class 0xb8"), (PEER, "ip", "tos 0xb8")):
        look = f"tcpdump -n -v -l -c 1 -i eth0 {protocol} and port 7100"
        if to == "10.1.0.2":
            w.ask("b", f"x {look} > /tmp/seen 2> /tmp/looks &")
            w.t.until("/mnt/ask b 'grep -q listening /tmp/looks'")
        else:
            w.t.sh(f"ip netns exec peer chroot /tools {look} > /tmp/seen 2> /tmp/looks &")
            w.t.until("grep -q listening /tmp/looks")
        w.t.run(f"/mnt/ask a 'echo x | x nc -u -w 1 {to} 7100'")
        if to == "10.1.0.2":
            w.t.until("/mnt/ask b 'grep -q 7100 /tmp/seen'")
            seen = w.ask("b", "cat /tmp/seen")
        else:
            w.t.until("grep -q 7100 /tmp/seen")
            seen = w.t.sh("cat /tmp/seen")
        w.t.expect(f"to {to}: '{seen}'", mark in seen)


def rates(w):
    """By the command and by the configuration; a transfer takes the time that the rate gives it."""
    listed = w.vifs()["b0"]["rate"]
    w.t.expect(f"b's rate is {listed}", listed == {"bytes": 1_000_000, "usec": 20_000})
    size, index = RATE * 10, w.index("a0")
    for who in ("b", None):
        w.t.sh(f"serai net rate {index} {RATE // 1000}KB/s")
        came, seconds = w.fetch(who, "10.1.0.1", size)
        least = (came - BURST) / RATE
        w.t.expect(f"{came} bytes in {seconds} s, not {least}", 0.97 * least < seconds < 1.3 * came / RATE)
        w.t.sh(f"serai net rate {index} none")
        came, free = w.fetch(who, "10.1.0.1", size)
        print(f"# {came} bytes: {seconds:.1f} s with a rate of {RATE} a second, {free:.1f} s without")
        w.t.expect(f"{came} bytes in {free} s without a rate, {seconds} with", free < seconds / 2)
    w.t.expect("a rate drops packets", "rate" not in w.drops("a0"))


def scanned(w, words, to="10.1.0.2"):
    """What nmap says of each port: {port: state}."""
    said = w.peer(f"nmap -n -Pn --max-retries 2 --host-timeout 280s {words} {to}", 300)
    return {int(port): state for port, state in re.findall(r"^(\d+)/\w+ +(\S+)", said, re.M)}


def scans(w):
    """From outside: open is what the rules leave open and somebody serves."""
    ports = "-p 6999-7005"
    found = scanned(w, f"-sS {ports}")
    w.t.expect(f"a scan finds {found}", found == {6999: "filtered", 7000: "open", 7001: "closed", 7002: "closed",
                                                  7003: "filtered", 7004: "filtered", 7005: "filtered"})
    found = scanned(w, "-6 -sS -p 5201,7001,7002,7005", "fd00:1::2")
    w.t.expect(f"by IPv6 it finds {found}", found == {5201: "open", 7001: "closed", 7002: "closed", 7005: "filtered"})
    # What belongs to no connection comes through nowhere, whatever its flags are.
    for kind in ("-sA", "-sN", "-sX"):
        found = scanned(w, f"{kind} --max-retries 1 -p 7000-7001")
        w.t.expect(f"{kind} finds {found}", set(found.values()) <= {"filtered", "open|filtered"})
    found = scanned(w, "-sS -f -p 7000,7005")
    w.t.expect(f"in pieces it finds {found}", found.get(7005) == "filtered")
    found = scanned(w, "-sS --badsum --max-retries 1 -p 7000-7001")
    w.t.expect(f"with wrong checksums it finds {found}", set(found.values()) == {"filtered"})
    found = scanned(w, "-sU -p 7003-7004")
    w.t.expect(f"UDP: {found}", found[7004] == "open|filtered")
    # Wild probes, options among them; what they say does not matter.
    w.peer("nmap -n -Pn -O --max-os-tries 1 -p 7000-7001 10.1.0.2", 300)
    w.peer("nmap -n -Pn -sO -p 0,4,47,50,132 --max-retries 0 10.1.0.2", 300)
    w.peer("nmap -n -Pn -sS --ip-options 'L 10.1.0.9' --data-length 99 --ttl 3 -p 7000 10.1.0.2", 300)
    found = scanned(w, "-sS -p 7000")
    w.t.expect(f"after all that: {found}", found == {7000: "open"})


def malformed(w):
    """Each wrong frame dies of its reason, and nothing else does."""
    before = w.drops("a0")
    expected = json.loads(w.ask("a", f"x malformed {ROUTER_MAC}", 300))
    reasons = set(expected)

    def difference():
        return {x: n - before.get(x, 0) for x, n in w.drops("a0").items() if x in reasons and n > before.get(x, 0)}
    # Pieces without a first one are kept for two seconds.
    w.t.until("[ $(serai net show --json | tr -d ' ,' | sed -n 's/.*\"frag-orphan\"://p' | head -1) -ge "
              f"{before.get('frag-orphan', 0) + expected['frag-orphan']} ]")
    print(f"# malformed: {expected}")
    w.t.expect(f"{difference()} were dropped, not {expected}", difference() == expected)
    w.ask("a", "x ping -c 2 -w 60 10.1.0.2")


# What a collector is to be told of, by addresses and port; of the last one only that it was refused.
SSH, WEB, WEB6 = ("10.1.0.1", "10.1.0.2", 22), ("10.1.0.1", PEER, 80), ("fd00:1::1", PEER6, 80)
SSH_OUTSIDE = (PEER, "10.1.0.2", 22)


def watched(w):
    """The neighbour looks on, and the router writes down."""
    w.guest("a", 1)
    w.guest("b", 2)
    w.t.sh("/usr/lib/serai/net/logd.py > /run/logd.log 2>&1 &")
    w.behind("tshark -q -n -B 16 -i eth0 -w /tmp/wire.pcapng tcp port 80 or udp port 4739", "tshark")
    w.t.until("[ -s /tmp/wire.pcapng ]")


def ssh(w):
    """Somebody logs in, is asked for by both ends' keys, and sends a file; from outside nobody does."""
    make = "x ssh-keygen -q -t ed25519 -N '' -f"
    w.ask("a", f"{make} /tmp/key; head -c {SIZE} /dev/urandom > /tmp/file")
    w.ask("b", f"{make} /tmp/host; echo '{w.ask('a', 'cat /tmp/key.pub').strip()}' > /tmp/welcome")
    w.ask("a", f"echo '10.1.0.2 {w.ask('b', 'cat /tmp/host.pub').strip()}' > /tmp/known")
    w.ask("b", "x /usr/sbin/sshd -h /tmp/host -o AuthorizedKeysFile=/tmp/welcome -o StrictModes=no -o PidFile=none")
    said = w.ask("a", "x ssh -i /tmp/key -o UserKnownHostsFile=/tmp/known -o BatchMode=yes root@10.1.0.2 "
                      "'echo $SSH_CONNECTION; sha256sum' < /tmp/file", 300).splitlines()
    w.t.expect(f"b saw {said}", said[0].startswith("10.1.0.1 ") and said[0].endswith(" 10.1.0.2 22"))
    w.t.expect(f"b got {said}", said[1] == w.ask("a", "sha256sum < /tmp/file").strip())
    status, _ = w.t.run("ip netns exec peer chroot /tools nc -z -w 5 10.1.0.2 22")
    w.t.expect("somebody outside reaches it", status != 0)


def curl(w):
    w.t.sh(f"mkdir /tmp/www; head -c {SIZE} /dev/urandom > /tmp/www/file")
    w.behind("python3 -m http.server -b :: -d /tmp/www 80", "http")
    w.t.until("ip netns exec peer ss -ltn | grep -q ':80 '")
    digest = w.t.sh("sha256sum < /tmp/www/file")
    for at in (PEER, f"[{PEER6}]"):
        w.ask("a", f"x curl -sSf -o /tmp/got http://{at}/file", 300)
        w.t.expect(f"what came from {at} is something else", w.ask("a", "sha256sum < /tmp/got") == digest)


def logged(w):
    """Bytes there and back of flows that have ended, by addresses and port."""
    said = [json.loads(line) for line in w.t.sh("serai net log --json").splitlines()]
    return {(x["src"], x["dst"], x["dport"]): (x["bytes"], x["bytes_back"]) for x in said if x["type"] == "end"}


def collected(w):
    """Debian's collector and tshark read in IPFIX what the router's own log says."""
    for _, to, port in (SSH, WEB, WEB6):
        w.t.until(f"serai net log --json | grep '\"type\": \"end\"' | grep '\"dst\": \"{to}\"' | grep -q '\"dport\": {port},'", 120)
    w.t.sh("mkdir /tmp/flows")
    w.behind("nfcapd -w /tmp/flows -p 4739", "nfcapd")
    w.t.until("ip netns exec peer ss -uln | grep -q ':4739 '")
    w.t.sh(f"serai net export ipfix {PEER}")
    for name in ("nfcapd", "tshark"):
        w.t.sh(f"kill $(cat /run/{name}.pid)")
        w.t.until(f"! kill -0 $(cat /run/{name}.pid)")
    said = w.t.sh("cat /tmp/nfcapd")
    w.t.expect(f"nfcapd complains: {said}", "Sequence Errors: 0, Bad Packets: 0" in said)
    found = {}
    for row in w.peer("nfdump -R /tmp/flows -q -o csv").splitlines():
        row = row.split(",")
        found[row[3], row[4], int(row[6])] = int(row[12]), int(row[14])
    print(f"# nfdump: {found}")
    known = logged(w)
    for flow in (SSH, WEB, WEB6):
        w.t.expect(f"of {flow} nfdump says {found.get(flow)}, the log {known[flow]}", found.get(flow) == known[flow])
        w.t.expect(f"of {flow} only {known[flow]} bytes passed", max(known[flow]) > SIZE)
    w.t.expect("nfdump knows nothing of what was refused", SSH_OUTSIDE in found and SSH_OUTSIDE not in known)

    def shark(what, *fields):
        fields = " ".join(f"-e {field}" for field in fields)
        return w.peer(f"tshark -n -r /tmp/wire.pcapng -o http.desegment_body:FALSE -Y {what} -T fields {fields} 2> /dev/null")
    said = shark("http.response", "ip.dst", "ipv6.dst", "http.response.code", "http.content_length_header")
    w.t.expect(f"the wire saw '{said}'", said.splitlines() == [f"10.1.0.1\t\t200\t{SIZE}", f"\tfd00:1::1\t200\t{SIZE}"])
    said = shark("cflow", "cflow.srcaddr", "cflow.srcaddrv6")
    w.t.expect(f"tshark reads '{said}'", "10.1.0.1" in said and "fd00:1::1" in said and not shark("_ws.malformed", "frame.number"))


def test_tools():
    World().run(begin, world6, segment, marks, rates, scans, malformed)


def test_sessions():
    World().run(watched, ssh, curl, collected)


machine.main()
