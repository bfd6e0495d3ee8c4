"""Idle CPUs wait by MWAIT where the machine has it and is no virtual one: the emulator, told not to
say that it is, boots domain 0 with two vcpus. (Its MWAIT spins, so this is no way to live.)"""

import machine
from machine import Failure, Machine


def test_idle_mwait():
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet")
    with Machine(
        "idle_mwait", loader, *machine.root_disk(), cpus=2, cpu=machine.CPU + ",hypervisor=off"
    ) as m:
        m.login()
        if m.shell("nproc").strip() != "2":
            raise Failure("domain 0 has not got two vcpus\n" + m.tail())
        m.shell("taskset 1 true; taskset 2 true; sleep 1")
        counters = dict(line.split() for line in m.shell("serai counters").splitlines())
        if int(counters["schedule.decision"]) < 10 * int(counters.get("ipi.schedule", 0)):
            raise Failure(f"kicks went by interrupt all the same: {counters}")
        m.check_kernel_log()
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
