"""The three systems that are compared, and how QEMU runs them.

Everything lands in build/bench/. The same kernel, initial RAM disk, CPU model, RAM and QEMU
options go to every system; only what stands between the kernel and the machine differs.
"""

import glob
import gzip
import lzma
import os
import shutil
import struct
import subprocess
import typing
import zlib

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(TOP, "build", "bench")
SYSTEMS = ("bare", "xen", "serai")

RAM_MIB = 2048
GUEST_MIB = 1024
# Without erms and fsrm, because the emulator counts each byte of a `rep movsb` as an
# instruction; without smap and smep, because with smap domain 0 crashes on the stock hypervisor.
CPU = "max,smap=off,smep=off,erms=off,fsrm=off"
XEN_PACKAGE = "xen-hypervisor-4.17-amd64"


class BenchError(Exception):
    """Something needed for the measurement is missing or did not work."""


def say(text):
    print("bench: " + text, flush=True)


def build_tools():
    """The measured programs and the counting plugin, through the project's Makefile."""
    subprocess.run(["make", "-s", "-C", TOP, "bench-tools"], check=True)


# ---- what is booted ----


def kernel_path():
    """The stock kernel: $BENCH_KERNEL, else the newest one in /boot."""
    if os.environ.get("BENCH_KERNEL"):
        return os.environ["BENCH_KERNEL"]

    def version(path):
        words = path.replace("-", ".").split(".")
        return [int(w) for w in words if w.isdigit()]

    found = sorted(glob.glob("/boot/vmlinuz-*-amd64"), key=version)
    if not found:
        raise BenchError("no /boot/vmlinuz-*-amd64: install linux-image-amd64 or set BENCH_KERNEL")
    return found[-1]


def kernel_module(name):
    version = os.path.basename(kernel_path()).removeprefix("vmlinuz-")
    base = os.environ.get("BENCH_MODULES", f"/lib/modules/{version}")
    found = glob.glob(f"{base}/kernel/**/{name}.ko*", recursive=True)
    if not found:
        raise BenchError(f"no module {name} in {base}: set BENCH_MODULES to the kernel's modules")
    with open(found[0], "rb") as f:
        data = f.read()
    return lzma.decompress(data) if found[0].endswith(".xz") else data


def stock_xen():
    """Path of the stock hypervisor as an ELF file, taken out of Debian's package."""
    target = os.path.join(OUT, "xen")
    if os.path.exists(target):
        return target
    compressed = "/boot/xen-4.17-amd64.gz"
    if not os.path.exists(compressed):
        say(f"fetching Debian's {XEN_PACKAGE}")
        # apt reads its lists as any user and writes into the current directory only.
        subprocess.run(["apt-get", "download", XEN_PACKAGE], cwd=OUT, check=True)
        deb = glob.glob(os.path.join(OUT, XEN_PACKAGE + "_*.deb"))[0]
        subprocess.run(["dpkg-deb", "-x", deb, os.path.join(OUT, "xen-package")], check=True)
        compressed = os.path.join(OUT, "xen-package", "boot", "xen-4.17-amd64.gz")
    with gzip.open(compressed) as f, open(target + ".new", "wb") as out:
        shutil.copyfileobj(f, out)
    os.rename(target + ".new", target)
    return target


def hypervisor(system, serai=None):
    if system == "xen":
        return stock_xen()
    path = serai or os.path.join(TOP, "build", "serai")
    if not os.path.exists(path):
        raise BenchError(f"{path} does not exist: run make")
    return path


def initramfs():
    """Packs ops (as /init), tiny and the privcmd module; returns the path."""
    return pack("initrd", [
        ("init", 0o100755, read(os.path.join(OUT, "ops"))),
        ("tiny", 0o100755, read(os.path.join(OUT, "tiny"))),
        ("xen-privcmd.ko", 0o100644, kernel_module("xen-privcmd")),
    ])


def pack(name, files):
    """An initial RAM disk with a console and these files: (name, mode, content); the path."""
    entries = [("dev", 0o40755, b"", 0, 0), ("dev/console", 0o20600, b"", 5, 1),
               ("proc", 0o40755, b"", 0, 0)]
    entries += [file + (0, 0) for file in files] + [("TRAILER!!!", 0, b"", 0, 0)]
    image = b""
    for inode, (path, mode, data, major, minor) in enumerate(entries, 1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(path) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + path.encode() + b"\0"
        image += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    path = os.path.join(OUT, name)
    with open(path, "wb") as f:
        f.write(image)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


# ---- addresses at which the counting plugin looks ----


def vmlinux():
    """The ELF file inside the kernel image."""
    image = read(kernel_path())
    if image[:4] == b"\x7fELF":
        return image
    setup = (image[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    data = image[setup * 512 + offset :][:length]
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False).stdout
    raise BenchError(f"{kernel_path()}: unknown compression")


def program_headers(elf):
    offset, = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for i in range(count):
        kind, _ = struct.unpack_from("<II", elf, offset + i * size)
        start, _, _, length = struct.unpack_from("<QQQQ", elf, offset + i * size + 8)
        yield kind, elf[start : start + length]


def guest_entry():
    """The paravirtual entry point, from the kernel's notes."""
    for kind, notes in program_headers(vmlinux()):
        while kind == 4 and len(notes) >= 12:
            name_size, size, number = struct.unpack_from("<III", notes)
            at = 12 + (name_size + 3 & ~3)
            if notes[12 : 12 + name_size] == b"Xen\0" and number == 1:
                return int.from_bytes(notes[at : at + size], "little")
            notes = notes[at + (size + 3 & ~3) :]
    raise BenchError(f"{kernel_path()} has no Xen entry note")


def multiboot_entry(path):
    """Where the loader jumps: the multiboot 1 header's own address, else the ELF entry point."""
    data = read(path)
    for at in range(0, min(8192, len(data) - 32), 4):
        magic, flags, check = struct.unpack_from("<III", data, at)
        if magic == 0x1BADB002 and (magic + flags + check) & 0xFFFFFFFF == 0:
            if flags & 1 << 16:
                return struct.unpack_from("<I", data, at + 28)[0]
            return struct.unpack_from("<I" if data[4] == 1 else "<Q", data, 24)[0]
    raise BenchError(f"{path} has no multiboot 1 header")


def loaded_size(path):
    """Bytes that the loader puts into memory from a 32-bit ELF file."""
    data = read(path)
    offset, = struct.unpack_from("<I", data, 28)
    size, count = struct.unpack_from("<HH", data, 42)
    headers = [struct.unpack_from("<IIIIII", data, offset + i * size) for i in range(count)]
    return sum(h[5] for h in headers if h[0] == 1)


# ---- running ----


def qemu_command(system, initrd, env, plugin=None, serai=None, extra=()):
    words = ["quiet", "panic=-1"]
    words += [k if v is None else f"{k}={v}" for k, v in env.items()]
    command = [
        "qemu-system-x86_64", "-accel", "tcg", "-icount", "shift=0,sleep=off", "-cpu", CPU,
        "-smp", "1", "-m", f"{RAM_MIB}M", "-nodefaults", "-no-user-config", "-display", "none",
        "-serial", "stdio", "-no-reboot", "-seed", "1", "-rtc", "base=2024-01-01,clock=vm",
    ]
    if system == "bare":
        words += ["console=ttyS0,115200", f"mem={GUEST_MIB}M"]
        command += ["-kernel", kernel_path(), "-initrd", initrd, "-append", " ".join(words)]
    else:
        words = [kernel_path()] + words + ["console=hvc0"]
        command += [
            "-kernel", hypervisor(system, serai),
            "-append", f"com1=115200,8n1 console=com1 dom0_mem={GUEST_MIB}M loglvl=all",
            "-initrd", " ".join(words).replace(",", ",,") + "," + initrd,
        ]
    if plugin:
        command += ["-plugin", ",".join([os.path.join(OUT, "count.so")] + plugin)]
    return command + list(extra)


def boot(system, initrd, env, log, timeout, **options):
    """Runs one system to its end; returns its console text."""
    command = qemu_command(system, initrd, env, **options)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, check=False)
        text, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        text, status = expired.stdout or b"", "no end within %d s" % timeout
    with open(log, "wb") as f:
        f.write(text)
    text = text.decode("utf-8", "replace").replace("\r", "")
    if "bench done" not in text:
        last = "".join("\n    " + line for line in text.rstrip().split("\n")[-8:])
        raise BenchError(f"{system}: the program did not finish (QEMU: {status}); {log} ends:{last}")
    return text


# ---- what a run says ----

HV_START, HV_END = 0xFFFF800000000000, 0xFFFF880000000000


class Section(typing.NamedTuple):
    samples: list  # (user, kernel, hv) instructions of every sample
    rows: list  # (address, executions in all samples, kind of instruction)

    def typical(self):
        """The sample whose total is the median, as a dictionary."""
        return dict(zip(("user", "kernel", "hv"),
                        sorted(self.samples, key=sum)[len(self.samples) // 2]))


def place_of(address):
    """Whose instruction it is: user, kernel or hv (the hypervisor)."""
    if address < 1 << 47:
        return "user"
    return "hv" if HV_START <= address < HV_END else "kernel"


def operations(text):
    """[(name, median, minimum, operations in a sample)] in the order they ran."""
    found = []
    for line in text.split("\n"):
        words = line.split()
        if len(words) == 6 and words[0] == "bench":
            found.append((words[1], float(words[2]), float(words[3]), int(words[5])))
    return found


def read_counts(path):
    """The plugin's file: what happened when, and one Section for every operation.

    The first is a dictionary {address or "init": instructions since power-on}.
    """
    moments, sections = {}, []
    with open(path, encoding="ascii") as f:
        for line in f:
            words = line.split()
            if words[0] == "c":
                sections[-1].rows.append((int(words[1], 16), int(words[2]), words[3]))
            elif words[0] == "s":
                sections[-1].samples.append(tuple(map(int, words[1:4])))
            elif words[0] == "op":
                sections.append(Section([], []))
            elif words[0] == "at":
                moments[int(words[1], 16)] = int(words[2])
            elif words[0] == "init":
                moments["init"] = int(words[1])
    return moments, sections
