"""Captured packets as pcapng, which tshark reads, and filters as the hypervisor is given them."""
import os
import shutil
import subprocess
import tempfile

import capture
import hypercall
from host import Skip
from log_command import Failure


def udp(port, flags=capture.IN, reason="ok", captured=60):
    frame = bytes.fromhex("025345524149 020000000001 0800 4500002e00000000401166bd0a0000010a000002".replace(" ", ""))
    frame += bytes([0, 7, port >> 8, port & 255, 0, 26, 0, 0])
    frame = (frame + bytes(60))[:60]
    return {"utc": 1_795_000_000 * 10**9 + port, "vif": "5.0", "flags": flags, "reason": reason, "len": 60,
            "bytes": frame[:captured]}


def test_tshark_reads_our_files():
    if not shutil.which("tshark"):
        raise Skip("there is no tshark")
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "out.pcapng")
        with open(path, "wb") as file:
            writer = capture.Writer(file, 256)
            writer.put(udp(9), 0)
            writer.put(udp(10, flags=capture.CSUM, reason="rule", captured=42) | {"vif": "6.0"}, 3)
        fields = ["frame.number", "udp.dstport", "frame.len", "frame.cap_len", "frame.interface_name",
                  "frame.comment", "frame.packet_flags_direction", "frame.time_epoch"]
        said = subprocess.run(["tshark", "-r", path, "-T", "fields", "-E", "separator=|", "-n"] +
                              [word for f in fields for word in ("-e", f)], capture_output=True, text=True, check=True)
        first, second = [line.split("|") for line in said.stdout.splitlines()]
        assert first[:5] == ["1", "9", "60", "60", "vif5.0"] and first[5] == "", first
        assert second[:5] == ["2", "10", "60", "42", "vif6.0"], second
        assert second[5] == "the checksum is left to the receiver; dropped: rule"
        assert first[7] == "1795000000.000000009"


def packed(words):
    return hypercall.FILTER.unpack(capture.Filter(words.split()).pack())


def test_filters():
    none = packed("")
    assert len(capture.Filter([]).pack()) == 80 and not any(none)
    reasons, *addresses, low, high, ends, _, _, _, proto, families, ways, _ = packed(
        "in and udp and src host 10.0.0.2 and dst port 9 and ip and dropped")
    assert addresses == [0, 0xFFFF0A000002, 128, 1, 0, 0, 0, 0]
    assert (low, high, ends) == (9, 9, 2) and proto == 18 and families == 4 and ways == 1
    assert reasons == (1 << 40) - 1 - (1 | 1 << 39)
    assert packed("net 10.0.0.0/8 host 2001:db8::1")[1:9] == (0, 0xFFFF0A000000, 104, 3, 0x20010DB8 << 32, 1, 128, 3)
    assert packed("portrange 9-11 src port 53")[9:15] == (9, 11, 3, 53, 53, 1)
    assert packed("reason rule,default")[0] == 3 << 24 and packed("passed")[0] == 1 | 1 << 40
    assert packed("proto 0")[15] == 1 and packed("out 10.0.0.1")[4] == 3


def test_filters_that_are_none():
    for words, why in (("prot udp", "prot"), ("tcp udp", "already"), ("port", "of what"), ("port 70000", "65535"),
                       ("portrange 9-7", "lower"), ("reason bad", "bad"), ("host 1.2.3.4/8", "1.2.3.4/8"),
                       ("port 1 port 2 port 3", "only 2"), ("proto 256", "255"), ("src", "of what")):
        try:
            capture.Filter(words.split())
        except Failure as said:
            assert why in str(said), said
        else:
            raise AssertionError(f"{words} was taken")
