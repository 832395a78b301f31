"""W, the right to write one entry: held for a whole download, update, repair or eviction; the one owner of `filelock`.

Concurrency:
    W is a flock on the entry's lock file, whoever takes it and how: `WriteLock` waits for it and goes through `filelock`,
    `TakenLock` is one try, for whoever wants many. The order of locks is that of `locks`.
"""

from __future__ import annotations

import time
from contextlib import suppress

from . import locks
from .platforms.capabilities import FLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from filelock import BaseFileLock

    class Held(Protocol):
        """W, however it was taken."""

        held: bool
        excludes: bool


_refused: list[BaseFileLock] = []  # which a file system did not take back yet


def _give_back(*mine: BaseFileLock) -> None:
    """Release these, and what was refused before: `filelock` keeps the descriptor open, and so the lock, until that succeeds."""
    _refused.extend(mine)
    for lock in tuple(_refused):
        with suppress(OSError, ValueError):  # ValueError: another thread did it
            lock.release()
            _refused.remove(lock)


class WriteLock:
    """W: the right to write one entry.

    Who waits needs no more than to know that somebody has it, which the flock itself says (`locks.try_raw`, the same lock). Only
    for who gets it `filelock` is loaded, while the others still see it held; then the lock is taken anew through it, which
    knows what to do at a fork, at the interpreter's end and when a signal comes in between.

    Attributes:
        held: Whether this object holds the lock; low-level code asserts it.
        excludes: False where the system or the file system has no flock and holding proves nothing.
    """

    def __init__(self, path: str, mode: int) -> None:
        self._path, self._mode = path, mode
        self._lock: BaseFileLock | None = None
        self.held = False
        self.excludes = True

    def acquire(self, give_up: Callable[[], bool] | None = None, needless: Callable[[], bool] | None = None) -> bool:
        """Wait until the lock is ours or there is no use in it; without arguments, try once.

        Args:
            give_up: Asked at each look at a lock that somebody holds: whether to leave.
            needless: Asked when it has become free: whether what it was wanted for is done.

        Raises:
            OSError: The lock file cannot be made or opened.
        """
        if not FLOCK:
            self.go_without()
            return True
        _give_back()
        waited = False
        while not (self._stand_in(needless if waited else None) and self._take()):
            if give_up is None or give_up():
                return False
            time.sleep(locks.POLL)
            waited = True
        self.held = True
        return True

    def go_without(self) -> None:
        """Go on although somebody has it: what is done is as on a file system without locks, right and perhaps done twice."""
        self.held, self.excludes = True, False

    def _stand_in(self, needless: Callable[[], bool] | None) -> bool:
        """Whether the lock is free and wanted; then it was kept from the others until `filelock` was loaded."""
        fd = locks.try_raw(self._path, self._mode)
        if fd is None:
            return False
        hold = locks.Hold(fd)
        try:
            if needless is not None and needless():
                return False
            from filelock import FileLock  # 40 ms that neither a hit pays nor who waits
        finally:
            hold.release()
        # fallback_to_soft would leave marker files that outlive a kill; without flock we go on without exclusion.
        self._lock = FileLock(self._path, mode=self._mode, thread_local=False, fallback_to_soft=False)
        return True

    def _take(self) -> bool:
        """The lock through `filelock`; False if somebody else was faster."""
        from filelock import Timeout

        assert self._lock is not None, "made when it was seen to be free"
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in locks.NO_FLOCK:
                raise
            self.excludes = False
        return True

    def release(self) -> None:
        """Give the lock back; its file stays, so that no two processes ever hold different files of one name.

        Where the file system refuses, it is asked once more whenever this process takes a lock or gives one back, and the
        kernel does it at the process's end.
        """
        if self.held and self._lock is not None:
            self.held = False
            _give_back(self._lock)


class TakenLock(locks.Hold):
    """W of one of many entries, taken by one try; what it promises is what `WriteLock` does."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.held = True
        self.excludes = locks.is_held(fd)

    def release(self) -> None:
        """Give the lock back."""
        self.held = False
        super().release()
