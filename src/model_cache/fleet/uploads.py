"""What is put into the bucket while nobody waits for it, and the wait at the end, so that nothing is lost in silence.

Concurrency:
    Daemon threads, two at a time. A process that ends waits for them while bytes move; one that is killed, or leaves by
    `os._exit`, loses what was not complete, which costs another host a download. A forked child has nothing to wait for.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Protocol

from ..log import logger
from ..platforms.capabilities import after_fork
from ..threads import Threads

_AT_A_TIME = 2
STALLED = 20.0  # seconds without a byte after which nobody waits any longer
_SLICE = 0.25  # seconds


_every: weakref.WeakSet[Uploads] = weakref.WeakSet()


class Doer(Protocol):
    """Has what is submitted done by and by."""

    def submit(self, call: Callable[[], None]) -> Future[None]:
        """Have it called; raises RuntimeError where nobody can."""


class Uploads:
    """The uploads of one cache in this process.

    Args:
        doer: Who does them; None: threads of this process.
        stalled: Seconds without a byte after which nobody waits any longer.
    """

    def __init__(self, doer: Doer | None = None, *, stalled: float = STALLED) -> None:
        self.stalled = stalled
        self._lock = threading.Lock()
        self._doer = doer or Threads(_AT_A_TIME, "model-cache upload", _nothing)
        self._pending: set[Future[None]] = set()
        self._moved = time.monotonic()
        _every.add(self)

    def submit(self, upload: Callable[[], None], subject: object) -> bool:
        """Have it done; it says itself what went wrong. Returns False where no thread is to be had for what is of `subject`."""
        try:
            with self._lock:
                self._moved = time.monotonic()
                future = self._doer.submit(upload)
                self._pending.add(future)
        except RuntimeError as error:
            logger.warning("%s: not offered to the tier: %s", subject, error)
            return False
        future.add_done_callback(self._done)
        return True

    @property
    def pending(self) -> set[Future[None]]:
        """What is not done yet."""
        with self._lock:
            return set(self._pending)

    @property
    def last_moved(self) -> float:
        """When a byte of any of them was read, by the monotonic clock."""
        return self._moved

    def moved(self) -> None:
        """Bytes were read of a file that is uploaded."""
        self._moved = time.monotonic()

    def wait(self, longest: float | None = None) -> int:
        """Wait until all is uploaded, nothing moves any more, or it takes too long; returns how many are not done."""
        began, pending = time.monotonic(), self.pending
        self._moved = max(self._moved, began)
        while pending:
            _, pending = wait(pending, _SLICE)
            now = time.monotonic()
            if now - self._moved >= self.stalled or (longest is not None and now - began >= longest):
                break
        return len(pending)

    def abandon(self) -> None:
        """Wait for nothing any more: somebody said that he does not."""
        with self._lock:
            self._pending = set()

    def _done(self, future: Future[None]) -> None:
        self._moved = time.monotonic()
        with self._lock:
            self._pending.discard(future)

    def _forget_parents(self) -> None:
        """In a forked child: another thread of the parent may have held the lock, which nobody would let go here."""
        self._lock, self._pending = threading.Lock(), set()


def _after_fork() -> None:
    for uploads in list(_every):
        uploads._forget_parents()


after_fork(after_in_child=_after_fork)


def _nothing() -> None:
    pass


@atexit.register
def _at_exit() -> None:
    """All caches of the process are waited for together: what stalls in many takes no longer than what stalls in one."""
    every, began = list(_every), time.monotonic()
    while pending := [future for one in every for future in one.pending]:
        still = time.monotonic() - max([began, *(one.last_moved for one in every)])
        if still >= max(one.stalled for one in every):
            break
        wait(pending, _SLICE)
    if pending:
        logger.warning(
            "%d uploads to the tier were not complete when the process ended; another host downloads these",
            len(pending),
        )
