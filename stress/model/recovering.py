"""What a dead predecessor left of one entry is settled, under its W. See `recovery.py`."""

from __future__ import annotations

from .state import BESIDE, EMPTY, NOTHING, PARTIAL, PATH, TRASH, Ident, Row
from .steps import step
from .turn import Turn

_BLIND = "recovery does not compare the inode"


def decide(t: Turn, row: Row, there: Ident | None) -> str:
    """The finding for a row whose W is free."""
    stands = there is not None and (there == row.ident or t.is_mutant(_BLIND))
    if row.state == "deleting":
        return "ready" if stands and not t.is_mutant("recovery trashes what was being deleted") else "gone"
    if row.state == "installing" and stands:
        return "ready"
    if row.state in ("installing", "downloading"):
        return "stopped"
    if row.next_state in ("installing", "downloading"):
        same = there == row.next_ident or (row.next_state == "installing" and t.is_mutant(_BLIND))
        return "promote" if there is not None and same else "keep"
    return ""


@step("(recover)")
def recover(t: Turn) -> None:
    """Look at the row and at the path."""
    entry = t.p.target
    if t.is_mutant("no recovery"):
        t.go(t.p.back)
    elif (ino := t.ino(PATH, entry)) != NOTHING and t.ino(PARTIAL, entry) == ino:
        t.go("recover:unlink-partial")
    else:
        _find(t)


@step("recover:unlink-partial")
def unlink_partial(t: Turn) -> None:
    """The partial is a second name of the published file, and goes."""
    t.name(PARTIAL, t.p.target, NOTHING)
    _find(t)


def _find(t: Turn) -> None:
    entry = t.p.target
    row = t.row(entry)
    finding = "" if row is None else decide(t, row, t.there(PATH, entry))
    t.p = t.p._replace(found=finding)
    t.go("(prepare)" if finding else t.p.back)


@step("(prepare)")
def prepare(t: Turn) -> None:
    """Make the directory durable if the file stands; remove a partial without a byte."""
    entry, finding = t.p.target, t.p.found
    if finding in ("ready", "promote") and not t.is_mutant("recovery does not fsync"):
        t.sync(PATH)
    partial = t.ino(PARTIAL, entry)
    if finding in ("stopped", "keep") and partial != NOTHING and t.file(partial).bytes == EMPTY:
        t.name(PARTIAL, entry, NOTHING)
    t.go("recover:unlink-trash" if finding == "gone" else "row:settled")


@step("recover:unlink-trash")
def unlink_trash(t: Turn) -> None:
    """Unlink what was evicted; a file of somebody's own that was renamed with it gets its name back."""
    entry = t.p.target
    row, trash = t.row(entry), t.ino(TRASH, entry)
    if trash != NOTHING and row is not None and t.ident(trash) == row.ident:
        t.name(TRASH, entry, NOTHING)
    elif trash != NOTHING:
        free = t.ino(PATH, entry) == NOTHING
        if free or not t.is_mutant("recovery leaves somebody's own file in the trash"):
            t.rename(TRASH, PATH if free else BESIDE, entry)
    if t.is_mutant("recovery trashes what was being deleted"):
        t.name(PATH, entry, NOTHING)
    t.remember(entry, received=0)
    t.go("(make it durable)")


@step("(make it durable)")
def make_it_durable(t: Turn) -> None:
    """Both directories: the row must not go while the file or the trash can come back."""
    if not t.is_mutant("recovery does not fsync"):
        t.sync(PATH)
        t.sync(TRASH)
    t.go("row:settled")


@step("row:settled", "recover:settle")
def row_settled(t: Turn) -> None:
    """Write down what was found."""
    entry, finding = t.p.target, t.p.found
    row, partial = t.row(entry), t.ino(PARTIAL, entry)
    left = 0 if partial == NOTHING else t.file(partial).size
    if row is None or finding == "gone" or (finding == "stopped" and not left):
        t.set_row(entry, None)
    elif finding == "stopped":
        t.set_row(entry, row._replace(state="partial", charged=left, ident=None))
    elif finding == "promote":
        t.set_row(entry, without_next(promoted(row))._replace(state="ready"))
    elif finding == "keep":
        t.set_row(entry, stopped_next(row, left))
    else:
        t.set_row(entry, row._replace(state="ready"))
    t.p = t.p._replace(found="")
    t.go(t.p.back)


def promoted(row: Row) -> Row:
    """The next values become the current ones, if the replacement had got so far."""
    if row.next_state != "installing":
        return row
    return row._replace(version=row.next_version, ident=row.next_ident, charged=row.next_charged, verdict="ok")


def without_next(row: Row) -> Row:
    """The next values are dropped."""
    return row._replace(next_state="", next_version="", next_ident=None, next_charged=0)


def stopped_next(row: Row, left: int) -> Row:
    """A replacement that did not happen leaves a partial beside the entry, or nothing."""
    row = without_next(row)
    return row._replace(next_state="partial", next_charged=left) if left else row
