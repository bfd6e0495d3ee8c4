"""The back end's half of the handshake, over a xenstore of the test's own; and the operator's settings."""
import ipaddress
import pathlib
import tempfile
import time

import rate
import settings
import store
import vifs
from host import Skip  # noqa: F401  (finds dom0/net)
from hypercall import PUNT, ROUTED, SWITCHED, Vif

FRONT, BACK = "/local/domain/3/device/vif/0", "/local/domain/0/backend/vif/3/0"
RINGS = {"tx-ring-ref": 8, "rx-ring-ref": 9, "event-channel-tx": 5, "event-channel-rx": 6, "request-rx-copy": 1,
         "feature-sg": 1}


class Store(dict):
    read = dict.get

    def write(self, path, value):
        self[path] = value

    def write_all(self, path, values, there=None):
        if not there or f"{path}/{there}" in self:
            self.update({f"{path}/{key}": value for key, value in values.items()})


class Router:
    """And the policy."""

    def __init__(self):
        self.up, self.shared, self.rates, self.next = {}, [], [], 7

    def connect(self, _router, vif, _name):
        if any((v.domid, v.handle) == (vif.domid, vif.handle) for v in self.up.values()):
            raise FileExistsError
        self.next += 1
        self.up[self.next] = vif
        return self.next

    def disconnect(self, index):
        if index not in self.up:
            raise FileNotFoundError
        del self.up[index]

    def set_rate(self, index, rate):
        self.rates.append((index, rate))

    def change_lease(self, op, ip):
        assert op == vifs.SHARE
        if ip in self.shared:
            raise FileExistsError
        self.shared.append(ip)


def world(**more):
    store, router = Store(), Router()
    back = {"frontend": FRONT, "state": "1", "mac": "00:16:3e:00:00:01", "ip": "192.0.2.1/shared",
            "script": "/etc/xen/scripts/vif-vfr", "hotplug-status": "connected", **more}
    store.update({f"{BACK}/{key}": value for key, value in back.items()})
    store[f"{FRONT}/state"] = "1"
    return store, router, vifs.Backend(store, router, router, 3, 0)


def front(store, state, **keys):
    store.update({f"{FRONT}/{key}": str(value) for key, value in {**keys, "state": state}.items()})


def connected():
    store, router, b = world()
    b.step()
    front(store, 4, **RINGS)
    b.step()
    return store, router, b


def test_a_handshake():
    store, router, b = world()
    b.step()
    assert store[f"{BACK}/state"] == "2" and store[f"{BACK}/feature-rx-copy"] == "1"
    assert store[f"{BACK}/router"] == "served" and not router.up
    front(store, 4, **RINGS)
    assert b.step() and store[f"{BACK}/state"] == "4"
    vif, = router.up.values()
    assert (vif.kind, vif.queues) == (ROUTED, [(8, 9, 5, 6)])
    assert router.shared == [ipaddress.ip_address("192.0.2.1")]
    inside = ipaddress.ip_network("100.64.0.48/32")
    assert vif.prefixes[-1] == inside and inside not in vif.shared
    b.step()
    assert len(router.up) == 1
    del store[f"{BACK}/state"]
    assert not b.step() and not router.up


class Netback:
    """Where the kernel shows what its driver has."""

    def __init__(self, folder):
        self.folder, self.before = pathlib.Path(folder), vifs.NETBACK

    def __enter__(self):
        vifs.NETBACK = self.folder
        return self

    def __exit__(self, *exception):
        vifs.NETBACK = self.before

    def takes(self, name):
        (self.folder / name).mkdir()

    def loses(self):
        unbind = self.folder / "unbind"
        return unbind.read_text() if unbind.exists() else None


def test_netback_is_first():
    """The front end has already come to terms with it when the daemon looks."""
    with tempfile.TemporaryDirectory() as folder, Netback(folder) as netback:
        netback.takes("vif-3-0")
        store, router, b = world(**{"state": "2", "hotplug-status": ""})
        front(store, 4, **RINGS)
        b.step()
        assert netback.loses() == "vif-3-0" and store[f"{BACK}/router"] == "served"
        assert not router.up and store[f"{BACK}/state"] == "2", "the toolstack has not seen that state yet"
        store[f"{BACK}/hotplug-status"] = "connected"
        b.step()
        assert store[f"{BACK}/state"] == "4" and len(router.up) == 1


def test_nobody_waits_for_netback_twice():
    with tempfile.TemporaryDirectory() as folder, Netback(folder) as netback:
        store, router, b = world(router="served")
        start = time.monotonic()
        b.step()
        assert netback.loses() is None and time.monotonic() - start < vifs.NETBACK_PATIENCE / 2
        front(store, 4, **RINGS)
        b.step()
        assert len(router.up) == 1


def test_a_front_end_that_begins_anew():
    store, router, b = connected()
    front(store, 1)
    b.step()
    assert store[f"{BACK}/state"] == "2" and not router.up
    front(store, 4)
    b.step()
    assert store[f"{BACK}/state"] == "4" and len(router.up) == 1
    front(store, 5)
    b.step()
    assert store[f"{BACK}/state"] == "5" and not router.up
    front(store, 6)
    b.step()
    assert store[f"{BACK}/state"] == "6"


def test_a_daemon_that_begins_anew():
    """At each point of the handshake at which it may have ended."""
    for state in ("2", "4"):
        for known in (True, False):
            store, router, old = connected()
            store[f"{BACK}/state"] = state
            again = vifs.Backend(store, router, router, 3, 0)
            if known:
                again.index = old.index
            else:
                router.up.clear()  # the hypervisor had lost it
            assert again.step() and store[f"{BACK}/state"] == "4" and len(router.up) == 1, (state, known)


class Disturbed:
    """A store in which somebody else writes during the first transaction."""

    def __init__(self):
        self.open, self.values, self.ended = {}, {}, 0

    def transaction_start(self):
        self.open[str(self.ended)] = {}
        return str(self.ended)

    def read(self, _transaction, path):
        return self.values.get(path)

    def write(self, transaction, path, value):
        self.open[transaction][path] = value

    def transaction_end(self, transaction):
        self.ended += 1
        if self.ended == 1:
            return False
        self.values.update(self.open[transaction])
        return True


def test_what_somebody_disturbs_is_written_again():
    disturbed = Disturbed()
    store.Store(disturbed).write_all("/a", {"b": "1", "c": "2"})
    assert disturbed.values == {"/a/b": "1", "/a/c": "2"}


def test_what_is_gone_does_not_come_back():
    disturbed = Disturbed()
    at = store.Store(disturbed)
    at.write_all("/a", {"state": "1"})
    for path in "/a", "/b":
        at.write_all(path, {"state": "6"}, there="state")
    assert disturbed.values == {"/a/state": "6"}


def test_nonsense_is_refused():
    for key, value in (("tx-ring-ref", "x"), ("multi-queue-num-queues", "9"), ("multi-queue-num-queues", "0"),
                       ("request-rx-copy", "0"), ("event-channel-tx", "-1"), ("rx-ring-ref", "9" * 40)):
        store, router, b = world()
        b.step()
        front(store, 4, **{**RINGS, key: value})
        b.step()
        assert store[f"{BACK}/state"] == "5" and not router.up and store[f"{BACK}/error"], key


def refused(function, text):
    try:
        function(text)
    except rate.BadRate as why:
        return str(why)
    raise AssertionError(text)


def test_rates_as_the_toolstack_writes_them():
    assert rate.stored(None) == (0, 0) and rate.stored("500000,50000") == (500000, 50000)
    for text in ("", "1", "1,", ",1", "1,2,3", " 1,2", "-1,2", "1,0", "0,1000", "1,1000001", "10000000000000,1",
                 "1000000000001,5000000", "5,4294967296", "1e3,5", "٣,5"):
        assert refused(rate.stored, text), text


def test_rates_as_people_say_them():
    """What libxlutil 4.17 makes of the same words."""
    for text, want in (("10MB/s", (500000, 50000)), ("10Mb/s@20ms", (25000, 20000)), ("1000B/s", (50, 50000)),
                       ("10GB/s@1s", (10**10, 10**6)), ("10MB/s@5", (50000000, 5000000)), ("10MB/s@5us", (50, 5)), ("foo", None),
                       ("0MB/s", None), ("10mb/s", None), ("4MB/s@0ms", None), ("8b/s@1us", None), ("none", (0, 0)),
                       ("10MB", None), ("MB/s", None), ("10MB/s@5m", (50000, 5000)), ("10MB/s@", None)):
        if want:
            assert rate.said(text) == want, text
        else:
            assert text in refused(rate.said, text) or "are no rate" in refused(rate.said, text)
    assert [rate.text_of(rate.said(t)) for t in ("none", "10Mb/s", "2GB/s", "999B/s", "1500KB/s")] == [
        "-", "1.25MB/s", "2GB/s", "980B/s", "1.5MB/s"]


def test_a_rate_is_followed():
    store, router, b = world(rate="500000,50000")
    b.step()
    front(store, 4, **RINGS)
    b.step()
    (index, vif), = router.up.items()
    assert vif.rate == (500000, 50000) and f"{BACK}/rate" in b.paths()
    store[f"{BACK}/rate"] = "1000,1000"
    b.step()
    assert router.rates[-1] == (index, (1000, 1000))
    store[f"{BACK}/rate"] = "nonsense"
    b.step()
    assert router.rates[-1] == (index, (1000, 1000)) and store[f"{BACK}/state"] == "4"
    del store[f"{BACK}/rate"]
    b.step()
    b.step()
    assert router.rates[-1] == (index, (0, 0)) and len(router.rates) == 3
    store, router, b = world(rate="0,1000")
    b.step()
    front(store, 4, **RINGS)
    b.step()
    assert not router.up and "no rate" in store[f"{BACK}/error"]


def test_an_interface_in_bytes():
    v = Vif(domid=3, vif=5, rate=(123456789012, 7), zones_before=1 << 255, origin=2)
    data = v.pack(5)
    assert len(data) == 1632 and Vif.unpack(data).rate == (123456789012, 7)


def test_whose_an_interface_is():
    store, _, _ = world()
    assert vifs.is_ours(store, BACK)
    store[f"{BACK}/script"] = "/etc/xen/scripts/vif-bridge"
    assert not vifs.is_ours(store, BACK)


def test_what_the_servers_know_of_it():
    store, _, b = connected()
    assert b.client() is None, "whose domain has no uuid"
    store["/local/domain/3/vm"] = "/vm/00112233-4455-6677-8899-aabbccddeeff"
    c = b.client()
    assert (c.inside, c.shared, c.own) == (0x64400030, 0xc0000201, 0) and c.uuid[:2] == b"\x00\x11"
    store[f"{BACK}/ip"] = "10.1.0.7 192.0.2.1/shared"
    c = b.client()
    assert (c.inside, c.shared, c.own) == (0x0a010007, 0xc0000201, 0x0a010007)
    store[f"{BACK}/ip"] = "fd00::/64"
    assert b.client() is None


def test_a_segment():
    """What 'bridge' names is one if there is such a segment; the toolstack names some bridge always."""
    for bridge, kind, segment in (("lab", SWITCHED, "lab"), ("xenbr0", ROUTED, "")):
        store, router, b = world(bridge=bridge, ip="10.1.0.7 fd00::7")
        b.segments = {"lab"}
        b.step()
        front(store, 4, **RINGS)
        b.step()
        vif, = router.up.values()
        assert (vif.kind, vif.segment) == (kind, segment)
        again = Vif.unpack(vif.pack(0))
        assert (again.kind, again.segment, again.prefixes) == (kind, segment, vif.prefixes)


def test_exceptions():
    """What the settings say of a domain's interface reaches the hypervisor; TCP may go on after a restore."""
    asked = []

    def exceptions(name, handle):
        asked.append((name, handle))
        return settings.Exceptions(3, 1, [bytes.fromhex("020000000007")])
    store, router, _ = world()
    store["/local/domain/3/name"] = "nest"
    b = vifs.Backend(store, router, router, 3, 0, None, (), exceptions)
    b.step()
    front(store, 4, **RINGS)
    b.step()
    vif, = router.up.values()
    again = Vif.unpack(vif.pack(0))
    assert asked == [("nest", 0)] and (again.may, again.ra, again.macs) == (3, 1, [bytes.fromhex("020000000007")])
    assert vif.pickup == vifs.PICKUP and vif.pack(0)[31] == vifs.PICKUP


def test_a_segment_has_no_shared_addresses():
    store, router, b = world(bridge="lab")
    b.segments = {"lab"}
    b.step()
    front(store, 4, **RINGS)
    b.step()
    assert not router.up and store[f"{BACK}/state"] == "5" and "lab" in store[f"{BACK}/error"]


def test_domain_0_has_its_own_kinds():
    class Own:
        @staticmethod
        def describe(vif):
            vif.kind = PUNT

    store, router, _ = world()
    b = vifs.Backend(store, router, router, 3, 0, Own())
    b.step()
    front(store, 4, **RINGS)
    b.step()
    assert [v.kind for v in router.up.values()] == [PUNT]


def test_settings():
    s = settings.parse("# nothing\n\nuplink bridge xenbr0 # a bridge\ngateway 52:55:0a:00:02:02\n")
    assert (s.uplink, s.device, s.gateway) == ("bridge", "xenbr0", bytes.fromhex("52550a000202"))
    assert settings.parse("uplink route eth0").uplink == "route"
    assert settings.parse("").uplink == settings.parse("uplink none").uplink == "none"
    s = settings.parse("segment xenbr0 uplink\nsegment lab\nuplink bridge xenbr0")
    assert (s.segments, s.wire) == ({"lab", "xenbr0"}, "xenbr0")
    for wrong in ("segment", "segment a b", "segment sixteen-letters-", "segment a/b", "uplink bridge b\nsegment a uplink\n"
                  "segment b uplink", "uplink", "uplink bridge", "uplink brige xenbr0", "gateway 10.0.2.2", "\nup"):
        try:
            settings.parse(wrong)
            assert False, wrong
        except settings.BadSetting as why:
            assert f":{wrong.count(chr(10)) + 1}: " in str(why)
    s = settings.parse("vif nest any-mac any-ip 02:00:00:00:00:07 managed\nvif gw/1 router dhcp-server other\nvif gw any-link-local")
    nest, gw = s.exceptions_of("nest", 3), s.exceptions_of("gw", 1)
    assert (nest.may, nest.ra, nest.macs) == (3, 1, [bytes.fromhex("020000000007")])
    assert (gw.may, gw.ra) == (0x18, 2) and s.exceptions_of("gw", 0).may == 4 and not s.exceptions_of("other", 0).may
    for wrong in ("vif", "vif nest", "vif nest any", "vif nest " + " ".join(f"02:00:00:00:00:{n:02x}" for n in range(9))):
        try:
            settings.parse(wrong)
            assert False, wrong
        except settings.BadSetting:
            pass
    try:
        settings.parse("segment a uplink\nuplink route eth0")
        assert False, "only a bridge has stations"
    except settings.BadSetting as why:
        assert "uplink bridge" in str(why)
