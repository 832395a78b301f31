"""Verdicts become findings: confirmed by the row, marked, committed, counted.

Concurrency:
    All of it is done by the one thread that runs the verify. The damage mark is made before the index is told: a crash
    between the two leaves a file that is not served.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from .. import damage, stats
from ..context import Context
from ..errors import IndexUnavailableError
from ..index import queries
from ..index.audit import FAILED, Audit, Finding
from ..index.rows import Row
from ..log import logger
from ..progress import Progress
from . import settling
from .report import VerifyReport
from .verdict import Reading, decide


class Judge:
    """Judges what was read in one run, and keeps its report.

    Attributes:
        done: The ids of the rows that were judged, or are gone.
        marked: The keys of all entries with a damage mark.
        accused: What there is to say of a damaged file, by the id of its row.
        unrecorded: Rows, with the verdict in place, of damage that the index was not told of.
    """

    def __init__(self, ctx: Context, audit: Audit, report: VerifyReport, progress: Progress) -> None:
        self._ctx, self._audit, self._report, self._progress = ctx, audit, report, progress
        self.marked = damage.marked(ctx)
        self._writable = True
        self.done: set[int] = set()
        self.accused: dict[int, str] = {}
        self.unrecorded: list[Row] = []
        self._read: dict[int, str | None] = {}  # what was hashed of a file that something is wrong with

    def take(self, seen: Sequence[tuple[Row, Reading]]) -> list[Row]:
        """Judge readings and commit the results; returns the rows whose files must be read again."""
        again: list[Row] = []
        findings: list[Finding] = []
        for row, reading in seen:
            if row.entry() is None:
                self._forget(row)
                continue
            self._report.checked_bytes += reading.size
            verdict = decide(row, reading, self._rotten(row, reading))
            if verdict != "ok":
                now = self._now(row)
                if now is not None and (now != row or verdict is None):
                    again.append(now)
                if now is None or now != row or verdict is None:
                    continue
            self._tell(row, reading)
            self._read[row.id] = reading.sha256 or None
            if verdict == "unreadable" and reading.error != errno.EIO:
                # It may not be looked at: that is nobody's damage, and is not recorded as any.
                self._count(Finding(row, verdict), recorded=False)
                continue
            findings += self._findings(row, str(verdict), reading)
        return again + self._commit(findings)

    def _rotten(self, row: Row, reading: Reading) -> bool:
        """Whether these are the very bytes that were found damaged before, though the file was touched or copied since."""
        known = damage.read(self._ctx, row.key) if row.key in self.marked and reading.sha256 else None
        return known is not None and known.found == reading.sha256

    def _forget(self, row: Row) -> None:
        """A row whose names make no path, or another one: the file that it may have meant is untracked from here on."""
        self.done.add(row.id)
        self.warn(f"the index has a row that names no file ({str(row.path)[:200]!r}), and it is dropped")
        try:
            if self._writable:
                self._audit.forget(row)
        except IndexUnavailableError as error:
            self.cannot_write(error)

    def _now(self, row: Row) -> Row | None:
        """The row behind the file; None if there is nothing to judge any more, which is counted as done."""
        now = settling.current(self._ctx, self._audit, row)
        if now is None:
            self.done.add(row.id)
        return now

    def _tell(self, row: Row, reading: Reading) -> None:
        if reading.error:
            self.accused[row.id] = os.strerror(reading.error)
        elif reading.odd:
            self.accused[row.id] = "it is no regular file any more"
        elif reading.sha256 and reading.sha256 != row.sha256:
            self.accused[row.id] = f"expected sha256 {row.sha256}, found {reading.sha256}"
        if reading.wavered:
            self.warn(f"{self._ctx.root}/{row.path} was read wrongly once, and rightly when it was read again")

    def _findings(self, row: Row, verdict: str, reading: Reading) -> list[Finding]:
        """The finding, and the same for every other name of the same file."""
        ino, size, mtime_ns = reading.identity or (row.ino, row.size, row.mtime_ns)
        found = [Finding(row, verdict, ino, mtime_ns, size, reading.charged)]
        if verdict == "ok" and reading.links > 1 and row.ino is not None:
            for other in queries.by_inode(self._ctx.index, [row.ino]):
                same = (other.identity, other.sha256) == (row.identity, row.sha256) and other.is_sealed
                if other.id not in (row.id, *self.done) and same and self._stands(other):
                    found.append(Finding(other, "ok", ino, mtime_ns, size))
        return found

    def _stands(self, row: Row) -> bool:
        """Whether the row's path leads to the file that it describes."""
        return row.entry() is not None and stats.identity_at(f"{self._ctx.root}/{row.path}") == row.identity

    def _commit(self, findings: list[Finding]) -> list[Row]:
        """Mark, write down, count; returns the rows of files that somebody had to do with meanwhile."""
        if not findings:
            return []
        for finding in findings:
            if self._writable and finding.verdict in ("corrupt", "unreadable"):
                facts = {name: getattr(finding, name) for name in ("ino", "size", "mtime_ns")}
                self._mark(finding.row._replace(**facts), self._read.get(finding.row.id))
        again = []
        for finding, kept in zip(findings, self._record(findings), strict=True):
            if kept:
                self._count(finding, recorded=self._writable)
            elif (now := self._now(finding.row)) is not None:
                again.append(now)
        return again

    def _mark(self, row: Row, found: str | None) -> None:
        self._ctx.step("verify:mark")
        try:
            damage.mark(self._ctx, row, found)
            self.marked.add(row.key)
        except OSError as error:
            self.warn(f"{self._ctx.root}/{row.path} is damaged and could not be marked: {error.strerror}")

    def _record(self, findings: list[Finding]) -> list[bool]:
        """Write results down, for as long as that is possible."""
        if self._writable:
            try:
                return self._audit.record(findings)
            except IndexUnavailableError as error:
                self.cannot_write(error)
        return [True] * len(findings)

    def cannot_write(self, error: Exception) -> None:
        """Go on without writing: what is found is still worth saying."""
        self._writable = False
        self.warn(f"{error}; results are not recorded, so the next run begins where this one did")

    def warn(self, message: str) -> None:
        """Tell the log and whoever watches."""
        logger.warning(message)
        self._progress.warning(message)

    def _count(self, finding: Finding, *, recorded: bool) -> None:
        row, report = finding.row, self._report
        if not recorded and finding.verdict in FAILED:
            self.unrecorded.append(row._replace(verdict=finding.verdict))
        self.done.add(row.id)
        report.checked += 1
        report.ok += finding.verdict == "ok"
        report.rebound += finding.verdict == "rebound"
        if finding.verdict in ("ok", "rebound") and row.key in self.marked:
            self._ctx.step("verify:unmark")
            damage.forget(self._ctx, row.key)
        if finding.verdict == "unknown":
            self.warn(
                f"what the index says of {self._ctx.root}/{row.path} cannot be believed; model-cache reconcile enters it"
            )
        self._progress.verified(f"{self._ctx.root}/{row.path}", finding.verdict)
