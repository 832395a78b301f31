"""New bytes in the place of old ones: of one file, or of several that change together or not at all.

The order: all bytes durable → all rows `installing` with the new inodes beside the old values → exclusive lease and open
test on every old file → all renamed → directories durable → leases gone → all rows `ready`.

Concurrency:
    I3, I7. W of every entry is held. One old file that is in use, or that somebody changed, and none is replaced. No
    transaction runs while a kernel lease is held: whoever opens a file meanwhile waits for it in the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from .. import beneath, disk, locks, stats
from ..context import Context
from ..errors import InUseError, StorageError, quoted
from ..index.rows import Row
from ..layout import Entry
from ..platforms import at
from ..platforms.at import Directory
from ..recorder import Recorder
from ..volumes import is_stateless
from . import publish
from .partial import Partial

Identity = tuple[int | None, int | None, int | None]  # inode, size in bytes, mtime in ns


@dataclass
class Replacement:
    """One file that is about to be replaced: what the index knows of the old one, and the new bytes.

    Attributes:
        same: The new bytes are those that were recorded: the file is replaced though it be in use, and is not thereby used.
    """

    entry: Entry
    row: Row
    partial: Partial
    recorder: Recorder
    same: bool = False
    directory: Directory = -1
    fd: int = -1
    sole: bool = False


def replace(ctx: Context, replacements: list[Replacement], source: str) -> None:
    """Put all new bytes in the place of the old ones, or none.

    Raises:
        InUseError: An old file is leased or open; all stay, and so do the partials.
        StorageError: A file is not the one the index knows, or the file system refused.
    """
    try:
        for one in replacements:
            file = publish.seal(ctx, one.entry, one.partial, used=not one.same)
            one.recorder.installing(file, replacing=True)
            one.directory = disk.open_parent(ctx.root, one.entry.relative, ctx.settings.directory_mode)
        claimed_files: set[Identity] = set()
        for one in replacements:
            ctx.step("replace:claim")
            _claim(ctx, one, claimed_files)
        for one in replacements:
            _refuse_opened(ctx, one)
        for one in replacements:
            _rename(ctx, one)
        for one in replacements:
            ctx.step("replace:fsync-directory")
            disk.sync(one.directory)
    finally:
        with ExitStack() as each:
            for one in replacements:
                each.callback(_let_go, one)
    for one in replacements:
        one.recorder.ready(source, used=not one.same)


@contextmanager
def claimed(ctx: Context, entry: Entry, identity: Identity) -> Iterator[None]:
    """Hold the very file of this identity exclusively for the block, in which its path may be taken away.

    Raises:
        InUseError: It is leased or open.
        StorageError: Another file is at the path.
    """
    fd, sole = _claimed_file(ctx, entry, identity, same=False)
    try:
        if sole and not locks.has_sole_use(fd):
            raise _in_use(entry.path(ctx.root))
        yield
    finally:
        locks.release(fd)


def _refuse_opened(ctx: Context, one: Replacement) -> None:
    if one.sole and not locks.has_sole_use(one.fd):
        raise _in_use(one.entry.path(ctx.root))  # somebody opens it right now


def _claim(ctx: Context, one: Replacement, claimed_files: set[Identity]) -> None:
    """The exclusive lease on the file the index knows, while nobody has it open; of the same bytes only the file.

    Of several names of one file the first is claimed for all: our own leases would refuse us the others.
    """
    file, path = one.row.identity, one.entry.path(ctx.root)
    if file not in claimed_files:
        one.fd, one.sole = _claimed_file(ctx, one.entry, file, same=one.same)
        claimed_files.add(file)
    elif stats.identity_at(path) != file:
        raise changed(path)


def _claimed_file(ctx: Context, entry: Entry, identity: Identity, *, same: bool) -> tuple[int, bool]:
    """(open file, whether the kernel says that nobody else has it open)."""
    path = entry.path(ctx.root)
    try:
        fd = beneath.open_entry(ctx.root, entry.relative)
    except OSError as error:
        raise disk.storage_error(error, "cannot open", path) from None
    try:
        found = os.fstat(fd)
        if stats.identity(found) != identity:
            raise changed(path)
        if same:
            return fd, False
        sole = _sole_use(fd) if locks.try_exclusive(fd) and not is_stateless(ctx.mount) else False
        if sole is False:
            raise _in_use(path)
        return fd, sole is True
    except BaseException:
        locks.release(fd)
        raise


def _sole_use(fd: int) -> bool | None:
    """The open test; another user's file is replaced without it: who has it open keeps the bytes, and the path stays."""
    try:
        return locks.try_sole_use(fd)
    except PermissionError:
        return None


def _rename(ctx: Context, one: Replacement) -> None:
    ctx.step("replace:rename")
    # Set first: an interrupt that comes as the call returns must find it done.
    one.partial.published = True
    try:
        disk.replace(one.partial.fileno(), one.partial.path, one.entry.filename.rpartition("/")[2], one.directory)
    except OSError as error:
        one.partial.published = False
        raise disk.storage_error(error, "cannot replace", one.entry.path(ctx.root)) from None


def changed(path: str) -> StorageError:
    """The error for a file that is not the one the index knows."""
    return StorageError(
        f"{path} is not the file that was downloaded there: somebody changed it; it was left as it is",
        path=path,
        hint=f"move it away: mv {quoted(path)} {quoted(path + '.mine')}",
    )


def _in_use(path: str) -> InUseError:
    return InUseError(f"{path} is in use by a running program and was not replaced", hint=f"fuser -v {quoted(path)}")


def _let_go(one: Replacement) -> None:
    directory, one.directory = one.directory, -1
    fd, one.fd = one.fd, -1
    try:
        if fd >= 0:
            locks.release(fd)
    finally:
        if directory != -1:
            at.close(directory)
