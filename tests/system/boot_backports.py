"""The kernel of Debian 12's backports (6.12 or newer) as domain 0, to login and back."""

import machine
from machine import BUILD, Failure, Machine

KERNEL = BUILD / "kernel" / "bookworm-backports"


def test_boot_backports():
    loader = machine.multiboot(
        kernel=KERNEL / "vmlinuz",
        kernel_args=machine.ROOT_ARGS,
        initrd=machine.SCRATCH / "initrd-backports.gz",
    )
    with Machine("boot_backports", loader, *machine.root_disk(), *machine.network()) as m:
        m.login()
        m.shell("dmesg -n 1")  # what the kernel says comes between otherwise
        version = m.shell("uname -r").split(".")
        if (int(version[0]), int(version[1])) < (6, 12):
            raise Failure(f"an old kernel: {version}")
        m.shell("until ip -4 -o addr show dev xenbr0 | grep inet; do sleep 1; done", 60)
        m.check_kernel_log()
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
