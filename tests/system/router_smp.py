"""Turns on four CPUs: stock guests with two vcpus and two queues each send to the wire at once, and none of them
is starved, neither by others like him nor by a flood of small packets. The neighbour on the wire counts.

Time is virtual, and one host thread executes the CPUs in turn: a receiver that takes nothing for a millisecond
makes senders lose packets, and a host with other work would stop one for longer."""

import re
import time

import machine
from machine import Failure
from tools_world import PEER, World

NAMES = "abc"
ENOUGH = 12 << 20  # bytes of all, from which shares are told
FLOOD = 5000        # packets
SHIFT, QUANTUM = 0, 400
COUNTERS = "table inet shares { %s chain in { type filter hook prerouting priority -300; %s }; }" % (
    " ".join(f"counter {name} {{ }};" for name in NAMES),
    " ".join(f"ip saddr 10.1.0.{number} counter name {name};" for number, name in enumerate(NAMES, 1)))


def begin(w):
    w.t.sh(f"ip netns exec peer nft -f - <<'END'\n{COUNTERS}\nEND")
    for number, name in enumerate(NAMES, 1):
        w.guest(name, number, "'vcpus=2'", stations=False)
        queues = w.ask(name, "ls -d /sys/class/net/eth0/queues/tx-*").split()
        w.t.expect(f"{name} has {len(queues)} queues", len(queues) == 2)
        w.ask(name, "x iperf3 -s -D")
        w.peer(f"iperf3 -s -D -p {5201 + number}")


def send(w, name, words):
    """It goes on until stop()."""
    port = 5202 + NAMES.index(name)
    w.ask(name, f"x iperf3 -c {PEER} -p {port} -t 86400 {words} > /tmp/said 2>&1 & echo $! > /tmp/pid")


def stop(w, name):
    w.ask(name, "kill $(cat /tmp/pid); wait $(cat /tmp/pid); true")


def came(w):
    """Packets and bytes that have come to the wire, by the sender's name."""
    said = w.t.sh("ip netns exec peer nft list counters")
    found = re.findall(r"counter (\w) \{\s+packets (\d+) bytes (\d+)", said)
    return {name: (int(packets), int(size)) for name, packets, size in found}


def until_came(w, what, condition):
    deadline = time.monotonic() + 300 * machine.PATIENCE
    while not condition(now := came(w)):
        if time.monotonic() > deadline:
            raise Failure(f"{what}: {now}")
    return now


def all_send(w):
    """What has come when each has begun."""
    before = came(w)
    for name in NAMES:
        send(w, name, "-P 4")
    return until_came(w, "not all have begun",
                      lambda now: all(now[name][1] > before[name][1] + (1 << 20) for name in NAMES))


def equals(w):
    first = all_send(w)

    def more(now):
        return [now[name][1] - first[name][1] for name in NAMES]
    shares = more(until_came(w, "they do not go on", lambda now: sum(more(now)) > ENOUGH))
    for name in NAMES:
        stop(w, name)
    total, squares = sum(shares), sum(x * x for x in shares)
    print(f"# shares of {total >> 20} MiB: {[f'{x / total:.3f}' for x in shares]}, "
          f"Jain's index {total * total / 3 / squares:.3f}")
    w.t.expect(f"one is starved: {shares}", min(shares) > total / 3 / 2)


def flood(w):
    """Who sends little gets through while another sends as fast as it can."""
    send(w, "a", "-u -b 0 -l 64")
    first = came(w)["a"][0]
    until_came(w, "there is no flood", lambda now: now["a"][0] > first + FLOOD)
    for source in ("10.1.0.2", "10.1.0.3"):
        before = came(w)["a"][0]
        size, seconds = w.fetch(None, source)
        packets = came(w)["a"][0] - before
        print(f"# {size} bytes from {source} in {seconds:.1f} s beside {packets} packets of a's")
        w.t.expect("the flood has ended", packets > 0)
    w.ask("b", f"x ping -c 3 -i 0.02 -w 60 {PEER}")
    stop(w, "a")


def gone(w):
    """Domains that die in the middle of their turns leave nobody waiting."""
    all_send(w)
    domid = w.t.sh("xl domid a").strip()
    w.t.xl("destroy a")
    w.t.until(f"grep -q 'vif {domid}.0 is disconnected' /run/netd.log")
    first = came(w)
    until_came(w, "they do not go on without a",
               lambda now: all(now[name][1] > first[name][1] + (2 << 20) for name in "bc"))
    for name in "bc":
        stop(w, name)
    w.ask("c", f"x ping -c 3 -i 0.02 -w 60 {PEER}")


def test_turns():
    World(cpus=4, qemu=machine.QEMU_BACKPORTS, cpu=machine.CPU_VIRTUAL_TIME,
          devices=machine.virtual_time(SHIFT, QUANTUM, sleep="on")).run(begin, equals, flood, gone)


machine.main()
