"""'reboot' in domain 0 resets the machine, and it comes up again."""

import machine
from machine import Failure, Machine


def test_reboot():
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet")
    with Machine("reboot", loader, *machine.root_disk(), reboots=True) as m:
        m.login()
        m.shell("echo remember > /root/note && sync")
        m.type("reboot\n")
        data = m.wait_event("RESET", 60)
        if data != {"guest": True, "reason": "guest-reset"}:
            raise Failure(f"reset for another reason: {data}\n" + m.tail())
        m.login()
        m.shell("grep remember /root/note")
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
