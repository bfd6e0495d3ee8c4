"""Domain 0 with Debian's Xen toolstack, and what it said: the part of guests.py that knows how to
start it on one hypervisor or the other, to start small guests, and to write down commands with
their output and exit status so that two hypervisors can be compared.

What is written down is normalised: what may differ between two healthy runs (identifiers, times,
processors a vcpu happens to be on) is replaced by a letter, everything else stays.
"""

import gzip
import os
import pathlib
import re
import select
import shlex
import socket
import sys
import time

import machine
from machine import BUILD, PATIENCE, SCRATCH, Failure, Machine

STOCK = pathlib.Path("/boot/xen-4.17-amd64.gz")
# In the emulator stock Xen mixes up the vector registers of processes now and then, which crash;
# without XSAVE that was not seen. With SMAP or SMEP it does not start domain 0.
STOCK_CPU = "max,smap=off,smep=off,xsave=off"
HV_ARGS = "dom0_mem=1G,max:1G loglvl=error guest_loglvl=error"
DOMU = SCRATCH / "domu.sqfs"
ADDRESS = "10.9.0.1"


def hypervisor(name):
    """The file to boot for 'stock', 'serai' or a path; QEMU takes no gzip."""
    if name == "serai":
        return machine.SERAI
    if name != "stock":
        return name
    if not STOCK.exists():
        raise Failure(f"no {STOCK}: install xen-hypervisor-4.17-amd64")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    plain = SCRATCH / "xen"
    plain.write_bytes(gzip.decompress(STOCK.read_bytes()))
    return plain


# -- What may differ

COMMON = [
    (r"\b([Dd]omain|domid|vif|[Dd]om) ?\d+", r"\1 #"),
    (r"\[pid \d+\]", "[pid #]"),
    (r"\[\d+\]", "[#]"),
    (r"/(domain|backend/\w+|vif|vbd|console|libxl)/\d+/", r"/\1/#/"),
]
# Before anything looks for numbers.
FIRST = [(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID")]
# xl list: who runs and who waits, and for how long; the letters of what was asked for stay.
LIST = [
    (r"^(\S+) +\d+ +(\d+) +(\d+) +[r-][b-]([p-][s-][c-][d-]) +[\d.]+", r"\1 # \2 \3 **\4 T"),
    (r"^Domain-0 # \d+", "Domain-0 # M"),
]
VCPUS = [
    (r"^(\S+) +\d+ +(\d+) +(?:\d+|-) +[r-][b-]([p-]) +[\d.]+ +(.*)", r"\1 # \2 C **\3 T \4"),
    # A vcpu that was never up has no CPU.
    (r"^(\S+) +\d+ +(\d+) +- +--([p-]) +[\d.]+ +(.*)", r"\1 # \2 C **\3 T \4"),
]
SCHED = [(r"^(\S+) +\d+ +(\d+) +(\d+)$", r"\1 # \2 \3")]
UPTIME = [(r"^(\S+) +\d+ +\d+:\d\d:\d\d", r"\1 # T")]
NUMBERS = [(r"-?\d+(\.\d+)?", "N"), (r" +", " ")]
# xl info and the like: what there is, not what it is.
KEYS = [(r"^(\w+) *:.*", r"\1")]


def normalise(text, masks):
    lines = []
    for line in text.splitlines():
        line = line.rstrip()
        for pattern, by in [*FIRST, *masks, *COMMON]:
            line = re.sub(pattern, by, line)
        lines.append(line)
    return lines


# -- Domain 0


class Toolstack:
    """One machine with its daemons running, shared by scenarios; ends with close()."""

    def __init__(self, name, cpus=1, cpu=None, devices=(), qemu=machine.QEMU):
        self.name = name
        self.cpus = cpus
        self.transcript = []
        self.status = 0
        loader = machine.multiboot(
            kernel_args=machine.ROOT_ARGS + " quiet", hv_args=HV_ARGS, serai=hypervisor(name)
        )
        drive = f"if=none,id=domu,format=raw,readonly=on,file={DOMU}"
        domu = ["-drive", drive, "-device", "virtio-blk-pci,drive=domu"]
        cpu = cpu or (STOCK_CPU if name == "stock" else machine.CPU)
        # Two tests may run at a time.
        label = f"{pathlib.Path(sys.argv[0]).stem}-{pathlib.Path(name).name}"
        self.start(label, loader, [*machine.root_disk(), *domu], devices, memory="2G", cpus=cpus, cpu=cpu, qemu=qemu)

    def start(self, label, loader, disks, devices, **options):
        """Boots a machine until the daemons run; 'options' are Machine's."""
        # Commands go through a port of their own: a hypervisor's serial line has no flow control,
        # and what it logs itself would be between the lines.
        way = SCRATCH / f"{label}.socket"
        port = ["-device", "virtio-serial-pci", "-chardev", f"socket,id=way,path={way},server=on,wait=off"]
        port += ["-device", "virtserialport,chardev=way"]
        way.unlink(missing_ok=True)
        self.m = Machine(label, loader, *disks, *port, *devices, **options)
        self.way = socket.socket(socket.AF_UNIX)
        self.said = ""
        try:
            self.way.connect(str(way))
            self.prepare()
        except Failure:
            self.close()
            raise

    def prepare(self):
        self.m.login(300)
        self.m.type("modprobe virtio_console; until p=$(ls /dev/vport*); do :; done 2> /dev/null\n")
        self.m.type("setsid sh <> $p >&0 2>&1 &\n")
        self.sh("dmesg -n 1; mount -o ro /dev/vdb /mnt")
        self.sh("ip link add testbr type bridge && ip link set testbr up")
        self.sh(f"ip addr add {ADDRESS}/24 dev testbr")
        # What Debian's script prints at its end, be it good or bad.
        self.sh("until grep -q -e '\\.$' -e failed /run/toolstack.log; do sleep 0.1; done", 120)
        if "failed" in self.sh("cat /run/toolstack.log"):
            raise Failure("Xen's daemons do not start\n" + self.m.tail())
        self.free = self.free_memory()

    def close(self):
        self.way.close()
        self.m.__exit__()

    def power_off(self):
        # Under stock Xen, which is not on trial, the emulator lets a program crash now and then.
        if self.name != "stock":
            self.m.check_kernel_log()
        self.m.type("poweroff\n")
        self.m.wait_power_off(120)
        self.close()

    # -- Commands

    def run(self, command, seconds=120):
        """Runs a command in domain 0; returns its exit status and all that it printed."""
        self.way.sendall(("{ " + command + "\n} 2>&1 < /dev/null; echo \"[status $?]\"\n").encode())
        deadline = time.monotonic() + seconds * PATIENCE
        while not (match := re.search(r"\[status (\d+)\]\n", self.said)):
            if time.monotonic() > deadline:
                raise Failure(f"'{command}' takes too long: {self.said}\n{self.m.tail(5)}")
            self.listen(deadline)
        said = self.said[: match.start()]
        self.said = self.said[match.end() :]
        return int(match[1]), said

    def listen(self, deadline):
        """Takes in what domain 0 says, on its console too."""
        m = self.m
        others = [s for s in (m.serial, m.qmp) if s.fileno() >= 0]
        if not others:
            raise Failure("QEMU has ended\n" + m.tail())
        left = max(0, deadline - time.monotonic())
        ready, _, _ = select.select([self.way, *others], [], [], left)
        if self.way in ready:
            data = self.way.recv(65536)
            m.log.write(data)
            m.log.flush()
            self.said += data.decode("latin-1").replace("\r", "")
        if len(ready) > (self.way in ready):
            m.pump(time.monotonic())

    def sh(self, command, seconds=120):
        """The same for a command that must succeed; nothing is written down."""
        status, said = self.run(command, seconds)
        if status != 0:
            raise Failure(f"'{command}' gave status {status}: {said}\n{self.m.tail(5)}")
        return said

    def record(self, command, masks=(), seconds=120, status=None):
        """The same for one that may fail; what it says is written down."""
        got, said = self.run(command, seconds)
        self.status = got
        self.transcript += ["$ " + command, *normalise(said, masks), f"[{got}]"]
        if status is not None and got != status:
            raise Failure(f"'{command}' gave status {got}, not {status}: {said}\n{self.m.tail(5)}")
        return said

    def xl(self, words, masks=(), seconds=120, status=0):
        return self.record("xl " + words, masks, seconds, status)

    def note(self, fact):
        self.transcript.append("# " + fact)

    def expect(self, what, condition):
        if not condition:
            raise Failure(what + "\n" + self.m.tail(5))

    def until(self, condition, seconds=60):
        """Waits in domain 0 for a shell condition; in vain, the shell there is free again."""
        loop = shlex.quote(f"until {condition}; do sleep 0.5; done")
        status, said = self.run(f"timeout {seconds * PATIENCE:.0f} sh -c {loop}", seconds + 30)
        if status != 0:
            raise Failure(f"'{condition}' does not come true, {status}: {said}\n{self.m.tail(5)}")

    # -- Guests

    def log(self, name):
        return f"/var/log/xen/console/guest-{name}.log"

    def create(self, name="tiny", words="", options="", seconds=120, status=0):
        """A small guest; 'words' are further settings. Waits until it is up, unless it is paused."""
        self.sh(f"rm -f {self.log(name)}")
        settings = f"'name=\"{name}\"'" if name != "tiny" else ""
        self.xl(f"create {options}/mnt/tiny.cfg {settings} {words}".rstrip(), (), seconds, status)
        if status == 0 and "-p" not in options:
            self.wait_up(name)

    def arrived(self, name="tiny"):
        """After a migration: xenconsoled names the log by what the guest was called on its way."""
        self.sh(f"mv {self.log(name + '--incoming')} {self.log(name)}")

    def wait_up(self, name="tiny", times=1, seconds=90):
        self.until(f"[ $(grep -c '^guest up' {self.log(name)}) -ge {times} ]", seconds)

    def wait_gone(self, name="tiny", seconds=60):
        self.until(f"! xl domid {name} > /dev/null 2>&1", seconds)

    def ask(self, command, name="tiny", seconds=60):
        """What the guest prints for a command that must succeed there."""
        return self.sh(f"/mnt/ask {name} {shlex.quote(command)}", seconds)

    def tell(self, command, name="tiny"):
        """Has the guest do something after which it may not answer."""
        tty = f"$(xenstore-read /local/domain/$(xl domid {name})/console/tty)"
        self.sh(f"echo {shlex.quote(command)} > {tty}")

    def xenstore(self, path, name="tiny"):
        return self.sh(f"xenstore-read /local/domain/$(xl domid {name})/{path}").strip()

    def cpu_seconds(self, name):
        """From the hypervisor's own account."""
        return float(self.sh(f"xl list {name} | awk 'NR == 2 {{ print $6 }}'"))

    def free_memory(self):
        return int(self.sh("xl info | sed -n 's/^free_memory *: //p'"))

    def clean(self):
        """No guest is left, and none of its memory, disks and cards."""
        self.run("for i in $(xl list | awk 'NR > 1 && $2 > 0 { print $2 }'); do xl destroy $i; done")
        self.until("[ $(xl list | wc -l) = 2 ]", 60)
        self.until("[ -z \"$(losetup -a)\" ] && ! ls -d /sys/class/net/vif* 2> /dev/null", 60)
        free = self.free_memory()
        self.expect(f"{self.free} MiB were free before, {free} are now", abs(free - self.free) <= 1)


def stock_is_current(path):
    """What stock Xen said before still holds when nothing that it depends on has changed."""
    inputs = [DOMU, machine.DOM0 / "root.img", machine.DOM0 / "initrd.gz"]
    inputs += pathlib.Path(__file__).parent.glob("*.py")
    return path.exists() and all(os.path.getmtime(i) < os.path.getmtime(path) for i in inputs)


RECORDS = BUILD / "system" / "guests"
