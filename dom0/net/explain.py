"""Packets for 'serai net explain', and what the router says about them.

    make("proto tcp from 10.1.0.1:4000 to 10.1.0.2:80 flags S".split(), vif) -> (bytes, length)
    lines(explained, vifs, names, rules) -> text

'vif' is the sending interface as hypercall.Router.vifs() has it.
"""

import ipaddress
import struct

import hypercall
import rules_image

ROUTER_MAC = bytes.fromhex("025345524149")
ROUTER_IP4 = ipaddress.ip_address("169.254.0.1")
PROTOS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "sctp": 132,
          "udplite": 136}
NAMES = {number: name for name, number in PROTOS.items()}
WITH_PORTS = ("tcp", "udp", "sctp", "udplite")
FLAGS = "FSRPAUEC"
WORDS = ("proto", "from", "to", "flags", "type", "code", "id", "ttl", "len")
PORT_STATES = ("leased to", "drained, of", "resting, last of", "leased to nobody")


class Bad(Exception):
    """A packet that makes no sense, and why."""


def number(text, what, most):
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise Bad(f"'{text}' is no {what}: a number up to {most} is")
    return int(text)


def end(text):
    """(address, port or None) of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT."""
    port = None
    if text.startswith("["):
        text, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            raise Bad(f"'[{text}' is no address and port: [2001:db8::1]:80 is")
        port = rest[1:] or None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
    try:
        address = ipaddress.ip_address(text)
    except ValueError as why:
        raise Bad(f"'{text}' is no address") from why
    return address, None if port is None else number(port, "port", 65535)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data)) if len(data) % 2 == 0 else checksum_odd(data)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def checksum_odd(data):
    return sum(struct.unpack(f">{len(data) // 2 + 1}H", data + b"\0"))


def words(args):
    """'proto tcp ...' as a dictionary; nothing may be abbreviated, or said twice."""
    found = {}
    if len(args) % 2:
        raise Bad(f"'{args[-1]}' is not followed by anything")
    for word, value in zip(args[::2], args[1::2]):
        if word not in WORDS:
            raise Bad(f"'{word}' is not a word here; {', '.join(WORDS)} are")
        if word in found:
            raise Bad(f"'{word}' is said twice")
        found[word] = value
    for word in ("proto", "from", "to"):
        if word not in found:
            raise Bad(f"'{word}' is missing")
    return found


def flag_bits(text):
    if not set(text) <= set(FLAGS):
        raise Bad(f"'{text}' are no flags; they are of {FLAGS}")
    return sum(1 << FLAGS.index(f) for f in set(text))


def transport(proto, found, source, dest):
    """The header behind the IP header; its checksum is left to the card."""
    sport, dport = source[1] or 0, dest[1] or 0
    if proto == 6:
        return struct.pack(">HHIIBBHHH", sport, dport, 1, 0, 0x50, flag_bits(found.get("flags", "S")), 65535, 0, 0)
    if proto in (17, 136):
        return struct.pack(">HHHH", sport, dport, 8, 0)
    if proto == 132:
        return struct.pack(">HHII", sport, dport, 0, 0)
    if proto in (1, 58):
        kind = number(found.get("type", "8" if proto == 1 else "128"), "type", 255)
        data = struct.pack(">BBHHH", kind, number(found.get("code", "0"), "code", 255), 0,
                           number(found.get("id", "1"), "identifier", 65535), 1)
        return data[:2] + struct.pack(">H", checksum(data)) + data[4:]
    return struct.pack(">II", 256, 1)


def ip_header(proto, source, dest, ttl, length):
    if source.version == 4:
        data = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0x4000, ttl, proto, 0, source.packed,
                           dest.packed)
        return data[:10] + struct.pack(">H", checksum(data)) + data[12:]
    return struct.pack(">IHBB16s16s", 6 << 28, length, proto, ttl, source.packed, dest.packed)


def station(dest, vif, vifs):
    """Whom the interface's domain would send to: a neighbour, several of them, or the router."""
    if vif.segment and dest.is_multicast:
        return b"\x33\x33" + dest.packed[-4:] if dest.version == 6 else b"\x01\x00\x5e" + bytes(
            (dest.packed[1] & 0x7F, *dest.packed[2:]))
    if vif.segment and dest.packed == b"\xff" * 4:
        return b"\xff" * 6
    for v in vifs:
        if vif.segment and v.kind == hypercall.SWITCHED and v.segment == vif.segment and v.vif != vif.vif and any(
                dest in p for p in v.prefixes):
            return v.mac
    return vif.mac if vif.kind == hypercall.UPLINK else ROUTER_MAC


def make(args, vif, vifs=()):
    """The frame's bytes and its whole length, as the interface's domain would send it; 'vifs' are all there are."""
    found = words(args)
    name = found["proto"]
    proto = PROTOS[name] if name in PROTOS else number(name, "protocol", 255)
    source, dest = end(found["from"]), end(found["to"])
    if source[0].version != dest[0].version:
        raise Bad("one address is of IPv4, the other of IPv6")
    for _, port in (source, dest):
        if (port is not None) != (name in WITH_PORTS):
            raise Bad(f"{name} has {'' if name in WITH_PORTS else 'no '}ports: ADDRESS"
                      f"{':PORT' if name in WITH_PORTS else ''} is meant")
    inner = transport(proto, found, source, dest)
    header = 54 if source[0].version == 6 else 34
    length = number(found.get("len", str(header + len(inner))), "length", 65535)
    if length < header + len(inner):
        raise Bad(f"{length} bytes are less than the headers, {header + len(inner)}")
    if proto in (17, 136):
        inner = inner[:4] + struct.pack(">H", length - header) + inner[6:]
    ttl = number(found.get("ttl", "64"), "time to live", 255)
    ip = ip_header(proto, source[0], dest[0], ttl, length - header)
    kind = b"\x08\x00" if source[0].version == 4 else b"\x86\xdd"
    own = vif.next_hop if vif.kind == hypercall.UPLINK else vif.mac
    frame = station(dest[0], vif, vifs) + own + kind + ip + inner
    return (frame + bytes(max(0, length - len(frame))))[:256], length


# ---- what is said ----


def packet_text(head, length):
    """A frame's bytes for people."""
    kind = head[12:14]
    if kind == b"\x08\x00" and len(head) >= 34:
        proto, source, dest, at = head[23], head[26:30], head[30:34], 14 + (head[14] & 15) * 4
    elif kind == b"\x86\xdd" and len(head) >= 54:
        proto, source, dest, at = head[20], head[22:38], head[38:54], 54
    else:
        return f"{'arp' if kind == bytes((8, 6)) else 'ethertype ' + kind.hex()}, {length} bytes"
    name = NAMES.get(proto, f"protocol {proto}")
    ends = [ipaddress.ip_address(source), ipaddress.ip_address(dest)]
    if name in WITH_PORTS and len(head) >= at + 4:
        ports = struct.unpack_from(">HH", head, at)
        shape = "{}:{}" if ends[0].version == 4 else "[{}]:{}"
        ends = [shape.format(*x) for x in zip(ends, ports)]
    return f"{name} {ends[0]} > {ends[1]}, {length} bytes"


def rule_text(index, rules):
    return f"rule {index + 1}: {rules[index]}" if index < len(rules) else "the default"


def port_text(owner, vif_text):
    state = PORT_STATES[owner >> 14]
    return state if owner >> 14 == 3 else f"{state} {vif_text(owner & 0x3FFF)}"


def lines(x, vif_text, rules, steps=True):
    """One a stage; 'vif_text' names an interface by its number, 'rules' are those in force."""
    order = ["packet", "anti-spoof", "router", "lease", "route", "flow", "rules", "sent"]
    reached = order.index(x.stage)

    def passed(stage):
        return "good" if reached > order.index(stage) else f"dropped: {x.reason}"
    yield f"packet      {packet_text(x.head, x.len)}, from {vif_text(x.vif)}: {passed('packet')}"
    if reached >= order.index("anti-spoof"):
        yield f"anti-spoof  {passed('anti-spoof')}"
    if x.stage == "router":
        yield f"router      it is for the router itself: {x.reason}"
    elif reached >= order.index("lease"):
        for side, owner in zip(("source", "destination"), x.owners):
            if owner is not None:
                yield f"lease       the {side}'s port is {port_text(owner, vif_text)}"
        if x.stage == "lease":
            yield f"lease       dropped: {x.reason}"
        else:
            to = "nowhere" if x.to is None else f"to {vif_text(x.to)}"
            yield f"route       {to}{': dropped: ' + x.reason if x.stage == 'route' else ''}"
    yield from flow_lines(x)
    if x.judged:
        for index, what in x.steps if steps else ():
            clause = what if what in ("matches", "decides") else f"fails at '{what}'"
            yield f"rules       {rule_text(index, rules)}: {clause}"
        beyond = ", beyond its limit" if x.beyond else ""
        yield (f"rules       {rules_image.ACTIONS[x.action]} by {rule_text(x.rule, rules)}{beyond}, generation "
               f"{x.generation}")
    if x.reply:
        yield f"answer      to {vif_text(x.vif)}: {packet_text(x.reply, len(x.reply))}"
    if x.reason == "spread":
        yield f"verdict     copies to {x.copies} stations of its segment"
        return
    verdict = f"sent to {vif_text(x.to)}, queue {x.queue}" if x.stage == "sent" else f"not sent: {x.reason}"
    if x.reason == "frag-orphan":
        verdict += ", unless its datagram's first piece comes within 2 seconds: that long it is kept"
    yield f"verdict     {verdict}"


def flow_lines(x):
    if x.flow == "begins":
        yield f"flow        none yet: {'it begins one' if x.stage == 'sent' else 'dropped: ' + x.reason}"
    elif x.flow != "none":
        yield (f"flow        {x.flow_id}, {'an answer' if x.is_answer else 'as it began'}; "
               f"{x.flow_packets[0]} packets and {x.flow_packets[1]} answers so far"
               f"{'' if x.flow == 'belongs' else '; rules have changed: judged again'}")
    elif x.stage == "flow":
        yield f"flow        dropped: {x.reason}"


def as_json(x, rules):
    found = dict(vars(x), head=x.head.hex(), reply=x.reply.hex(), action=rules_image.ACTIONS[x.action],
                 packet=packet_text(x.head, x.len))
    found["steps"] = [{"rule": str(rules[n]) if n < len(rules) else None, "index": n, "end": end_}
                      for n, end_ in x.steps]
    return found
