"""RSIP's messages as bytes (RFC 3103): total on anything a guest may send.

The order in which defects are found is fixed, so that what is answered is, too: length and version,
the message's type, each parameter's form, duplicates, parameters that do not belong, those that are
missing.
"""
import struct
from dataclasses import dataclass, field

PORT = 4555
VERSION = 1
MESSAGE_MAX, PARAMETERS_MAX = 2048, 16

(ERROR_RESPONSE, REGISTER_REQUEST, REGISTER_RESPONSE, DEREGISTER_REQUEST, DEREGISTER_RESPONSE,
 ASSIGN_RSA_REQUEST, ASSIGN_RSA_RESPONSE, ASSIGN_REQUEST, ASSIGN_RESPONSE, EXTEND_REQUEST,
 EXTEND_RESPONSE, FREE_REQUEST, FREE_RESPONSE, QUERY_REQUEST, QUERY_RESPONSE, LISTEN_REQUEST,
 LISTEN_RESPONSE) = range(1, 18)
ASSIGN_IPSEC_REQUEST, ASSIGN_IPSEC_RESPONSE = 22, 23
KNOWN = set(range(1, 18)) | {22, 23}
# What we understand; others of a host are supported nowhere, and a gateway's are not for a host.
SERVED = {REGISTER_REQUEST, DEREGISTER_REQUEST, ASSIGN_REQUEST, EXTEND_REQUEST, FREE_REQUEST,
          QUERY_REQUEST, LISTEN_REQUEST}
UNSUPPORTED = {ASSIGN_RSA_REQUEST, ASSIGN_IPSEC_REQUEST}

(ADDRESS, PORTS, LEASE_TIME, CLIENT_ID, BIND_ID, TUNNEL, METHOD, ERROR, FLOW_POLICY, INDICATOR,
 COUNTER, VENDOR) = range(1, 13)
SPI = 22

IP4, MASK4, IP6, FQDN = 1, 2, 3, 4
ADDRESS_BYTES = {IP4: 4, MASK4: 4, IP6: 16}

TUNNEL_IPIP, TUNNEL_NATIVE = 1, 241
METHOD_RSAP = 2
LOCAL_MACRO, REMOTE_NONE = 1, 3

E_UNKNOWN, E_USE_TCP, E_FLOW_POLICY, E_INTERNAL, E_COUNTER_REQUIRED, E_VERSION = range(101, 107)
(E_MISSING, E_DUPLICATE, E_EXTRA, E_ILLEGAL, E_BAD_PARAM, E_ILLEGAL_MESSAGE, E_BAD_MESSAGE,
 E_UNSUPPORTED) = range(201, 209)
(E_REGISTER_FIRST, E_ALREADY_REGISTERED, E_ALREADY_UNREGISTERED, E_DENIED, E_CLIENT_ID, E_BIND_ID,
 E_TUNNEL, E_ADDR_UNAVAILABLE, E_PORT_UNAVAILABLE, E_ADDR_INUSE, E_PORT_INUSE, E_ADDR_UNALLOWED,
 E_PORT_UNALLOWED, E_REMOTE_ADDR, E_REMOTE_PORT) = range(301, 316)

# Private until registered: a block of ports in one parameter, start(2) log2(1) flags(1).
OUR_VENDOR, SUBTYPE_BLOCK = 65535, 1

# How often a parameter may come, and how often it must, by message.
_ASSIGN = ({CLIENT_ID: 1, ADDRESS: 2, PORTS: 2, LEASE_TIME: 1, TUNNEL: 1, COUNTER: 1},
           {CLIENT_ID: 1, ADDRESS: 2, PORTS: 2})
GRAMMAR = {
    REGISTER_REQUEST: ({COUNTER: 1}, {}),
    DEREGISTER_REQUEST: ({CLIENT_ID: 1, COUNTER: 1}, {CLIENT_ID: 1}),
    ASSIGN_REQUEST: _ASSIGN,
    EXTEND_REQUEST: ({CLIENT_ID: 1, BIND_ID: 1, LEASE_TIME: 1, COUNTER: 1},
                     {CLIENT_ID: 1, BIND_ID: 1}),
    FREE_REQUEST: ({CLIENT_ID: 1, BIND_ID: 1, COUNTER: 1}, {CLIENT_ID: 1, BIND_ID: 1}),
    QUERY_REQUEST: ({CLIENT_ID: 1, COUNTER: 1, INDICATOR: PARAMETERS_MAX, ADDRESS: PARAMETERS_MAX},
                    {CLIENT_ID: 1}),
    # A host may name several tunnels that it would take.
    LISTEN_REQUEST: ({**_ASSIGN[0], TUNNEL: PARAMETERS_MAX}, _ASSIGN[1]),
}


class Defect(Exception):
    """A message that gets an error for an answer."""

    def __init__(self, code, counter=None, client=None, bind=None):
        super().__init__(code)
        self.code, self.counter, self.client, self.bind = code, counter, client, bind


@dataclass
class Address:
    kind: int
    value: bytes = b""   # empty: any


@dataclass
class Ports:
    """count ports: any, a run from the first on, or each by its number."""
    count: int
    numbers: tuple = ()

    def all(self):
        if len(self.numbers) == 1:
            return range(self.numbers[0], self.numbers[0] + self.count)
        return self.numbers


@dataclass
class Block:
    start: int
    log2: int
    flags: int = 0


@dataclass
class Message:
    type: int
    parameters: list = field(default_factory=list)  # (type, value), as they came

    def all(self, kind):
        return [value for k, value in self.parameters if k == kind]

    def one(self, kind, otherwise=None):
        return next(iter(self.all(kind)), otherwise)


# ---- parameters ----


def _number(size):
    def parse(value):
        return int.from_bytes(value, "big") if len(value) == size else None
    return parse


def _address(value):
    if not value or value[0] not in (IP4, MASK4, IP6, FQDN):
        return None
    kind, rest = value[0], value[1:]
    if rest and kind != FQDN and len(rest) != ADDRESS_BYTES[kind]:
        return None
    # All zeros is "any" as well, unless it is a mask.
    if kind in (IP4, IP6) and not any(rest):
        rest = b""
    return Address(kind, rest)


def _ports(value):
    if not value or value[0] == 0 or len(value) % 2 == 0:
        return None
    count = value[0]
    numbers = struct.unpack(">%dH" % (len(value) // 2), value[1:])
    if len(numbers) == 1 and numbers[0] + count > 65536:
        return None
    # Port 0 is "any".
    if numbers and not any(numbers):
        numbers = ()
    if len(numbers) not in (0, 1, count) or 0 in numbers or len(set(numbers)) != len(numbers):
        return None
    return Ports(count, numbers)


def _indicator(value):
    return int.from_bytes(value, "big") if len(value) in (1, 2) else None


def _flow_policy(value):
    return tuple(value) if len(value) == 2 else None


def _vendor(value):
    if len(value) < 4:
        return None
    vendor, subtype = struct.unpack(">HH", value[:4])
    if (vendor, subtype) != (OUR_VENDOR, SUBTYPE_BLOCK):
        return ()
    return Block(*struct.unpack(">HBB", value[4:])) if len(value) == 8 else None


def _spi(value):
    if len(value) < 2 or len(value) != 2 + 4 * int.from_bytes(value[:2], "big"):
        return None
    return struct.unpack(">%dI" % (len(value) // 4), value[2:])


# None: it is not formed like one.
PARSERS = {ADDRESS: _address, PORTS: _ports, LEASE_TIME: _number(4), CLIENT_ID: _number(4),
           BIND_ID: _number(4), TUNNEL: _number(1), METHOD: _number(1), ERROR: _number(2),
           FLOW_POLICY: _flow_policy, INDICATOR: _indicator, COUNTER: _number(4), VENDOR: _vendor,
           SPI: _spi}


# ---- messages ----


def frame(buffer):
    """The first whole message of a TCP stream and what follows; (None, buffer): wait for more.

    Raises Defect when no message can begin so; the stream is of no use then.
    """
    if len(buffer) >= 1 and buffer[0] != VERSION:
        raise Defect(E_VERSION)
    if len(buffer) < 4:
        return None, buffer
    length = int.from_bytes(buffer[2:4], "big")
    if not 4 <= length <= MESSAGE_MAX:
        raise Defect(E_BAD_MESSAGE)
    if len(buffer) < length:
        return None, buffer
    return buffer[:length], buffer[length:]


def _split(data):
    """[(type, bytes)]; None: they do not fit."""
    out, at = [], 4
    while at < len(data):
        if at + 3 > len(data):
            return None
        kind, length = struct.unpack(">BH", data[at:at + 3])
        at += 3 + length
        if at > len(data) or len(out) == PARAMETERS_MAX:
            return None
        out.append((kind, data[at - length:at]))
    return out


def _check_grammar(message, defect):
    may, must = GRAMMAR[message.type]
    kinds = [k for k, _ in message.parameters if k != VENDOR]
    if any(0 < may.get(k, 1) < kinds.count(k) for k in kinds):
        raise defect(E_DUPLICATE)
    if any(k not in may for k in kinds):
        raise defect(E_EXTRA)
    blocks = [v for v in message.all(VENDOR) if v]
    if len(blocks) > 1:
        raise defect(E_DUPLICATE)
    if blocks and message.type not in (ASSIGN_REQUEST,):
        raise defect(E_EXTRA)
    return [k for k, n in must.items() if kinds.count(k) < n]


def parse(data, udp):
    """A host's message; raises Defect."""
    if len(data) < 4:
        raise Defect(E_BAD_MESSAGE)
    version, kind, length = struct.unpack(">BBH", data[:4])
    if version != VERSION:
        raise Defect(E_VERSION)
    if length != len(data) or length > MESSAGE_MAX:
        raise Defect(E_BAD_MESSAGE)
    if kind in UNSUPPORTED:
        raise Defect(E_UNSUPPORTED)
    if kind not in SERVED:
        raise Defect(E_ILLEGAL_MESSAGE)
    raw = _split(data)
    if raw is None:
        raise Defect(E_BAD_MESSAGE)
    # So that a defect's answer says to which message, where the parameter is whole.
    counters = [PARSERS[COUNTER](v) for k, v in raw if k == COUNTER]
    counter = counters[0] if len(counters) == 1 else None

    def defect(code):
        return Defect(code, counter)

    message = Message(kind)
    for k, value in raw:
        if k not in PARSERS:
            raise defect(E_ILLEGAL)
        parsed = PARSERS[k](value)
        if parsed is None or (k == COUNTER and parsed == 0):
            raise defect(E_BAD_PARAM)
        message.parameters.append((k, parsed))
    missing = _check_grammar(message, defect)
    if udp and counter is None:
        raise defect(E_COUNTER_REQUIRED)
    if missing:
        raise defect(E_MISSING)
    return message


def parameter(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def build(kind, *parameters):
    """Parameters are (type, value); those that are None are left out."""
    body = b"".join(parameter(k, encode(k, v)) for k, v in filter(None, parameters))
    return struct.pack(">BBH", VERSION, kind, 4 + len(body)) + body


_SIZES = {LEASE_TIME: 4, CLIENT_ID: 4, BIND_ID: 4, TUNNEL: 1, METHOD: 1, ERROR: 2, INDICATOR: 2,
          COUNTER: 4}


def encode(kind, value):
    if isinstance(value, bytes):
        return value
    if kind in _SIZES:
        return value.to_bytes(_SIZES[kind], "big")
    if kind == ADDRESS:
        return bytes([value.kind]) + value.value
    if kind == PORTS:
        return struct.pack(">B%dH" % len(value.numbers), value.count, *value.numbers)
    if kind == FLOW_POLICY:
        return bytes(value)
    if kind == VENDOR:
        return struct.pack(">HHHBB", OUR_VENDOR, SUBTYPE_BLOCK, value.start, value.log2, value.flags)
    raise ValueError(kind)


def ip4(number):
    return Address(IP4, number.to_bytes(4, "big"))
