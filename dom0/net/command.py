#!/usr/bin/python3
"""serai net: the virtual firewall router, seen and steered from domain 0.

    serai net show [--json]                interfaces, what they carried, what was dropped and why
    serai net rate VIF RATE                how much the interface may send, as xl says it: 10MB/s,
                                           100Mb/s@20ms; 'none': as much as it likes
    serai net rule show [--json]           the rules in force, and how often each was used
    serai net rule check FILE              says what is wrong with a ruleset, or odd about it
    serai net rule diff FILE               what it has that the rules in force do not, and the reverse
    serai net rule load FILE [--generation N] [--confirm SECONDS]
                                           puts it in force; only in place of generation N, if given.
                                           With --confirm the rules before come back by themselves,
                                           unless 'rule confirm' comes in time
    serai net rule confirm                 they stay
    serai net rule rollback                the ones before come back at once
    serai net set list NAME [--json]       what was added to a set of the rules at run time
    serai net set add NAME ELEMENT... [--timeout SECONDS]
    serai net set del NAME ELEMENT...
    serai net explain VIF proto P from ADDRESS[:PORT] to ADDRESS[:PORT] [flags F] [type N] [code N]
                      [id N] [ttl N] [len N] [--json]
                                           what would become of such a packet from interface VIF,
                                           stage by stage and rule by rule; nothing changes by it
    serai net explain VIF --live N [--seconds S] [--json]
                                           the same of the interface's next N packets, at most 16
    serai net lease list [--json]          who has which ports of shared addresses
    serai net lease share ADDRESS          makes an address one that domains share
    serai net lease unshare ADDRESS        it is none any more; nobody may have ports of it
    serai net lease grant ADDRESS VIF [--start PORT] [--size N] [--seconds S]
    serai net lease free ID
    serai net lease revoke ID [--drain SECONDS]
                                           takes it away: at once, or when its connections had so long
                                           to end; no new ones meanwhile
    serai net log [--follow] [--deny] [--since TIME] [--until TIME] [--json]
                                           flows that began and ended, and what was not let pass
    serai net audit list [--follow] [--since TIME] [--until TIME] [--json]
                                           every change, and who made it
    serai net audit verify [--offline]     whether that log is what was written, all of it
    serai net who ADDRESS:PORT/PROTO --at TIME [--skew SPAN] [--json]
                                           whose that was; all who may be meant
    serai net top [--seconds N] [--json]   interfaces by what they carry now
    serai net capture VIF|all [-w FILE] [--snaplen N] [--seconds S] [--count N] [FILTER]
                                           packets as they come by; FILE is pcapng, - for a pipe
    serai net export ipfix|syslog HOST[:PORT] [--tcp] [--follow] [--since TIME]

Exit status: 0 done; 1 it could not be done; 2 asked wrongly. After 1 and 2 nothing has changed.
"""

import argparse
import errno
import ipaddress
import json
import math
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import explain  # noqa: E402
import capture  # noqa: E402
import hypercall  # noqa: E402
import log_command  # noqa: E402
import person  # noqa: E402
import policy  # noqa: E402
import rate  # noqa: E402
import rules_compile  # noqa: E402
import rules_image  # noqa: E402
import rules_parse  # noqa: E402
import rules_review  # noqa: E402

STATES = ("free", "held", "draining", "resting")
GRANT, EXTEND, FREE, REVOKE = 1, 2, 3, 4
SHARE, UNSHARE = 7, 8
LEASE_ERRORS = {
    errno.EADDRNOTAVAIL: "the address is not shared: 'serai net lease share' makes it so",
    errno.EBUSY: "a port is leased already: 'serai net lease list' says to whom",
    errno.EAGAIN: "a port was given back less than two minutes ago, and rests",
    errno.E2BIG: "the domain has as many leases as it may have",
    errno.ENOSPC: "no block of that size is free",
    errno.ENOENT: "there is no such lease",
    errno.EEXIST: "the address is shared already",
    errno.ENOBUFS: "the audit log is full, and no change is made without a record: logd.py must run",
    errno.EINVAL: "that makes no sense: blocks have 64 to 32768 ports, a power of two, and begin at a "
                  "multiple of that from 4096 on; single ports are anywhere",
}


class Failure(Exception):
    """What happened, why, and what to do."""


def domain_names():
    names = {}
    listing = subprocess.run(["xenstore-ls", "-f", "/local/domain"], capture_output=True, text=True,
                             check=False)
    for line in listing.stdout.splitlines():
        path, _, value = line.partition(" = ")
        words = path.strip().split("/")
        if len(words) == 5 and words[4] == "name":
            names[int(words[3])] = value.strip('"')
    return names


def describe(vif, names):
    drops = {reason: n for reason, n in zip(hypercall.REASONS, vif.counts[4:]) if n}
    return {"vif": vif.vif, "domain": names.get(vif.domid, ""), "domid": vif.domid,
            "handle": vif.handle, "kind": hypercall.KINDS[vif.kind], "mac": hypercall.mac_text(vif.mac),
            "mtu": vif.mtu, "segment": vif.segment,
            "rate": {"bytes": vif.rate[0], "usec": vif.rate[1]} if any(vif.rate) else None, "addresses": [str(p) for p in vif.prefixes],
            "shared": [str(p) for p in vif.shared], "sent": {"packets": vif.counts[0], "bytes": vif.counts[1]},
            "received": {"packets": vif.counts[2], "bytes": vif.counts[3]}, "drops": drops}


def kind(v):
    return f"{v['kind']} {v['segment']}".strip()


def print_table(heads, rows):
    """Columns as wide as they need to be, of numbers to the right."""
    cells = [heads, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    right = [bool(rows) and isinstance(cell, int) for cell in (rows or [heads])[0]]
    for row in cells:
        line = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right))
        print("  ".join(line).rstrip())


def show(router, args):
    found = [describe(v, domain_names()) for v in router.vifs()]
    if args.json:
        print(json.dumps(found, indent=1))
        return
    rows = [(v["vif"], v["domain"], kind(v), " ".join(v["addresses"]),
             rate.text_of(tuple(v["rate"].values()) if v["rate"] else rate.FOREVER),
             v["sent"]["packets"], v["received"]["packets"],
             ", ".join(f"{n} {reason}" for reason, n in v["drops"].items()) or "-") for v in found]
    print_table(("vif", "domain", "kind", "addresses", "rate", "sent", "received", "dropped"), rows)


def change_rate(router, args):
    """In the store too, where netd finds it when the interface is connected anew."""
    vif = next((v for v in router.vifs() if v.vif == args.vif), None)
    if not vif:
        raise Failure(f"there is no interface {args.vif}: 'serai net show' lists them")
    try:
        wanted = rate.said(args.rate)
        router.set_rate(vif.vif, wanted, hypercall.BY_SERAI)
    except rate.BadRate as why:
        raise Failure(str(why)) from why
    except OSError as why:
        raise Failure(LEASE_ERRORS[why.errno] if why.errno == errno.ENOBUFS else why.strerror) from why
    key = f"/local/domain/0/backend/vif/{vif.domid}/{vif.handle}/rate"
    subprocess.run(["xenstore-rm", key] if wanted == rate.FOREVER else
                   ["xenstore-write", key, ",".join(map(str, wanted))], check=False)


def rules_in_force(router):
    known, generation = policy.Policy().known(router), router.generation()
    if known["generation"] != generation:
        raise Failure(f"generation {generation} is in force, but {policy.STATE} tells of generation "
                      f"{known['generation']}: load the rules again")
    return known, rules_parse.parse(known["text"])


def rule_show(router, args):
    known, ruleset = rules_in_force(router)
    counters, waiting, generation = router.counters(), router.waiting(), known["generation"]
    if args.json:
        print(json.dumps({"generation": generation, "text": known["text"], "seconds_to_confirm": waiting,
                          "counters": [{"packets": p, "bytes": b} for p, b in counters]}, indent=1))
        return
    print(f"# generation {generation}")
    if waiting:
        print(f"# {waiting} seconds are left to confirm them")
    for rule, (packets, size) in zip(ruleset.rules, counters):
        print(f"{packets:>10} {size:>14}  {rule}")
    print(f"{counters[-1][0]:>10} {counters[-1][1]:>14}  (the default)")


def read_rules(path):
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        return text, rules_parse.parse(text)
    except rules_parse.RulesError as why:
        raise Failure(f"{path}:{why}") from why
    except (OSError, UnicodeDecodeError) as why:
        raise Failure(f"{path} cannot be read: {why}") from why


def rule_check(router, args):
    text, ruleset = read_rules(args.file)
    for line, warning in rules_review.warnings(ruleset):
        print(f"{args.file}:{line}: {warning}")
    image, _ = policy.compile_text(text)
    router.install(image, router.generation(), {}, check_only=True)
    print(f"{args.file}: good, {len(ruleset.rules)} rules")


def rule_load(router, args):
    text, _ = read_rules(args.file)
    new = policy.Policy().install(router, text, domain_names(), args.generation, args.confirm)
    print(f"generation {new} is in force" + (f" for {args.confirm} seconds, unless confirmed" if args.confirm else ""))


def rule_diff(router, args):
    _, now = rules_in_force(router)
    for line in rules_review.difference(now, read_rules(args.file)[1]):
        print(line)


def rule_confirm(router, args):
    print(f"generation {policy.Policy().decide(router, hypercall.CONFIRM)} stays")


def rule_rollback(router, args):
    print(f"generation {policy.Policy().decide(router, hypercall.ROLL_BACK)} is what was before")


# ---- sets ----


SET_ERRORS = {
    errno.ENOENT: "the rules in force have no such set, or it takes no elements: 'size' or 'timeout' makes it",
    errno.ENOSPC: "the set is full: its 'size' says how many it takes",
    errno.ESRCH: "it is not among the elements that were added",
}


def find_set(router, name):
    _, ruleset = rules_in_force(router)
    if name not in ruleset.sets:
        raise Failure(f"the rules in force have no set '{name}'")
    kind = ruleset.sets[name].kind
    return kind, rules_compile.stable_id(f"set {kind}", name), rules_image.SET_KINDS.index(kind)


def change_set(router, args, op, seconds=0):
    kind, number, code = find_set(router, args.name)
    for text in args.element:
        try:
            elements = rules_parse.parse(f"set x : {kind} = {{{text}}}\n").sets["x"].elements
        except rules_parse.RulesError as why:
            raise Failure(f"'{text}' is nothing that a set of {kind} has") from why
        for e in elements:
            high, low, rest = rules_compile.element_slot(kind, e)
            try:
                router.change_set(op, number, code, (high, low, rest & 0xFFFF, rest >> 16 & 0xFF), seconds)
            except OSError as why:
                raise Failure(f"{text}: {SET_ERRORS.get(why.errno, why.strerror)}") from why


def set_add(router, args):
    change_set(router, args, hypercall.SET_ADD, args.timeout)


def set_del(router, args):
    change_set(router, args, hypercall.SET_REMOVE)


def element_text(kind, high, low, port, length):
    if kind == "port":
        return str(port)
    if kind == "mac":
        return hypercall.mac_text(low.to_bytes(6, "big"))
    network = hypercall.prefix_network(high, low, length if kind == "net" else 128)
    if kind == "net":
        return str(network)
    address = str(network.network_address)
    if kind == "ip":
        return address
    return f"{address}:{port}" if network.version == 4 else f"[{address}]:{port}"


def set_list(router, args):
    kind, number, code = find_set(router, args.name)
    try:
        found = router.elements(number, code)
    except FileNotFoundError as why:
        raise Failure(SET_ERRORS[errno.ENOENT]) from why
    found = [{"element": element_text(kind, *e[:4]), "seconds": None if e[4] == 2**64 - 1 else e[4]} for e in found]
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for e in found:
        print(f"{e['element']:<40} {'' if e['seconds'] is None else str(e['seconds']) + ' s'}")


# ---- explanations ----


def watched(router, vif, count, seconds):
    """The next packets of an interface, as they come."""
    router.watch(vif, count)
    until = time.monotonic() + seconds
    try:
        while count and time.monotonic() < until:
            found = router.collect()
            if found is None:
                time.sleep(0.05)
                continue
            yield found
            count -= 1
    finally:
        router.watch(vif, 0)


def explain_packets(router, args, vif):
    if args.live:
        return watched(router, vif.vif, args.live, args.seconds)
    try:
        head, length = explain.make(args.packet, vif, router.vifs())
    except explain.Bad as why:
        raise Failure(str(why)) from why
    return [router.explain(vif.vif, head, length)]


def explain_command(router, args):
    vifs = {v.vif: v for v in router.vifs()}
    if args.vif not in vifs:
        raise Failure(f"there is no interface {args.vif}: 'serai net show' lists them")
    if bool(args.live) == bool(args.packet) or not 0 <= args.live <= 16:
        raise Failure("either a packet is described, 'proto tcp from ... to ...', or --live N with N up to 16 is said")
    names = domain_names()
    rules = list(rules_in_force(router)[1].rules) if router.generation() else []

    def vif_text(n):
        v = vifs.get(n)
        return f"interface {n}" + (f" ({names.get(v.domid) or hypercall.KINDS[v.kind]})" if v else "")
    for x in explain_packets(router, args, vifs[args.vif]):
        if args.json:
            print(json.dumps(explain.as_json(x, rules)), flush=True)
        else:
            print("\n".join(explain.lines(x, vif_text, rules)), end="\n\n" if args.live else "\n", flush=True)


def lease_list(router, args):
    found = [{"id": x.id, "address": str(x.ip), "first": x.start, "last": x.start + (1 << x.log2) - 1,
              "classes": x.classes, "state": STATES[x.state], "vif": x.vif, "since": x.since,
              "ends": None if math.isinf(x.ends) else x.ends} for x in router.leases()]
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print_table(("id", "address", "ports", "vif", "state"),
                [(x["id"], x["address"], f"{x['first']}-{x['last']}", x["vif"], x["state"]) for x in found])


def change_lease(router, op, **order):
    try:
        return router.change_lease(op, **order)
    except OSError as why:
        raise Failure(LEASE_ERRORS.get(why.errno, why.strerror)) from why


def lease_share(router, args):
    change_lease(router, SHARE, ip=args.address)


def lease_unshare(router, args):
    change_lease(router, UNSHARE, ip=args.address)


def lease_grant(router, args):
    if args.size < 1 or args.size & (args.size - 1):
        raise Failure(f"{args.size} ports cannot be leased: a lease has a power of two of them")
    number, start = change_lease(router, GRANT, ip=args.address, vif=args.vif, classes=3,
                                 start=args.start, log2=args.size.bit_length() - 1,
                                 seconds=args.seconds)
    print(f"lease {number}: ports {start}-{start + args.size - 1} of {args.address}")


def lease_free(router, args):
    change_lease(router, FREE, lease=args.id)


def lease_revoke(router, args):
    change_lease(router, REVOKE, lease=args.id, seconds=args.drain)


# What the audit log is told of before, with whoever says so.
CHANGES = {change_rate, rule_load, rule_confirm, rule_rollback, set_add, set_del, lease_share, lease_unshare,
           lease_grant, lease_free, lease_revoke}


def tell_who(router):
    try:
        person.note(router, sys.argv[1:])
    except OSError as why:
        if why.errno != errno.ENOBUFS:
            raise
        raise Failure(LEASE_ERRORS[why.errno]) from why


def parser():
    top = argparse.ArgumentParser(prog="serai net", usage="serai net show|rate|rule|set|explain|lease|log|audit|who|top|capture|export ...",
                                  description=__doc__.split("\n", 1)[0], epilog=__doc__.split("\n", 1)[1],
                                  formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    words = top.add_subparsers(required=True, metavar="show|rate|rule|set|explain|lease|log|audit|who|top|capture|export")

    def add(where, name, run, *arguments, as_json=False):
        p = where.add_parser(name, allow_abbrev=False)
        p.set_defaults(run=run, changes=run in CHANGES)
        for flags, options in arguments:
            p.add_argument(*flags, **options)
        if as_json:
            p.add_argument("--json", action="store_true")

    add(words, "show", show, as_json=True)
    add(words, "rate", change_rate, (["vif"], {"type": int}), (["rate"], {}))
    rule = words.add_parser("rule", allow_abbrev=False).add_subparsers(required=True, metavar="show|check|diff|load|confirm|rollback")
    add(rule, "show", rule_show, as_json=True)
    add(rule, "check", rule_check, (["file"], {}))
    add(rule, "load", rule_load, (["file"], {}), (["--generation"], {"type": int}),
        (["--confirm"], {"type": int, "default": 0, "metavar": "SECONDS"}))
    add(rule, "diff", rule_diff, (["file"], {}))
    add(rule, "confirm", rule_confirm)
    add(rule, "rollback", rule_rollback)
    sets = words.add_parser("set", allow_abbrev=False).add_subparsers(required=True, metavar="list|add|del")
    name, elements = (["name"], {}), (["element"], {"nargs": "+"})
    add(sets, "list", set_list, name, as_json=True)
    add(sets, "add", set_add, name, elements, (["--timeout"], {"type": int, "default": 0, "metavar": "SECONDS"}))
    add(sets, "del", set_del, name, elements)
    add(words, "explain", explain_command, (["vif"], {"type": int}), (["packet"], {"nargs": "*"}),
        (["--live"], {"type": int, "default": 0, "metavar": "N"}),
        (["--seconds"], {"type": int, "default": 60, "metavar": "S"}), as_json=True)
    lease = words.add_parser("lease", allow_abbrev=False).add_subparsers(
        required=True, metavar="list|share|unshare|grant|free|revoke")
    address = (["address"], {"type": ipaddress.IPv4Address})
    add(lease, "list", lease_list, as_json=True)
    add(lease, "share", lease_share, address)
    add(lease, "unshare", lease_unshare, address)
    add(lease, "grant", lease_grant, address, (["vif"], {"type": int}),
        (["--start"], {"type": int, "default": 0}), (["--size"], {"type": int, "default": 4096}),
        (["--seconds"], {"type": int, "default": 0}))
    add(lease, "free", lease_free, (["id"], {"type": int}))
    add(lease, "revoke", lease_revoke, (["id"], {"type": int}),
        (["--drain"], {"type": int, "default": 0, "metavar": "SECONDS"}))
    log_command.register(words, add)
    capture.register(words, add)
    return top


def main():
    args = parser().parse_args()
    try:
        router = None if args.run.__module__ in ("log_command", "capture") else hypercall.Router()
        if args.changes:
            tell_who(router)
        args.run(router, args)
    except KeyboardInterrupt:
        return 130
    except (Failure, log_command.Failure, policy.Refused) as why:
        print(f"serai net: {why}", file=sys.stderr)
        return 1
    except OSError as why:
        print(f"serai net: {why}: this must run as root in domain 0 on Serai", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
