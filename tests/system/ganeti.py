"""What Ganeti's xen-pvm hypervisor (ganeti 3.0.2, Debian 12) asks of a node: it calls xl and reads
what `xl list` and `xl info` print. Exactly those commands, and what it takes from their output by
the rules that it goes by; docs/toolstack.md has the list. SERAI=stock: stock Xen.
"""

import re

import machine
from machine import SCRATCH, Failure
from rig import Rig

ROOT = SCRATCH / "root.img"
CONFIG = """# an instance as Ganeti writes it
kernel = '/mnt/vmlinux'
ramdisk = '/mnt/initrd.gz'
memory = 128
maxmem = 160
vcpus = 1
cpu_weight=300
name = 'tiny'
vif = ['mac=00:16:3e:00:00:02, bridge=testbr']
disk = ['file:/mnt/data.img,xvda,r']
root = '/dev/xvda1'
on_poweroff = 'preserve'
on_reboot = 'restart'
on_crash = 'restart'
extra = 'console=hvc0 quiet panic=1 address=10.9.0.2'
"""
PATH = "/root/tiny"
PORT = 8002
RUNNING = re.compile(r"(r--|rb-|-b-|---)(---|ss-|sr-)|-----d")
DOWN = re.compile(r"---s-[-d]")
NUMBERS = ("total_memory", "free_memory", "nr_cpus", "nr_nodes", "cores_per_socket", "threads_per_core", "xen_major", "xen_minor")


def instances(t):
    """By name: id, memory, vcpus, state ('running' or 'down'), time; a state that is neither, or a
    line that has not six words, is an error to Ganeti."""
    found = {}
    for line in t.sh("xl list").splitlines()[1:]:
        words = line.split()
        if len(words) != 6:
            raise Failure(f"not six words: {line}")
        state = words[4].replace("p", "-")
        if "c" in state:
            continue
        if not RUNNING.fullmatch(state) and not DOWN.fullmatch(state):
            raise Failure(f"a state that Ganeti does not know: {line}")
        down = DOWN.fullmatch(state)
        found[words[0]] = (int(words[1]), int(words[2]), int(words[3]), "down" if down else "running", float(words[5]))
    return found


def node(t):
    lines = dict(re.findall(r"^(\w+) *: *(.*)$", t.sh("xl info"), re.MULTILINE))
    return {name: int(lines[name]) for name in NUMBERS}


def check_node(t):
    t.sh("xl help > /dev/null")
    n = node(t)
    t.expect(f"no sockets: {n}", n["nr_cpus"] // (n["cores_per_socket"] * n["threads_per_core"]) >= 1)
    used = sum(i[1] for i in instances(t).values())
    kept = n["total_memory"] - n["free_memory"] - used
    t.expect(f"the hypervisor itself takes {kept} MiB: {n}", 0 <= kept < 200)
    t.expect(f"it is no Xen 4: {n}", n["xen_major"] == 4)


def check_reboot(t):
    before = instances(t)["tiny"]
    t.sh("xl reboot tiny")
    t.wait_up(times=2)
    after = instances(t)["tiny"]
    t.expect(f"it has not rebooted: {before} {after}", after[0] != before[0] or after[4] < before[4])


def check_balloon(t):
    t.sh("xl mem-set tiny 120")
    t.until("[ $(xl list tiny | awk 'NR == 2 { print $3 }') = 120 ]")
    t.sh(f"sed -ie 's/^memory.*$/memory = 120/' {PATH}")


def check_migration(t):
    """To this machine, on the way that Ganeti takes, with socat on both sides."""
    t.ask("echo still here > /tmp/mark")
    t.sh(f"setsid socat -b524288 TCP-LISTEN:{PORT},bind=127.0.0.1,reuseaddr SYSTEM:'xl migrate-receive' > /run/receive.log 2>&1 &")
    t.until("ss -ltn 2> /dev/null | grep -q :%d" % PORT, 30)
    status, said = t.run(f"xl migrate -s 'socat -b524288 - TCP:127.0.0.1:{PORT} #' -C {PATH} tiny 127.0.0.1", 300)
    t.expect(f"no migration: {status}, {said}{t.sh('cat /run/receive.log')}", status == 0)
    t.expect("it is not running", instances(t)["tiny"][3] == "running")
    t.arrived()
    t.expect("it has forgotten", t.ask("cat /tmp/mark", seconds=120) == "still here\n")
    t.sh("xl rename tiny tiny--migratedaway; xl rename tiny--migratedaway tiny")


def check_console(t):
    """The wrapper of its console: a paused instance is let go once somebody looks."""
    m = t.m
    t.sh(f"rm -f {t.log('tiny')}; xl create -p {PATH}")
    state = "xl list tiny 2> /dev/null | tail -n1 | awk '{print $5}' | sed -n 's/..\\(.\\).../\\1/p'"
    t.expect("it is not seen to be paused", t.sh(state) == "p\n")
    m.type("xl console tiny\n")
    t.sh("xl unpause tiny")
    m.wait(r"^guest up", 120)
    m.type("echo gan''eti\n")
    m.wait(r"^ganeti", 60)
    m.type("\x1d")
    t.wait_up()


def check_stop(t):
    """Shut down it is still there, as on_poweroff says, and down to Ganeti; then it is destroyed."""
    t.sh("timeout 120 xl shutdown -w tiny", 180)
    t.until("xl list tiny | grep -q -- ' ---s'")
    t.expect(f"it is not down: {instances(t)}", instances(t)["tiny"][3] == "down")
    t.sh("xl destroy tiny")
    t.expect(f"it is not gone: {instances(t)}", "tiny" not in instances(t))


def test_ganeti():
    with Rig("ganeti", root=ROOT) as t:
        t.sh(f"cat > {PATH} << 'END'\n{CONFIG}END")
        check_node(t)
        t.sh(f"xl create {PATH}")
        t.wait_up()
        t.expect("it is not running", instances(t)["tiny"][1:4] == (128, 1, "running"))
        t.expect("the disk differs", t.ask("sha256sum < /dev/xvda") == t.sh("sha256sum < /mnt/data.img"))
        check_node(t)
        check_reboot(t)
        check_balloon(t)
        check_migration(t)
        check_stop(t)
        check_console(t)
        t.sh("xl pause tiny")
        t.expect("a paused one is not running", instances(t)["tiny"][3] == "running")
        t.sh("xl unpause tiny")
        check_stop(t)
        t.m.check_kernel_log()


machine.main()
