"""A caller may leave before its file is there: the download goes on in a thread of this process.

Concurrency:
    The thread is a daemon: it never keeps a program from ending, and what it had received by then is a partial that the
    next caller, in whatever process, resumes. A forked child has none of its parent's threads and starts its own.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, wait

from ..context import Context
from ..errors import DownloadInProgressError
from ..layout import Entry
from ..threads import Threads
from . import notes
from .asked import Asked, Outcome
from .miss import fetch
from .waiting import in_progress

_ANY = 1 << 30  # threads: as many as there are callers, each of which is a thread that waits


class Background:
    """The downloads that go on in this process for one cache.

    Args:
        most: How many at a time.
    """

    def __init__(self, ctx: Context, most: int = _ANY) -> None:
        self._ctx, self._most = ctx, most
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Future[Outcome]] = {}
        self._threads = Threads(self._most, "model-cache download", self._ctx.close)
        self._pid = os.getpid()

    def fetch(self, entry: Entry, request: Asked, timeout: float) -> Outcome:
        """Wait at most `timeout` seconds for the entry; the download itself has no such limit.

        Raises:
            DownloadInProgressError: Not there in time; with its progress.
        """
        if request.offline:
            return fetch(self._ctx, entry, request)  # nothing to wait for, and not somebody else's download to join
        job = self.join(entry, request)
        before = notes.arrived(self._ctx, entry)
        if not wait((job,), min(timeout, threading.TIMEOUT_MAX)).done:
            raise self.late(entry, before, timeout)
        return job.result()

    def join(self, entry: Entry, request: Asked) -> Future[Outcome]:
        """The download of the entry that is under way, or one that begins now; whoever leaves it leaves it to the others."""
        if self._pid != os.getpid():
            self._begin()  # the parent's threads, and perhaps its held lock, are not here
        with self._lock:
            job = self._jobs.get(entry.key)
            if job is None:
                job = self._jobs[entry.key] = self._threads.submit(lambda: self._fetch(entry, request))
            return job

    def late(self, entry: Entry, before: int, seconds: float) -> DownloadInProgressError:
        """The error for a caller whose time ran out.

        Args:
            before: Bytes that had arrived when the wait began.
            seconds: How long it was.
        """
        note = notes.read(self._ctx, entry)
        done = notes.arrived(self._ctx, entry, note)
        return in_progress(entry, note.holder, done, note.size, (done - before) / seconds if seconds else 0.0)

    def _fetch(self, entry: Entry, request: Asked) -> Outcome:
        try:
            return fetch(self._ctx, entry, request)
        finally:
            with self._lock:
                self._jobs.pop(entry.key, None)
