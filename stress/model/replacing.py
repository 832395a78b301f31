"""New bytes in the place of old ones, of all files or of none. See `download/replacing.py`."""

from __future__ import annotations

from .state import NOTHING, PARTIAL, PATH
from .steps import step
from .turn import Turn, Violated


@step("replace:claim")
def replace_claim(t: Turn) -> None:
    """Is it the file that the index knows; the exclusive lease, and the open test. Of the same bytes only the first."""
    entry = t.p.entry
    ino, row = t.ino(PATH, entry), t.p.rows[entry]
    ours = row is not None and ino != NOTHING and t.ident(ino) == row.ident
    if not ours and not t.is_mutant("a replacement does not compare the old file"):
        _give_up(t)
        return
    if t.p.program != "repair" and ino != NOTHING:
        tested = t.config.open_test and not t.is_mutant("no open test")
        if t.leases(ino) and not t.is_mutant("a replacement takes no exclusive lease"):
            _give_up(t)
            return
        if tested and t.is_open(ino):
            _give_up(t)
            return
        t.open(entry, ino)
        t.lease(entry, "kernel" if tested else "exclusive")
    if t.is_mutant("update renames before all are claimed"):
        t.go("replace:rename")
        return
    later = t.later
    t.p = t.p._replace(entry=t.first if later is None else later)
    t.go("(still sole)/replace" if later is None else "replace:claim")


@step("(still sole)/replace")
def still_sole(t: Turn) -> None:
    """Has nobody tried to open one of them meanwhile."""
    if any(t.p.lease[entry] == "broken" for entry in t.p.unit):
        _give_up(t)
        return
    t.go("replace:rename")


@step("replace:rename")
def replace_rename(t: Turn) -> None:
    """The new bytes take the old ones' place."""
    t.rename(PARTIAL, PATH, t.p.entry)
    if t.p.program != "repair":
        t.remember(t.p.entry, fresh=True)  # the same bytes again are no use of the file
    later = t.later
    if t.is_mutant("update renames before all are claimed") and later is not None:
        t.p = t.p._replace(entry=later)
        t.go("replace:claim")
        return
    t.p = t.p._replace(entry=t.first if later is None else later)
    t.go("replace:fsync-directory" if later is None else "replace:rename")


@step("replace:fsync-directory")
def replace_fsync(t: Turn) -> None:
    """Make the names durable; then let the leases go."""
    if not t.is_mutant("the directory of a new name is not fsynced"):
        t.sync(PATH)
    later = t.later
    if later is not None:
        t.p = t.p._replace(entry=later)
        return
    for entry in t.p.unit:
        t.close(entry)
    t.p = t.p._replace(entry=t.first)
    t.go("row:ready")


def _give_up(t: Turn) -> None:
    """In use, or changed: nothing is replaced, and the partials stay."""
    for entry in t.p.unit:
        t.close(entry)
        if t.there(PATH, entry) == t.ident(t.p.partial[entry]):
            t.broken = Violated("I3", f"one file is in use, and entry {entry} of the same update was replaced")
    t.p = t.p._replace(entry=t.first)
    t.go("listing:write/undo" if t.config.whole else "row:stopped")
