"""Guests that are measured: domain 0 with the toolstack under either hypervisor, counting
instructions, and a disk with what the guests are made of. For bench/domu/run and bench/vfr/run."""
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / "tests" / "system"), str(TOP / "bench")]
os.environ.setdefault("CPU", "max,smap=off,smep=off,erms=off,fsrm=off")
os.environ.setdefault("BENCH_KERNEL", str(TOP / "build" / "kernel" / "bookworm" / "vmlinuz"))
os.environ.setdefault("BENCH_MODULES", str(next(
    (pathlib.Path(os.environ["BENCH_KERNEL"]).parent / "root" / "lib" / "modules").iterdir())))
import machine  # noqa: E402
import machines  # noqa: E402

OUT = TOP / "build" / "bench"
GUEST = """name = "{name}"
kernel = "/mnt/vmlinux"
ramdisk = "/mnt/{ramdisk}"
extra = "console=hvc0 quiet panic=-1 {words}"
memory = {memory}
vcpus = 1
tsc_mode = "native"
on_crash = "destroy"
"""


def module(name):
    return (name + ".ko", 0o100644, machines.kernel_module(name))


def config(name, ramdisk, words="", memory=512, devices=""):
    return GUEST.format(name=name, ramdisk=ramdisk, words=words, memory=memory) + devices


def ramdisk(name, program):
    """One whose /init is the program, with the drivers of network and disk."""
    files = [("init", 0o100755, machines.read(OUT / program)), module("xen-netfront"),
             module("xen-blkfront")]
    machines.pack(name, files)
    return machines.read(OUT / name)


def disk(name, files):
    """An ext4 file system with the kernel as an ELF file and these: {name: bytes or text}."""
    tree = OUT / name
    tree.mkdir(parents=True, exist_ok=True)
    for path, content in {"vmlinux": machines.vmlinux(), **files}.items():
        content = content.encode() if isinstance(content, str) else content
        (tree / path).write_bytes(content)
        (tree / path).chmod(0o755)
    image = OUT / (name + ".img")
    image.unlink(missing_ok=True)
    subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree, image, "200M"], check=True)
    return image


def boot(label, system, serai, image, counts=None):
    """Domain 0 under "xen" or "serai", with the disk at /dev/vdb; counts: for the plugin."""
    hypervisor = serai if system == "serai" else machines.stock_xen()
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet", serai=hypervisor,
                               hv_args="dom0_mem=1G")
    extra = ["-drive", f"if=none,id=bench,format=raw,snapshot=on,file={image}",
             "-device", "virtio-blk-pci,drive=bench", "-icount", "shift=0,sleep=off"]
    if counts:
        extra += ["-plugin", f"{OUT}/count.so,out={counts},profile=on,user=off"]
    return machine.Machine(f"bench-{label}-{system}", loader, *machine.root_disk(), *extra,
                           memory="2G")


def prepare(dom0, timeout):
    dom0.login(timeout)
    dom0.shell("dmesg -n 1; mount -o ro /dev/vdb /mnt && cat /mnt/vmlinux > /dev/null", 300)
    dom0.shell("until xl list > /dev/null 2>&1; do sleep 1; done", timeout)


def results_of(dom0, name, timeout):
    """Waits until the guest is gone; {operation: median}."""
    dom0.shell(f"while xl list {name} > /dev/null 2>&1; do sleep 3; done", timeout)
    text = dom0.shell(f"cat /var/log/xen/console/guest-{name}.log").replace("\r", "")
    if "bench done" not in text:
        raise machine.Failure(f"the guest {name} did not finish:\n{text}")
    return {op: mid for op, mid, *_ in machines.operations(text)}


def shares(counts, done, units):
    """{operation: instructions of Linux and of the hypervisor}, a unit's."""
    found = {}
    for name, section in zip(done, machines.read_counts(counts)[1]):
        places = section.typical()
        found[name] = [(places["user"] + places["kernel"]) / units.get(name, 1),
                       places["hv"] / units.get(name, 1)]
    return found


def put_in_doc(doc, marks, text):
    """Between the marks of a page."""
    page = doc.read_text()
    head, rest = page.split(marks[0], 1)
    doc.write_text(head + marks[0] + "\n" + text + "\n" + marks[1] + rest.split(marks[1], 1)[1])
