"""Guests under libvirt's Xen driver, by virsh in domain 0: defined, started, looked at, paused,
given more and less memory, saved, restored, shut down, destroyed, undefined. Each command must say
what it says on stock Xen: expected texts are in libvirt.txt, from a run with SERAI=stock RECORD=1.
And a running guest moves from one libvirtd to another.
"""

import difflib
import os
import pathlib

import machine
from machine import SCRATCH, Failure
from rig import NAME, Rig

ROOT = SCRATCH / "root.img"
EXPECTED = pathlib.Path(__file__).with_suffix(".txt")
GUEST = """<domain type='xen'>
  <name>tiny</name>
  <uuid>6f2a1b1c-0000-4000-8000-000000000001</uuid>
  <memory unit='MiB'>160</memory>
  <currentMemory unit='MiB'>128</currentMemory>
  <vcpu current='1'>2</vcpu>
  <os>
    <type arch='x86_64' machine='xenpv'>linux</type>
    <kernel>/mnt/vmlinux</kernel>
    <initrd>/mnt/initrd.gz</initrd>
    <cmdline>console=hvc0 quiet panic=1 address=10.9.0.2</cmdline>
  </os>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='phy'/>
      <source file='/mnt/data.img'/>
      <target dev='xvda' bus='xen'/>
      <readonly/>
    </disk>
    <interface type='bridge'>
      <mac address='00:16:3e:00:00:02'/>
      <source bridge='testbr'/>
    </interface>
    <console type='pty'><target type='xen' port='0'/></console>
  </devices>
</domain>
"""
# What belongs to the machine, to the time that has passed, or to how often something was tried.
VERSION = [(r"(libvirt|API: Xen) [\d.]+", r"\1 N")]
MACHINE = [(r"^(CPU frequency|Memory size|Total):.*", r"\1"), (r"(<memory unit='KiB'>)\d+", r"\1N")]
LIST = [(r"^( *)\d( +tiny)", r"\1N\2")]
INFO = [(r"^(Id|CPU time|UUID):.*", r"\1")]
VCPU = [(r"^(CPU|State|CPU time):.*", r"\1")]
VIF = [(r"vif\d+\.\d+", "vif")]
TRAFFIC = [(r"(bytes|packets) \d+", r"\1 N"), *VIF]
TIMES = [(r" +[\d.]+ seconds", " N seconds")]
XML = [(r"tty='[^']*'|/dev/pts/\d+", "tty"), (r"id='\d+'", "id"), *VIF]


def virsh(t, words, masks=(), status=0, seconds=180):
    return t.record(f"virsh -c xen:///system {words}", masks, seconds, status)


def start_daemons(t):
    # As root, who needs no rights from elsewhere; Debian's own files for these are in a package
    # that wants a firewall, polkit and more.
    t.sh("mkdir -p /var/log/libvirt; groupadd -f kvm; useradd -r libvirt-qemu")
    t.sh("virtlogd -d && libvirtd -d", 60)
    t.until("virsh -c xen:///system version > /dev/null 2>&1", 120)


def look(t):
    virsh(t, "list --all", LIST)
    virsh(t, "domstate tiny")
    virsh(t, "dominfo tiny", INFO)


def test_libvirt():
    # libvirt starts only on a CPU that is among those it knows, whatever the hypervisor.
    with Rig("libvirt", root=ROOT, cpu="Westmere") as t:
        start_daemons(t)
        host(t)
        life(t)
        memory_and_cpus(t)
        moves(t)
        ends(t)
        t.m.check_kernel_log()
        compare(t.transcript)


def host(t):
    virsh(t, "version", VERSION)
    virsh(t, "nodeinfo", MACHINE)
    virsh(t, "hostname")
    said = virsh(t, "capabilities", MACHINE)
    t.expect("no PV guests", "<os_type>xen</os_type>" in said)
    virsh(t, "freecell", MACHINE)


def life(t):
    t.sh(f"cat > /root/tiny.xml << 'END'\n{GUEST}END")
    virsh(t, "define /root/tiny.xml")
    look(t)
    virsh(t, "start tiny")
    t.wait_up()
    look(t)
    t.expect("no Linux answers", t.ask("uname -s") == "Linux\n")
    t.expect("the disk differs", t.ask("sha256sum < /dev/xvda") == t.sh("sha256sum < /mnt/data.img"))
    t.ask("ping -c 2 -w 20 10.9.0.1")
    console(t)
    virsh(t, "dumpxml tiny", XML)
    virsh(t, "suspend tiny")
    look(t)
    virsh(t, "resume tiny")
    t.ask("true")
    look(t)
    virsh(t, "start tiny", status=1)
    virsh(t, "reboot tiny")
    t.wait_up(times=2)
    t.ask("true")


def console(t):
    """As a user at domain 0's terminal: come, ask, leave with Ctrl-]."""
    m = t.m
    m.type("virsh -c xen:///system console tiny\n")
    # What the guest has said so far comes when virsh listens, and has thrown away what was typed before.
    m.wait("^guest up", 60)
    m.type("\necho vi''rsh\n")
    m.wait(r"^virsh", 60)
    m.type("\x1d")
    # What is typed while it is still there is lost with it.
    t.until("! pgrep -x virsh > /dev/null")
    m.type("echo b''ack\n")
    m.wait(r"back$", 60)


def memory_and_cpus(t):
    virsh(t, "setmem tiny 120M --live")
    t.until("[ $(xl list tiny | awk 'NR == 2 { print $3 }') = 120 ]")
    virsh(t, "dommemstat tiny")
    virsh(t, "setmem tiny 128M --live")
    t.until("[ $(xl list tiny | awk 'NR == 2 { print $3 }') = 128 ]")
    virsh(t, "setmaxmem tiny 192M --live")
    virsh(t, "vcpucount tiny")
    # More than the machine has: libvirt does not ask the hypervisor.
    virsh(t, "setvcpus tiny 2 --live", status=1)
    virsh(t, "vcpuinfo tiny", VCPU)
    virsh(t, "vcpupin tiny")
    virsh(t, "vcpupin tiny 0 0")
    virsh(t, "schedinfo tiny")
    virsh(t, "schedinfo tiny --set weight=300")
    virsh(t, "domblklist tiny")
    virsh(t, "domiflist tiny", VIF)
    virsh(t, "domifstat tiny $(ls /sys/class/net | grep ^vif)", TRAFFIC)
    virsh(t, "cpu-stats tiny", TIMES)


def moves(t):
    t.ask("echo still here > /tmp/mark")
    virsh(t, "save tiny /root/tiny.save", seconds=300)
    look(t)
    virsh(t, "restore /root/tiny.save", seconds=300)
    t.expect("it has forgotten", t.ask("cat /tmp/mark", seconds=120) == "still here\n")
    look(t)
    virsh(t, "managedsave tiny", seconds=300)
    virsh(t, "start tiny", seconds=300)
    t.expect("it has forgotten", t.ask("cat /tmp/mark", seconds=120) == "still here\n")
    virsh(t, "dump tiny /root/tiny.core", seconds=300)
    t.sh("rm -f /root/tiny.core /root/tiny.save")


def ends(t):
    virsh(t, "shutdown tiny")
    t.wait_gone()
    look(t)
    virsh(t, "start tiny")
    t.wait_up()
    virsh(t, "destroy tiny")
    look(t)
    virsh(t, "destroy tiny", status=1)
    virsh(t, "undefine tiny")
    virsh(t, "list --all")
    virsh(t, "undefine tiny", status=1)
    t.sh("virsh -c xen:///system create /root/tiny.xml")
    t.tell("poweroff -f")
    t.wait_gone()
    virsh(t, "list --all")
    # To the same machine: libvirt refuses, and lets nobody change that guest again.
    t.sh("virsh -c xen:///system create /root/tiny.xml")
    virsh(t, "migrate --live tiny xen:///system", status=1)
    t.sh("xl destroy tiny")


# Another libvirtd in the same domain 0, which knows nothing of the first one's guests.
OTHER = "xen+unix:///system?socket=/root/other/run/libvirt-sock"
START_OTHER = """unshare -m sh -ec '
cp -a /etc/libvirt /root/other/etc
for place in etc:/etc/libvirt run:/run/libvirt lib:/var/lib/libvirt log:/var/log/libvirt; do
    mount --bind /root/other/${place%:*} ${place#*:}
done
virtlogd -d -p /root/other/virtlogd.pid
libvirtd -d -p /root/other/libvirtd.pid'"""


def start_other(t):
    t.sh("mkdir -p /root/other/run /root/other/lib /root/other/log")
    t.sh(START_OTHER)
    t.until(f"virsh -c '{OTHER}' version > /dev/null 2>&1", 120)


WORK = (
    "dd if=/dev/urandom of=/tmp/a bs=1M count=2 2> /dev/null; sha256sum /tmp/a > /tmp/sum;"
    "sha256sum < /dev/xvda > /tmp/disk;"
    "(i=0; while true; do i=$((i + 1)); echo $i > /tmp/next; mv /tmp/next /tmp/count; usleep 200000; done) &"
)
DISK = "echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/xvda | cmp - /tmp/disk"


def migrate(t):
    """From one libvirtd to the other, over TCP; returns the guest's name and how to ask for it. Debian's stock Xen
    has no shadow page tables and refuses: libvirt says so, and the guest goes on where it is."""
    before = t.sh("xl domid tiny")
    status, said = t.run(f"virsh -c xen:///system migrate --live tiny '{OTHER}' tcp://127.0.0.1 --dname twin", 300)
    if NAME == "stock":
        t.expect(f"it migrates after all: {said}", status == 1 and "error:" in said)
        print(f"# {said.strip()}", flush=True)
        t.expect("a part of it is left", "twin" not in t.sh("xl list"))
        return "tiny", "xen:///system"
    t.expect(f"it does not migrate: {status}, {said}", status == 0)
    t.expect("it is the same domain", t.sh("xl domid twin") != before)
    t.expect("two copies", "tiny" not in t.sh("xl list"))
    t.expect("the first libvirtd has it still", "tiny" not in t.sh("virsh -c xen:///system list --all"))
    return "twin", OTHER


def test_migration():
    with Rig("libvirt_migration", root=ROOT, cpu="Westmere") as t:
        start_daemons(t)
        start_other(t)
        t.sh(f"cat > /root/tiny.xml << 'END'\n{GUEST}END")
        t.sh("virsh -c xen:///system create /root/tiny.xml")
        t.wait_up()
        t.ask(WORK)
        count = int(t.ask("until [ -s /tmp/count ]; do usleep 100000; done; cat /tmp/count"))
        name, where = migrate(t)
        t.expect("it does not run", t.sh(f"virsh -c '{where}' domstate {name}").strip() == "running")
        t.ask("sha256sum -c /tmp/sum > /dev/null", name, 120)
        t.ask(DISK, name)
        t.ask("ping -c 2 -w 20 10.9.0.1", name)
        now = int(t.ask("cat /tmp/count", name))
        t.expect(f"it counted to {count}, and now {now}", count <= now)
        t.ask(f"until [ $(cat /tmp/count) -gt {now} ]; do usleep 100000; done", name)
        t.sh(f"virsh -c '{where}' destroy {name}")
        t.clean()
        t.m.check_kernel_log()


def compare(transcript):
    if os.environ.get("RECORD"):
        EXPECTED.write_text("\n".join(transcript) + "\n")
        return
    if not EXPECTED.exists():
        raise Failure(f"no {EXPECTED.name}: record it with SERAI=stock RECORD=1")
    expected = EXPECTED.read_text().splitlines()
    (SCRATCH / "libvirt.txt").write_text("\n".join(transcript) + "\n")
    differing = difflib.unified_diff(expected, transcript, "stock Xen", NAME, lineterm="", n=1)
    if text := "\n".join(differing):
        raise Failure(text)


machine.main()
