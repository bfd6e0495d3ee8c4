"""Disks: a whole disk of random data, written, synced, and found again after a reboot, by each
kind of controller and of interrupt. The image is also read from outside."""

import hashlib
import re

import machine
from machine import Failure, Machine

KIBI4 = 4096


def checksum(path):
    """What the guest's script calculates: the checksum of three parts' checksums."""
    data = path.read_bytes()[KIBI4:]
    blocks = len(data) // KIBI4
    lines = ""
    for part in range(3):
        start = (part * blocks // 3) * KIBI4
        piece = data[start : start + blocks // 3 * KIBI4]
        lines += hashlib.sha256(piece).hexdigest() + "  -\n"
    return hashlib.sha256(lines.encode()).hexdigest()


def check(name, device, interrupt, kernel_args=""):
    """interrupt: what /proc/interrupts must say of the controller, with a count above zero."""
    path, disk = machine.blank_disk(name, device)
    with Machine(name, machine.script("disk", kernel_args), *disk, reboots=True) as m:
        for verb in "wrote", "read":
            start = m.seen
            sum_ = m.wait(verb + r" ([0-9a-f]{64})$", 120).group(1)
            said = m.console[start : m.seen]
            if "complaints found" in said:
                raise Failure("the kernel complains\n" + m.tail())
            if not re.search(interrupt, said, re.MULTILINE):
                raise Failure(f"no interrupts like '{interrupt}'\n" + m.tail())
            if verb == "wrote":
                m.wait_event("RESET", 60)
                if sum_ != checksum(path):
                    raise Failure("the image does not hold what the guest wrote")
        m.wait("the data is intact", 30)
        m.wait_power_off()
    path.unlink()


def test_disk_virtio():
    check("disk_virtio", ["-device", "virtio-blk-pci,drive=disk"], r"[1-9]\d* .*msi-x +virtio\d-req")


def test_disk_nvme():
    check("disk_nvme", ["-device", "nvme,serial=1,drive=disk"], r"[1-9]\d* .*msi-x +nvme0q1")


def test_disk_sata():
    device = ["-device", "ich9-ahci,id=sata", "-device", "ide-hd,drive=disk,bus=sata.0"]
    check("disk_sata", device, r"[1-9]\d* .*ioapic-level +ahci", "pci=nomsi")


def test_disk_ide():
    device = ["-device", "ide-hd,drive=disk,bus=ide.0"]
    check("disk_ide", device, r"[1-9]\d* .*ioapic-edge +ata_piix", "pci=nomsi")


def test_disk_q35():
    # A q35's own SATA controller has MSI but no MSI-X.
    device = ["-machine", "q35", "-device", "ide-hd,drive=disk,bus=ide.0"]
    check("disk_q35", device, r"[1-9]\d* .*xen-pirq +-msi +ahci")


machine.main()
