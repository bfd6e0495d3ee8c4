"""What stops the boot: each bad input gets a message that names it, then a halt. Never a reset,
which would take the message off the screen."""

import os
import pathlib

import machine
from machine import KERNEL, SCRATCH, Failure, Machine

# Where the payload of a bzImage lies: offsets 0x1f1, 0x248 and 0x24c of its header.
SECTOR = 512


def payload(image):
    start = (image[0x1F1] + 1) * SECTOR + int.from_bytes(image[0x248:0x24C], "little")
    return start, int.from_bytes(image[0x24C:0x250], "little")


def write(name, data):
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / name
    path.write_bytes(data)
    return path


def check(name, message, *args, memory="512M", **boot):
    """The boot ends with "serai: cannot start: " and the message, and the machine halts."""
    kernel_args = "console=hvc0 quiet panic=-1"
    boot.setdefault("initrd", machine.TEST_INITRD)
    loader = machine.multiboot(kernel_args=kernel_args, **boot)
    with Machine("bad_" + name, loader, *args, memory=memory) as m:
        said = m.wait(r"serai: cannot start: (.*)\n", 60).group(1)
        if message.lower() not in said.lower():
            raise Failure(f"the message does not name '{message}': {said}")
        # The CPU sleeps with interrupts off: nothing can happen any more.
        m.until("halt", lambda: halted(m.monitor("info registers")), 30)
        if any(e["event"] in ("RESET", "SHUTDOWN") for e in m.events):
            raise Failure(f"an event after the message: {m.events}\n" + m.tail())


def halted(registers):
    flags = int(registers.split("RFL=")[1].split()[0], 16)
    return "HLT=1" in registers and not flags & 0x200


def test_kernel_missing():
    check("kernel_missing", "kernel", kernel=None, initrd=None)


def test_kernel_truncated():
    image = KERNEL.read_bytes()
    check("kernel_truncated", "kernel", kernel=write("truncated", image[: len(image) // 3]))


def test_kernel_header_only():
    check("kernel_header_only", "kernel", kernel=write("header", KERNEL.read_bytes()[:0x1F0]))


def test_kernel_foreign():
    check("kernel_foreign", "kernel", kernel=pathlib.Path(__file__))


def test_kernel_random():
    check("kernel_random", "kernel", kernel=write("random", os.urandom(1 << 20)))


def test_xz_corrupt():
    image = bytearray(KERNEL.read_bytes())
    start, length = payload(image)
    for step in range(1, 8):
        image[start + length * step // 8] ^= 0x55
    check("xz_corrupt", "does not unpack", kernel=write("corrupt", image))


def test_xz_checksum():
    # The last byte of the check field before the index: the data decode, the sum is wrong. The
    # stream ends with a 12-byte footer whose bytes 4 to 7 tell the index's size in words less one.
    image = bytearray(KERNEL.read_bytes())
    start, length = payload(image)
    end = start + length - 4
    if image[end - 2 : end] != b"YZ":
        raise Failure("the payload does not end like an XZ stream")
    index = 4 * (int.from_bytes(image[end - 8 : end - 4], "little") + 1)
    image[end - 12 - index - 1] ^= 1
    check("xz_checksum", "CRC32", kernel=write("checksum", image))


def test_memory_too_little():
    check("memory", "memory", memory="24M")


def test_memory_less_than_the_kernel():
    check("memory_kernel", "memory", memory="64M")


def test_no_acpi():
    check("no_acpi", "ACPI", "-no-acpi")


def test_no_timer():
    # The one machine of QEMU's that has ACPI tables, but neither HPET nor ACPI timer.
    check("no_timer", "timer", "-machine", "microvm,acpi=on,rtc=on,isa-serial=on,pit=off")


def test_malformed_value():
    check("malformed_value", "dom0_mem", hv_args="dom0_mem=12X")


machine.main()
