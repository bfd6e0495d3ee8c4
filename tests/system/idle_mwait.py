"""Idle CPUs wait by MWAIT where the machine has it and is no virtual one: the emulator, told not to
say that it is, runs two vcpus that sleep and wake each other. (Its MWAIT spins, so this shows that
no wake-up is lost, and nothing about speed.)"""

import machine
from machine import Failure, Machine


def test_idle_mwait():
    cpu = machine.CPU + ",hypervisor=off"
    with Machine("idle_mwait", machine.script("idle"), cpus=2, cpu=cpu, memory="512M") as m:
        if m.wait(r"cpus: (\d+)\n", 120).group(1) != "2":
            raise Failure("domain 0 has not got two vcpus")
        if m.wait(r"turns: 500, the last (\d+)\n", 120).group(1) != "499":
            raise Failure("the turns went wrong")
        m.wait_power_off()


machine.main()
