"""A thousand guests made and destroyed, one after the other, through the toolstack's library:
whole ones, ones whose maker is killed at any time (kill -9), and by xl; afterwards not a page of
the hypervisor's memory, a domain or a key in xenstore is left. SERAI=stock: stock Xen.
"""

import re

import machine
from machine import Failure
from rig import MANY, NAME, Rig

WHOLE = 600
KILLED = 370
XL = 15
XL_KILLED = 15


def expect(what, condition):
    if not condition:
        raise Failure(what)


def cycles(t, n, words=""):
    said = t.sh(f"/mnt/cycles /mnt/idle.elf {n} {words} 2> /run/cycles.log || {{ cat /run/cycles.log; false; }}", 3000)
    print(f"# {NAME}: {said.strip()}", flush=True)
    return [int(n) for n in re.findall(r"\d+", said)]


def keys(t):
    """What xenstore has about guests; the time of the last one's end is not kept."""
    return t.sh("xenstore-ls -f | grep -E '^/(local/domain|vm|libxl)/' | sed 's/ = .*//' | grep -vE '^/local/domain/0|^/(vm|libxl)/0' | sort")


def by_xl(t, n, kill):
    """xl itself, which keeps a process for each guest; killed, it is gone with its lock."""
    for i in range(n):
        if kill:
            # The share of the time that it takes: never the same twice, and past its end too.
            t.run(f"timeout -s KILL {0.05 + 0.1 * i:.2f} xl create -q -p /mnt/mini.cfg 'name=\"x{i}\"'")
        else:
            t.sh(f"xl create -q -p /mnt/mini.cfg 'name=\"x{i}\"'")
        t.sh("for i in $(xl list | awk 'NR > 1 && $2 > 0 { print $2 }'); do xl destroy $i; done")


def test_thousand_domains():
    with Rig("thousand_domains", disk=MANY) as t:
        # What the toolstack and the hypervisor keep for the next guests they have now.
        cycles(t, 2)
        by_xl(t, 2, False)
        before, dom0, there = t.pages_free(), t.pages_of_dom0(), keys(t)
        made, killed, nothing = cycles(t, WHOLE)
        expect(f"{made} of {WHOLE} were made", made == WHOLE and not killed and not nothing)
        made, killed, nothing = cycles(t, KILLED, "kill")
        expect("nobody was killed half way", killed - nothing > KILLED // 8)
        expect("nobody finished", made)
        by_xl(t, XL, False)
        by_xl(t, XL_KILLED, True)
        expect(f"a guest is left: {t.sh('xl list')}", t.sh("xl list | wc -l").strip() == "2")
        expect(f"keys are left: {keys(t)}", keys(t) == there)
        after = t.pages_free()
        print(f"# {NAME}: {before} pages were free, {after} are", flush=True)
        # One page of the table of ids for 512 of them.
        expect(f"{before - after} pages are missing", before - after <= 2 or NAME == "stock")
        expect("domain 0 has other memory than before", t.pages_of_dom0() == dom0)
        t.m.check_kernel_log()


machine.main()
