"""Taking the write lock: bounded, visible, and left at once when the file has appeared.

Concurrency:
    A waiter leaves when the inode at the path is not the one it saw before it began to wait, so N waiters leave within
    one poll of the publish, none of them ever holding W. When the leader dies, the kernel drops its lock and one waiter
    has it at its next poll. `lock_timeout` counts only while the partial does not grow: a slow download is not a dead one.

This is what every process of a herd loads, so it loads little.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from enum import Enum

from .. import disk, stats
from ..context import Context
from ..errors import DownloadInProgressError, LockTimeoutError, quoted
from ..units import format_duration, format_size
from ..volumes import is_shared
from ..write_lock import WriteLock
from . import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..layout import Entry
    from .asked import Asked

_TELL_EVERY = 0.25  # seconds between two words of progress to the caller


class _Leave(Enum):
    APPEARED = "another process published the file"
    DEADLINE = "the caller's time ran out"
    STALLED = "nothing moved for lock_timeout"


class _Wait:
    """One wait: looks at each poll whether to give up, and keeps the reason apart (filelock has one for all)."""

    def __init__(self, ctx: Context, entry: Entry, request: Asked) -> None:
        self._ctx, self._entry, self._request = ctx, entry, request
        self._path = entry.path(ctx.root)
        self._before = _inode(self._path)
        self.began = self._moved = self._told = ctx.clock.monotonic()
        note = notes.read(ctx, entry)
        self._first_size, self._partial = notes.arrived(ctx, entry, note), notes.place(ctx, entry, note)
        self._mark = _mark(self._partial)
        self.attempt = note.attempt
        self.reason: _Leave | None = None

    def give_up(self) -> bool:
        now = self._ctx.clock.monotonic()
        mark = _mark(self._partial)
        if mark != self._mark:
            self._mark, self._moved = mark, now
        deadline = self._request.deadline
        if self.appeared():
            return True
        if deadline is not None and now >= deadline:
            self.reason = _Leave.DEADLINE
        elif now - self._moved >= self._ctx.settings.lock_timeout:
            self.reason = _Leave.STALLED
        elif now - self._told >= _TELL_EVERY:
            self._told = now
            note = notes.read(self._ctx, self._entry)
            self._partial = notes.place(self._ctx, self._entry, note)
            size = notes.arrived(self._ctx, self._entry, note)
            self._request.progress.waiting(str(self._entry), note.holder, size, note.size, now - self.began)
        return self.reason is not None

    def appeared(self) -> bool:
        """Whether another process has published the file; also asked of a lock that is free: its last holder may have."""
        if _inode(self._path) in (self._before, None):
            return False
        self.reason = _Leave.APPEARED
        return True

    def error(self) -> LockTimeoutError:
        """Why the wait ended without the lock or the file."""
        note = notes.read(self._ctx, self._entry)
        seconds = self._ctx.clock.monotonic() - self.began
        if self.reason is _Leave.STALLED:
            lock = self._ctx.places.lock(self._entry.key)
            return LockTimeoutError(
                f"{self._entry}: process {note.holder or 'unknown'} holds its lock, and nothing moved for"
                f" {format_duration(self._ctx.settings.lock_timeout)}{_held(lock)}",
                hint=f"fuser -v {quoted(lock)}",
            )
        size = notes.arrived(self._ctx, self._entry, note)
        rate = (size - self._first_size) / seconds if seconds > 0 else 0.0
        return in_progress(self._entry, note.holder, size, note.size, rate)


def _held(lock: str) -> str:
    """Who holds a lock, as the kernel has it: a note is what anybody wrote."""
    from ..users import holders

    found = holders(lock)
    return found and f"; the lock is held{found}"


def out_of_time(ctx: Context, entry: Entry) -> DownloadInProgressError:
    """The error for a caller whose time ran out while the Hub was asked."""
    note = notes.read(ctx, entry)
    return in_progress(entry, None, notes.arrived(ctx, entry, note), note.size, 0.0)


def in_progress(entry: Entry, holder: str | None, done: int, total: int | None, rate: float) -> DownloadInProgressError:
    """The error for a caller whose time ran out while the file is still coming; without a holder, to this caller itself."""
    eta = (total - done) / rate if total is not None and rate > 0 else None
    known = (
        f"{format_size(done)} of {format_size(total)} ({done * 100 // max(total, 1)} %)" if total else format_size(done)
    )
    remaining = f", about {format_duration(eta)} to go" if eta is not None else ""
    coming = f" is being downloaded by {holder or 'another process'}: {known}{remaining}"
    ended = f": the time is up with {known} downloaded"
    return DownloadInProgressError(
        f"{entry}{ended if holder is None else coming}",
        hint="ask again later; what has arrived is kept",
        done=done,
        total=total,
        rate=rate,
        eta=eta,
    )


@contextmanager
def write_lock(ctx: Context, entry: Entry, request: Asked) -> Iterator[WriteLock | None]:
    """Hold W of the entry for the block; None if the file appeared while waiting for it.

    Raises:
        StorageError: The lock's file cannot be made or opened.
        DownloadInProgressError: The caller's deadline passed.
        LockTimeoutError: The holder made no progress for `lock_timeout`.
        ModelCacheError: The failure of the leader whose attempt began while this caller waited.
    """
    lock = WriteLock(ctx.places.lock(entry.key), ctx.settings.file_mode)
    wait = _Wait(ctx, entry, request)
    ctx.step("lock:write")
    try:
        held = lock.acquire(wait.give_up, wait.appeared)
    except OSError as error:
        path = ctx.places.lock(entry.key)
        refused = disk.storage_error(error, "cannot lock", path)
        refused.hint = refused.hint or f"ls -l {quoted(path)}"
        raise refused from None
    if not held:
        if wait.reason is _Leave.APPEARED:
            yield None
            return
        if wait.reason is not _Leave.STALLED or not is_shared(ctx.mount):
            raise wait.error()
        # Its holder may be a host that is gone: a server of NFSv3 never lets go of a dead client's locks.
        message = f"{wait.error()}; this volume is shared with other hosts: downloading without waiting for it any more"
        from ..log import logger  # who only waits need not load it

        logger.warning(message)
        request.progress.warning(message)
        lock.go_without()
    try:
        note = notes.read(ctx, entry)
        same = note.endpoint == ctx.settings.endpoint
        if note.error is not None and same and note.attempt > wait.attempt:
            raise notes.to_error(note.error)
        yield lock
    finally:
        try:
            ctx.step("lock:release")
        finally:
            lock.release()


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _mark(partial: str) -> tuple[int, int, int] | None:
    """What changes while the partial gets bytes; with parts coming at several places, its size alone does not."""
    try:
        found = os.stat(partial)
    except OSError:
        return None
    return found.st_size, stats.allocated(found), found.st_mtime_ns
