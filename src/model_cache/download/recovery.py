"""What a dead predecessor left of one entry, and how it is settled; under W, so nobody else is at it.

    found                                   then
    installing, the path has that inode     ready; the partial's second name goes
    installing, it has not                  back to what was before: the partial is resumed
    replacement, the path has the new inode the next values become current
    replacement, it has the old one         the next values are dropped, their partial stays
    downloading                             a partial, of whatever size it has
    ready, no file                          a miss
"""

from __future__ import annotations

import os

from .. import disk
from ..context import Context
from ..index.rows import Row
from ..layout import Entry
from ..locks import WriteLock
from .recorder import Recorder


def decide(row: Row, path_ino: int | None) -> str | None:
    """The finding for a row, given the inode at its path: `ready`, `promote`, `keep`, or None: nothing to settle. Pure."""
    if row.next_state == "partial":
        return None
    if row.next_state is not None:
        return "promote" if row.next_ino is not None and row.next_ino == path_ino else "keep"
    if row.state == "installing" and row.ino is not None and row.ino == path_ino:
        return "ready"
    return None


def recover(ctx: Context, entry: Entry, lock: WriteLock, recorder: Recorder) -> Row | None:
    """Settle the entry; returns its row as it is afterwards (I10).

    A row that says `downloading` or `partial` needs nothing here: the download that follows resumes and recounts it.
    """
    assert lock.held, "recovery is done under W"
    row = recorder.row()
    path_ino = _inode(entry.path(ctx.root))
    _finish_unlink(ctx, entry, path_ino)
    if row is None:
        return None
    finding = decide(row, path_ino)
    if finding is None:
        return row
    if finding == "ready":
        # The crash may have come before the directory was durable.
        disk.fsync_directory(os.path.dirname(entry.path(ctx.root)))
    ctx.step("recover:settle")
    recorder.settled(finding, _allocated(ctx.places.partial(entry.key)))
    return recorder.row()


def _finish_unlink(ctx: Context, entry: Entry, path_ino: int | None) -> None:
    """A crash between giving the bytes their name and removing the partial's leaves one inode with two names."""
    partial = ctx.places.partial(entry.key)
    if path_ino is not None and _inode(partial) == path_ino:
        ctx.step("recover:unlink")
        disk.remove(partial)


def _allocated(path: str) -> int:
    try:
        return disk.allocated(os.stat(path, follow_symlinks=False))
    except OSError:
        return 0


def _inode(path: str) -> int | None:
    try:
        return os.stat(path, follow_symlinks=False).st_ino
    except OSError:
        return None
