"""What several downloads at once have come to, told as one; and the word that all of them are to stop.

Concurrency:
    Parts are told of by the threads that download them; the whole is told of by one at a time, under a lock.
"""

from __future__ import annotations

import threading

from ..progress import Progress


class Cancelled(Exception):
    """Raised in a download that another one's failure, or its caller's, has ended; what has arrived is kept."""


class Tally:
    """The whole, as a context manager.

    Args:
        name: What it is called.
        total: Bytes of all files.
        done: Bytes of those that are there.
        progress: Who is told.
    """

    def __init__(self, name: str, total: int, done: int, progress: Progress) -> None:
        self._name, self._total, self._done, self.progress = name, total, done, progress
        self._lock = threading.Lock()
        self.cancelled = False

    def __enter__(self) -> Tally:
        self.progress.started(self._name, self._total, self._done)
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.finished()

    def part(self, name: str, total: int) -> Part:
        """Who is told of one file."""
        return Part(self, name, total)

    def moved(self, by: int) -> None:
        """So many bytes more are on disk, or (negative) fewer."""
        with self._lock:
            self._done += by
            self.progress.advanced(max(self._done, 0))

    def warn(self, message: str) -> None:
        """Something a person should know."""
        with self._lock:
            self.progress.warning(message)


class Part(Progress):
    """One file: tells whoever watches it, and the whole."""

    def __init__(self, tally: Tally, name: str, total: int) -> None:
        self._tally, self._watch, self._done = tally, tally.progress.part(name, total), 0

    def started(self, name: str, total: int | None, done: int) -> None:
        """A download begins, or goes on; raises Cancelled where it is not to."""
        self._watch.started(name, total, done)
        self.advanced(done)

    def advanced(self, done: int) -> None:
        """So many bytes are on disk; raises Cancelled where no more are wanted."""
        if self._tally.cancelled:
            raise Cancelled
        by, self._done = done - self._done, done
        self._watch.advanced(done)
        self._tally.moved(by)

    def waiting(self, name: str, holder: str, done: int, total: int | None, seconds: float) -> None:
        """Somebody else downloads it; raises Cancelled where it is not wanted any more."""
        if self._tally.cancelled:
            raise Cancelled
        self._watch.waiting(name, holder, done, total, seconds)

    def finished(self) -> None:
        """The download ended, well or not."""
        self._watch.finished()

    def warning(self, message: str) -> None:
        """Something a person should know."""
        self._tally.warn(message)
