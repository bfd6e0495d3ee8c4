"""The forms in which distributions ship kernels: bzImages with zstd, gzip and LZ4 payloads, and a
plain ELF file, all made from Debian's XZ one."""

import struct
import subprocess

import machine
from machine import SCRATCH, Machine

SETUP_SECTORS, PAYLOAD_OFFSET, PAYLOAD_LENGTH = 0x1F1, 0x248, 0x24C


def payload_of(image):
    start = (image[SETUP_SECTORS] + 1) * 512
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    return start + offset, length


def vmlinux():
    """Debian's kernel, unpacked: the payload is an XZ stream and its unpacked size."""
    image = machine.KERNEL.read_bytes()
    start, length = payload_of(image)
    xz = ["xz", "-dc", "--single-stream"]
    return subprocess.run(xz, input=image[start : start + length - 4], capture_output=True, check=True).stdout


def repacked(name, command):
    """The same bzImage with its payload packed by another command."""
    image = bytearray(machine.KERNEL.read_bytes())
    start, _ = payload_of(image)
    kernel = vmlinux()
    packed = subprocess.run(command, input=kernel, capture_output=True, check=True).stdout
    packed += struct.pack("<I", len(kernel))
    struct.pack_into("<I", image, PAYLOAD_LENGTH, len(packed))
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / name
    path.write_bytes(bytes(image[:start]) + packed)
    return path


def boots(name, kernel):
    loader = machine.multiboot(kernel=kernel, kernel_args="console=hvc0 panic=-1")
    with Machine(name, loader) as m:
        m.wait(r"Run /init as init process", 90)
    kernel.unlink()


def test_kernel_zstd():
    boots("kernel_zstd", repacked("kernel.zstd", ["zstd", "-3", "-c", "-"]))


def test_kernel_gzip():
    boots("kernel_gzip", repacked("kernel.gzip", ["gzip", "-1", "-c"]))


def test_kernel_lz4():
    boots("kernel_lz4", repacked("kernel.lz4", ["lz4", "-l", "-c", "-"]))


def test_kernel_elf():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / "kernel.elf"
    path.write_bytes(vmlinux())
    boots("kernel_elf", path)


machine.main()
