"""Is the audit log whole? Every record's digest is made of it and the digest before; the hypervisor
knows how long the chain is, and its end."""

import gzip
import hashlib
import zlib

import log_records as r


class Broken(Exception):
    """The log is not what was written; the text says where and how."""


class Chain:
    """One start of the machine."""

    def __init__(self, boot):
        self.boot, self.records, self.head = boot, 0, bytes(32)
        self.first = True

    def add(self, head, record, where):
        before, own = record[-r.CHAIN:-32], record[-32:]
        if self.first and head.seq:  # what came before was deleted, which a later record says
            self.records, self.head = head.seq, before
        self.first = False
        if head.seq != self.records & 0xFFFFFFFF:
            raise Broken(f"{where}: record {head.seq} follows where record {self.records} should")
        if before != self.head:
            raise Broken(f"{where}: record {head.seq} does not go on from the record before it")
        if hashlib.sha256(before + record[:-32]).digest() != own:
            raise Broken(f"{where}: record {head.seq} was changed")
        self.records, self.head = self.records + 1, own


def _bytes(store, segment):
    name = store.path(segment["stream"], segment["no"], segment["closed"]).name
    try:
        data = store.read(segment)
    except (OSError, EOFError, gzip.BadGzipFile, zlib.error) as why:
        raise Broken(f"{name} cannot be read: {why}") from why
    if len(data) != segment["bytes"]:
        raise Broken(f"{name} has {len(data)} bytes instead of {segment['bytes']}: it was cut")
    if segment["closed"] and hashlib.sha256(data).hexdigest() != segment["sha256"]:
        raise Broken(f"{name} is not the file that was closed")
    try:
        records, used = r.split(data)
    except r.BadRecord as why:
        raise Broken(f"{name}: {why}") from why
    if used != len(data):
        raise Broken(f"{name} ends inside a record")
    return name, records


def _check_rows(store, chain, head, record, number):
    """The database says what the chain says."""
    if head.type != r.AUDIT:
        return
    row = store.one("SELECT t, hash FROM audit WHERE boot = ? AND seq = ?", number, head.seq)
    if row is None or row["hash"] != record[-32:].hex():
        raise Broken(f"store.db: record {head.seq} of start {number} is not the one in the chain")


def _check_deleted(store, first_kept):
    """Segments may only miss at the beginning, where the log says that they were deleted."""
    told = {row["object"] for row in store.all("SELECT object FROM audit WHERE op = 'deleted'")}
    closed = {row["object"] for row in store.all(
        "SELECT object FROM audit WHERE op = 'closed' AND after LIKE 'stream=audit %'")}
    here = {s["no"] for s in store.all("SELECT no FROM segment WHERE stream = 'audit'")}
    for number in sorted(closed - here - told):
        if number >= first_kept:
            raise Broken(f"audit-{number:08} is gone, and nobody said that it was deleted")


def verify(store, live=None):
    """Counts, or Broken. 'live': hypercall.LogState of the audit ring, while the hypervisor runs."""
    chains, segments = {}, store.segments("audit")
    for segment in segments:
        name, records = _bytes(store, segment)
        for head, record in records:
            if head.seq == 0:
                chains[len(chains) + 1 if not chains else max(chains) + 1] = Chain(head.boot)
            elif not chains:
                began = store.one("SELECT min(boot) AS boot FROM audit WHERE hash = ?", record[-32:].hex())
                chains[began["boot"] or 1] = Chain(head.boot)
            number = max(chains)
            if chains[number].boot != head.boot:
                raise Broken(f"{name}: record {head.seq} is of another start of the machine")
            chains[number].add(head, record, name)
            _check_rows(store, chains[number], head, record, number)
    _check_deleted(store, segments[0]["no"] if segments else 0)
    _check_ends(store, chains, live)
    return {"starts": len(chains), "records": sum(c.records for c in chains.values()),
            "segments": len(segments), "complete": live is not None}


def _check_ends(store, chains, live):
    """A start's chain is told of at the beginning of the next, and by the hypervisor itself."""
    for row in store.all("SELECT before FROM audit WHERE op = 'daemon-began' AND before != ''"):
        said = r.words(row["before"])
        chain = chains.get(int(said["start"]))
        if chain and (chain.records, chain.head.hex()) != (int(said["records"]), said["head"]):
            raise Broken(f"the log of start {said['start']} ends with record {chain.records - 1}; there were "
                         f"{said['records']}")
    known = store.one("SELECT * FROM boot ORDER BY no DESC LIMIT 1")
    last = chains.get(max(chains)) if chains else None
    if known and (last is None or last.records != known["records"] or last.head.hex() != known["head"]):
        raise Broken(f"store.db knows of {known['records']} records since the last start, and the chain ends with "
                     f"{last.records if last else 0}: its end was cut off, or is another")
    if live is None:
        return
    if last is None or last.boot != live.boot:
        raise Broken("nothing of this start of the machine is here")
    if last.records == live.records and last.head != live.head:
        raise Broken("the last record is not the one that the hypervisor wrote last")
    if last.records > live.records:
        raise Broken(f"{last.records} records are here, the hypervisor wrote {live.records}")
    if last.records < live.records and live.consumed == live.produced:
        raise Broken(f"{last.records} records are here, the hypervisor handed out {live.records}: the end "
                     "was cut off")
