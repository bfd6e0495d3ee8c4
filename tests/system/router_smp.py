"""Turns on four CPUs: stock guests with two vcpus and two queues each send to the wire at once, and none of them
is starved, neither by others like him nor by a flood of small packets."""

import time

import machine
from machine import Failure
from tools_world import PEER, World

NAMES = "abc"
ENOUGH = 12 << 20  # bytes of all, from which shares are told
FLOOD = 20000      # packets


def begin(w):
    for number, name in enumerate(NAMES, 1):
        w.guest(name, number, "'vcpus=2'")
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


def sent(w, names=NAMES):
    vifs = w.vifs()
    return {name: vifs[name + "0"]["sent"] for name in names}


def until_sent(w, what, condition, names=NAMES):
    """What was sent when the condition of it is true."""
    deadline = time.monotonic() + 300 * machine.PATIENCE
    while not condition(now := sent(w, names)):
        if time.monotonic() > deadline:
            raise Failure(f"{what}: {now}")
    return now


def equals(w):
    for name in NAMES:
        send(w, name, "-P 4")
    first = until_sent(w, "not all have begun", lambda now: all(x["bytes"] > 1 << 20 for x in now.values()))

    def more(now):
        return {name: now[name]["bytes"] - first[name]["bytes"] for name in NAMES}
    shares = more(until_sent(w, "they do not go on", lambda now: sum(more(now).values()) > ENOUGH))
    for name in NAMES:
        stop(w, name)
    total, squares = sum(shares.values()), sum(x * x for x in shares.values())
    print(f"# shares of {total >> 20} MiB: {[f'{x / total:.3f}' for x in shares.values()]}, "
          f"Jain's index {total * total / 3 / squares:.3f}")
    w.t.expect(f"one is starved: {shares}", min(shares.values()) > total / 3 / 2)


def flood(w):
    """Who sends little gets through while another sends as fast as it can."""
    send(w, "a", "-u -b 0 -l 64")
    first = sent(w)["a"]["packets"]
    until_sent(w, "there is no flood", lambda now: now["a"]["packets"] > first + FLOOD)
    for source in ("10.1.0.2", "10.1.0.3"):
        before = sent(w)["a"]["packets"]
        size, seconds = w.fetch(None, source)
        packets = sent(w)["a"]["packets"] - before
        print(f"# {size} bytes from {source} in {seconds:.1f} s beside {packets} packets of a's")
        w.t.expect("the flood has ended", packets > 0)
    w.ask("b", f"x ping -c 3 -w 60 {PEER}")
    stop(w, "a")


def gone(w):
    """Domains that die in the middle of their turns leave nobody waiting."""
    for name in NAMES:
        send(w, name, "-P 4")
    first = until_sent(w, "not all have begun", lambda now: all(x["bytes"] > 1 << 20 for x in now.values()))
    w.t.xl("destroy a")
    w.t.until("! serai net show | grep -q ' a '")
    until_sent(w, "they do not go on without a",
               lambda now: all(x["bytes"] > first[name]["bytes"] + (2 << 20) for name, x in now.items()), "bc")
    for name in "bc":
        stop(w, name)
    w.ask("c", f"x ping -c 3 -w 60 {PEER}")


def test_turns():
    World(cpus=4).run(begin, equals, flood, gone)


machine.main()
