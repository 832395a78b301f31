"""Giving verified, durable bytes their name.

Concurrency:
    I1, I5, I7, I10. The order a reader and a crash depend on: bytes durable → last use = now → row `installing` with the
    inode → name → directory durable → partial's name gone → row `ready`. After the name is given nothing is undone.
"""

from __future__ import annotations

import os

from .. import digest, disk, hit, stats
from ..context import Context
from ..errors import StorageError, quoted
from ..hub.client import FileMeta
from ..index.ledger import Installed
from ..layout import Entry
from ..platforms import at
from ..platforms.at import Directory
from ..recorder import Recorder
from .partial import Partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..write_lock import Held


def publish(
    ctx: Context, entry: Entry, lock: Held, partial: Partial, recorder: Recorder, meta: FileMeta, source: str
) -> None:
    """Publish a new file at a path that was free.

    Raises:
        StorageError: Somebody put another file there meanwhile (it is left untouched), or the file system refused.
    """
    assert lock.held, "publishing is done under W"
    file = seal(ctx, entry, partial)
    recorder.installing(file, replacing=False)
    directory = link(ctx, entry, partial)
    if directory is None:
        adopt(ctx, entry, partial, recorder, file, meta)
        return
    try:
        ctx.step("publish:fsync-directory")
        disk.sync(directory)
    finally:
        at.close(directory)
    ctx.step("publish:unlink-partial")
    partial.remove()
    recorder.ready(source)


def seal(ctx: Context, entry: Entry, partial: Partial, *, used: bool = True) -> Installed:
    """Make the bytes durable and (`used`) the entry recently used: from here on only names are missing."""
    ctx.step("publish:fsync-file")
    file = partial.seal()
    if used:
        ctx.step("publish:touch")
        hit.touch(ctx, entry)
    return file


def link(ctx: Context, entry: Entry, partial: Partial) -> Directory | None:
    """Give the bytes their name; returns the open directory, or None if something stands there.

    Directories that somebody removed while they were empty are made again, a bounded number of times.
    """
    for last in (False, False, True):
        directory = disk.open_parent(ctx.root, entry.relative, ctx.settings.directory_mode)
        linked = False
        try:
            ctx.step("publish:link")
            # Set first: an interrupt that comes as the call returns must find it done.
            partial.published = True
            linked = partial.published = disk.publish(partial.fileno(), partial.path, _name(entry), directory)
            return directory if linked else None
        except OSError as error:
            partial.published = False
            if last or not isinstance(error, FileNotFoundError):
                raise disk.storage_error(error, "cannot publish", entry.path(ctx.root)) from None
        finally:
            if not linked:
                at.close(directory)
    raise AssertionError("the last attempt returns or raises")


def _name(entry: Entry) -> str:
    return entry.filename.rpartition("/")[2]


def adopt(ctx: Context, entry: Entry, partial: Partial, recorder: Recorder, ours: Installed, meta: FileMeta) -> None:
    """Something stands at the path: the same bytes are taken over as they are, others are left alone."""
    path = entry.path(ctx.root)
    try:
        fd = disk.open_entry(ctx.root, entry.relative)
    except OSError as error:
        raise disk.storage_error(error, f"{entry} was downloaded, and cannot be published: cannot open", path) from None
    try:
        found = os.fstat(fd)
        sha256 = digest.sha256(fd)[0] if found.st_size == ours.size else ""
    finally:
        os.close(fd)
    partial.remove_durably()
    if sha256 != ours.sha256:
        recorder.stopped(0, replacing=False)
        raise StorageError(
            f"{path} was put there by somebody while {entry} was downloaded, and has other bytes; it was left as it is",
            path=path,
            hint=f"move it away: mv {quoted(path)} {quoted(f'{path}.mine')}",
        )
    theirs = Installed(stats.inode(found), found.st_mtime_ns, found.st_size, stats.allocated(found), sha256)
    recorder.adopted(theirs, meta.etag, meta.commit)
