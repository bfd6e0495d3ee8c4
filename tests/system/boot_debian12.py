"""Debian 12's kernel as domain 0: login on the console, devices, network, power-off."""

import machine
from machine import Failure, Machine


def test_boot_debian12():
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS)
    with Machine("boot_debian12", loader, *machine.root_disk(), *machine.network()) as m:
        m.login()
        m.shell("dmesg -n 1")  # what the kernel says comes between otherwise
        if "6.1.0" not in m.shell("uname -r"):
            raise Failure("not Debian 12's kernel")
        if m.shell("cat /sys/hypervisor/type") != "xen\n":
            raise Failure("the kernel sees no hypervisor")
        # The lease comes while the login is already there.
        m.shell("until ip -4 -o addr show dev xenbr0 | grep inet; do sleep 1; done", 60)
        m.shell("lspci | grep -i virtio && ping -c 1 10.0.2.2")
        m.check_kernel_log()
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
