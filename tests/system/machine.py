"""A virtual machine under test: QEMU with its serial console and its control socket.

A test file defines functions test_*(), each one TAP line, and ends with machine.main(). It waits
for what the machine says or does, never for time to pass: every wait has a deadline, and running
into it fails the test and shows the console's last lines.

The environment names what is tested: SERAI (the hypervisor, default build/serai), QEMU, CPU,
BUILD (default build), PATIENCE (a factor on all deadlines, default 1).
"""

import http.server
import inspect
import json
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import threading
import time
import traceback

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", TOP / "build"))
SERAI = os.environ.get("SERAI", str(BUILD / "serai"))
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
CPU = os.environ.get("CPU", "max,smap=off")
PATIENCE = float(os.environ.get("PATIENCE", "1"))
SCRATCH = BUILD / "system"

# Virtual time with several CPUs wants a QEMU that shares each turn among them. Without x2apic,
# reading its timer is not allowed for in instruction counting.
QEMU_BACKPORTS = BUILD / "qemu-backports" / "qemu-system-x86_64"
CPU_VIRTUAL_TIME = "max,smap=off,smep=off,erms=off,fsrm=off,x2apic=off"

DOM0 = BUILD / "dom0"
KERNEL = DOM0 / "vmlinuz"
INITRD = DOM0 / "initrd.gz"
TEST_INITRD = SCRATCH / "initrd.gz"
ROOT_ARGS = "root=LABEL=serai-dom0 ro console=hvc0 router=off"

# What a healthy domain 0 never logs.
COMPLAINTS = re.compile(
    r"WARNING:|BUG:|BUG at|Oops|Call Trace|soft lockup|hard LOCKUP|rcu.*stall|hung_task"
    r"|blocked for more than|general protection|segfault|I/O error|EXT4-fs error"
)


class Failure(Exception):
    """The machine did not do what the test demands."""


class Machine:
    """One QEMU process. A context manager: leaving it ends the process."""

    def __init__(
        self, name, loader, *args, memory="1G", cpus=1, reboots=False, qemu=QEMU, cpu=CPU
    ):
        """loader: the arguments that say what boots, see multiboot(); args: devices. Unless the
        test expects a reset (reboots), one ends QEMU, and so the wait that is under way."""
        SCRATCH.mkdir(parents=True, exist_ok=True)
        self.log_path = SCRATCH / (name + ".log")
        self.log = open(self.log_path, "wb")
        self.console = ""
        self.seen = 0
        self.events = []
        self.replies = []
        self.qmp_bytes = b""
        self.serial, serial_end = socket.socketpair()
        self.qmp, qmp_end = socket.socketpair()
        command = [str(qemu), "-accel", "tcg", "-cpu", cpu, "-m", memory, "-smp", str(cpus)]
        command += ["-nodefaults", "-display", "none", "-no-user-config"]
        command += ["-chardev", f"socket,id=serial,fd={serial_end.fileno()}", "-serial", "chardev:serial"]
        command += ["-chardev", f"socket,id=qmp,fd={qmp_end.fileno()}", "-mon", "chardev=qmp,mode=control"]
        command += [] if reboots else ["-no-reboot"]
        command += [str(word) for word in (*loader, *args)]
        self.log.write((" ".join(command) + "\n").encode())
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(serial_end.fileno(), qmp_end.fileno()),
        )
        serial_end.close()
        qmp_end.close()
        self.command("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.serial.close()
        self.qmp.close()
        self.log.close()

    # -- Listening

    def pump(self, deadline):
        """Takes in what QEMU has to say; blocks until there is something or the deadline."""
        sources = [s for s in (self.serial, self.qmp) if s.fileno() >= 0]
        if not sources:
            raise Failure("QEMU has ended")
        ready, _, _ = select.select(sources, [], [], max(0, deadline - time.monotonic()))
        for source in ready:
            try:
                data = source.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                source.close()
            elif source is self.serial:
                self.log.write(data)
                self.log.flush()
                self.console += data.decode("latin-1").replace("\r", "")
            else:
                self.take_qmp(data)
        return bool(ready)

    def take_qmp(self, data):
        self.qmp_bytes += data
        *lines, self.qmp_bytes = self.qmp_bytes.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)
            elif "QMP" not in message:
                self.replies.append(message)

    def until(self, what, condition, seconds):
        """Waits until condition() gives something true, and returns that."""
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            result = condition()
            if result:
                return result
            if time.monotonic() >= deadline:
                raise Failure(f"no {what} within {seconds * PATIENCE:.0f} s\n{self.tail()}")
            try:
                self.pump(deadline)
            except Failure as failure:
                result = condition()
                if result:
                    return result
                raise Failure(f"{failure} while waiting for {what}\n{self.tail()}") from None

    def wait(self, pattern, seconds=120):
        """Waits for the pattern in console output not yet consumed; consumes up to its end.

        Output comes in pieces, so a pattern must not end in a repetition: it would match a part
        of the number that is still on its way."""
        if re.search(r"[+*]\)*$", pattern):
            raise ValueError(f"{pattern!r} ends in a repetition")

        def search():
            return re.compile(pattern, re.MULTILINE).search(self.console, self.seen)

        match = self.until(repr(pattern), search, seconds)
        self.seen = match.end()
        return match

    def wait_event(self, name, seconds=60):
        """Waits for a QMP event, removes it and those before it, returns its data."""

        def find():
            return next((e for e in self.events if e["event"] == name), None)

        event = self.until(f"event {name}", find, seconds)
        del self.events[: self.events.index(event) + 1]
        return event.get("data", {})

    def tail(self, lines=20):
        """The console's last lines, for a failure's report."""
        text = self.console.splitlines()[-lines:]
        return "\n".join(["--- console (" + str(self.log_path) + "):", *text, "---"])

    # -- Speaking

    def type(self, text):
        self.serial.sendall(text.encode())

    def command(self, name, **arguments):
        """One QMP command; returns its result."""
        self.qmp.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        reply = self.until(f"answer to {name}", lambda: self.replies, 30).pop(0)
        if "error" in reply:
            raise Failure(f"{name}: {reply['error']['desc']}")
        return reply["return"]

    def monitor(self, line):
        """One command of the human monitor; returns its output."""
        return self.command("human-monitor-command", **{"command-line": line})

    def wait_power_off(self, seconds=60):
        """The guest itself powers the machine off, and QEMU ends."""
        data = self.wait_event("SHUTDOWN", seconds)
        if data != {"guest": True, "reason": "guest-shutdown"}:
            raise Failure(f"shut down for another reason: {data}\n{self.tail()}")
        if self.process.wait(30 * PATIENCE) != 0:
            raise Failure(f"QEMU ended with status {self.process.returncode}")

    # -- Domain 0's login shell

    def login(self, seconds=120):
        """Logs in and makes the shell quiet, so that output is all that comes back."""
        self.wait(r"login: $", seconds)
        self.type("root\n")
        self.wait(r"root@\w+:~# ", 60)
        self.type("exec env PS1= TERM=dumb dash\n")
        self.type("stty -echo; echo sh'ell'\n")
        self.wait(r"shell$", 30)

    def shell(self, command, seconds=60):
        """Runs a command in domain 0's shell; returns its output, fails if it fails."""
        self.type(command + "; echo \"[status $?]\"\n")
        start = self.seen
        match = self.wait(r"\[status (\d+)\]\n", seconds)
        output = self.console[start : match.start()].lstrip("\n")
        if match.group(1) != "0":
            raise Failure(f"'{command}' gave status {match.group(1)}\n{self.tail()}")
        return output

    def check_kernel_log(self):
        """Domain 0's kernel has found nothing to complain about."""
        for line in self.shell("dmesg").splitlines():
            if COMPLAINTS.search(line):
                raise Failure(f"domain 0 complains: {line}")


# -- What to boot, and devices


def multiboot(kernel=KERNEL, kernel_args="", initrd=INITRD, hv_args="", serai=SERAI):
    """QEMU's own multiboot loader; a comma inside a module's string is written twice."""
    modules = [f"{kernel} {kernel_args}".replace(",", ",,")] if kernel else []
    if initrd:
        modules.append(str(initrd).replace(",", ",,"))
    loader = ["-kernel", serai, "-append", f"com1=115200,8n1 console=com1 loglvl=all {hv_args}"]
    return loader + (["-initrd", ",".join(modules)] if modules else [])


def virtual_time(shift, quantum, sleep="off"):
    """One host thread executes the CPUs in turn, and each instruction takes 2^shift ns. A turn of
    all CPUs is `quantum` virtual microseconds: the expiry of a timer that nobody hears ends it.
    With sleep the time in which all CPUs wait is the host's, so that disks are not slow."""
    return ["-icount", f"shift={shift},sleep={sleep}", "-rtc", "base=2024-01-01,clock=vm",
            "-netdev", "hubport,id=turn,hubid=0",
            "-object", f"filter-buffer,id=turns,netdev=turn,interval={quantum}"]


def script(name, kernel_args="", **options):
    """Boots the test initramfs, which runs tests/system/guest/<name>."""
    words = f"console=hvc0 quiet panic=-1 script={name} {kernel_args}"
    return multiboot(kernel_args=words, initrd=TEST_INITRD, **options)


def root_disk():
    """Domain 0's root disk; what is written to it is forgotten."""
    drive = f"if=none,id=root,format=raw,snapshot=on,file={DOM0 / 'root.img'}"
    return ["-drive", drive, "-device", "virtio-blk-pci,drive=root"]


def blank_disk(name, device, megabytes=16):
    """A disk full of zeros that outlives a reboot; returns its path and the arguments."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / (name + ".img")
    with open(path, "wb") as image:
        image.truncate(megabytes << 20)
    drive = f"if=none,id=disk,format=raw,file={path}"
    return path, ["-drive", drive, *device]


def network(model="virtio-net-pci", forward=None):
    """A card on user networking; forward=(host port, guest port) opens a way in."""
    user = "user,id=net"
    if forward:
        user += f",hostfwd=tcp:127.0.0.1:{forward[0]}-:{forward[1]}"
    return ["-netdev", user, "-device", f"{model},netdev=net,romfile="]


def free_port():
    """A TCP port nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(data):
    """An HTTP server on a free local port that has one file; returns it, already running."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# -- Running a test file


def main():
    """Runs the calling file's test_*() functions and prints TAP; the exit status tells."""
    module = sys.modules["__main__"]
    tests = [f for n, f in inspect.getmembers(module, inspect.isfunction) if n.startswith("test_")]
    tests.sort(key=lambda f: f.__code__.co_firstlineno)
    only = sys.argv[1:]
    if only:
        tests = [f for f in tests if f.__name__.removeprefix("test_") in only]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, function in enumerate(tests, 1):
        start = time.monotonic()
        try:
            function()
            verdict, why = "ok", ""
        except Failure as failure:
            verdict, why = "not ok", str(failure)
        except Exception:
            verdict, why = "not ok", traceback.format_exc()
        failed += verdict != "ok"
        name = function.__name__.removeprefix("test_")
        print(f"{verdict} {number} - {name} # {time.monotonic() - start:.0f} s")
        for line in why.splitlines():
            print(f"# {line}")
        sys.stdout.flush()
    sys.exit(failed > 0)
