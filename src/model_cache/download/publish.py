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
    directory = disk.open_parent(ctx.root, entry.relative, ctx.settings.directory_mode)
    try:
        ctx.step("publish:link")
        if not _link(ctx, entry, partial.path, directory):
            _adopt(ctx, entry, partial, recorder, file, meta)
            return
        partial.published = True
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
    fd = _claim(path, row)
    directory = -1
    try:
        recorder.installing(file, replacing=True)
        directory = disk.open_parent(ctx.root, entry.relative, ctx.settings.directory_mode)
        ctx.step("replace:rename")
        disk.replace(partial.path, _name(entry), directory)
        partial.published = True
        ctx.step("replace:fsync-directory")
        disk.sync(directory)
        recorder.ready(source)
    finally:
        locks.release(fd)
        if directory >= 0:
            os.close(directory)


def _seal(ctx: Context, entry: Entry, partial: Partial) -> Installed:
    ctx.step("publish:fsync-file")
    file = partial.seal()
    ctx.step("publish:touch")
    hit.touch(ctx, entry)
    return file


def _link(ctx: Context, entry: Entry, partial: str, directory: int) -> bool:
    try:
        return disk.publish(partial, _name(entry), directory)
    except OSError as error:
        raise disk.storage_error(error, "cannot publish", entry.path(ctx.root)) from None


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


def _claim(path: str, row: Row) -> int:
    """The exclusive lease on the file the index knows, while nobody has it open; returns the descriptor."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise disk.storage_error(error, "cannot open", path) from None
    held = False
    try:
        found = os.fstat(fd)
        if (found.st_ino, found.st_size, found.st_mtime_ns) != (row.ino, row.size, row.mtime_ns):
            raise StorageError(
                f"{path} is not the file that was downloaded there: somebody changed it; it was left as it is",
                path=path,
                hint=f"move it away: mv {path} {path}.mine",
            )
        held = locks.try_exclusive(fd)
        if not held or locks.try_sole_use(fd) is False:
            raise InUseError(f"{path} is in use by a running program and was not replaced", hint=f"fuser -v {path}")
    except BaseException:
        locks.release(fd) if held else os.close(fd)
        raise
    return fd
