"""Reading one file from end to end, gently, and saying whether it held still meanwhile.

Concurrency:
    No lock is taken and nobody is kept waiting: what happens to the file meanwhile is seen afterwards, by its status and
    by the path. While it is open here the open test spares it from eviction, where there is one.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import NamedTuple

from .. import beneath, digest, stats
from ..clock import Clock
from ..platforms import opened
from .verdict import Reading

_BUSY_WAIT = 0.002  # seconds between two tries of a file that an evictor tests
_BUSY_TRIES = 5000
_RATE_SLACK = 0.05  # seconds a reader may be behind and catch up; beyond that the time is lost


class Stopped(Exception):
    """The run was told to end while a file was being read."""


class Pace:
    """How fast all readers together may go, and whether they may go on.

    Args:
        rate: Bytes per second for all of them; None for as fast as they can.
    """

    def __init__(self, clock: Clock, rate: int | None) -> None:
        self._clock, self._rate = clock, rate
        self._lock = threading.Lock()
        self._next = 0.0
        self._stopped = False
        self.read = 0  # bytes, by all readers

    def stop(self) -> None:
        """Let every reader end at its next block."""
        self._stopped = True

    def take(self, size: int) -> None:
        """Account for a block, and wait until it may be read.

        Raises:
            Stopped: `stop` was called.
        """
        if self._stopped:
            raise Stopped
        with self._lock:
            self.read += size
            if self._rate is None:
                return
            now = self._clock.monotonic()
            self._next = max(self._next, now - _RATE_SLACK) + size / self._rate
            wait = self._next - now
        if wait > 0:
            self._clock.sleep(wait)


class Expected(NamedTuple):
    """What a file was recorded as: a difference in the hash of this very file is looked at twice."""

    identity: tuple[int | None, int | None, int | None] | None = None
    sha256: str | None = None


def read(root: str, relative: str, expected: Expected, pace: Pace, clock: Clock, *, direct: bool = False) -> Reading:
    """Hash the file at a path below a root; where it differs from what was expected, read it again past the page cache.

    Args:
        direct: Drop the file's pages first, so that the disk is read and not the memory.

    Raises:
        Stopped: The run was told to end.
    """
    path = f"{root}/{relative}"
    try:
        fd = _open(root, relative, clock)
    except FileNotFoundError:
        return Reading(missing=True)
    except NotADirectoryError:
        # Below a symlink is nothing of this cache's, whatever is there: no hit either.
        return Reading(odd=True) if os.path.lexists(path) else Reading(missing=True)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symlink, a socket
            return Reading(odd=True)
        return Reading(identity=stats.identity_at(path), error=error.errno or errno.EIO)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return Reading(odd=True)
        if direct:
            opened.forget_cached(fd)
        return _hashed(fd, path, expected, pace, before)
    finally:
        os.close(fd)


def _open(root: str, relative: str, clock: Clock) -> int:
    failed = False
    for _ in range(_BUSY_TRIES):
        try:
            # Neither a FIFO nor a kernel lease that an evictor holds for its test hangs us.
            return beneath.open_entry(root, relative)
        except BlockingIOError:
            clock.sleep(_BUSY_WAIT)
        except OSError as error:
            # As of what is read: what failed once accuses nobody.
            if failed or error.errno != errno.EIO:
                raise
            failed = True
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), relative)


def _hashed(fd: int, path: str, expected: Expected, pace: Pace, before: os.stat_result) -> Reading:
    size, faults = 0, {"wrong": 0, "failed": 0}
    while True:
        sha256, count, error = _hash(fd, pace)
        size += count
        right = not error and (sha256 == expected.sha256 or stats.identity(before) != expected.identity)
        faults["failed" if error else "wrong"] += not right
        if right or 2 in faults.values():
            break
        # Before anybody is accused: memory can be wrong where the disk is right, and a read can fail once.
        opened.forget_cached(fd)
    after = os.fstat(fd)
    return Reading(
        identity=stats.identity(before),
        steady=stats.identity(before) == stats.identity(after) and stats.identity_at(path) == stats.identity(after),
        sha256=sha256,
        charged=stats.allocated(after),
        links=after.st_nlink,
        size=size,
        error=error,
        wavered=right and any(faults.values()),
    )


def _hash(fd: int, pace: Pace) -> tuple[str, int, int]:
    """(sha256, bytes, errno of a read that failed)."""
    try:
        sha256, size = digest.sha256(fd, pace.take)
        return sha256, size, 0
    except OSError as error:
        return "", 0, error.errno or errno.EIO
