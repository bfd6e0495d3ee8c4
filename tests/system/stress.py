"""stress-ng with what weighs on a paravirtual machine: processes, address spaces, signals,
switches. Domain 0's log stays clean. STRESS_SECONDS sets the length."""

import os
import re

import machine
from machine import Failure, Machine

SECONDS = int(os.environ.get("STRESS_SECONDS", "120"))
KINDS = ["fork", "exec", "mmap", "vm", "signal", "switch"]
SIZES = "--mmap-bytes 4M --vm-bytes 4M --vm-method incdec --exec-max 1"
# exec refuses to run as root.
NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"


def test_stress():
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet")
    with Machine("stress", loader, *machine.root_disk()) as m:
        m.login()
        m.shell("cd /tmp")
        kinds = " ".join(f"--{kind} 1" for kind in KINDS)
        stress = f"{NOBODY} stress-ng {kinds} {SIZES} --timeout {SECONDS} --metrics-brief --verify"
        said = m.shell(stress, 3 * SECONDS + 120)
        for kind in KINDS:
            if not re.search(rf"metrc: .*\] {kind} +[1-9]", said):
                raise Failure(f"{kind} has not done anything\n" + m.tail())
        m.check_kernel_log()
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
