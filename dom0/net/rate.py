"""How much an interface may send: bytes in microseconds, as a pair; (0, 0): as much as it likes.

People and xl.cfg say '10MB/s@20ms', the toolstack writes '200000,20000' into the store.
"""

import re

FOREVER = (0, 0)
STORED = re.compile(r"([0-9]{1,13}),([0-9]{1,10})")
SAID = re.compile(r"([0-9]{1,12})([KMG]?)([Bb])/s(?:@([0-9]{1,7})([mu]?)s?)?")
THOUSANDS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
INTERVAL = 50000  # microseconds, when nobody says which


class BadRate(ValueError):
    """The text says what it is and what it should be."""


def checked(size, usec):
    if not 0 < usec < 1 << 32 or not usec <= size * 10**6 <= usec * 10**12 or size > 10**12:
        raise BadRate(f"{size} bytes in {usec} microseconds are no rate: from 1 byte a second to 10^12 are possible, "
                      "and at least a byte in the interval")
    return size, usec


def stored(text):
    """What the store has; None: nothing."""
    if text is None:
        return FOREVER
    if not (found := STORED.fullmatch(text)):
        raise BadRate(f"the rate '{text}' is not BYTES,MICROSECONDS")
    return checked(int(found[1]), int(found[2]))


def said(text):
    """As xl understands it."""
    if text == "none":
        return FOREVER
    if not (found := SAID.fullmatch(text)):
        raise BadRate(f"'{text}' is no rate: '10MB/s', '100Mb/s@20ms' and 'none' are")
    number, unit, kind, interval, part = found.groups()
    usec = INTERVAL if interval is None else int(interval) * {"": 10**6, "m": 1000, "u": 1}[part]
    each_second = int(number) * THOUSANDS[unit] // (8 if kind == "b" else 1)
    return checked(each_second * usec // 10**6, usec)


def text_of(rate):
    """Rounded, for people."""
    if rate == FOREVER:
        return "-"
    each_second = rate[0] * 10**6 / rate[1]
    unit = next((u for u in "GMK" if each_second >= THOUSANDS[u]), "")
    return f"{each_second / THOUSANDS[unit]:.4g}{unit}B/s"
