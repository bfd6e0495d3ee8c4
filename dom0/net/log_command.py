"""serai net log, audit, who, top, export: what the store of logd.py has, told.

Nothing here changes anything; all of it works on a copy of the store too (--home).
"""

import datetime
import json
import socket
import sqlite3
import time

import audit
import export
import hypercall
import log_records as r
import log_store
import who

SECOND = 10**9
FOLLOW = 0.5  # seconds between two looks at the store
PROTOS = {number: name for number, name in r.PROTOS.items()}


class Failure(Exception):
    """What happened, why, and what to do."""


def moment(text):
    """Nanoseconds since 1970 of 2026-11-22T10:00:07Z, of seconds since 1970, or of 'now'."""
    try:
        if text == "now":
            return time.time_ns()
        if text.replace(".", "", 1).isdigit():
            return int(float(text) * SECOND)
        at = datetime.datetime.fromisoformat(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=datetime.timezone.utc)
        return int(at.timestamp()) * SECOND + at.microsecond * 1000
    except (ValueError, OverflowError) as why:
        raise Failure(f"{text} is no time: it must be as 2026-11-22T10:00:07Z, or seconds since 1970") from why


def span(text):
    """Nanoseconds of 2s, 500ms, 5m, 1h; without a unit seconds."""
    for unit, size in (("ms", SECOND // 1000), ("s", SECOND), ("m", 60 * SECOND), ("h", 3600 * SECOND)):
        if text.endswith(unit):
            text, scale = text[:-len(unit)], size
            break
    else:
        scale = SECOND
    try:
        return int(float(text) * scale)
    except ValueError as why:
        raise Failure(f"{text} is no time span: it must be as 2s or 500ms") from why


def vif_of(text):
    if text == "all":
        return hypercall.EVERYBODY
    if not text.isdigit() or int(text) >= 4096:
        raise Failure(f"{text} is no interface: 'serai net show' lists their numbers")
    return int(text)


def open_store(args):
    try:
        store = log_store.Store(args.home, writable=False)
        store.one("SELECT no FROM boot LIMIT 1")
        return store
    except sqlite3.Error as why:
        raise Failure(f"{args.home} cannot be read: {why}; logd.py makes it, and must run as root") from why


def clock(utc):
    return export.timestamp(utc).replace("Z", "").replace("T", " ")


def end_text(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def text(x):
    kind, at = x["type"], clock(x["utc"])
    if kind in ("new", "end", "deny", "pass"):
        what = {"new": "", "end": f" {x.get('end')} {x.get('packets')}+{x.get('packets_back')} packets "
                                  f"{x.get('bytes')}+{x.get('bytes_back')} bytes",
                "deny": f" {x.get('reason')} x{x.get('count')}", "pass": f" x{x.get('count')}"}[kind]
        return (f"{at} {kind:<4} {x['in']}>{x['out']} {PROTOS.get(x['proto'], x['proto'])} "
                f"{end_text(x['src'], x['sport'])} > {end_text(x['dst'], x['dport'])} rule {x['rule']}{what}")
    if kind == "drops":
        return (f"{at} drop {x['in']} {x['reason']} x{x['count']} {x['bytes']} bytes, as "
                f"{end_text(x['src'], x['sport'])} > {end_text(x['dst'], x['dport'])}")
    if kind == "gap":
        return f"{at} gap  {x['count']} records of CPU {x['cpu']} were lost from {clock(x['begin'])} on"
    if kind == "audit":
        who_ = x["actor"] + (f" uid {x['uid']} pid {x['pid']}" if x["pid"] else "")
        return f"{at} {x['op']} {x['object']} by {who_}: {x['before'] or '-'} => {x['after'] or '-'}"
    return f"{at} {kind} " + " ".join(f"{k}={v}" for k, v in x.items() if k in ("records", "lost", "before", "after"))


def show(x, args):
    print(export.line(x) if args.json else text(x), flush=args.follow)


def follow(store, streams, since, use):
    """use(record) for each that comes."""
    reached = {}  # segment: bytes that were used
    first = True
    while True:
        for segment in store.segments(*streams, begin=since if first else 0):
            at = reached.get(segment["no"], 0)
            if segment["bytes"] <= at:
                continue
            records, used = r.split(store.read(segment, at))
            reached[segment["no"]] = at + used
            for head, record in records:
                if head.utc >= since or not first:
                    use(r.decode(head, record))
        first = False
        yield
        time.sleep(FOLLOW)


def tell(args, streams, use):
    store, since = open_store(args), moment(args.since) if args.since else 0
    if args.follow:
        for _ in follow(store, streams, since or time.time_ns(), use):
            pass
    for head, record in store.records(*streams, begin=since,
                                      end=moment(args.until) if args.until else log_store.FOREVER):
        use(r.decode(head, record))


def log(router, args):
    tell(args, ("deny",) if args.deny else ("flow", "deny"),
         lambda x: None if args.deny and x["type"] == "pass" else show(x, args))


def audit_list(router, args):
    tell(args, ("audit",), lambda x: show(x, args))


def audit_verify(router, args):
    live = None
    if not args.offline:
        try:
            live = hypercall.Router().log_state(hypercall.RING_AUDIT)
        except OSError as why:
            raise Failure(f"the hypervisor does not tell how long the log is ({why}); --offline does without, and "
                          "cannot see that the end was cut off") from why
    try:
        found = audit.verify(open_store(args), live)
    except audit.Broken as why:
        if args.json:
            print(json.dumps({"whole": False, "fault": str(why)}))
        raise Failure(f"the audit log is not what was written: {why}") from why
    if args.json:
        print(json.dumps({"whole": True, **found}))
        return
    print(f"whole: {found['records']} records of {found['starts']} starts in {found['segments']} files" +
          ("" if live else "; whether the end is missing cannot be said offline"))


def who_had(router, args):
    try:
        address, port, proto = who.parse(args.what)
    except who.BadQuestion as why:
        raise Failure(str(why)) from why
    found = who.ask(open_store(args), address, port, proto, moment(args.at), span(args.skew))
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{args.what} at {clock(found['at'])} +- {found['skew'] / SECOND:g} s: {found['verdict']}")
    for c in found["candidates"]:
        until = clock(c["until"]) if c["until"] else "now"
        print(f"  {c['domain'] or '?'} (uuid {c['uuid']}, domain {c['domid']}): {c['status']} by {c['by']}, "
              f"{clock(c['from'])} to {until}; audit record {c['evidence']['start']}/{c['evidence']['record']}")
    for step in found["clock_steps"]:
        print(f"  the clock was set from {clock(step['before'])} to {clock(step['after'])}")
    if found["beyond_log"]:
        print("  the log does not go that far" + (f": it ends at {clock(found['log_ends'])}" if found["log_ends"] else ""))
    for x in found["flows"]:
        print("  " + text(x))


def top(router, args):
    """Interfaces by what they carry now."""
    router = hypercall.Router()
    before, begin = {v.vif: v.counts for v in router.vifs()}, time.monotonic()
    time.sleep(args.seconds)
    passed, rows = time.monotonic() - begin, []
    for v in router.vifs():
        was = before.get(v.vif, (0,) * len(v.counts))
        sent, sent_bytes, got, got_bytes, *drops = [(now - then) / passed for now, then in zip(v.counts, was)]
        rows.append({"vif": v.vif, "domid": v.domid, "handle": v.handle, "sent_pps": sent, "sent_bps": 8 * sent_bytes,
                     "received_pps": got, "received_bps": 8 * got_bytes,
                     "dropped_pps": sum(drops[1:hypercall.REASONS.index("consumed")])})
    rows.sort(key=lambda row: -row["sent_bps"] - row["received_bps"])
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'vif':>4} {'domain':>7} {'sent/s':>10} {'Mbit/s':>9} {'received/s':>10} {'Mbit/s':>9} {'dropped/s':>10}")
    for x in rows:
        print(f"{x['vif']:>4} {x['domid']:>5}.{x['handle']} {x['sent_pps']:>10.0f} {x['sent_bps'] / 1e6:>9.2f} "
              f"{x['received_pps']:>10.0f} {x['received_bps'] / 1e6:>9.2f} {x['dropped_pps']:>10.0f}")


def leases_to(out, store, since):
    """Leases that began or ended from 'since' on; from when on the next ones will be."""
    rows = store.all("SELECT * FROM lease WHERE t_start >= ? OR t_end >= ?", since, since)
    for row in rows:
        if row["t_start"] >= since:
            out.add(*export.lease(row, True), time.time_ns())
        if row["t_end"] and row["t_end"] >= since:
            out.add(*export.lease(row, False), time.time_ns())
    return max([since, *(t + 1 for row in rows for t in (row["t_start"], row["t_end"]) if t)])


def export_to(router, args):
    store, since = open_store(args), moment(args.since) if args.since else 0
    try:
        if args.kind == "ipfix":
            out = export.Ipfix(export.sender("ipfix", args.where, 4739, args.tcp))
            streams = ("flow", "deny", "audit")
        else:
            send, out, host = export.sender("syslog", args.where, 514, args.tcp), None, socket.gethostname()
            streams = ("audit", "deny")

        def use(x):
            if out:
                out.record(x, time.time_ns())
            elif message := export.syslog(x, host):
                send(message)
        told = since
        if out:
            told = leases_to(out, store, since)
        if args.follow:
            for _ in follow(store, streams, since or time.time_ns(), use):
                if out:
                    told = leases_to(out, store, told)
                    out.flush(time.time_ns())
        for head, record in store.records(*streams, begin=since):
            use(r.decode(head, record))
        if out:
            out.flush(time.time_ns())
    except OSError as why:
        raise Failure(f"{args.where} is not reached: {why}") from why


def register(words, add):
    home = (["--home"], {"default": log_store.HOME, "metavar": "DIRECTORY"})
    since = (["--since"], {"metavar": "TIME"})
    again = (["--follow"], {"action": "store_true"})
    span_ = (since, (["--until"], {"metavar": "TIME"}), again, home)
    add(words, "log", log, (["--deny"], {"action": "store_true"}), *span_, as_json=True)
    changes = words.add_parser("audit", allow_abbrev=False).add_subparsers(required=True, metavar="list|verify")
    add(changes, "list", audit_list, *span_, as_json=True)
    add(changes, "verify", audit_verify, (["--offline"], {"action": "store_true"}), home, as_json=True)
    add(words, "who", who_had, (["what"], {"metavar": "ADDRESS:PORT/PROTO"}),
        (["--at"], {"required": True, "metavar": "TIME"}), (["--skew"], {"default": "0s"}), home, as_json=True)
    add(words, "top", top, (["--seconds"], {"type": float, "default": 2.0}), as_json=True)
    add(words, "export", export_to, (["kind"], {"choices": ("ipfix", "syslog")}),
        (["where"], {"metavar": "HOST[:PORT]"}), (["--tcp"], {"action": "store_true"}), since, again, home)
