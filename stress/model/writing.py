"""Whoever makes files: a miss, an update of all entries, a repair. See `download/` and `integrity/repairing.py`.

One program, as in the code: take W, settle what was left, stage the bytes (`staging`), give them their name (`publishing`,
`replacing`). `fetch` publishes at a free path; `update` replaces all entries together; `repair` replaces one damaged file by
the same bytes.
"""

from __future__ import annotations

from .recovering import stopped_next
from .state import NOTHING, PARTIAL, PATH, put
from .steps import step
from .turn import Turn


@step("lock:write")
def lock_write(t: Turn) -> bool | None:
    """Take W; while somebody has it, wait for it or for the file."""
    entry, p = t.p.entry, t.p
    if not t.try_write(entry) and not t.is_mutant("no W"):
        if p.program != "fetch" or t.ino(PATH, entry) == NOTHING or t.w.marks[entry] is not None:
            return False
        t.p = p._replace(target=entry, then="(handed out)", otherwise="lock:write")
        t.go("(open)")
        return None
    if p.program == "update" and entry + 1 < t.config.entries:
        t.p = t.p._replace(entry=entry + 1)
        return None
    first = 0 if p.program == "update" else entry
    back = {"fetch": "(look again)", "update": "(compare with the Hub)", "repair": "(damaged?)"}[p.program]
    t.p = t.p._replace(entry=first, target=first, back=back)
    t.go("(recover)")
    return None


@step("(look again)")
def look_again(t: Turn) -> None:
    """Under W: somebody else may have published."""
    t.p = t.p._replace(target=t.p.entry, then="lock:release", otherwise="(ask the Hub)")
    t.go("(ask the Hub)" if t.is_mutant("no second look") else "(open)")


@step("(damaged?)")
def damaged(t: Turn) -> None:
    """Look at the damage again, under W."""
    entry = t.p.entry
    there = t.there(PATH, entry)
    if there is None or there != t.w.marks[entry]:
        t.go("lock:release")
        return
    row = t.row(entry)
    if row is None or row.state != "ready" or row.ident != there:
        t.go("lock:release")
        return
    t.p = t.p._replace(program="repair", version=row.version, rows=put(t.p.rows, entry, row), unit=(entry,))
    t.go("row:reserve")


@step("(compare with the Hub)")
def compare_with_hub(t: Turn) -> None:
    """Which files have other bytes at the current commit."""
    entry = t.p.entry
    row = t.row(entry)
    there = t.ino(PATH, entry) != NOTHING  # what somebody removed is a miss
    version = t.p.version if t.config.whole else t.w.hub[entry]  # which commit it is was asked once
    if row is not None and row.state == "ready" and row.version != version and there:
        t.p = t.p._replace(unit=(*t.p.unit, entry), rows=put(t.p.rows, entry, row), version=version)
    if entry + 1 < t.config.entries:
        t.p = t.p._replace(entry=entry + 1, target=entry + 1)
        t.go("(recover)")
    elif t.p.unit:
        t.p = t.p._replace(entry=t.p.unit[0])
        t.go("row:reserve")
    elif t.config.whole and t.w.listing not in ("", t.p.version):
        t.go("listing:write/there")
    else:
        t.go("lock:release")


@step("(ask the Hub)")
def ask(t: Turn) -> None:
    """What does the Hub promise, and is it here under another name."""
    entry = t.p.entry
    t.p = t.p._replace(version=t.w.hub[entry], unit=())
    there = t.there(PATH, entry)
    if there is not None and t.w.marks[entry] == there:
        t.go("(damaged?)")
        return
    for other, row in enumerate(t.w.rows if t.config.twins else ()):
        if other != entry and row is not None and row.state == "ready" and row.version == t.p.version:
            t.p = t.p._replace(target=other, then="link:hash", otherwise="row:reserve")
            t.go("(open)")
            return
    t.go("row:reserve")


@step("stop:unlink-partial")
def stop_unlink(t: Turn) -> None:
    """Bytes that filled the disk go."""
    t.name(PARTIAL, t.p.entry, NOTHING)
    t.remember(t.p.entry, received=0)
    t.go("row:stopped")


@step("row:stopped")
def row_stopped(t: Turn) -> None:
    """Row: what is left is a partial, or nothing."""
    entry, row = t.p.entry, t.row(t.p.entry)
    ino = t.ino(PARTIAL, entry)
    left = 0 if ino == NOTHING else t.file(ino).size
    if ino != NOTHING and not left:
        t.name(PARTIAL, entry, NOTHING)
    if row is not None:
        if t.p.program != "fetch":
            t.set_row(entry, stopped_next(row, left))
        elif left:
            t.set_row(entry, row._replace(state="partial", charged=left))
        else:
            t.set_row(entry, None)
    later = t.later
    if later is not None and t.p.partial[later] != NOTHING:
        t.p = t.p._replace(entry=later)
    else:
        t.p = t.p._replace(evictor=False)
        t.go("lock:release")


@step("lock:release")
def lock_release(t: Turn) -> None:
    """Let W go."""
    if t.p.writes:
        t.release_write(max(t.p.writes))
    if not t.p.writes and t.p.program == "repair" and not t.p.then:
        t.go("verify:end")  # it was a verify that found the damage
    elif not t.p.writes:
        t.end()
