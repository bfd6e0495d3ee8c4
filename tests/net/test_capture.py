"""Captured packets as pcapng, which tshark reads, and filters, which libpcap judges."""
import ctypes.util
import os
import shutil
import subprocess
import tempfile

import capture
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


def test_filters():
    if not ctypes.util.find_library("pcap"):
        raise Skip("there is no libpcap")
    assert capture.Filter("").wants(udp(9))
    wanted = capture.Filter("udp dst port 9 and host 10.0.0.2")
    assert wanted.wants(udp(9)) and not wanted.wants(udp(10))
    assert not capture.Filter("tcp").wants(udp(9))
    try:
        capture.Filter("prot udp")
    except Failure as why:
        assert "prot udp" in str(why)
    else:
        raise AssertionError("it was taken")
