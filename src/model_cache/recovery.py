"""What a dead predecessor left of one entry, and how it is settled; under W, so nobody else is at it.

found                                   then
installing, the path has that inode     ready; the partial's second name goes
installing or downloading, it has not   a partial of its allocated bytes; without one the row goes
deleting, the file still there          ready again
deleting, the file gone                 the trash is unlinked, then the row goes
replacement, the path has the new inode the next values become current
replacement, it has the old one         the next values are dropped, their partial stays
a partial that is not of the bytes      its bytes now; without any the row goes. So it is after a download that went on
that its row says                       without the index: what it did nobody could write down
ready, no file                          a miss
"""

from __future__ import annotations

import os
from contextlib import suppress

from . import disk, stats
from .context import Context
from .index.rows import Row
from .layout import Entry
from .recorder import Recorder


def decide(row: Row, there: stats.Identity | None) -> str | None:
    """The finding for a row whose W is free, given what is at its path. Pure.

    Returns:
        `ready`, `promote`, `keep`, `stopped` (see `Ledger.settled`), `gone`, or None: there is nothing to settle.
    """
    stands = there is not None and there == row.identity
    if row.state == "deleting":
        return "ready" if stands else "gone"
    if row.state == "installing" and stands:
        return "ready"
    if row.state in ("installing", "downloading"):
        return "stopped"
    if row.next_state in ("installing", "downloading"):
        promoted = there is not None and there == (row.next_ino, row.next_size, row.next_mtime_ns)
        return "promote" if promoted else "keep"
    return None


def recount(row: Row, left: int) -> str | None:
    """The finding for a row that tells of a partial, of which so many bytes are there; None if it says the same. Pure."""
    if row.state == "partial" and row.charged != left:
        return "stopped"
    if row.next_state == "partial" and row.next_charged != left:
        return "keep"
    return None


def recover(ctx: Context, entry: Entry, recorder: Recorder) -> Row | None:
    """Settle the entry, whose W the caller holds; returns its row as it is afterwards (I5, I10)."""
    row = recorder.row()
    path = entry.path(ctx.root)
    there = stats.identity_at(path)
    _finish_unlink(ctx, entry, there)
    finding = None if row is None else decide(row, there)
    left = allocated(ctx.places.partial(entry.key))
    if finding is None and row is not None:
        finding = recount(row, left)
    if finding is None:
        return row
    if finding in ("ready", "promote"):
        # The crash may have come before the directory was durable.
        disk.fsync_parent(ctx.root, entry.relative)
    if finding == "gone" and row is not None:
        ctx.step("recover:unlink-trash")
        _empty_trash(ctx, entry, row)
        # The row must not go while the file or the trash can come back: the evictor may have died before its fsync.
        disk.fsync_directory(ctx.places.trash)
        with suppress(FileNotFoundError, NotADirectoryError):
            disk.fsync_parent(ctx.root, entry.relative)
    if finding in ("stopped", "keep") and not left:
        disk.remove(ctx.places.partial(entry.key))  # made, and not written yet
    ctx.step("recover:settle")
    recorder.settled(finding, left)
    return recorder.row()


def _empty_trash(ctx: Context, entry: Entry, row: Row) -> None:
    """Remove what was evicted; a file of somebody's own, which took its place just before the rename, gets its name back.

    Another one beside it if that was taken too: what stays in the trash is removed by the next `gc` (I7).
    """
    trash = ctx.places.trash + entry.key
    if not disk.discard(trash, row.identity) and os.path.lexists(trash):
        with suppress(FileNotFoundError, NotADirectoryError):  # its directory has gone, or leads elsewhere by now
            disk.give_back(trash, ctx.root, entry.relative)


def _finish_unlink(ctx: Context, entry: Entry, there: stats.Identity | None) -> None:
    """A crash between giving the bytes their name and removing the partial's leaves one inode with two names."""
    partial = ctx.places.partial(entry.key)
    if there is not None and stats.identity_at(partial) == there:
        ctx.step("recover:unlink-partial")
        disk.remove(partial)


def allocated(path: str) -> int:
    """Bytes on disk of a file of the cache's own, 0 if it is not there."""
    try:
        return stats.allocated(os.stat(path, follow_symlinks=False))
    except OSError:
        return 0
