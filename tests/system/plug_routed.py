"""An interface of the virtual firewall router for a guest that runs already, by xl network-attach, while
the kernel's netback is loaded: it serves the router, whoever of the two saw it first."""

import machine
from machine import Failure
from router import EXTRA, Router
from toolstack import Toolstack

OTHER = "ip=10.1.0.2 mac=00:16:3e:00:01:02 script=vif-vfr"
# In the guest: the interface is up as soon as it can be, which is when a back end has answered.
UP = ("until ip link set eth0 up 2> /dev/null; do usleep 10000; done; ip addr add 10.1.0.2/32 dev eth0; "
      "ip route add 169.254.0.1 dev eth0; ip route add default via 169.254.0.1; touch /tmp/up")
OURS = "/local/domain/0/backend/vif/$(xl domid b)/0"
NETBACK = "/sys/bus/xen-backend/drivers/vif/vif-$(xl domid b)-0"


def plugged(t):
    """It is the router's, and works; then it is gone, without a trace."""
    t.ask("until [ -e /tmp/up ]; do usleep 50000; done; rm /tmp/up; ping -c 3 -w 30 10.1.0.1", "b")
    t.sh(f"! [ -e {NETBACK} ]")
    t.expect("the router does not know it", " b " in t.sh("serai net show"))
    t.xl("network-detach b 0")
    t.ask("while [ -e /sys/class/net/eth0 ]; do usleep 50000; done", "b")
    t.until("! serai net show | grep -q ' b '")
    t.until(f"! xenstore-exists {OURS}")


def as_it_comes(t, times):
    for _ in range(times):
        t.ask(f"({UP}) &", "b")
        t.xl(f"network-attach b {OTHER}")
        plugged(t)


def netback_first(t):
    """It has connected, and the guest has sent something, before the daemon gets to look."""
    t.sh("kill -STOP $(cat /run/netd.pid)")
    t.ask(f"({UP}; ping -c 2 -W 1 10.1.0.1) &", "b")
    t.sh(f"(xl network-attach b {OTHER}; echo $? > /run/attached) > /run/attach.log 2>&1 &")
    t.until(f"[ -e {NETBACK}/net ] && [ $(xenstore-read /local/domain/$(xl domid b)/device/vif/0/state) = 4 ]")
    t.until("/mnt/ask b '[ -e /tmp/up ]'")
    t.sh("kill -CONT $(cat /run/netd.pid)")
    t.until("[ -s /run/attached ]")
    t.expect(f"it was not attached: {t.sh('cat /run/attach.log')}", t.sh("cat /run/attached") == "0\n")
    plugged(t)


def nobody_serves(t, r):
    """The script tells. What xl leaves there then, as ever, can be taken away, and the next one works."""
    r.stop()
    said = t.xl(f"network-attach b {OTHER}", status=None)
    t.expect(f"it was attached, to nobody: {said}", t.status != 0)
    t.xl("network-detach b 0")
    t.until(f"! xenstore-exists {OURS}")
    r.start()
    as_it_comes(t, 1)


def test_plug_routed():
    t = Toolstack("serai")
    try:
        r = Router(t)
        r.guest("a", 1)
        t.create("b", f"'vif=[]' {EXTRA}")
        as_it_comes(t, 5)
        netback_first(t)
        nobody_serves(t, r)
        t.power_off()
    except Failure:
        print(t.run("cat /run/netd.log; serai net show; xenstore-ls -f /local/domain/0/backend/vif")[1])
        raise
    finally:
        t.close()


machine.main()
