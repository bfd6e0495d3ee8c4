"""What the router writes down about two stock guests: flows, denies, who had a port, and a chain of changes
that holds when the daemon is killed and a byte is flipped."""

import json

import machine
import router
import toolstack
from machine import Failure

SHARED = router.SHARED
RULES = """default drop log deny
ping: pass from domains to domains proto icmp log
file: pass from any to any port 7000 proto tcp log strict
"""
LOG = "/var/lib/serai/net/log"


class Logs:
    def __init__(self, t):
        self.t = t
        self.start()

    def start(self):
        self.t.sh("/usr/lib/serai/net/logd.py > /run/logd.log 2>&1 & echo $! > /run/logd.pid")

    def kill(self):
        self.t.sh("kill -9 $(cat /run/logd.pid)")

    def until(self, command, words):
        """A record is stored when the daemon comes by."""
        self.t.until(f"serai net {command} --json | grep -q '{words}'")

    def lines(self, command):
        return [json.loads(line) for line in self.t.sh(f"serai net {command} --json").splitlines()]


def flows(t, r, logs):
    router.receive(t, "b")
    t.ask("echo from a | nc 10.1.0.2 7000", "a")
    logs.until("log", '"type": "new".*"dport": 7000')
    r.refused("nc -w 2 10.1.0.2 7009 < /dev/null", "a")
    logs.until("log --deny", '"type": "deny".*"dport": 7009')
    seen = [x for x in logs.lines("log") if x.get("dport") == 7000]
    t.expect(f"a's connection is not what was logged: {seen}",
             seen and (seen[0]["src"], seen[0]["dst"], seen[0]["proto"]) == ("10.1.0.1", "10.1.0.2", 6))


def who_was_it(t, r, logs):
    vifs = r.show()
    t.sh(f"serai net lease grant {SHARED} {vifs['a']['vif']} --start 4096")
    logs.until("audit list", '"op": "lease".*start=4096')
    at = t.sh("date -u +%s").strip()
    found = json.loads(t.sh(f"serai net who {SHARED}:4100/tcp --at {at} --skew 1s --json"))
    t.expect(f"it was a: {found}", [c["domain"] for c in found["candidates"]] == ["a"])
    found = json.loads(t.sh(f"serai net who {SHARED}:9000/tcp --at {at} --skew 1s --json"))
    t.expect(f"it was nobody: {found}", found["verdict"] == "not leased")
    found = json.loads(t.sh(f"serai net who 10.1.0.2:7000/tcp --at {at} --json"))
    t.expect(f"it was b: {found}", [c["domain"] for c in found["candidates"]] == ["b"])


def killed(t, logs):
    logs.kill()
    t.sh(f"serai net lease grant {SHARED} 0 --start 8192")
    logs.start()
    logs.until("audit list", "start=8192")
    numbers = [x["seq"] for x in logs.lines("audit list")]
    t.expect(f"a record is missing, or there twice: {numbers}", numbers == list(range(len(numbers))))
    t.sh("serai net audit verify")


def tampered(t, logs):
    logs.kill()
    segment = t.sh(f"ls {LOG}/audit-*.seg").split()[0]
    t.sh(f"cp {segment} /tmp/good; printf X | dd of={segment} bs=1 seek=300 conv=notrunc")
    status, said = t.run("serai net audit verify")
    t.expect(f"a flipped byte is not found: {said}", status == 1 and "audit-" in said)
    t.sh(f"head -c -200 /tmp/good > {segment}")
    status, said = t.run("serai net audit verify")
    t.expect(f"a cut end is not found: {said}", status == 1 and "cut" in said)
    t.sh(f"cp /tmp/good {segment}")
    t.sh("serai net audit verify")


def test_router_log():
    t = toolstack.Toolstack("serai")
    try:
        r = router.Router(t)
        logs = Logs(t)
        r.guest("a", 1)
        r.guest("b", 2)
        t.sh(f"cat > /tmp/rules <<'END'\n{RULES}END")
        t.sh("serai net rule load /tmp/rules")
        flows(t, r, logs)
        who_was_it(t, r, logs)
        killed(t, logs)
        tampered(t, logs)
        t.power_off()
    except Failure:
        print(t.run("cat /run/netd.log /run/logd.log; serai net log; serai net audit list")[1])
        raise
    finally:
        t.close()


if __name__ == "__main__":
    machine.main()
