"""Gangs and mode strict between stock guests, as an operator sees them: two guests of several vcpus
on two cores of two threads, set by 'serai sched'. What ran where is told from the scheduler's
trace alone, by the rules written down here. Shares are rough, because a CPU of this machine runs
when the host lets it; the mini guest smp-gangs has exact ones.
"""

import json
import os
import re

import machine
import toolstack
from machine import Failure

CPUS = "4,sockets=1,cores=2,threads=2"
THREADS = 2  # a core's CPUs have neighbouring numbers
EVENTS = 16384
SECONDS = int(os.environ.get("GANGS_SECONDS", "8"))
ROUGHLY = 0.08
LOOPS = "for i in $(seq {}); do (while :; do :; done) & echo $! >> /tmp/load; done"


class Seat:
    """What a CPU runs, and what it was taken off and has not put away yet: both count as there."""

    def __init__(self):
        self.runs = None
        self.leaving = None

    def domains(self):
        return {unit[0] for unit in (self.runs, self.leaving) if unit}


class Trace:
    """Goes through the events once; units are pairs of domain and vcpu."""

    def __init__(self, events, strict, gangs):
        self.strict = strict
        self.gangs = gangs          # domain: how many of its vcpus can run at once
        self.seats = {}
        self.time = None
        self.any = dict.fromkeys(gangs, 0)
        self.all = dict.fromkeys(gangs, 0)
        self.ran = {}
        self.overlaps = []
        self.picks = 0
        for e in events:
            self.take(e)

    def take(self, e):
        unit = (e.get("domain"), e.get("vcpu"))
        if e["event"] == "saved":
            for seat in self.seats.values():
                seat.leaving = None if seat.leaving == unit else seat.leaving
        elif e["event"] in ("pick", "idle"):
            self.pass_time(e["time_ns"])
            self.sit(e, unit if e["event"] == "pick" else None)

    def pass_time(self, now):
        passed = now - self.time if self.time is not None else 0
        self.time = now
        running = [seat.runs for seat in self.seats.values() if seat.runs]
        for unit in running:
            self.ran[unit] = self.ran.get(unit, 0) + passed
        for domain, size in self.gangs.items():
            n = sum(unit[0] == domain for unit in running)
            self.any[domain] += passed if n else 0
            self.all[domain] += passed if n == size else 0

    def sit(self, e, unit):
        seat = self.seats.setdefault(e["cpu"], Seat())
        self.picks += 1
        if seat.runs == unit:
            return
        seat.leaving = seat.runs or seat.leaving
        seat.runs = unit
        if seat.leaving == unit:
            seat.leaving = None
        core = e["cpu"] // THREADS
        domains = set().union(*(s.domains() for cpu, s in self.seats.items()
                                if cpu != e["cpu"] and cpu // THREADS == core))
        if unit and any(d != unit[0] and {d, unit[0]} & self.strict for d in domains):
            self.overlaps.append(e)

    def together(self, domain):
        return self.all[domain] / max(self.any[domain], 1)


def test_rules():
    """The rules above find what they are for."""

    def trace(*events):
        names = ("event", "cpu", "domain", "vcpu")
        events = [dict(zip(names, e), time_ns=10 * i) for i, e in enumerate(events)]
        return Trace(events, {1}, {1: 2})

    beside = trace(("pick", 0, 1, 0), ("pick", 1, 2, 0))
    unsaved = trace(("pick", 0, 2, 0), ("idle", 0), ("pick", 1, 1, 0))
    apart = trace(("pick", 0, 1, 0), ("pick", 2, 2, 0), ("pick", 1, 1, 1), ("idle", 1), ("saved", 1, 1, 1),
                  ("idle", 0), ("saved", 0, 1, 0), ("pick", 1, 2, 1))
    if [len(t.overlaps) for t in (beside, unsaved, apart)] != [1, 1, 0]:
        raise Failure(f"overlaps: {beside.overlaps}, {unsaved.overlaps}, {apart.overlaps}")
    if (apart.all[1], apart.any[1]) != (10, 50):
        raise Failure(f"together for {apart.all}, running for {apart.any}")


class Guests:
    def __init__(self):
        self.t = toolstack.Toolstack("serai", cpus=CPUS)
        self.ids = {}

    def start(self, name, vcpus):
        self.t.create(name, f"'vcpus={vcpus}' 'vif=[]'")
        self.ids[name] = int(self.t.sh(f"xl domid {name}"))

    def load(self, name, n):
        self.t.ask(LOOPS.format(n), name)

    def rest(self, name):
        self.t.ask("kill $(cat /tmp/load); rm /tmp/load", name)

    def set(self, name, words):
        self.t.sh(f"serai sched set {self.ids[name]} {words}")

    def look(self, name):
        listed = json.loads(self.t.sh("serai sched list --json"))
        return next(d for d in listed if d["domain"] == self.ids[name])

    def ran(self, name):
        vcpus = json.loads(self.t.sh(f"serai sched vcpus {self.ids[name]} --json"))
        return [v["time_ns"]["running"] for v in vcpus]

    def during(self, names, seconds=SECONDS):
        """Seconds that each of their vcpus ran in that time."""
        before = {n: self.ran(n) for n in names}
        self.t.sh(f"sleep {seconds}")
        return {n: [(b - a) / 1e9 for a, b in zip(before[n], self.ran(n))] for n in names}

    def trace(self, strict, sizes):
        """What the ring holds after a while of recording."""
        self.t.sh(f"serai sched trace start --events {EVENTS}; sleep 1")
        said = self.t.sh("serai sched trace read --json; serai sched trace stop")
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        return Trace([e for e in events if "event" in e], {self.ids[n] for n in strict},
                     {self.ids[n]: size for n, size in sizes.items()})

    def share(self, ran):
        used = {n: sum(times) for n, times in ran.items()}
        return {n: t / sum(used.values()) for n, t in used.items()}


def expect(g, what, condition):
    g.t.expect(what, condition)


def strict(g):
    for name in "ab":
        g.load(name, 4)
        g.set(name, "--gang strict")
    ran = g.during("ab")
    shares = g.share(ran)
    trace = g.trace("ab", {"a": 4, "b": 4})
    print(f"# strict: shares {shares}, {trace.picks} picks in the trace")
    expect(g, f"shares {shares}", all(abs(s - 0.5) < ROUGHLY for s in shares.values()))
    expect(g, f"a vcpu does not get on: {ran}", all(t > 0 for times in ran.values() for t in times))
    expect(g, f"two domains on a core: {trace.overlaps[:3]}", not trace.overlaps)
    expect(g, "the trace shows nothing", trace.picks > 100 and len(trace.ran) >= 8)


def forced(g):
    """One busy vcpu has the other thread of its core kept empty."""
    g.rest("b")
    g.load("b", 1)
    before = g.look("b")["forced_idle_ns"]
    trace = g.trace("ab", {"a": 4, "b": 4})
    g.during("ab", 1)
    idle = g.look("b")["forced_idle_ns"] - before
    expect(g, f"two domains on a core: {trace.overlaps[:3]}", not trace.overlaps)
    expect(g, "no thread was kept empty", idle > 0)
    shown = g.t.sh("serai sched list").split("FORCED IDLE")[-1]
    expect(g, f"it is not shown: {shown}", re.search(rf"^ +{g.ids['b']} .* [0-9.]+[mun]?s$", shown, re.MULTILINE))
    print(f"# strict: beside one busy vcpu a thread was kept empty for {idle / 1e9:.2f} s")
    g.rest("b")
    g.load("b", 4)


def windows(g):
    for name in "ab":
        g.set(name, "--gang off")
    off = g.trace("", {"a": 4, "b": 4})
    for name in "ab":
        g.set(name, "--gang on")
    before = g.look("a")
    shares = g.share(g.during("ab"))
    after = g.look("a")
    on = g.trace("", {"a": 4, "b": 4})
    made = after["gang_windows"] - before["gang_windows"]
    print(f"# on: {made} windows, shares {shares}; all of a ran for {off.together(g.ids['a']):.2f} of its time "
          f"without and {on.together(g.ids['a']):.2f} with windows")
    expect(g, "no window was made", made > 0)
    expect(g, f"shares {shares}", all(abs(s - 0.5) < ROUGHLY for s in shares.values()))
    expect(g, "the vcpus do not run together", on.together(g.ids["a"]) > max(0.4, off.together(g.ids["a"])))


def cap(g):
    g.set("a", "--cap 150")
    total = sum(g.during("a")["a"])
    parked = g.look("a")["time_ns"]["parked"]
    print(f"# on, with a cap of 150 %: {total:.2f} s of CPU in {SECONDS} s and a little")
    expect(g, f"{total:.2f} s are not within the cap", 0.5 * SECONDS < total < 1.5 * (SECONDS + 2))
    expect(g, "nobody was parked", parked)
    g.set("a", "--cap none")


def wide(g):
    g.start("c", 6)
    g.load("c", 6)
    g.set("c", "--gang on")
    ran = g.during("ac")
    print(f"# six vcpus on four CPUs: {[f'{t:.2f}' for t in ran['c']]}")
    expect(g, f"a vcpu does not get on: {ran}", min(ran["c"]) > 0.5 * max(ran["c"]))
    g.rest("c")
    g.t.sh("xl destroy c")


def changes(g):
    """A hundred of them under load, then everybody still answers."""
    modes = ("strict", "on", "off", "auto", "on", "strict", "off")
    commands = [f"serai sched set {g.ids['ab'[i % 2]]} --gang {modes[i % len(modes)]}" for i in range(100)]
    for i in range(0, 100, 10):
        g.t.sh(" && ".join(commands[i : i + 10]))
    ran = g.during("ab", 1)
    expect(g, f"a vcpu does not get on: {ran}", all(t > 0 for times in ran.values() for t in times))
    for name in "ab":
        g.set(name, "--gang off")
        g.rest(name)
        expect(g, f"{name} does not answer", g.t.ask("echo here", name).strip() == "here")


def refusals(g):
    for words, pattern in (
        (f"{g.ids['a']} --gang both", "it is one of off, on, auto, strict"),
        (f"{g.ids['a']} --gang strict --cap 500", "a cap of 500% is more than"),
        ("4242 --gang strict", "there is no domain 4242"),
    ):
        status, said = g.t.run(f"serai sched set {words}")
        expect(g, f"'{words}' is answered {status}: {said}", status in (1, 2) and pattern in said)
    expect(g, "a refused command changed something", g.look("a")["gang"] == "off")


def test_guests():
    g = Guests()
    try:
        for name in "ab":
            g.start(name, 4)
        for step in (refusals, strict, forced, windows, cap, wide, changes):
            step(g)
        g.t.sh("xl destroy a; xl destroy b")
        g.t.power_off()
    except Failure:
        print(g.t.run("serai sched list; xl list")[1])
        raise
    finally:
        g.t.close()


machine.main()
