"""SMEP and SMAP switched on, on a newer QEMU: 7.2 emulates iret at user privilege with accesses
that SMAP forbids, so no paravirtual kernel runs there with SMAP."""

import machine
from machine import BUILD, Failure, Machine

QEMU = (BUILD / "qemu-backports" / "qemu-system-x86_64").resolve()
SMEP, SMAP = 1 << 20, 1 << 21


def test_boot_smap():
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet")
    with Machine("boot_smap", loader, *machine.root_disk(), qemu=QEMU, cpu="max") as m:
        m.login()
        registers = m.monitor("info registers")
        cr4 = int(registers.split("CR4=")[1].split()[0], 16)
        if cr4 & (SMEP | SMAP) != SMEP | SMAP:
            raise Failure(f"SMEP and SMAP are not both on: CR4 is {cr4:x}")
        m.shell("dmesg | wc -l")
        m.check_kernel_log()
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
