"""Bytes that are complete and verified, and have no name yet; what is damaged is moved aside. See `download/staging.py`."""

from __future__ import annotations

from collections.abc import Iterable

from .recovering import without_next
from .state import ASIDE, EMPTY, FULL, HALVES, NOTHING, PARTIAL, PATH, WHOLE, WRONG, Aside, Row, put
from .steps import step
from .turn import Turn


@step("row:reserve")
def reserve(t: Turn) -> None:
    """Row: `downloading`, with the bytes it may come to occupy, if they fit beside all others."""
    row = t.row(t.p.entry)
    replacing = t.p.program != "fetch"
    budget = t.config.budget
    mine = 0 if row is None else row.next_charged if replacing else row.charged + row.next_charged
    counted = t.counted() - mine
    if t.is_mutant("reservations are not counted"):
        counted = sum(other.charged for other in t.w.rows if other is not None and other.state == "ready")
    if budget is not None and counted + FULL > budget:
        t.go("(choose)" if t.p.evictor else "lock:evictor")
        return
    charged = 0 if t.is_mutant("room is not reserved") else FULL
    _reserve(t, charged)
    t.p = t.p._replace(evictor=False)
    t.go("(open partial)")


def _reserve(t: Turn, charged: int) -> None:
    entry, row = t.p.entry, t.row(t.p.entry)
    if t.p.program != "fetch" and row is not None and not row.next_state:
        t.remember(entry, received=0)  # what came before is the old file
    if t.p.program == "fetch":
        t.set_row(entry, Row("downloading", t.p.version, charged=charged, used=row is not None and row.used))
    elif row is not None:
        next_row = without_next(row)._replace(next_state="downloading", next_version=t.p.version, next_charged=charged)
        t.set_row(entry, next_row)


@step("(open partial)")
def open_partial(t: Turn) -> None:
    """Open the partial; throw away what is of another version, or has another name."""
    entry = t.p.entry
    ino = t.ino(PARTIAL, entry)
    if ino == NOTHING or t.links(ino) > 1:
        ino = t.create(EMPTY)
        t.name(PARTIAL, entry, ino)
    if t.w.notes[entry] != t.p.version and t.file(ino).bytes:
        t.write(ino, EMPTY)
        t.remember(entry, received=0)
    elif t.is_mutant("no resume"):
        t.write(ino, EMPTY)
    t.note(entry, t.p.version)
    t.p = t.p._replace(partial=put(t.p.partial, entry, ino))
    t.go("body:open" if t.file(ino).size < FULL else "verify:hash")


@step("body:open")
def body_open(t: Turn) -> Iterable[Turn]:
    """Ask for the bytes, from where the partial ends."""
    others = []
    for event, to in (("cut", "row:stopped"), ("full disk", "stop:unlink-partial")):
        if event in t.w.events:
            other = Turn(t.config, t.state(), t.who)
            other.w = other.w._replace(events=other.w.events - {event})
            if t.p.program == "update":
                other.p = other.p._replace(entry=t.first)
            other.go("row:stopped/job" if t.p.program == "job" else to)
            others.append(other)
    t.go("body:write")
    return others


@step("body:write")
def body_write(t: Turn) -> None:
    """Write and hash the next half."""
    entry, ino = t.p.entry, t.partial
    half = HALVES[WHOLE.index(t.p.version)]
    before = t.file(ino)
    if before.size == FULL:
        t.write(ino, WRONG)
    else:
        t.write(ino, half if not before.size else t.p.version if before.bytes == half else WRONG)
    t.remember(entry, received=t.w.received[entry] + 1)
    t.go("body:write" if t.file(ino).size < FULL else "verify:hash")


@step("verify:hash")
def verify_hash(t: Turn) -> None:
    """Compare with what the Hub promised; wrong bytes are thrown away, and come once more from zero."""
    entry, ino = t.p.entry, t.partial
    if t.file(ino).bytes != t.p.version and not t.is_mutant("no hash"):
        t.write(ino, EMPTY)
        t.remember(entry, received=0)
        t.go("body:open")
        return
    if t.p.program == "repair":
        t.go("quarantine:enter")
        return
    if t.p.program == "job":
        t.go("publish:fsync-file")
        return
    later = t.later
    t.p = t.p._replace(entry=t.first if later is None else later)
    if later is None and t.config.whole and t.p.program == "update":
        t.go("listing:write/moving")
        return
    t.go("publish:fsync-file" if later is None else "row:reserve")


@step("quarantine:enter")
def quarantine_enter(t: Turn) -> None:
    """A row in `quarantine`, which counts nothing as long as the entry is charged for the file."""
    entry, bad = t.p.entry, t.p.rows[t.p.entry]
    assert bad is not None and bad.ident is not None, "a damaged file was recorded"
    if not t.is_mutant("no row before the name in quarantine"):
        charged = FULL if t.is_mutant("quarantine is charged before it has the file alone") else 0
        t.set_aside_row(entry, Aside(bad.ident, charged))
    t.go("quarantine:link")


@step("quarantine:link")
def quarantine_link(t: Turn) -> None:
    """The damaged file's second name, durable."""
    entry = t.p.entry
    bad = t.p.rows[entry]
    if bad is not None and t.there(PATH, entry) == bad.ident and t.ino(ASIDE, entry) == NOTHING:
        t.name(ASIDE, entry, t.ino(PATH, entry))
    t.sync(ASIDE)
    t.go("publish:fsync-file")
