"""Where the router's records stay: an SQLite file for changes and leases, segment files for the rest.

  1 A record is stored once. In one transaction with what it says lies how far its ring was read and how
    long each segment file is; what a file has beyond that is cut off at the start, and read again.
  2 At no time two leases that hold or rest on a port overlap: the database itself refuses it.
  3 A closed segment's digest is in the audit log; so is each deletion, before it happens.

Times are nanoseconds since 1970, as the hypervisor knew them. 'boot' counts starts of the machine.
"""

import gzip
import hashlib
import os
import pathlib
import sqlite3

import log_records as r
from log_records import words

HOME = pathlib.Path("/var/lib/serai/net/log")
DAY = 86400 * 10**9
# Of each stream: days, and bytes that its segments may have together.
KEEP = {"audit": (400, 1 << 30), "flow": (30, 4 << 30), "deny": (90, 1 << 30)}
SEGMENT = 64 << 20

SCHEMA = """
CREATE TABLE IF NOT EXISTS boot(no INTEGER PRIMARY KEY AUTOINCREMENT, boot INTEGER, began INTEGER,
    records INTEGER DEFAULT 0, head TEXT, last INTEGER);
CREATE TABLE IF NOT EXISTS position(ring INTEGER PRIMARY KEY, boot INTEGER, at INTEGER, next INTEGER);
CREATE TABLE IF NOT EXISTS segment(no INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT, boot INTEGER,
    first INTEGER, last INTEGER, bytes INTEGER, records INTEGER, sha256 TEXT, closed INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS audit(boot INTEGER, seq INTEGER, t INTEGER, actor TEXT, uid INTEGER, pid INTEGER,
    vif TEXT, op TEXT, object INTEGER, part INTEGER, parts INTEGER, before TEXT, after TEXT, hash TEXT,
    PRIMARY KEY(boot, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock(boot INTEGER, seq INTEGER, before INTEGER, after INTEGER);
CREATE TABLE IF NOT EXISTS gap(boot INTEGER, cpu INTEGER, first INTEGER, count INTEGER, begin INTEGER,
    end INTEGER);
CREATE TABLE IF NOT EXISTS vif(boot INTEGER, number INTEGER, domid INTEGER, handle INTEGER, uuid TEXT,
    name TEXT, addresses TEXT, seq_start INTEGER, t_start INTEGER, seq_end INTEGER, t_end INTEGER);
CREATE TABLE IF NOT EXISTS lease(id INTEGER, ip TEXT, class INTEGER, lo INTEGER, hi INTEGER, dom_uuid TEXT,
    dom_name TEXT, domid INTEGER, vif INTEGER, boot INTEGER, seq_start INTEGER, t_start INTEGER,
    seq_end INTEGER, t_end INTEGER, seq_free INTEGER, t_free INTEGER, origin TEXT, reason TEXT, hash TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS lease_once ON lease(ip, class, lo) WHERE t_free IS NULL;
CREATE INDEX IF NOT EXISTS lease_ports ON lease(ip, class, lo, hi);
CREATE TRIGGER IF NOT EXISTS lease_apart BEFORE INSERT ON lease
    WHEN EXISTS (SELECT 1 FROM lease WHERE ip = NEW.ip AND class = NEW.class AND t_free IS NULL
                 AND lo <= NEW.hi AND hi >= NEW.lo)
    BEGIN SELECT RAISE(ABORT, 'a port has two owners'); END;
"""

FOREVER = (1 << 63) - 1
CLASSES = (1, 2, 4, 8)  # what a lease's bits mean: a row for each
GRANT, EXTEND, FREE, REVOKE, EXPIRE, RELEASE, SHARE, UNSHARE = range(1, 9)


def signed(number):
    """As SQLite has numbers of 64 bits."""
    return number - (1 << 64) if number >> 63 else number


class Store:
    """One process writes; any number read (writable=False)."""

    def __init__(self, home=HOME, writable=True):
        self.home = pathlib.Path(home)
        if writable:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.home / "store.db"
        self.db = sqlite3.connect(path if writable else f"file:{path}?mode=ro", uri=not writable,
                                  isolation_level=None, timeout=10)
        self.db.row_factory = sqlite3.Row
        self.files = {}  # stream: (number, file)
        if writable:
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=FULL")
            self.db.executescript(SCHEMA)
            self.boot = self.db.execute("SELECT max(no) FROM boot").fetchone()[0] or 0
            self._cut_off()

    def close(self):
        for _, file in self.files.values():
            file.close()
        self.db.close()

    def all(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    def one(self, sql, *values):
        return self.db.execute(sql, values).fetchone()

    # -- segments --

    def path(self, stream, number, closed=False):
        return self.home / f"{stream}-{number:08}.{'gz' if closed else 'seg'}"

    def _cut_off(self):
        """What was written, but not told of, is read from the hypervisor once more."""
        for s in self.all("SELECT * FROM segment WHERE closed = 0"):
            with open(self.path(s["stream"], s["no"]), "ab") as file:
                file.truncate(s["bytes"])
        for path in self.home.glob("*.seg"):
            if not self.one("SELECT 1 FROM segment WHERE no = ? AND closed = 0",
                            int(path.stem.rpartition("-")[2])):
                path.unlink()  # begun, or packed, and then nobody was there to write it down

    def _open(self, stream):
        if stream in self.files:
            return self.files[stream]
        s = self.one("SELECT no FROM segment WHERE stream = ? AND closed = 0", stream)
        number = s["no"] if s else self.db.execute(
            "INSERT INTO segment(stream, boot, bytes, records) VALUES (?, ?, 0, 0)",
            (stream, self.boot)).lastrowid
        self.files[stream] = number, open(self.path(stream, number), "ab", buffering=1 << 18)
        return self.files[stream]

    def _append(self, stream, head, record):
        number, file = self._open(stream)
        file.write(record)
        self.grown.setdefault(stream, [number, 0, 0, head.utc, head.utc])
        g = self.grown[stream]
        g[1], g[2], g[3], g[4] = g[1] + len(record), g[2] + 1, min(g[3], head.utc), max(g[4], head.utc)

    def _flush(self):
        for stream, (number, size, count, first, last) in self.grown.items():
            file = self.files[stream][1]
            file.flush()
            os.fsync(file.fileno())
            self.db.execute("UPDATE segment SET bytes = bytes + ?, records = records + ?, "
                            "first = min(ifnull(first, ?), ?), last = max(ifnull(last, 0), ?) WHERE no = ?",
                            (size, count, first, first, last, number))

    def rotate(self, note, size=SEGMENT):
        """Segments of so many bytes are closed. note(op, number, before, after) is an audit record."""
        for s in self.all("SELECT * FROM segment WHERE closed = 0 AND bytes >= ?", size):
            stream, number = s["stream"], s["no"]
            if stream in self.files:
                self.files.pop(stream)[1].close()
            raw = self.path(stream, number)
            digest = hashlib.sha256()
            with open(raw, "rb") as file, gzip.open(self.path(stream, number, True), "wb") as packed:
                while block := file.read(1 << 20):
                    digest.update(block)
                    packed.write(block)
            with open(self.path(stream, number, True), "rb") as packed:
                os.fsync(packed.fileno())
            note(r.CLOSED, number, "", f"stream={stream} bytes={s['bytes']} records={s['records']} "
                                       f"sha256={digest.hexdigest()}")
            self.db.execute("UPDATE segment SET closed = 1, sha256 = ? WHERE no = ?",
                            (digest.hexdigest(), number))
            raw.unlink()

    def prune(self, note, now, keep=None):
        """What is too old, and the oldest of what is too much, is deleted; the log says so first."""
        for stream, (days, most) in (keep or KEEP).items():
            size = 0
            for s in self.all("SELECT * FROM segment WHERE stream = ? AND closed = 1 ORDER BY no DESC", stream):
                path = self.path(stream, s["no"], True)
                size += path.stat().st_size if path.exists() else 0
                if s["last"] >= now - days * DAY and size <= most:
                    continue
                note(r.DELETED, s["no"], f"stream={stream} first={s['first']} last={s['last']} "
                                         f"records={s['records']} sha256={s['sha256']}", "")
                path.unlink(missing_ok=True)
                self.db.execute("DELETE FROM segment WHERE no = ?", (s["no"],))
            if stream == "audit":
                for table, column in (("lease", "t_free"), ("vif", "t_end")):
                    self.db.execute(f"DELETE FROM {table} WHERE {column} < ?", (now - days * DAY,))

    def segments(self, *streams, begin=0, end=FOREVER):
        """Those that may have records of this time, oldest first: (stream, number, bytes or None)."""
        marks = ",".join("?" * len(streams))
        return self.all(f"SELECT * FROM segment WHERE stream IN ({marks}) AND records > 0 AND first <= ? "
                        "AND last >= ? ORDER BY no", *streams, end, begin)

    def read(self, segment, at=0):
        """A segment's bytes from 'at' on, as far as they are told of."""
        if segment["closed"]:
            with gzip.open(self.path(segment["stream"], segment["no"], True), "rb") as file:
                return file.read()[at:]
        with open(self.path(segment["stream"], segment["no"]), "rb") as file:
            file.seek(at)
            return file.read(segment["bytes"] - at)

    def records(self, *streams, begin=0, end=FOREVER):
        """(head, record) of this time, as they were stored."""
        for segment in self.segments(*streams, begin=begin, end=end):
            for head, record in r.split(self.read(segment))[0]:
                if begin <= head.utc <= end:
                    yield head, record

    # -- taking records over --

    def position(self, ring, boot):
        """(at, number of the next record) of a ring of this start of the machine; None: not yet read."""
        found = self.one("SELECT at, next FROM position WHERE ring = ? AND boot = ?", ring, boot)
        return tuple(found) if found else None

    def take(self, ring, boot, at, records, name_of=lambda domid: ""):
        """Records of a ring, read up to 'at'; those that are here already are passed over."""
        self.grown = {}
        known = self.position(ring, boot)
        self.db.execute("BEGIN IMMEDIATE")
        try:
            follows = known[1] if known else 0
            for head, record in records:
                if (head.seq - follows) & 0xFFFFFFFF >= 1 << 31:
                    continue
                follows = (head.seq + 1) & 0xFFFFFFFF
                self._store(head, record, name_of)
            self._flush()
            self.db.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)", (ring, boot, at, follows))
            self.db.execute("COMMIT")
        except BaseException:
            self.db.execute("ROLLBACK")
            for _, file in self.files.values():
                file.close()  # what it wrote is cut off
            self.files = {}
            self._cut_off()
            raise

    def _store(self, head, record, name_of):
        kind = head.type & ~r.IP6
        if kind in (r.AUDIT, r.CHECKPOINT):
            if head.seq == 0:
                self._begin_boot(head)
            self._append("audit", head, record)
            self.db.execute("UPDATE boot SET records = ?, head = ?, last = ? WHERE no = ?",
                            (head.seq + 1, record[-32:].hex(), head.utc, self.boot))
            if kind == r.AUDIT:
                self._audit(r.decode(head, record), name_of)
            return
        self._append("deny" if kind in (r.DENY, r.DROPS) else "flow", head, record)
        if kind == r.GAP:
            g = r.decode(head, record)
            self.db.execute("INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?)",
                            (self.boot, head.cpu, g["first"], g["count"], g["begin"], g["end"]))

    def _begin_boot(self, head):
        """Another start of the machine: what was leased before is not any more."""
        self.boot = self.db.execute("INSERT INTO boot(boot, began) VALUES (?, ?)",
                                    (head.boot, head.utc)).lastrowid
        self.db.execute("UPDATE lease SET t_end = ifnull(t_end, ?), t_free = ?, "
                        "reason = ifnull(reason, 'restart') WHERE t_free IS NULL", (head.utc, head.utc))
        self.db.execute("UPDATE vif SET t_end = ? WHERE t_end IS NULL", (head.utc,))

    def _audit(self, x, name_of):
        self.db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (self.boot, x["seq"], x["utc"], x["actor"], x["uid"], x["pid"], x["vif"], x["op"],
                         signed(x["object"]), x["part"], x["parts"], x["before"], x["after"], x["hash"]))
        before, after = words(x["before"]), words(x["after"])
        if x["op"] == "connect":
            self.db.execute("INSERT INTO vif VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                            (self.boot, x["object"], int(after["domid"]), int(after["handle"]), after["uuid"],
                             name_of(int(after["domid"])), after.get("addresses", ""), x["seq"], x["utc"]))
        elif x["op"] == "disconnect":
            self.db.execute("UPDATE vif SET seq_end = ?, t_end = ? WHERE boot = ? AND number = ? AND t_end IS NULL",
                            (x["seq"], x["utc"], self.boot, x["object"]))
        elif x["op"] == "clock":
            self.db.execute("INSERT INTO clock VALUES (?, ?, ?, ?)",
                            (self.boot, x["seq"], int(before["utc"]), int(after["utc"])))
        elif x["op"] == "lease":
            self._lease(x, after)

    def _lease(self, x, after):
        op = int(after["op"])
        if op == GRANT:
            self._grant(x, after)
        elif op in (FREE, EXPIRE) or (op == REVOKE and int(after["seconds"]) == 0):
            self.db.execute("UPDATE lease SET seq_end = ?, t_end = ?, reason = ? "
                            "WHERE id = ? AND t_end IS NULL AND boot = ?",
                            (x["seq"], x["utc"], {FREE: "freed", EXPIRE: "expired", REVOKE: "revoked"}[op],
                             x["object"], self.boot))
        elif op == RELEASE:
            self.db.execute("UPDATE lease SET seq_free = ?, t_free = ? WHERE id = ? AND t_free IS NULL AND boot = ?",
                            (x["seq"], x["utc"], x["object"], self.boot))

    def _grant(self, x, after):
        lo = int(after["start"])
        hi, classes = lo + (1 << int(after["log2"])) - 1, int(after["classes"])
        # The same domain has back what rested.
        self.db.execute("UPDATE lease SET seq_free = ?, t_free = ? WHERE ip = ? AND lo = ? AND hi = ? AND "
                        "dom_uuid = ? AND t_end IS NOT NULL AND t_free IS NULL",
                        (x["seq"], x["utc"], after["ip"], lo, hi, after["uuid"]))
        domid = int(x["vif"].partition(".")[0])
        name = self.one("SELECT name FROM vif WHERE boot = ? AND uuid = ? AND t_end IS NULL", self.boot,
                        after["uuid"])
        for bit in CLASSES:
            if classes & bit:
                self.db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, "
                                "NULL, ?, NULL, ?)",
                                (x["object"], after["ip"], bit, lo, hi, after["uuid"], name["name"] if name else "",
                                 domid, int(after["vif"]), self.boot, x["seq"], x["utc"], x["actor"], x["hash"]))
