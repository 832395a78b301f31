"""Whoever takes files away: the evictor, by itself or for a download that needs room. See `budget/eviction.py`.

`evict` takes whatever is idle; `settle` only settles what the dead left and sweeps; a download that finds no room comes
here by itself (`row:reserve`), and takes one unit after another until its bytes fit.
"""

from __future__ import annotations

from .recovering import stopped_next
from .state import BESIDE, FULL, NOTHING, PARTIAL, PATH, TRASH, Row
from .steps import step
from .turn import Turn

_ALONE = ("evict", "settle")  # programs that are here for themselves


@step("lock:evictor")
def lock_evictor(t: Turn) -> bool | None:
    """Take G: one evictor at a time."""
    if any(other.evictor for other in t.others()):
        return False
    t.p = t.p._replace(evictor=True, target=-1, victims=())
    _settle_next(t)
    return None


def _settle_next(t: Turn) -> None:
    for entry in range(t.p.target + 1, t.config.entries):
        row = t.row(entry)
        mine = t.p.program not in _ALONE and entry == t.p.entry
        if row is not None and (row.state != "ready" or row.next_state) and not mine:
            t.p = t.p._replace(target=entry)
            t.go("(settle)")
            return
    t.p = t.p._replace(target=-1)
    t.go("(choose)" if t.p.program in _ALONE else "row:reserve")


@step("(settle)")
def settle(t: Turn) -> None:
    """Something is unsettled; if its W is free, its process is dead."""
    if t.try_write(t.p.target) or t.is_mutant("rows are settled without trying W"):
        t.p = t.p._replace(back="(settled)")
        t.go("(recover)")
    else:
        _settle_next(t)


@step("(settled)")
def settled(t: Turn) -> None:
    """Let its W go; for a download, what is left of it makes room."""
    entry, row = t.p.target, t.row(t.p.target)
    if t.p.program not in _ALONE and row is not None and "partial" in (row.state, row.next_state):
        early = t.is_mutant("the row of a partial goes before its file")
        t.go("row:stopped/reclaim" if early else "reclaim:unlink-partial")
        return
    t.release_write(entry)
    _settle_next(t)


@step("reclaim:unlink-partial")
def reclaim(t: Turn) -> None:
    """Remove a partial that nobody works on."""
    t.name(PARTIAL, t.p.target, NOTHING)
    t.remember(t.p.target, received=0)
    t.go("row:stopped/reclaim")


@step("row:stopped/reclaim")
def reclaimed(t: Turn) -> None:
    """Row: nothing is left of that download."""
    row = t.row(t.p.target)
    if row is not None:
        t.set_row(t.p.target, stopped_next(row, 0) if row.next_state == "partial" else None)
    if t.is_mutant("the row of a partial goes before its file") and t.ino(PARTIAL, t.p.target) != NOTHING:
        t.go("reclaim:unlink-partial")
        return
    t.release_write(t.p.target)
    _settle_next(t)


@step("(choose)")
def choose(t: Turn) -> None:
    """The next file that may go as far as the index knows, with all its names, if their last use is long ago."""
    for entry in range(t.p.target + 1, t.config.entries):
        row = t.row(entry)
        mine = t.p.program not in _ALONE and entry == t.p.entry
        if t.p.program == "settle" or mine or row is None or row.state != "ready" or row.next_state:
            continue
        unit = tuple(at for at, other in enumerate(t.w.rows) if other is not None and other.ident == row.ident)
        if unit[0] == entry and not any(_recent(t, at, t.row(at)) for at in unit):
            t.p = t.p._replace(target=entry, victims=unit, listed=t.w.rows, found="")
            t.go("(try W)")
            return
    t.p = t.p._replace(target=-1, victims=(), listed=())
    t.go("(sweep)" if t.p.program in _ALONE else "(no room)")


def _recent(t: Turn, entry: int, row: Row | None) -> bool:
    return t.w.recent[entry] or (row is not None and row.used)


@step("(no room)")
def no_room(t: Turn) -> None:
    """Nothing more can go: G is let go, the download fails."""
    t.p = t.p._replace(evictor=False)
    t.go("row:stopped")


@step("(try W)")
def try_write(t: Turn) -> None:
    """Try the write locks of all names."""
    for entry in t.p.victims:
        if not t.try_write(entry) and not t.is_mutant("an eviction does not try W"):
            _release(t)
            t.go("(choose)")
            return
    t.go("row:gone" if t.is_mutant("the row goes first") else "row:deleting")


@step("row:deleting", "evict:deleting")
def deleting(t: Turn) -> None:
    """Rows: `deleting`, if they still are what they were."""
    same = True
    for entry in t.p.victims:
        row, before = t.row(entry), t.p.listed[entry]
        if row is None or before is None or row.state != "ready" or row.ident != before.ident or row.next_state:
            same = False
        elif not t.is_mutant("no row `deleting`"):
            t.set_row(entry, row._replace(state="deleting"))
    _spare_or_go(t, "(open victim)" if same else "")


@step("(open victim)")
def open_victim(t: Turn) -> None:
    """Open it; is it the recorded file, and are its names ours."""
    entry, row = t.p.target, t.p.listed[t.p.target]
    ino = t.ino(PATH, entry)
    if ino == NOTHING:
        t.p = t.p._replace(found="gone")
        t.go("evict:fsync/nothing")  # somebody removed it: only the row is left to go
        return
    names = len(t.p.victims)
    if not t.is_mutant("an eviction does not know its own partials again"):
        names += sum(t.ino(PARTIAL, one) == ino for one in t.p.victims)  # a power loss brought it back
    ours = row is not None and t.ident(ino) == row.ident and t.links(ino) == names
    if not ours and not t.is_mutant("an eviction never compares the file"):
        _spare_or_go(t, "")
        return
    t.open(entry, ino)
    t.go("evict:last-use" if t.is_mutant("last use is read before the lock") else "evict:lease")


@step("evict:lease")
def evict_lease(t: Turn) -> None:
    """The exclusive lease, tried."""
    if not t.is_mutant("an eviction takes no exclusive lease"):
        if t.leases(t.p.fd[t.p.target]):
            _spare_or_go(t, "")
            return
        t.lease(t.p.target, "exclusive")
    after = "(still sole)" if t.is_mutant("last use is read before the lock") else "evict:last-use"
    t.go("evict:open-test" if t.config.open_test and not t.is_mutant("no open test") else after)


@step("evict:open-test")
def open_test(t: Turn) -> None:
    """Ask the kernel whether anybody has it open."""
    if t.is_open(t.p.fd[t.p.target]):
        _spare_or_go(t, "")
        return
    t.lease(t.p.target, "kernel")
    t.go("evict:last-use")


@step("evict:last-use")
def last_use(t: Turn) -> None:
    """Read the last use again."""
    if any(_recent(t, entry, t.p.listed[entry]) for entry in t.p.victims):
        _spare_or_go(t, "")
        return
    t.go("evict:lease" if t.is_mutant("last use is read before the lock") else "(still sole)")


@step("(still sole)")
def still_sole(t: Turn) -> None:
    """Has nobody tried to open it meanwhile."""
    broken = t.p.lease[t.p.target] == "broken" and not t.is_mutant("a broken kernel lease is not noticed")
    _spare_or_go(t, "" if broken else "evict:rename")


@step("evict:rename")
def rename(t: Turn) -> None:
    """Rename all its names into the trash."""
    for entry in t.p.victims:
        if t.ino(PATH, entry) != NOTHING:
            t.rename(PATH, TRASH, entry)
    if t.is_mutant("what was renamed is not looked at") or t.is_mutant("an eviction never compares the file"):
        t.go("evict:fsync")
    else:
        t.go("(look at it)")


@step("(look at it)")
def look_at_it(t: Turn) -> None:
    """Was it the file that was meant; somebody's own goes back."""
    for entry in t.p.victims:
        row, trash = t.p.listed[entry], t.there(TRASH, entry)
        if trash is not None and row is not None and trash != row.ident:
            t.rename(TRASH, PATH if t.ino(PATH, entry) == NOTHING else BESIDE, entry)
        elif row is not None and trash is not None and t.there(PARTIAL, entry) == row.ident:
            t.name(PARTIAL, entry, NOTHING)
    t.go("evict:fsync")


@step("evict:fsync")
def fsync(t: Turn) -> None:
    """Make both directories durable."""
    if not t.is_mutant("an eviction fsyncs nothing"):
        for place in (PATH, TRASH, PARTIAL):
            t.sync(place)
    t.go("(let go)")


@step("(let go)")
def let_go(t: Turn) -> None:
    """Let the leases go."""
    t.close(t.p.target)
    t.p = t.p._replace(found="gone")
    t.go("row:gone" if t.is_mutant("the row goes before the trash is unlinked") else "evict:unlink")


@step("evict:unlink")
def unlink(t: Turn) -> None:
    """Unlink the trash."""
    for entry in t.p.victims:
        t.name(TRASH, entry, NOTHING)
        t.remember(entry, received=0)
    t.go("(make it durable)/evict")


@step("(make it durable)/evict")
def make_it_durable(t: Turn) -> None:
    """The trash must not come back when its row has gone."""
    if not t.is_mutant("the row goes before the unlink is durable") and not t.is_mutant("an eviction fsyncs nothing"):
        t.sync(TRASH)
    early = t.is_mutant("the row goes before the trash is unlinked") or t.is_mutant("the row goes first")
    t.go("(forget)" if early else "row:gone")


def _spare_or_go(t: Turn, at: str) -> None:
    """Go on, or (nowhere) let the file go and put its rows back."""
    if at:
        t.go(at)
        return
    t.close(t.p.target)
    t.p = t.p._replace(found="spared")
    t.go("evict:fsync/nothing")


@step("evict:fsync/nothing")
def fsync_nothing(t: Turn) -> None:
    """Nothing was renamed, and the trash is synced all the same."""
    t.sync(TRASH)
    t.go("row:gone")


@step("row:gone", "evict:row")
def row_gone(t: Turn) -> None:
    """Rows: dropped, their bytes given to the download that needs them; of a spared file `ready` again."""
    for entry in t.p.victims:
        row = t.row(entry)
        if t.p.found != "spared":
            t.set_row(entry, None)
        elif row is not None and row.state == "deleting":
            t.set_row(entry, row._replace(state="ready"))
    if t.p.program not in _ALONE:
        _admit(t)
    if t.is_mutant("the row goes first") and not t.p.found:
        t.go("(open victim)")
    elif t.is_mutant("the row goes before the trash is unlinked") and t.p.found == "gone":
        t.go("evict:unlink")
    else:
        t.go("(forget)")


def _admit(t: Turn) -> None:
    """What was freed becomes this download's reservation, as far as it goes."""
    entry, row = t.p.entry, t.row(t.p.entry)
    budget = t.config.budget
    if budget is None or t.p.program != "fetch":
        return
    mine = 0 if row is None else row.charged + row.next_charged
    granted = min(max(budget - (t.counted() - mine), mine), FULL)
    t.set_row(entry, Row("downloading", t.p.version, charged=max(granted, 0)))


@step("(forget)")
def forget(t: Turn) -> None:
    """What is left of it goes: its last use, and W."""
    if t.p.found == "gone":
        recent = tuple(used and entry not in t.p.victims for entry, used in enumerate(t.w.recent))
        t.w = t.w._replace(recent=recent)
    _release(t)
    t.p = t.p._replace(found="")
    t.go("(choose)" if t.p.program in _ALONE else "row:reserve")


def _release(t: Turn) -> None:
    mine = frozenset() if t.p.program in _ALONE else frozenset([t.p.entry])
    t.p = t.p._replace(writes=t.p.writes & mine, victims=(), listed=())


@step("(sweep)")
def sweep(t: Turn) -> None:
    """Remove trash that belongs to no row; let G go."""
    for entry in range(t.config.entries):
        if t.row(entry) is None and t.ino(TRASH, entry) != NOTHING:
            t.name(TRASH, entry, NOTHING)
    t.end()
