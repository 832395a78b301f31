"""A caller may leave before its file is there: the download goes on in a thread of this process.

Concurrency:
    The thread is a daemon: it never keeps a program from ending, and what it had received by then is a partial that the
    next caller, in whatever process, resumes. A forked child has none of its parent's threads and starts its own.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from ..context import Context
from ..errors import ModelCacheError
from ..layout import Entry
from . import notes
from .asked import Asked, Outcome
from .miss import fetch
from .waiting import in_progress


@dataclass
class _Job:
    """One download that outlives its caller."""

    done: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    error: BaseException | None = None


class Background:
    """The downloads that go on in this process for one cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._pid = os.getpid()

    def fetch(self, ctx: Context, entry: Entry, request: Asked, timeout: float) -> Outcome:
        """Wait at most `timeout` seconds for the entry; the download itself has no such limit.

        Raises:
            DownloadInProgressError: Not there in time; with its progress.
        """
        if request.offline:
            return fetch(ctx, entry, request)  # nothing to wait for, and not somebody else's download to join
        job = self._join(ctx, entry, request)
        before = _partial_size(ctx, entry)
        if not job.done.wait(min(timeout, threading.TIMEOUT_MAX)):
            done = _partial_size(ctx, entry)
            note = notes.read(ctx, entry)
            raise in_progress(entry, note.holder, done, note.size, (done - before) / timeout if timeout else 0.0)
        if job.error is not None:
            raise job.error
        assert job.outcome is not None, "a job ends with an outcome or an error"
        return job.outcome

    def _join(self, ctx: Context, entry: Entry, request: Asked) -> _Job:
        if self._pid != os.getpid():
            self.__init__()  # type: ignore[misc]  # the parent's threads, and perhaps its held lock, are not here
        with self._lock:
            job = self._jobs.get(entry.key)
            if job is None:
                job = self._jobs[entry.key] = _Job()
                name = f"model-cache {entry.key}"
                thread = threading.Thread(target=self._run, args=(ctx, entry, request, job), name=name, daemon=True)
                try:
                    thread.start()
                except BaseException:
                    del self._jobs[entry.key]  # no thread to be had: the next caller tries again
                    raise
            return job

    def _run(self, ctx: Context, entry: Entry, request: Asked, job: _Job) -> None:
        try:
            job.outcome = fetch(ctx, entry, request)
        except (ModelCacheError, OSError) as error:
            job.error = error
        except BaseException as error:
            job.error = error
            raise
        finally:
            with self._lock:
                self._jobs.pop(entry.key, None)
            ctx.index.close()  # not when the thread's locals are torn down, which may coincide with a fork
            job.done.set()


def _partial_size(ctx: Context, entry: Entry) -> int:
    try:
        return os.stat(ctx.places.partial(entry.key)).st_size
    except OSError:
        return 0
