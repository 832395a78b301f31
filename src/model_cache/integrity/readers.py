"""A few threads read what is due, in order and within limits; the calling thread hands out and judges.

Concurrency:
    Readers only read files. Whatever touches the index or a lock is done by the calling thread.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ..context import Context
from ..index.audit import Audit
from ..index.rows import Row
from ..progress import Progress
from .judging import Judge
from .reading import Expected, Pace, read
from .verdict import Reading

_TRIES = 5  # readings of a file that does not hold still
_LOOK = 0.25  # seconds between two looks at how much was read, for the progress


@dataclass
class Limits:
    """How far and how fast a run goes.

    Attributes:
        max_age: Only what was not verified for so many seconds; None: everything, once per run.
        time_limit: Seconds after which no further file is begun.
        byte_limit: Bytes after which no further file is begun.
        rate: Bytes per second, of all readers together.
        jobs: Files that are read at the same time.
        direct: Read the disk and not the page cache.
    """

    max_age: float | None = None
    time_limit: float | None = None
    byte_limit: int | None = None
    rate: int | None = None
    jobs: int = 1
    direct: bool = False


class Readers:
    """Reads the files of rows and gives what was seen to the judge."""

    def __init__(self, ctx: Context, audit: Audit, limits: Limits, judge: Judge, progress: Progress) -> None:
        self._ctx, self._audit, self._limits, self._judge, self._progress = ctx, audit, limits, judge, progress
        self._pace = Pace(ctx.clock, limits.rate)
        seconds = limits.time_limit
        self._deadline = float("inf") if seconds is None else ctx.clock.monotonic() + seconds
        self._begun = 0  # bytes of the files that were begun
        self._tries: Counter[int] = Counter()
        self._again: deque[Row] = deque()
        self._reading: set[int | None] = set()  # inodes; another name of one of them waits, as it is judged with it
        self._names: list[Row] = []

    def read(self, due: Sequence[int]) -> None:
        """Read the files of these rows (ids) until all are judged, or a limit comes."""
        if not due:
            return
        self._progress.verifying(len(due), self._audit.bytes(due))
        rows = self._audit.rows(due)
        running: dict[Future[Reading], Row] = {}
        executor = ThreadPoolExecutor(self._limits.jobs, thread_name_prefix="model-cache-verify")
        try:
            while True:
                while len(running) < 2 * self._limits.jobs and (row := self._next(rows)):
                    self._progress.reading(f"{self._ctx.root}/{row.path}")
                    running[executor.submit(self._read, row)] = row
                if not running:
                    return
                done, _ = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
                self._progress.advanced(self._pace.read)
                self._take([(running.pop(future), future.result()) for future in list(running) if future in done])
        finally:
            self._pace.stop()
            executor.shutdown(cancel_futures=True)
            self._progress.finished()

    def _take(self, seen: list[tuple[Row, Reading]]) -> None:
        for row in self._judge.take(seen):
            self._tries[row.id] += 1
            if self._tries[row.id] < _TRIES:
                self._again.append(row)
        self._reading -= {row.ino for row, _ in seen}
        self._again.extend(self._names)
        self._names.clear()

    def _next(self, rows: Iterator[Row]) -> Row | None:
        """The next file to read: one that did not hold still, else the next that is due, within the limits."""
        while self._again:
            if row := self._unless_known(self._again.popleft()):
                return row
        limit = self._limits.byte_limit
        if self._ctx.clock.monotonic() >= self._deadline or (limit is not None and self._begun >= limit):
            return None
        for due in rows:
            if row := self._unless_known(due):
                self._begun += row.size or 0
                return row
        return None

    def _unless_known(self, row: Row) -> Row | None:
        """The row, unless it was judged, or will be with another name of its file that is being read."""
        if row.id in self._judge.done:
            return None
        if row.ino in self._reading:
            self._names.append(row)
            return None
        self._reading.add(row.ino)
        return row

    def _read(self, row: Row) -> Reading:
        entry = row.entry()
        if entry is None:
            return Reading(missing=True)
        expected = Expected(row.identity, row.sha256)
        return read(self._ctx.root, entry.relative, expected, self._pace, self._ctx.clock, direct=self._limits.direct)
