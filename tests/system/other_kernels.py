"""Guests that run other kernels than domain 0's, and guests that boot loaders start: Debian's
cloud kernel, the one of the backports, the one of Debian 11; GRUB as the guest's first kernel, and
pygrub in domain 0. SERAI=stock: stock Xen.
"""

import machine
from machine import SCRATCH
from rig import NAME, Rig

DISK = SCRATCH / "kernels.sqfs"
ROOT = SCRATCH / "root.img"
DATA = "'disk=[\"/mnt/data.img,raw,xvda,r\"]'"
BOOT = "'disk=[\"/mnt/boot.img,raw,xvda,r\"]'"
COMPLAINTS = "dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|general protection' || true"

# In its hypercall page, the page fault handler's words and line in other registers.
MACH_ENDS = ["rip: 00000000400020ca", "rbx: 000000004005f0cd", "r12: 000000000000015a"]

booted = []


def domain0():
    """The machine, which all tests share."""
    if not booted:
        booted.append(Rig("other_kernels", root=ROOT, disk=DISK))
    t = booted[0]
    t.clean()
    return t


def check_guest(t, version):
    """What a guest needs of the hypervisor, each once."""
    t.expect("another kernel", t.ask("uname -r").strip() == version)
    t.expect("the disk has other contents", t.ask("sha256sum < /dev/xvda") == t.sh("sha256sum < /mnt/data.img"))
    t.ask("ping -c 2 -w 30 10.9.0.1")
    t.expect("two CPUs", t.ask("nproc").strip() == "2")
    t.ask("for i in 1 2; do (dd if=/dev/zero bs=1M count=8 | sha256sum) & done 2> /dev/null; wait", seconds=120)
    t.sh("xl mem-set tiny 112")
    t.until("[ $(xl list tiny | awk 'NR == 2 { print $3 }') = 112 ]")


def check_moves(t):
    """It goes into a file and comes back, and is what it was."""
    t.ask("echo still here > /tmp/mark")
    t.sh("xl save tiny /root/tiny.save", 300)
    t.sh("xl restore /root/tiny.save && rm /root/tiny.save", 300)
    t.expect("it has forgotten", t.ask("cat /tmp/mark", seconds=120) == "still here\n")
    t.ask("ping -c 2 -w 30 10.9.0.1")


def run_kernel(name):
    t = domain0()
    version = t.sh(f"cat /mnt/{name}/version").strip()
    words = f"'kernel=\"/mnt/{name}/vmlinuz\"' 'ramdisk=\"/mnt/{name}/initrd.gz\"' 'vcpus=2' {DATA}"
    t.create("tiny", words, seconds=600)
    check_guest(t, version)
    check_moves(t)
    complaints = t.ask(COMPLAINTS)
    t.expect(f"the guest complains: {complaints}", not complaints)
    print(f"# {NAME}: {version} runs", flush=True)
    t.tell("poweroff -f")
    t.wait_gone()


def test_cloud():
    run_kernel("bookworm-cloud")


def test_backports():
    run_kernel("bookworm-backports")


def test_debian11():
    run_kernel("bullseye")


def wait_up_after_grub(t, times):
    """GRUB leaves the cursor anywhere, and the kernel is quiet."""
    t.until(f"[ $(grep -c 'guest up' {t.log('tiny')}) -ge {times} ]", 600)


def boot_from_disk(words):
    t = domain0()
    # No kernel from domain 0's files; what tiny.cfg says about it is taken back.
    t.sh("grep -vE '^(kernel|ramdisk|extra)' /mnt/tiny.cfg > /root/boot.cfg")
    t.sh(f"rm -f {t.log('tiny')}; xl create /root/boot.cfg {words} {BOOT}", 600)
    wait_up_after_grub(t, 1)
    t.expect("not from the menu", "from_the_menu" in t.ask("cat /proc/cmdline"))
    version = t.sh("cat /mnt/bullseye/version").strip()
    t.expect("another kernel", t.ask("uname -r").strip() == version)
    return t


def test_pvgrub():
    t = boot_from_disk("'kernel=\"/usr/lib/grub-xen/grub-x86_64-xen.bin\"'")
    t.expect("no GRUB was there", "GRUB" in t.sh(f"cat {t.log('tiny')}"))
    check_reboot(t)


def test_pygrub():
    check_reboot(boot_from_disk("'bootloader=\"pygrub\"'"))


def check_reboot(t):
    """A reboot goes through the loader again."""
    t.tell("reboot -f")
    wait_up_after_grub(t, 2)
    t.expect("not from the menu again", "from_the_menu" in t.ask("cat /proc/cmdline"))
    t.tell("poweroff -f")
    t.wait_gone()


def test_mach():
    """No Linux: Debian's GNU Mach for Xen. It makes its page tables, takes the first ones down, and
    panics over a page fault of its own; on both hypervisors at the same place."""
    t = domain0()
    t.sh("grep -vE '^(kernel|ramdisk|extra|vif)' /mnt/tiny.cfg > /root/mach.cfg")
    # Its reason to shut down is the byte of an address, which xl would not keep a domain for.
    t.sh("xl create -e /root/mach.cfg 'name=\"mach\"' 'kernel=\"/mnt/mach.gz\"'", 600)
    t.until("xl list mach | grep -q -e '---s'", 120)
    said = t.sh("/usr/lib/xen-4.17/bin/xenctx $(xl domid mach)")
    for register in MACH_ENDS:
        t.expect(f"{register} is not so: {said}", register in said)


def test_quiet():
    t = domain0()
    t.power_off()


try:
    machine.main()
finally:
    # Only the last test ends the machine, and who names tests may leave it out.
    for t in booted:
        t.close()
