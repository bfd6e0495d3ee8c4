"""Which counter the time-stamp counter is measured against, on machines that lack the better ones,
and that domain 0's clock is right with each."""

import re

import machine
from machine import Failure, Machine


def check(name, source, *args):
    loader = machine.multiboot(kernel_args="console=hvc0 quiet panic=-1 script=clock",
                               initrd=machine.TEST_INITRD)
    with Machine("timer_" + name, loader, *args, memory="512M") as m:
        said = m.wait(r"time-stamp counter: (\d+) kHz \((.*)\)\n", 60)
        if said.group(2) != source:
            raise Failure(f"measured against '{said.group(2)}', not '{source}'")
        # QEMU's clock is the same for all its counters: TSC and battery clock must agree.
        ticked = m.wait(r"clock: (\d+) ms in (\d+) seconds", 120)
        ms, seconds = int(ticked.group(1)), int(ticked.group(2))
        if abs(ms - 1000 * seconds) > 50 * seconds:
            raise Failure(f"{ms} ms passed while the battery clock went {seconds} s")


def test_hpet():
    check("hpet", "HPET")


def test_acpi_timer():
    check("acpi", "ACPI timer", "-machine", "hpet=off")


def test_interval_timer():
    check("pit", "PIT", "-machine", "microvm,acpi=on,rtc=on,isa-serial=on,pit=on")


machine.main()
