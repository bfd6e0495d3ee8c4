"""What an operator sees of the hypervisor: its counters and its log from domain 0, and the
console keys after Ctrl-A three times."""

import machine
from machine import Failure, Machine


def counters_of(text):
    lines = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def test_counters():
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet")
    with Machine("counters", loader, *machine.root_disk(), cpus=2) as m:
        m.login()
        first = counters_of(m.shell("serai counters"))
        for name in ("hypercall.1", "pte.mmu_update", "pte.emulated", "tlb.flush", "interrupt"):
            if not first.get(name):
                raise Failure(f"{name} was never counted: {first}")
        m.shell("for i in 1 2 3 4 5; do ls / > /dev/null; done")
        walks = sum(first.get(name, 0) for name in ("entry.user_syscall", "entry.user_fault", "entry.iret"))
        if not walks or first["tlb.cr3_load"] < walks:
            raise Failure(f"each way between user and kernel mode loads CR3: {first}")
        later = counters_of(m.shell("serai counters"))
        if not all(later[name] > first[name] for name in ("pte.emulated", "hypercall.26")):
            raise Failure("processes came and went, and page-table counters stood still")
        if "CPUs: 2 started of 2" not in m.shell("serai log | grep CPUs:"):
            raise Failure("the hypervisor's log does not hold its boot messages")
        m.type("\x01\x01\x01")
        m.wait(r"keyboard: hypervisor")
        m.type("c")
        m.wait(r"^\(SERAI\) pte\.mmu_update +\d+\n")
        m.type("\x01\x01\x01")
        m.wait(r"keyboard: domain 0")
        answer = m.shell("echo back")
        if answer.split()[-1:] != ["back"]:
            raise Failure(f"the keyboard did not return to domain 0: {answer!r}")
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
