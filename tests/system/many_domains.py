"""A hundred guests of 8 MiB at once, made by the toolstack's library, in a machine that has one GiB for
them: what each costs in memory and in instructions, that they run, and that every frame comes
back. SERAI=stock shows the figures of stock Xen.
"""

import re
import time

import machine
from machine import Failure
from rig import ICOUNT, MANY, NAME, Rig

GUESTS = 100
RUNNING = 64
PAGES = 2048
OVERHEAD = 24  # pages: 96 KiB


def expect(what, condition):
    if not condition:
        raise Failure(what)


def make(t, n):
    """Paused guests g0, g1, ...; the instructions for each."""
    return [int(line) for line in t.sh(f"/mnt/cycles /mnt/idle.elf {n} keep", 1200).split()]


def end(t):
    t.sh("/mnt/cycles - 0", 1200)


def names(t):
    return set(re.findall(r"^(g\d+) ", t.sh("xl list"), re.MULTILINE))


def report(what, value):
    print(f"# {NAME}: {what}: {value}", flush=True)


def check_memory(t, before, after):
    """The guests' own memory is PAGES each; the rest is the hypervisor's."""
    each = (before - after) / GUESTS - PAGES
    report("KiB of the hypervisor and of allowances for each guest", f"{each * 4:.1f}")
    expect(f"{each} pages for each guest are more than {OVERHEAD}", NAME == "stock" or each <= OVERHEAD)


def check_cost(costs):
    first, last = min(costs[:3]), min(costs[-3:])
    report("million instructions to make number 1, 2, 3", [c // 1000000 for c in costs[:3]])
    report(f"the same, number {GUESTS - 2} to {GUESTS}", [c // 1000000 for c in costs[-3:]])
    report("last to first", f"{last / first:.3f}")
    return last / first


def check_running(t):
    """Each is seen asleep, so it ran; none has crashed, nor run off with a CPU."""
    for n in range(RUNNING):
        t.sh(f"xl unpause g{n}")
    asleep = set()
    end = time.monotonic() + 300 * machine.PATIENCE
    while len(asleep) < RUNNING and time.monotonic() < end:
        asleep |= set(re.findall(r"^(g\d+) .* -b----", t.sh("xl list"), re.MULTILINE))
    listed = t.sh("xl list")
    expect(f"only {len(asleep)} of {RUNNING} were seen asleep\n{listed}", len(asleep) == RUNNING)
    expect(f"one has crashed\n{listed}", not re.search(r"^g.* ..--?[sc]", listed, re.MULTILINE))


def test_many_domains():
    with Rig("many_domains", disk=MANY, more=ICOUNT) as t:
        # The toolstack's daemons and the hypervisor keep some memory for the next guests.
        make(t, 2)
        end(t)
        before, dom0 = t.pages_free(), t.pages_of_dom0()
        costs = make(t, GUESTS)
        expect("not all are there", len(names(t)) == GUESTS)
        check_memory(t, before, t.pages_free())
        ratio = check_cost(costs)
        check_running(t)
        end(t)
        expect(f"{names(t)} are left", not names(t))
        kept = before - t.pages_free()
        report("pages kept for the next guests", kept)
        expect(f"{kept} pages are missing", NAME == "stock" or kept <= 3 * GUESTS)
        expect("domain 0 has other memory than before", t.pages_of_dom0() == dom0)
        # Once more: now nothing may be missing.
        before = t.pages_free()
        make(t, GUESTS)
        end(t)
        missing = before - t.pages_free()
        expect(f"{missing} pages are missing after the second hundred", NAME == "stock" or not missing)
        expect(f"number {GUESTS} costs {ratio:.3f} times number 1", NAME == "stock" or ratio <= 1.1)
        t.m.check_kernel_log()


machine.main()
