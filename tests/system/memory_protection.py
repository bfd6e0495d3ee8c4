"""Seen from outside, through QEMU's monitor: nothing of the hypervisor is writable and executable,
the guest reaches nothing of it but the machine-to-phys table, and no page table is mapped
writable anywhere in the guest's part of the address space."""

import struct

import machine
from machine import SCRATCH, Failure, Machine

MEGABYTES = 512
PRESENT, WRITE, USER, LARGE, NX = 1, 2, 4, 0x80, 1 << 63
FRAME = 0x000FFFFFFFFFF000
M2P_SLOT, HV_SLOTS = 256, range(256, 272)
CR0_WP, EFER_NXE = 1 << 16, 1 << 11


class Walk:
    """All leaves and tables below one top-level table, from a copy of physical memory."""

    def __init__(self, memory):
        self.memory = memory
        self.tables = set()
        self.leaves = []  # (slot, frame, size, rights): rights hold only if all levels grant them

    def table(self, frame):
        if frame + 4096 > len(self.memory):
            raise Failure(f"a page table lies outside RAM: {frame:x}")
        return struct.unpack_from("<512Q", self.memory, frame)

    def descend(self, slot, frame, level, rights, nx):
        self.tables.add(frame)
        for entry in self.table(frame):
            if not entry & PRESENT:
                continue
            below, no_execute = rights & entry, nx | (entry & NX)
            if level == 1 or (level < 4 and entry & LARGE):
                size = 4096 << (9 * (level - 1))
                self.leaves.append((slot, entry & FRAME & -size, size, below, bool(no_execute)))
            else:
                self.descend(slot, entry & FRAME, level - 1, below, no_execute)

    def slots(self, top, slots):
        entries = self.table(top)
        for slot in slots:
            if entries[slot] & PRESENT:
                rights = entries[slot] & (WRITE | USER)
                self.descend(slot, entries[slot] & FRAME, 3, rights, entries[slot] & NX)


def snapshot(m):
    """CR3 and all of physical memory, of one moment."""
    m.command("stop")
    registers = m.monitor("info registers")
    value = lambda name: int(registers.split(name + "=")[1].split()[0], 16)
    if not value("CR0") & CR0_WP or not value("EFER") & EFER_NXE:
        raise Failure("write protection or no-execute is off in the CPU")
    path = SCRATCH / "memory_protection.ram"
    m.command("pmemsave", val=0, size=MEGABYTES << 20, filename=str(path))
    memory = path.read_bytes()
    path.unlink()
    m.command("cont")
    return value("CR3") & FRAME, memory


def check_hypervisor(top, memory):
    walk = Walk(memory)
    walk.slots(top, HV_SLOTS)
    if not walk.leaves:
        raise Failure("the hypervisor is not mapped at all")
    for slot, frame, size, rights, no_execute in walk.leaves:
        if rights & WRITE and not no_execute:
            raise Failure(f"writable and executable: slot {slot}, frame {frame:x}")
        if slot == M2P_SLOT and rights & WRITE:
            raise Failure(f"the guest could write the machine-to-phys table at {frame:x}")
        if slot != M2P_SLOT and rights & USER:
            raise Failure(f"the guest reaches the hypervisor: slot {slot}, frame {frame:x}")
    return walk


def check_guest(top, memory):
    walk = Walk(memory)
    walk.slots(top, [s for s in range(512) if s not in HV_SLOTS])
    tables = walk.tables | {top}
    for slot, frame, size, rights, _ in walk.leaves:
        if size != 4096:
            raise Failure(f"a large page in the guest's slot {slot}")
        if rights & WRITE and frame in tables:
            raise Failure(f"page table {frame:x} is writable through slot {slot}")
    return walk


def test_memory_protection():
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet")
    with Machine("memory_protection", loader, *machine.root_disk(), memory=f"{MEGABYTES}M") as m:
        m.login()
        m.shell("ls -lR /etc > /dev/null; true")
        top, memory = snapshot(m)
        hypervisor = check_hypervisor(top, memory)
        guest = check_guest(top, memory)
        hv_tables = {frame for frame in hypervisor.tables}
        for slot, frame, size, rights, _ in guest.leaves:
            if frame in hv_tables:
                raise Failure(f"a table of the hypervisor is mapped by the guest: {frame:x}")
        print(f"# {len(hypervisor.leaves)} hypervisor and {len(guest.leaves)} guest mappings,"
              f" {len(guest.tables)} guest tables")
        m.type("poweroff\n")
        m.wait_power_off()


machine.main()
