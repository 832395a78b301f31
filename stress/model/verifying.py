"""Verify, one entry: read without a lock, accuse only what the row behind the file still tells of. See `integrity/`."""

from __future__ import annotations

from collections.abc import Iterable

from .state import NOTHING, PATH, ROT, Ident, Row
from .steps import step
from .turn import Turn, Violated

_UNDER_WAY = ("downloading", "installing")


@step("(list)", "verify:begin")
def list_due(t: Turn) -> None:
    """Read the row of what is due."""
    _begin(t, t.row(t.p.entry))


def _begin(t: Turn, row: Row | None) -> None:
    entry = t.p.entry
    if row is None or row.state != "ready":
        t.go("verify:end")
        return
    t.p = t.p._replace(rows=(*t.p.rows[:entry], row, *t.p.rows[entry + 1 :]), found="", promised=None)
    t.go("(open to read)")


@step("(open to read)")
def open_to_read(t: Turn) -> None:
    """Open the file; again, if an evictor tests it."""
    entry = t.p.entry
    ino = t.ino(PATH, entry)
    if ino == NOTHING:
        t.p = t.p._replace(found="missing")
        t.go("(row again)")
    elif not t.is_tested(ino):
        t.open(entry, ino)
        t.p = t.p._replace(promised=t.ident(ino))
        t.go("(read)")


@step("(read)")
def read(t: Turn) -> Iterable[Turn]:
    """Hash the file; of what differs, drop the pages and read again."""
    entry = t.p.entry
    row, file = t.p.rows[entry], t.file(t.p.fd[entry])
    right = row is not None and file.bytes == row.version
    others = []
    if right and "misread" in t.w.events:
        other = Turn(t.config, t.state(), t.who)
        other.w = other.w._replace(events=other.w.events - {"misread"})
        # The second reading is right; who reads once believes the first.
        once = t.is_mutant("verify reads once")
        other.p = other.p._replace(found="" if once else _verdict(t, right))
        if once:
            other.p = other.p._replace(found=_verdict(t, right=False))
        other.go("(look after)")
        others.append(other)
    t.p = t.p._replace(found=_verdict(t, right))
    t.go("(look after)")
    return others


def _verdict(t: Turn, right: bool) -> str:
    row, seen = t.p.rows[t.p.entry], t.p.promised
    if row is not None and seen == row.ident:
        return "ok" if right else "corrupt"
    return "rebound" if right else "changed"


@step("(look after)")
def look_after(t: Turn) -> None:
    """Did the file hold still, and is it still at its path."""
    entry, seen = t.p.entry, t.p.promised
    steady = t.ident(t.p.fd[entry]) == seen and t.there(PATH, entry) == seen
    t.close(entry)
    if not steady and not t.is_mutant("verify does not look whether the file held still"):
        _again(t)
    elif t.p.found == "ok":
        t.go("verify:record")
    else:
        t.go("(row again)")


def _again(t: Turn) -> None:
    t.p = t.p._replace(promised=None, found="")
    t.go("(row again)")


@step("(row again)")
def row_again(t: Turn) -> None:
    """Read the row behind the file: what this cache does to a file is in its row before it is done."""
    entry, row, found = t.p.entry, t.row(t.p.entry), t.p.found
    blind = t.is_mutant("verify trusts the row that it began with")
    if found and blind:
        _accuse(t, found)
    elif row is None or row.state != "ready":
        t.p = t.p._replace(promised=None)
        t.go("verify:end")
    elif row.next_state in _UNDER_WAY:
        if t.try_write(entry):
            t.p = t.p._replace(target=entry, back="(row settled)")
            t.go("(recover)")
        else:
            t.p = t.p._replace(promised=None)
            t.go("verify:end")
    elif row != t.p.rows[entry] or not found:
        _begin(t, row)
    else:
        _accuse(t, found)


@step("(row settled)")
def row_settled(t: Turn) -> None:
    """What a dead process left half done is settled: look once more."""
    t.release_write(t.p.entry)
    _begin(t, t.row(t.p.entry))


def _accuse(t: Turn, verdict: str) -> None:
    t.broken = _unjust(t, verdict, t.p.promised)
    t.go("verify:mark" if verdict == "corrupt" else "verify:record")


def _unjust(t: Turn, verdict: str, seen: Ident | None) -> Violated | None:
    """I6: is anybody accused of what did not happen."""
    content = None if seen is None else t.file(seen[0]).bytes
    if verdict == "corrupt" and content != ROT:
        return Violated("I6", f"a file of bytes {content!r} is called corrupt, and nothing has rotted")
    mine = seen is None or (t.file(seen[0]).edits == 0 and content != "U")
    if verdict == "changed" and mine:
        return Violated("I6", "a file that nobody edited is called changed")
    return None


@step("verify:mark")
def mark(t: Turn) -> None:
    """The damage mark, durable, before the index is told."""
    t.mark(t.p.entry, t.p.promised)
    t.go("verify:record")


@step("verify:record")
def record(t: Turn) -> None:
    """The result, only where the row still says what the file was compared with."""
    entry, row, before = t.p.entry, t.row(t.p.entry), t.p.rows[t.p.entry]
    same = (
        row is not None
        and before is not None
        and (row.state, row.ident, row.version) == ("ready", before.ident, before.version)
        and row.next_state not in _UNDER_WAY
    )
    if t.is_mutant("verify records whatever the row says by now"):
        same = row is not None
    if not same and not t.is_mutant("verify trusts the row that it began with"):
        _again(t)
        return
    if row is not None:
        row = row._replace(verdict=t.p.found)
        t.set_row(entry, row._replace(ident=t.p.promised) if t.p.found == "rebound" else row)
    found, marked = t.p.found, t.w.marks[entry] is not None
    t.p = t.p._replace(found="", promised=None)
    if found in ("ok", "rebound") and marked:
        t.go("verify:unmark")
    else:
        t.go("lock:write" if found == "corrupt" and t.p.program == "repair" else "verify:end")


@step("verify:unmark")
def unmark(t: Turn) -> None:
    """Right after all: the mark goes."""
    t.mark(t.p.entry, None)
    t.go("verify:end")


@step("verify:end")
def verify_end(t: Turn) -> None:
    """The run ends."""
    t.end()
