"""Memory of guests: a stock Debian guest grows and shrinks, and what 'serai mem' tells it is
followed, or has the consequence that was promised, also when nobody waits for it."""

import atexit
import json

import machine
from machine import Failure, Machine

PAGES = 65536  # of a guest of demo.cfg
MIB = 256  # pages
# Its memory is never asked for: the driver that would give it back is not started.
DEAF = "initcall_blacklist=balloon_init"
# What is added beyond the start size is used at once.
ONLINE = "memhp_default_state=online"

booted = []


def domain0():
    """The machine, which all tests share; it ends with this program."""
    if not booted:
        loader = machine.multiboot(
            kernel_args=machine.ROOT_ARGS + " quiet", hv_args="dom0_mem=768M,max:768M loglvl=error"
        )
        m = Machine("memory", loader, *machine.root_disk(), memory="2G")
        booted.append(m)
        atexit.register(m.__exit__)
        m.login(400)
        m.shell("until grep -q -e '\\.$' -e failed /run/toolstack.log; do sleep 1; done", 120)
    return booted[0]


def expect(what, condition):
    if not condition:
        raise Failure(what)


def shell(command, seconds=180):
    return domain0().shell(command, seconds)


def start(name, words=""):
    """A guest with a login prompt on its console."""
    extra = f"root=/dev/xvda rootfstype=squashfs console=hvc0 quiet {words}"
    # Short lines: the console keeps 256 characters until domain 0 takes them.
    shell(f"echo '{extra}' > /run/extra")
    shell(f"xl create /etc/xen/demo.cfg 'name=\"{name}\"' \"extra='$(cat /run/extra)'\"", 600)
    log = f"/var/log/xen/console/guest-{name}.log"
    shell(f"until grep -q login: {log}; do sleep 1; done", 600)


def end(name):
    shell(f"xl destroy {name}")


def show(name):
    return json.loads(shell(f"serai mem show {name} --json"))


def wait_for_pages(name, pages):
    """The guest has no other way to tell that it is done."""
    shell(f"until serai mem show {name} | grep -q ' has *{pages} pages'; do sleep 1; done")


def refused(status, command):
    """What a command says that must fail in this way."""
    return shell(f"{command} 2>&1; [ $? = {status} ]")


def cap_of(name):
    number = show(name)["domain"]
    return [d["cap_ppm"] for d in json.loads(shell("serai sched list --json")) if d["domain"] == number]


# -- A guest that listens


def test_list():
    start("good", ONLINE)
    memory = json.loads(shell("serai mem list --json"))
    expect(f"two domains: {memory}", [d["name"] for d in memory["domains"]] == ["Domain-0", "good"])
    expect(f"their memory: {memory}", [d["pages"] for d in memory["domains"]] == [3 * PAGES, PAGES])
    expect(f"nothing was told: {memory}", all(d["instruction"] is None for d in memory["domains"]))
    expect(f"there is free memory: {memory}", memory["pages_free"] > 200 * MIB)
    text = shell("serai mem list")
    expect(f"the same for people: {text}", " good " in text and " 256.0 " in text)


def test_balloon():
    shell("xl mem-set good 200")
    wait_for_pages("good", 200 * MIB)
    shell("xl mem-set good 256")
    wait_for_pages("good", PAGES)


def test_hot_add():
    shell("xl mem-max good 512; xl mem-set good 512")
    wait_for_pages("good", 512 * MIB)
    shell("xl mem-set good 256")
    wait_for_pages("good", PAGES)


def test_complies():
    text = shell("serai mem set good --size 200M --within 100s --else destroy --wait")
    expect(f"success: {text}", "came to 200.0 MiB after" in text)
    d = show("good")
    i = d["instruction"]
    expect(f"what it has, and may have: {d}", (d["pages"], d["pages_limit"]) == (200 * MIB, 200 * MIB))
    expect(f"complied: {i}", (i["state"], i["acted_after_ns"]) == ("complied", None))
    expect(f"in time: {i}", 0 < i["complied_after_ns"] <= i["within_ns"])
    expect(f"figures: {i}", (i["pages_start"], i["pages_lowest"]) == (PAGES, 200 * MIB))


def test_cannot_grow():
    shell(f"xenstore-write /local/domain/{show('good')['domain']}/memory/target 262144")
    # It tries at once, then after 1 s; the hypervisor says no.
    shell("sleep 3")
    expect("it has not grown", show("good")["pages"] == 200 * MIB)
    shell("serai mem cancel good")
    wait_for_pages("good", PAGES)
    expect("nothing is left of the instruction", show("good")["instruction"] is None)


def test_cap():
    text = refused(1, "serai mem set good --pages 100 --within 1s --else cap=10% --wait")
    expect(f"missed: {text}", "capped" in text)
    expect("its cap", cap_of("good") == [100000])
    i = show("good")["instruction"]
    expect(f"missed: {i}", (i["state"], i["in_force"], i["left_ns"]) == ("missed", True, None))
    expect(f"after the deadline: {i}", i["acted_after_ns"] >= i["within_ns"])
    shell("serai mem cancel good")
    expect("it has no cap any more", cap_of("good") == [None])
    end("good")


# -- One that does not


def test_pause():
    start("deaf", DEAF)
    refused(1, "serai mem set deaf --size 128M --within 500ms --else pause --wait")
    expect("it is paused", " --p---" in shell("xl list deaf"))
    shell("xl unpause deaf")
    i = show("deaf")["instruction"]
    expect(f"it is not any more: {i}", (i["state"], i["in_force"]) == ("missed", False))
    expect("it runs", " --p---" not in shell("xl list deaf"))


def test_two_wait():
    """Only one of two can have the event that tells of the end; both notice it."""
    shell("serai mem set deaf --size 128M --within 3s")
    # In a shell of its own, so that ours has nothing to say about it.
    shell("( (serai mem wait deaf > /run/one 2>&1; echo $? >> /run/one) & )")
    refused(1, "serai mem wait deaf")
    text = shell("until grep -qx '[0-9]' /run/one; do sleep 1; done; cat /run/one")
    expect(f"the first, too: {text}", "missed 128.0 MiB by 128.0 MiB" in text and text.endswith("1\n"))


def test_destroy():
    free = json.loads(shell("serai mem list --json"))["pages_free"]
    shell("serai mem set deaf --size 128M --within 100ms --else destroy")
    shell("while xl list deaf > /dev/null 2>&1; do sleep 1; done")
    expect("why", "reason code 3" in shell("cat /var/log/xen/xl-deaf.log"))
    now = json.loads(shell("serai mem list --json"))["pages_free"]
    expect(f"its memory is free: {free} {now}", now >= free + PAGES)


# -- Asked wrongly


def test_refusals():
    for words, status, why in (
        ("set 0 --size 512M --within 1s --else pause", 1, "cannot be threatened"),
        ("set 0 --size 512G --within 1s", 1, "has not so many"),
        ("set 0 --size 800M --within 1s", 1, "may have 768.0 MiB at most"),
        ("set 99 --size 512M --within 1s", 1, "no domain 99"),
        ("set nobody --size 512M --within 1s", 1, "no domain 'nobody'"),
        ("set 0 --size 512 --within 1s", 2, "'512' is none"),
        ("set 0 --size 1K --within 1s", 2, "'1K' is none"),
        ("set 0 --pages 0 --within 1s", 2, "no number of pages"),
        ("set 0 --size 512M --within 1", 2, "is no time"),
        ("set 0 --size 512M --within 800h", 2, "is no time"),
        ("set 0 --size 512M", 2, "--within is missing"),
        ("set 0 --within 1s", 2, "--size is missing"),
        ("set --size 512M --within 1s", 2, "which domain"),
        ("set 0 --size 512M --within 1s --else cap=0", 2, "no percentage"),
        ("set 0 --size 512M --within 1s --else cap=900", 2, "no percentage"),
        ("set 0 --size 512M --within 1s --else shout", 2, "no consequence"),
        ("cancel 0", 1, "nothing to cancel"),
        ("wait 0", 1, "no instruction"),
    ):
        text = refused(status, "serai mem " + words)
        expect(f"'{words}' is explained by '{why}': {text}", why in text)
    expect("domain 0 was told nothing", show("0")["instruction"] is None)
    refused(1, "xenstore-read /local/domain/0/memory/target")


def test_domain0():
    shell("serai mem set 0 --size 700M --within 100s --wait")
    expect("domain 0 has less", show("Domain-0")["pages"] == 700 * MIB)
    shell("serai mem cancel 0")
    wait_for_pages("0", 3 * PAGES)
    domain0().check_kernel_log()


machine.main()
