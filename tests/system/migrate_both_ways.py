"""Guests move between stock Xen 4.17 and Serai, in both directions: two machines at once, which
share a disk and a network. A guest must not notice: its memory, its counter, its disk and its
network card are there after each move, with both vcpus."""

import concurrent.futures
import contextlib

import machine
import toolstack
from machine import SCRATCH
from toolstack import Toolstack

LAN = {"stock": "10.8.0.1", "serai": "10.8.0.2"}
OTHER = {"stock": "serai", "serai": "stock"}
PORT = 7002
# Both see the same CPU.
CPU = toolstack.STOCK_CPU

DATA = "sha256sum < /mnt/data.img"
WORK = (
    "dd if=/dev/urandom of=/tmp/a bs=1M count=2 2> /dev/null; sha256sum /tmp/a > /tmp/sums;"
    "(i=0; while true; do i=$((i + 1)); echo $i > /tmp/next; mv /tmp/next /tmp/count; usleep 200000; done) &"
)
SETTINGS = "'vcpus=2' 'memory=96' 'disk=[\"/mnt/data.img,raw,xvda,r\"]'"


def cable(name):
    return SCRATCH / f"lan-{name}.socket"


def start(name):
    """One of the two machines."""
    lan = f"dgram,id=lan,local.type=unix,local.path={cable(name)}"
    lan += f",remote.type=unix,remote.path={cable(OTHER[name])}"
    card = f"virtio-net-pci,netdev=lan,romfile=,mac=52:54:00:00:00:0{LAN[name][-1]}"
    # They take turns with this disk, so nobody needs to lock it.
    disk = f"if=none,id=shared,format=raw,file.locking=off,file={SCRATCH / 'shared.img'}"
    devices = ["-drive", disk, "-device", "virtio-blk-pci,drive=shared", "-netdev", lan, "-device", card]
    t = Toolstack(name, cpu=CPU, devices=devices)
    t.sh("pkill udhcpc; ip link set eth0 nomaster; ip link set xenbr0 down")
    t.sh(f"ip addr add {LAN[name]}/24 dev eth0; ip link set eth0 up")
    return t


@contextlib.contextmanager
def both():
    """The two machines, as a dictionary."""
    with open(SCRATCH / "shared.img", "wb") as image:
        image.truncate(256 << 20)
    for name in LAN:
        cable(name).unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            jobs = {name: pool.submit(start, name) for name in LAN}
        for job in jobs.values():
            if not job.exception():
                stack.callback(job.result().close)
        machines = {name: job.result() for name, job in jobs.items()}
        machines["stock"].sh("mkfs.ext4 -q /dev/vdc")
        yield machines
        for t in machines.values():
            t.clean()
            t.power_off()
    (SCRATCH / "shared.img").unlink()


def begin(t):
    """Returns how far it has counted."""
    t.create("tiny", SETTINGS)
    t.ask(WORK)
    return int(t.ask("until [ -s /tmp/count ]; do usleep 100000; done; cat /tmp/count"))


def check(t, count):
    """The guest is whole and has gone on counting from there; returns how far it is."""
    t.ask("sha256sum -c /tmp/sums > /dev/null")
    t.expect("a vcpu is gone", t.ask("nproc") == "2\n")
    now = int(t.ask("cat /tmp/count"))
    t.expect(f"it counted to {count}, and now {now}", count <= now)
    t.until(f"[ $(/mnt/ask tiny 'cat /tmp/count') -gt {now} ]")
    t.expect("the disk is another", t.ask("echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/xvda") == t.sh(DATA))
    t.ask(f"ping -c 2 -w 20 {toolstack.ADDRESS}")
    complaints = t.ask("dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|lockup' || true")
    t.expect(f"the guest complains: {complaints}", not complaints)
    return int(t.ask("cat /tmp/count"))


def by_disk(a, b):
    """xl save here, xl restore there."""
    for t, words in ((a, "save tiny"), (b, "restore")):
        t.sh("mkdir -p /saved; mount /dev/vdc /saved")
        t.sh(f"xl {words} /saved/tiny", 300)
        t.sh("umount /saved")


def by_network(a, b):
    """What xl save writes goes to xl restore at once."""
    b.sh(f"mkfifo /run/way; nc -l -N -p {PORT} < /dev/null > /run/way & echo")
    b.sh("(xl restore /run/way > /run/restored 2>&1; echo done $? >> /run/restored) & echo")
    b.until(f"ss -l -n -t | grep -q :{PORT}")
    a.sh(f"mkfifo /run/way; nc -N {LAN[b.name]} {PORT} < /run/way & xl save tiny /run/way && rm /run/way", 300)
    b.until("grep -q '^done' /run/restored", 300)
    b.sh("rm /run/way")
    b.expect("no restore: " + b.sh("cat /run/restored"), "done 0" in b.sh("cat /run/restored"))


def migrate(a, b):
    """xl migrate, with nc in place of ssh; returns its exit status and what it said."""
    b.sh("mkfifo /run/back")
    b.sh(f"(nc -l -N -p {PORT} < /run/back | xl migrate-receive > /run/back 2> /run/received) & echo")
    b.until(f"ss -l -n -t | grep -q :{PORT}")
    status, said = a.run(f"xl migrate -s '' tiny 'nc -N {LAN[b.name]} {PORT}'", 300)
    b.sh("rm /run/back")
    return status, said + b.sh("cat /run/received")


def to_and_fro(a, b):
    """A guest begun on a, suspended, by the disk; what came from b goes there as well."""
    count = begin(a)
    for _ in range(2):
        by_disk(a, b)
        a.clean()
        count = check(b, count)
        a, b = b, a
    a.clean()


def alive(serai, stock):
    """Without an interruption away from Serai. Stock Xen of Debian 12 cannot (it has no shadow page
    tables) and says so, the guest stays as it was, and moves suspended."""
    count = begin(serai)
    status, said = migrate(serai, stock)
    serai.expect(f"no migration from Serai: {status}, {said}", status == 0)
    stock.arrived()
    count = check(stock, count)
    serai.clean()
    status, said = migrate(stock, serai)
    stock.expect(f"it migrates after all: {status}, {said}", status != 0 and "logdirty" in said)
    serai.clean()
    count = check(stock, count)
    by_network(stock, serai)
    stock.clean()
    count = check(serai, count)
    by_network(serai, stock)
    check(stock, count)
    stock.clean()


def test_migrate_both_ways():
    with both() as m:
        to_and_fro(m["stock"], m["serai"])
        to_and_fro(m["serai"], m["stock"])
        alive(m["serai"], m["stock"])


machine.main()
