"""`verify --lock`: the bytes in the cache against hashes that are kept outside of it.

The index is not asked: who can replace a model can replace what is recorded of it. So this finds an attacker as well as
damage, and tells them not apart.

Concurrency:
    I6. No lock is taken, and nothing is written. A file that moved while it was read is read again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from .. import stats, tiers, walk
from ..context import Context
from ..integrity.reading import Expected, Pace, read
from ..integrity.verdict import Reading
from ..layout import readings
from ..progress import Progress
from .format import Locked

_TRIES = 5  # readings of a file that does not hold still
_PAGE = 64  # files that are begun before the first of them are judged


class Difference(NamedTuple):
    """A file that is not as the lock file has it, and how."""

    file: Locked
    detail: str = ""


@dataclass
class LockReport:
    """What the bytes of a lock file's files are.

    Attributes:
        checked, checked_bytes: Files that were looked at; bytes that were hashed, second readings included.
        ok: How many have their bytes.
        changed: Those that have others, be it rot, an edit or an attack.
        missing, unreadable: Those that are not there, or that the disk does not give.
        untracked: Paths below the directories of the repos of files that the lock file does not name.
        seconds: How long it took.
    """

    checked: int = 0
    checked_bytes: int = 0
    ok: int = 0
    changed: list[Difference] = field(default_factory=list)
    missing: list[Difference] = field(default_factory=list)
    unreadable: list[Difference] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> list[Difference]:
        """All that are not as the lock file has them."""
        return [*self.changed, *self.missing, *self.unreadable]

    def exit_code(self, *, strict: bool = False) -> int:
        """0: every file has its bytes. 3: not so (`strict`: or there are files that the lock file does not name)."""
        return 3 if self.failed or (strict and self.untracked) else 0


class How(NamedTuple):
    """How the files are read: as many at the same time, at most so many bytes per second, past the page cache."""

    jobs: int = 1
    rate: int | None = None
    direct: bool = False


def check(ctx: Context, files: Sequence[Locked], how: How, progress: Progress) -> LockReport:
    """Read every file of a lock file and compare it with its hash there."""
    began, report, pace = ctx.clock.monotonic(), LockReport(), Pace(ctx.clock, how.rate)
    progress.verifying(len(files), sum(file.size for file in files))
    executor = ThreadPoolExecutor(how.jobs, thread_name_prefix="model-cache-verify")
    try:
        rest = iter(files)
        while page := list(islice(rest, _PAGE)):
            for file, reading in zip(page, executor.map(lambda file: _read(ctx, file, pace, how), page), strict=True):
                _judge(report, file, reading)
                progress.advanced(pace.read)
    finally:
        pace.stop()
        executor.shutdown(cancel_futures=True)
        progress.finished()
    report.untracked = _unnamed(ctx, files)
    report.seconds = ctx.clock.monotonic() - began
    return report


def _read(ctx: Context, file: Locked, pace: Pace, how: How) -> Reading:
    path = file.entry.path(ctx.root)
    if not os.path.lexists(path) and (below := tiers.holder_below(ctx, file.entry)):
        ctx, path = below, file.entry.path(below.root)
    reading = Reading(steady=False)
    for _ in range(_TRIES):
        expected = Expected(stats.identity_at(path), file.sha256)
        reading = read(ctx.root, file.entry.relative, expected, pace, ctx.clock, direct=how.direct)
        if reading.steady:
            break
    return reading


def _judge(report: LockReport, file: Locked, reading: Reading) -> None:
    report.checked += 1
    report.checked_bytes += reading.size
    if reading.missing:
        report.missing.append(Difference(file))
    elif reading.error:
        report.unreadable.append(Difference(file, os.strerror(reading.error)))
    elif reading.odd:
        report.changed.append(Difference(file, "it is no regular file of this root"))
    elif not reading.steady:
        report.changed.append(Difference(file, "it did not hold still while it was read"))
    elif reading.sha256 != file.sha256:
        report.changed.append(Difference(file, f"expected sha256 {file.sha256}, found {reading.sha256}"))
    else:
        report.ok += 1


def _unnamed(ctx: Context, files: Sequence[Locked]) -> list[str]:
    """Files beside the lock file's: whoever loads a directory may load them too."""
    known = {file.entry.relative for file in files}
    directories = {file.entry.relative.removesuffix(f"/{file.entry.filename}") for file in files}
    found = {path for directory in directories for path, _ in walk.files(ctx.root, directory) if path not in known}
    return sorted(path for path in found if next(readings(path), None))
