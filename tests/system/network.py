"""Network, both ways: domain 0 fetches a file from outside, then takes one from outside in; by
MSI-X (virtio) and by a pin interrupt (e1000)."""

import hashlib
import os
import re
import socket

import machine
from machine import Failure, Machine

SIZE = 8 << 20


def check(name, model, interrupt, kernel_args=""):
    out, back = os.urandom(SIZE), os.urandom(SIZE)
    server = machine.serve(out)
    port = machine.free_port()
    card = machine.network(model, forward=(port, 7000))
    words = f"port={server.server_address[1]} {kernel_args}"
    with Machine(name, machine.script("network", words), *card) as m:
        fetched = m.wait(r"fetched ([0-9a-f]{64})$", 120).group(1)
        if fetched != hashlib.sha256(out).hexdigest():
            raise Failure("the fetched file differs\n" + m.tail())
        m.wait(r"listening$", 10)
        # QEMU accepts at once on the guest's behalf and passes the data on when the guest does.
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(back)
            connection.shutdown(socket.SHUT_WR)
            taken = m.wait(r"taken ([0-9a-f]{64})$", 120).group(1)
        if taken != hashlib.sha256(back).hexdigest():
            raise Failure("the file taken in differs\n" + m.tail())
        start = m.seen
        m.wait_power_off()
        if not re.search(interrupt, m.console[start:], re.MULTILINE):
            raise Failure(f"no interrupts like '{interrupt}'\n" + m.tail())
        if "complaints found" in m.console[start:]:
            raise Failure("the kernel complains\n" + m.tail())
    server.shutdown()


def test_network_virtio():
    check("network_virtio", "virtio-net-pci", r"[1-9]\d* .*msi-x +virtio\d-input")


def test_network_e1000():
    check("network_e1000", "e1000", r"[1-9]\d* .*ioapic-level +eth0", "pci=nomsi")


machine.main()
