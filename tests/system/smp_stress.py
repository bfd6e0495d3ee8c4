"""stress-ng with what weighs on a paravirtual machine with several vcpus, while vcpus are unplugged
and plugged in again in a loop: 4 vcpus on 4 CPUs, then 8. Domain 0's log stays clean.
SMP_STRESS_SECONDS sets the length of each. tests/system/overcommit does it for an hour."""

import os
import re

import machine
from machine import Failure, Machine

SECONDS = int(os.environ.get("SMP_STRESS_SECONDS", "50"))
CPUS = "4,sockets=1,cores=2,threads=2"
KINDS = {"fork": 2, "mmap": 2, "vm": 2, "switch": 2, "futex": 2, "schedpolicy": 2}
SIZES = "--mmap-bytes 4M --vm-bytes 4M --vm-method incdec"
# Each vcpu but the first leaves and comes back, over and over, until /tmp/enough appears. Each time
# stops all vcpus for a while; the pauses leave most of the time to the load.
PLUGGING = """
times=0
while [ ! -e /tmp/enough ]; do
    for cpu in /sys/devices/system/cpu/cpu[1-9]*; do
        for state in 0 1; do
            echo $state > $cpu/online || echo $cpu $state >> /tmp/refused
            sleep 0.2
        done
        times=$((times + 1))
        echo $times > /tmp/times
    done
done
"""


def start(name, vcpus):
    hv_args = f"dom0_mem=1280M dom0_max_vcpus={vcpus}"
    loader = machine.multiboot(kernel_args=machine.ROOT_ARGS + " quiet", hv_args=hv_args)
    return Machine(name, loader, *machine.root_disk(), cpus=CPUS, memory="2G")


def expect_vcpus(m, vcpus):
    online = m.shell("nproc").strip()
    if online != str(vcpus):
        raise Failure(f"{online} vcpus are online, {vcpus} should be\n" + m.tail())


def stress(m, vcpus, seconds):
    """Loads the machine for that long; returns how often a vcpu went and came back."""
    m.shell("set +m; rm -f /tmp/enough /tmp/refused /tmp/times; cd /tmp")
    m.shell(f"cat > /tmp/plugging << 'END'{PLUGGING}END\n:")
    m.shell("{ dash /tmp/plugging > /dev/null 2>&1 & }")
    kinds = " ".join(f"--{kind} {workers}" for kind, workers in KINDS.items())
    command = f"stress-ng {kinds} {SIZES} --timeout {seconds} --metrics-brief --verify"
    said = m.shell(command, 4 * seconds + 240)
    for kind in KINDS:
        if not re.search(rf"metrc: .*\] {kind} +[1-9]", said):
            raise Failure(f"{kind} has not done anything\n" + m.tail())
    m.shell("touch /tmp/enough; wait", 240)
    refused = re.search("^/sys.*", m.shell("cat /tmp/refused 2> /dev/null; :"), re.MULTILINE)
    if refused:
        raise Failure(f"a vcpu did not change its state: {refused[0]}")
    times = int(m.shell("cat /tmp/times"))
    if not times:
        raise Failure("no vcpu was unplugged and plugged in again")
    expect_vcpus(m, vcpus)
    m.check_kernel_log()
    return times


def run(name, vcpus):
    with start(name, vcpus) as m:
        m.login(240)
        expect_vcpus(m, vcpus)
        times = stress(m, vcpus, SECONDS)
        print(f"# {vcpus} vcpus: one was unplugged and plugged in {times} times", flush=True)
        m.type("poweroff\n")
        m.wait_power_off(240)


def test_as_many_vcpus_as_cpus():
    run("smp_stress_4", 4)


def test_twice_as_many_vcpus_as_cpus():
    run("smp_stress_8", 8)


if __name__ == "__main__":
    machine.main()
