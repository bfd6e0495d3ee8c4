"""Domain 0 with the toolstack, as toolstack.py has it, on a machine of the test's choice: another
size, another root disk, a disk of its own at /mnt, QEMU counting instructions.
"""

import json
import os

import machine
import toolstack
from machine import CPU, SCRATCH

# SERAI=stock names Debian's Xen, for comparison.
SYSTEM = os.environ.get("SERAI", "serai")
NAME = "stock" if SYSTEM == "stock" else "serai"
MANY = SCRATCH / "many.sqfs"
ICOUNT = ["-icount", "shift=0,sleep=off"]


class Rig(toolstack.Toolstack):
    """One machine; ends with close()."""

    def __init__(self, label, memory="2G", dom0="1G", root=None, disk=None, cpus=1, cpu=None, more=()):
        self.name = NAME
        self.cpus = cpus
        self.transcript = []
        self.status = 0
        loader = machine.multiboot(
            kernel_args=machine.ROOT_ARGS + " quiet",
            hv_args=f"dom0_mem={dom0},max:{dom0} loglvl=error guest_loglvl=error",
            serai=toolstack.hypervisor("stock" if NAME == "stock" else machine.SERAI),
        )
        root = root or machine.DOM0 / "root.img"
        disks = ["-drive", f"if=none,id=root,format=raw,snapshot=on,file={root}"]
        disks += ["-device", "virtio-blk-pci,drive=root"]
        disks += ["-drive", f"if=none,id=disk,format=raw,readonly=on,file={disk or toolstack.DOMU}"]
        disks += ["-device", "virtio-blk-pci,drive=disk"]
        cpu = cpu or (toolstack.STOCK_CPU if NAME == "stock" else CPU)
        self.start(label, loader, disks, more, memory=memory, cpus=cpus, cpu=cpu)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def memory(self):
        return json.loads(self.sh("serai mem list --json"))

    def pages_free(self):
        """Exactly, where the hypervisor tells; stock Xen tells MiB."""
        return self.free_memory() * 256 if NAME == "stock" else self.memory()["pages_free"]

    def pages_of_dom0(self):
        if NAME == "stock":
            return int(self.sh("xl list 0 | awk 'NR == 2 { print $3 }'")) * 256
        return self.memory()["domains"][0]["pages"]
