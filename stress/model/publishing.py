"""Verified bytes get their name at a free path, by a link from the partial or from another entry. See `download/publish.py`."""

from __future__ import annotations

from .recovering import promoted, without_next
from .state import FULL, NOTHING, PARTIAL, PATH, Row
from .steps import step
from .turn import Turn


@step("publish:fsync-file")
def fsync_file(t: Turn) -> None:
    """Make the bytes durable."""
    if not t.is_mutant("the file is not fsynced"):
        t.set_file(t.partial, t.file(t.partial)._replace(synced=True))
    t.go("row:installing" if t.p.program == "repair" else "publish:touch")


@step("publish:touch")
def publish_touch(t: Turn) -> None:
    """Last use = now."""
    if not t.is_mutant("no touch at publish"):
        t.touch(t.p.entry)
    if t.p.program == "job":
        t.p = t.p._replace(complete=(*t.p.complete, t.p.entry))
        t.go("(next)")
        return
    t.go("row:installing")


@step("row:installing")
def row_installing(t: Turn) -> None:
    """Row: this inode is about to stand at the path."""
    entry = t.p.entry
    row, ident = t.row(entry), t.ident(t.partial)
    if row is not None and not t.is_mutant("no intent row"):
        if t.p.program == "fetch":
            t.set_row(entry, row._replace(state="installing", ident=ident, charged=FULL, version=t.p.version))
        else:
            t.set_row(entry, row._replace(next_state="installing", next_ident=ident, next_charged=FULL))
    if t.p.program == "fetch":
        t.go("publish:link")
        return
    later = t.later
    t.p = t.p._replace(entry=t.first if later is None else later)
    t.go("replace:claim" if later is None else "publish:fsync-file")


@step("publish:link")
def publish_link(t: Turn) -> None:
    """Give the bytes their name; a link never replaces."""
    entry, ino = t.p.entry, t.partial
    taken = t.ino(PATH, entry) != NOTHING
    if not t.links(ino):
        t.go("row:stopped")  # somebody removed the partial: there is nothing to link
    elif taken and not t.is_mutant("publish replaces what is there"):
        t.go("(compare with it)")
    else:
        t.name(PATH, entry, ino)
        t.remember(entry, fresh=True)
        t.go("publish:fsync-directory")


@step("(compare with it)")
def compare_with_it(t: Turn) -> None:
    """Something stands at the path: hash it, and drop what was downloaded."""
    entry = t.p.entry
    there = t.ino(PATH, entry)
    same = there != NOTHING and t.file(there).bytes == t.p.version
    t.name(PARTIAL, entry, NOTHING)
    t.remember(entry, received=0)
    t.go("row:adopt" if same else "row:stopped")


@step("row:adopt")
def row_adopt(t: Turn) -> None:
    """Row: the same bytes that somebody put there are taken over as they are."""
    ident = t.there(PATH, t.p.entry)
    t.set_row(t.p.entry, Row("ready", t.p.version, ident, FULL, used=True))
    _hand_out(t)


@step("publish:fsync-directory")
def fsync_directory(t: Turn) -> None:
    """Make the name durable."""
    if not t.is_mutant("the directory of a new name is not fsynced"):
        t.sync(PATH)
    t.go("publish:unlink-partial")


@step("publish:unlink-partial")
def unlink_partial(t: Turn) -> None:
    """Remove the partial's name."""
    t.name(PARTIAL, t.p.entry, NOTHING)
    t.go("row:ready")


@step("row:ready")
def row_ready(t: Turn) -> None:
    """Row: `ready`."""
    _ready(t)
    if t.p.program == "fetch":
        _hand_out(t)
        return
    later = t.later
    if later is not None:
        t.p = t.p._replace(entry=later)
    else:
        t.go("(unmark)" if t.p.program == "repair" else "row:commit")


def _ready(t: Turn) -> None:
    row = t.row(t.p.entry)
    if row is not None:
        used = row.used if t.p.program == "repair" else True
        ready = without_next(promoted(row))._replace(state="ready", used=used, verdict="ok")
        if t.is_mutant("no intent row"):
            ready = ready._replace(ident=t.there(PATH, t.p.entry), version=t.p.version)
        t.set_row(t.p.entry, ready)


def _hand_out(t: Turn) -> None:
    t.p = t.p._replace(target=t.p.entry, then="lock:release", otherwise="lock:release")
    t.go("(open)")


@step("row:commit")
def row_commit(t: Turn) -> None:
    """Rows of files that did not change: they are at the new commit too."""
    t.go("listing:write/there" if t.config.whole else "lock:release")


@step("(unmark)")
def unmark(t: Turn) -> None:
    """The damage mark goes."""
    t.mark(t.p.entry, None)
    if t.p.then:
        _hand_out(t)  # it was a fetch that found the damage
    else:
        t.go("lock:release")


@step("link:hash")
def link_hash(t: Turn) -> None:
    """Hash the leased source; right, it is linked, and what an earlier attempt left is not needed."""
    source = t.p.fd[t.p.target]
    if t.file(source).bytes != t.p.version:
        t.close(t.p.target)
        t.go("row:reserve")
        return
    t.name(PARTIAL, t.p.entry, NOTHING)
    t.remember(t.p.entry, received=0)
    t.go("row:reserve/link")


@step("row:reserve/link")
def reserve_link(t: Turn) -> None:
    """Row: `downloading`; a second name needs no room. Last use = now."""
    t.set_row(t.p.entry, Row("downloading", t.p.version))
    t.touch(t.p.entry)
    t.go("row:installing/link")


@step("row:installing/link")
def installing_link(t: Turn) -> None:
    """Row: the source's inode is about to stand at the path."""
    row = t.row(t.p.entry)
    if row is not None and not t.is_mutant("no intent row"):
        t.set_row(t.p.entry, row._replace(state="installing", ident=t.ident(t.p.fd[t.p.target])))
    t.go("link:link")


@step("link:link")
def link_link(t: Turn) -> None:
    """Give the source's bytes a second name, if its path still leads to them."""
    entry, source = t.p.entry, t.p.fd[t.p.target]
    if t.ino(PATH, t.p.target) != source or t.ino(PATH, entry) != NOTHING:
        t.close(t.p.target)
        t.go("row:reserve")
        return
    t.name(PATH, entry, source)
    t.remember(entry, fresh=True)
    t.go("link:fsync-directory")


@step("link:fsync-directory")
def link_fsync(t: Turn) -> None:
    """Make the new name durable."""
    if not t.is_mutant("the directory of a new name is not fsynced"):
        t.sync(PATH)
    t.go("row:ready/link")


@step("row:ready/link")
def link_ready(t: Turn) -> None:
    """Row: `ready`; the source is let go."""
    _ready(t)
    t.close(t.p.target)
    _hand_out(t)
