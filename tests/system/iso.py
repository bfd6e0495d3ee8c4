"""The ISO boots from BIOS and from UEFI: GRUB, hypervisor, domain 0 on the ISO's own root."""

import shutil

import machine
from machine import BUILD, SCRATCH, Failure, Machine

OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS.fd"
DISC = ["-cdrom", str(BUILD / "serai.iso"), "-boot", "d"]


def check(name, *args):
    with Machine(name, DISC, *args, *machine.network(), memory="2G") as m:
        m.wait("Serai, domain 0 from this disc", 60)
        m.login(240)
        if "overlay" not in m.shell("grep ' / ' /proc/mounts"):
            raise Failure("the root file system is not the ISO's")
        m.shell("echo changed > /etc/changed && cat /etc/changed")
        m.check_kernel_log()
        m.type("poweroff\n")
        m.wait_power_off()


def test_iso_bios():
    check("iso_bios")


def test_iso_uefi():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    variables = SCRATCH / "iso_uefi.vars"
    shutil.copy(OVMF_VARS, variables)
    check(
        "iso_uefi",
        *("-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
    )


machine.main()
