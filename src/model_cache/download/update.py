"""`update`: a repo moves to the Hub's current commit as a whole, or not at all.

Concurrency:
    The lock of the repo, then W of every file of it, taken in the order of their keys. All new bytes are staged before the
    first old file is claimed. A crash between two of the renames is settled file by file (`recovery`): those that were
    renamed are new, the others old, until the next `update` moves the rest.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field

from ..budget.designated import refuse_to_take
from ..context import Context
from ..errors import InUseError, ModelCacheError, NotFoundError, OfflineMissError
from ..hub.client import FileMeta
from ..index import Row, queries
from ..index.ledger import Ledger
from ..layout import Entry, Snapshot
from ..preparing import prepare
from ..progress import SILENT
from ..recorder import Recorder
from ..recovery import recover
from . import notes
from .moving import Move
from .publish import publish
from .replacing import Replacement, replace
from .repo_lock import repo_lock
from .request import Request
from .staging import Job, Staged, stage
from .waiting import write_lock


@dataclass
class UpdateReport:
    """What became of a repo's entries.

    Attributes:
        updated: Rows as they were before they were replaced.
        current: Rows whose bytes are still those of the Hub.
        in_use: Rows because of which nothing was replaced.
        failed: Rows of a repo that could not be moved, and the error that says why.
        gone: Rows of files that the current commit does not have; they stay.
        added: Files that are new at the commit, of a repo that was there as a whole.
        commit: The commit that the repo is at now, None where nothing changed because of `in_use`.
    """

    updated: list[Row] = field(default_factory=list)
    current: list[Row] = field(default_factory=list)
    in_use: list[Row] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)
    added: list[Row] = field(default_factory=list)
    commit: str | None = None
    failed: list[Row] = field(default_factory=list)
    error: ModelCacheError | None = None


def update(ctx: Context, rows: list[Row], request: Request, *, whole: bool = True) -> UpdateReport:
    """Bring entries of one repo at one revision to its current commit.

    Args:
        rows: Ready rows of one repo type, repo and revision.
        whole: These are all there are of it.

    Raises:
        OfflineMissError: The network is switched off.
        CacheFullError: Old and new bytes do not fit together.
        StorageError: This file system has no locks.
        DownloadError, IntegrityError, LockTimeoutError, StorageError: Then nothing was replaced.
    """
    first = rows[0]
    if request.offline:
        raise OfflineMissError(
            f"{first.repo}: an update asks the Hub, and the network is switched off",
            hint="unset MODEL_CACHE_OFFLINE, or HF_HUB_OFFLINE",
        )
    ctx.access.meet(request.progress)
    prepare(ctx)
    refuse_to_take(ctx)
    snapshot = Snapshot(first.repo, first.revision, first.repo_type)
    with repo_lock(ctx, snapshot, shared=False):
        if whole:  # with what came while this waited
            rows = [row for row in queries.of_snapshot(ctx.index, snapshot) if _is_moved(row)] or rows
        return _update(ctx, snapshot, rows, request, whole=whole)


def _is_moved(row: Row) -> bool:
    return row.state == "ready" and row.origin != "placed"


def _update(ctx: Context, snapshot: Snapshot, rows: list[Row], request: Request, *, whole: bool) -> UpdateReport:
    """Under the lock of the repo."""
    report = UpdateReport()
    first = rows[0]
    commit = ctx.hub.commit(first.repo_type, first.repo, first.revision)
    move = Move(ctx, snapshot, commit, whole=whole)
    known = {row.key: row for row in rows}
    with ExitStack() as held:
        entries = sorted([*map(_entry, rows), *move.added()], key=lambda entry: entry.key)
        jobs = [job for entry in entries if (job := _job(ctx, entry, request, held)) is not None]
        changes = _compare(ctx, [job for job in jobs if job.entry.key in known], move, report)
        replacements = []
        for job, row, meta in changes:
            staged = held.enter_context(stage(ctx, job, meta, None, replacing=True))
            replacements.append(Replacement(job.entry, row, staged.partial, job.recorder))
        additions = _stage_new(ctx, [job for job in jobs if job.entry.key not in known], move, held)
        if replacements or whole:
            move.begin()
        try:
            replace(ctx, replacements, "update")
        except InUseError as error:
            move.undo()
            report.in_use = [row for _, row, _ in changes if Entry.path(_entry(row), ctx.root) in str(error)]
            raise _Abandoned(report) from None
        for job, staged, meta in additions:
            publish(ctx, job.entry, job.lock, staged.partial, job.recorder, meta, staged.way)
        Ledger(ctx.index).at_commit(report.current, commit)
        move.end()
        report.added = [new for job, _, _ in additions if (new := job.recorder.row()) is not None]
    report.commit = commit
    report.updated = [row for _, row, _ in changes]
    return report


def _stage_new(ctx: Context, jobs: list[Job], move: Move, held: ExitStack) -> list[tuple[Job, Staged, FileMeta]]:
    """The bytes of files that are not there yet; whatever stands at their paths stays."""
    staged = []
    for job in jobs:
        recover(ctx, job.entry, job.recorder)
        if not os.path.lexists(job.entry.path(ctx.root)):
            meta = move.meta(job.entry.filename)
            staged.append((job, held.enter_context(stage(ctx, job, meta, None, replacing=False)), meta))
    return staged


class _Abandoned(InUseError):
    """Leaves the staged bytes as partials on the way out, and carries the report."""

    def __init__(self, report: UpdateReport) -> None:
        super().__init__("in use")
        self.report = report


def update_or_not(ctx: Context, rows: list[Row], request: Request, *, whole: bool = True) -> UpdateReport:
    """As `update`; a file in use is not an error but a report in which nothing was updated."""
    try:
        return update(ctx, rows, request, whole=whole)
    except _Abandoned as abandoned:
        return abandoned.report


def _entry(row: Row) -> Entry:
    return Entry(row.repo, row.filename, row.revision, row.repo_type)


def _job(ctx: Context, entry: Entry, request: Request, held: ExitStack) -> Job | None:
    """Take W of one entry; None if somebody replaced the file while this waited for it, which is as good."""
    lock = held.enter_context(write_lock(ctx, entry, request))
    if lock is None:
        return None
    recorder = Recorder(ctx, entry, request.progress or SILENT, required=True)
    return Job(entry, lock, request, recorder, notes.begin(ctx, entry))


def _compare(ctx: Context, jobs: list[Job], move: Move, report: UpdateReport) -> list[tuple[Job, Row, FileMeta]]:
    """Which files have other bytes at the commit."""
    changes = []
    for job in jobs:
        row = recover(ctx, job.entry, job.recorder)
        if row is None or row.state != "ready" or not os.path.lexists(job.entry.path(ctx.root)):
            continue  # a file that somebody removed is a miss: whoever wants it gets it from the new commit
        try:
            meta = move.meta(row.filename)
        except NotFoundError:
            report.gone.append(row)
            continue
        same = row.sha256 == meta.sha256 if meta.sha256 else row.etag == meta.etag
        if same:
            report.current.append(row)
        else:
            changes.append((job, row, meta))
    return changes
