"""Giving verified, durable bytes their name.

Concurrency:
    I1, I5, I7, I10. The order a reader and a crash depend on: bytes durable → last use = now → row `installing` with the
    inode → name → directory durable → partial's name gone → row `ready`. After the name is given nothing is undone.
"""

from __future__ import annotations

import hashlib
import os

from .. import disk, hit, locks
from ..context import Context
from ..errors import InUseError, StorageError
from ..hub.client import FileMeta
from ..index.ledger import Installed
from ..index.rows import Row
from ..layout import Entry
from ..locks import WriteLock
from ..recorder import Recorder
from .partial import Partial


def publish(
    ctx: Context, entry: Entry, lock: WriteLock, partial: Partial, recorder: Recorder, meta: FileMeta, source: str
) -> None:
    """Publish a new file at a path that was free.

    Raises:
        StorageError: Somebody put another file there meanwhile (it is left untouched), or the file system refused.
    """
    assert lock.held, "publishing is done under W"
    file = _seal(ctx, entry, partial)
    recorder.installing(file, replacing=False)
    directory = _link(ctx, entry, partial)
    if directory is None:
        _adopt(ctx, entry, partial, recorder, file, meta)
        return
    try:
        ctx.step("publish:fsync-directory")
        disk.sync(directory)
    finally:
        os.close(directory)
    ctx.step("publish:unlink-partial")
    disk.remove(partial.path)
    recorder.ready(source)


def replace(
    ctx: Context, entry: Entry, lock: WriteLock, partial: Partial, recorder: Recorder, row: Row, source: str
) -> None:
    """Put new bytes in the place of an entry's old ones.

    Raises:
        InUseError: The old file is leased or open; it stays, and so does the partial.
        StorageError: The file at the path is not the one the index knows: somebody's own (I7).
    """
    assert lock.held, "replacing is done under W"
    path = entry.path(ctx.root)
    file = _seal(ctx, entry, partial)
    recorder.installing(file, replacing=True)
    directory = disk.open_parent(ctx.root, entry.relative, ctx.settings.directory_mode)
    try:
        fd, sole = _claim(path, row)
        try:
            ctx.step("replace:rename")
            if sole and not locks.has_sole_use(fd):
                raise _in_use(path)  # somebody opens it right now
            # Set first: an interrupt that comes as the call returns must find it done.
            partial.published = True
            try:
                disk.replace(partial.fileno(), partial.path, _name(entry), directory)
            except OSError as error:
                partial.published = False
                raise disk.storage_error(error, "cannot replace", path) from None
        finally:
            locks.release(fd)
        ctx.step("replace:fsync-directory")
        disk.sync(directory)
    finally:
        os.close(directory)
    recorder.ready(source)


def _seal(ctx: Context, entry: Entry, partial: Partial) -> Installed:
    ctx.step("publish:fsync-file")
    file = partial.seal()
    ctx.step("publish:touch")
    hit.touch(ctx, entry)
    return file


def _link(ctx: Context, entry: Entry, partial: Partial) -> int | None:
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
                os.close(directory)
    raise AssertionError("the last attempt returns or raises")


def _name(entry: Entry) -> str:
    return entry.filename.rpartition("/")[2]


def _adopt(ctx: Context, entry: Entry, partial: Partial, recorder: Recorder, ours: Installed, meta: FileMeta) -> None:
    """Something stands at the path: the same bytes are taken over as they are, others are left alone."""
    path = entry.path(ctx.root)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest() if found.st_size == ours.size else ""
    disk.remove(partial.path)
    if digest != ours.sha256:
        recorder.stopped(0, replacing=False)
        raise StorageError(
            f"{path} was put there by somebody while {entry} was downloaded, and has other bytes; it was left as it is",
            path=path,
            hint=f"move it away: mv {path} {path}.mine",
        )
    theirs = Installed(found.st_ino, found.st_mtime_ns, found.st_size, disk.allocated(found), digest)
    recorder.adopted(theirs, meta.etag, meta.commit)


def _in_use(path: str) -> InUseError:
    return InUseError(f"{path} is in use by a running program and was not replaced", hint=f"fuser -v {path}")


def _claim(path: str, row: Row) -> tuple[int, bool]:
    """The exclusive lease on the file the index knows, while nobody has it open.

    Returns:
        The descriptor, and whether the kernel's lease says that it is the only one.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise disk.storage_error(error, "cannot open", path) from None
    try:
        found = os.fstat(fd)
        if (found.st_ino, found.st_size, found.st_mtime_ns) != (row.ino, row.size, row.mtime_ns):
            raise StorageError(
                f"{path} is not the file that was downloaded there: somebody changed it; it was left as it is",
                path=path,
                hint=f"move it away: mv {path} {path}.mine",
            )
        sole = locks.try_sole_use(fd) if locks.try_exclusive(fd) else False
        if sole is False:
            raise _in_use(path)
    except BaseException:
        locks.release(fd)
        raise
    return fd, sole is True
