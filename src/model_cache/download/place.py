"""Whether a file can be given its name at all, asked before the bytes are fetched, and what is left where there is none."""

from __future__ import annotations

import os
import stat

from .. import disk
from ..context import Context
from ..errors import ModelCacheError, StorageError, quoted
from ..layout import Entry
from ..platforms import at
from ..recorder import Recorder
from ..write_lock import WriteLock


def check(ctx: Context, entry: Entry) -> None:
    """Make the directory that the file will be in, and look at its name there.

    Raises:
        StorageError: A file or a symlink stands in the way. A regular file does not: it may have come just now, and is
            compared with the promise when the name is given.
    """
    path = entry.path(ctx.root)
    at.close(disk.open_parent(ctx.root, entry.relative, ctx.settings.directory_mode))
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a symlink that leads nowhere" if stat.S_ISLNK(mode) else "no regular file"
        raise StorageError(f"{path} is {kind}, where the file is to be", hint=f"ls -ld {quoted(path)}", path=path)


def forget(ctx: Context, entry: Entry, lock: WriteLock, recorder: Recorder) -> None:
    """Leave nothing of a name that the Hub does not know: a misspelt one is never asked for again.

    Concurrency:
        Under W, for an entry without row and partial. Whoever opened the lock's file before and locks it after sees a
        link count of 0 and opens anew (`filelock` 4.2 and later, `locks.try_write`).
    """
    assert lock.held, "the lock's file is removed under the lock"
    try:
        if not lock.excludes or recorder.row() is not None or os.path.lexists(ctx.places.partial(entry.key)):
            return
        disk.remove(ctx.places.note(entry.key))
        disk.remove(ctx.places.lock(entry.key))
    except (ModelCacheError, OSError):
        return  # the refusal is what the caller must see
