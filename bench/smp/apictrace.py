"""Reads a trace of QEMU: what the CPUs write to their local APICs while a test runs.

The tests' names come from the trace itself: the console's characters are in it, as writes to the
serial port, so that order is all that counts.
"""

import re
import statistics

CPUS = 4
EOI, ICR, ICR_HIGH, TIMER = 0x0B, 0x30, 0x31, 0x38
APIC = re.compile(r"apic_register_write register 0x([0-9a-f]+) = 0x([0-9a-f]+)")
SERIAL = re.compile(r"serial_write write addr 0x00 val 0x([0-9a-f]+)")
KEYS = ("sent", "received", "eoi", "timer")


def receivers(low, high):
    """How many CPUs an ICR write interrupts; logical destinations are a bit mask."""
    shorthand = low >> 18 & 3
    if shorthand:
        return {1: 1, 2: CPUS, 3: CPUS - 1}[shorthand]
    if low >> 11 & 1:
        return (high >> 24).bit_count()
    return CPUS - 1 if high >> 24 == 0xFF else 1


def count(line, now, high):
    """Counts one line of the trace; returns the ICR's high half after it.

    The trace does not tell the CPU, so a CPU that is interrupted between the two writes of an IPI
    may lend its destination to another; their number is not affected.
    """
    match = APIC.search(line)
    if not match:
        return high
    register, value = int(match[1], 16), int(match[2], 16)
    if register == ICR_HIGH:
        return value
    if register == EOI:
        now["eoi"] += 1
    elif register == TIMER:
        now["timer"] += 1
    elif register == ICR:
        now["sent"] += 1
        now["received"] += receivers(value, high)
        vector = value & 0xFF
        now["vectors"][vector] = now["vectors"].get(vector, 0) + receivers(value, high)
    return high


def nothing():
    return {**dict.fromkeys(KEYS, 0), "vectors": {}}


def medians(rounds):
    result = {k: statistics.median(r[k] for r in rounds) for k in KEYS}
    vectors = {v for r in rounds for v in r["vectors"]}
    result["vectors"] = {f"{v:#x}": statistics.median(r["vectors"].get(v, 0) for r in rounds)
                         for v in sorted(vectors)}
    return result


def read(path):
    """{test: {"sent", "received", "eoi", "timer"}}: medians of the rounds but the first; "vectors":
    what was received, by vector."""
    rounds, line_text, high = {}, "", 0
    now = nothing()
    with open(path, encoding="latin-1") as trace:
        for line in trace:
            character = SERIAL.search(line)
            if not character:
                high = count(line, now, high)
                continue
            line_text += chr(int(character[1], 16))
            if not line_text.endswith("\n"):
                continue
            words = line_text.split()
            line_text = ""
            if len(words) >= 3 and words[0] == "bench-begin":
                now = nothing()
            elif len(words) >= 3 and words[0] == "bench" and int(words[2]) > 0:
                rounds.setdefault(words[1], []).append(now)
    return {name: medians(found) for name, found in rounds.items()}
