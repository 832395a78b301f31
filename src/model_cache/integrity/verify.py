"""`verify`: re-read what was recorded, least recently verified first, and say what became of it.

The order: known damage → never verified → oldest. Files are read by a few threads; every result is committed by the
calling thread as it comes, so a run that is killed is gone on with where it was.

Concurrency:
    I6. A verdict other than `ok` is only reached after the row was read again *behind* the file: whatever this cache does
    to a file is written into its row before it is done. What a dead process left half done is settled first, under W.
    One run at a time, by a lock of its own; no other lock is held while anything is read.
"""

from __future__ import annotations

import os

from .. import walk
from ..budget import census
from ..context import Context
from ..errors import IndexUnavailableError, ModelCacheError, OfflineMissError, StorageError, quoted
from ..index import quarantine, queries
from ..index.audit import FAILED, Audit, Scope
from ..index.backup import BEFORE, NEWEST
from ..layout import Entry, readings, repo_directory
from ..preparing import prepare
from ..progress import SILENT, Progress
from .judging import Judge
from .readers import Limits, Readers
from .report import Trouble, VerifyReport
from .turn import sole_run


def verify(
    ctx: Context, scope: Scope, limits: Limits, progress: Progress = SILENT, *, mend: bool = False
) -> VerifyReport:
    """Judge every file of the scope that is due, and with `mend` give damaged ones their recorded bytes again.

    Raises:
        StorageError: There is nothing to verify against: no root, or no index.
        OfflineMissError: Nothing is there of what was named.
        LockTimeoutError: Another run is under way.
        IndexUnavailableError: The index cannot be read.
    """
    _refuse_without_index(ctx)
    began = ctx.clock.monotonic()
    report = VerifyReport()
    with sole_run(ctx):
        audit = Audit(ctx.index, scope)
        judge = Judge(ctx, audit, report, progress)
        now = ctx.clock.time()
        since = _begin(ctx, audit, scope, limits, judge)
        report.resumed = since if since < now else None
        before = since if limits.max_age is None else now - limits.max_age
        due = audit.due(before, since, judge.marked)
        Readers(ctx, audit, limits, judge, progress).read(due)
        report.remaining = len([one for one in due if one not in judge.done])
        report.complete = not report.remaining
        _tell_damage(audit, judge, report)
        if mend:
            from .repairing import repair  # HTTP, which a run that only looks does not load

            repair(ctx, report, progress)
        _tell_strangers(ctx, audit, scope, report)
        _end(audit, report)
    report.seconds = ctx.clock.monotonic() - began
    return report


def _refuse_without_index(ctx: Context) -> None:
    known = (ctx.places.index, f"{ctx.places.backups}/{NEWEST}", f"{ctx.places.backups}/{BEFORE}")
    if any(os.path.exists(path) for path in known):
        return
    command = "reconcile" if os.path.isdir(ctx.places.own) else "reconcile --rebuild"
    raise StorageError(
        f"nothing is recorded of {ctx.root} (from {ctx.settings.root_source}): there is no index to verify against",
        hint=f"to hash and enter what is there: model-cache --root {quoted(ctx.root)} {command}",
        path=ctx.root,
    )


def _begin(ctx: Context, audit: Audit, scope: Scope, limits: Limits, judge: Judge) -> float:
    """When the run began that this one is, or goes on with; an age, or a file that is named, begins anew.

    A damaged index is set aside first, and one that may not know every file is told of all of them.
    """
    try:
        prepare(ctx)
        if said := census.bring_up_to_date(ctx, thorough=True):
            judge.warn(said)
        return audit.begin(anew=limits.max_age is not None or scope.filename is not None)
    except (ModelCacheError, OSError) as error:
        if isinstance(error, OfflineMissError):
            error = StorageError(f"{ctx.root} cannot be written ({error.reason})")
        judge.cannot_write(error)
        if (said := queries.health(ctx.index)) != "ok":
            hint = f"whoever may write there sets it aside: model-cache --root {quoted(ctx.root)} reconcile"
            raise IndexUnavailableError(f"index {ctx.places.index} is damaged: {said}", hint=hint) from None
        return ctx.clock.time()


def _tell_damage(audit: Audit, judge: Judge, report: VerifyReport) -> None:
    """What is wrong, found by this run or known from earlier ones."""
    lists = {name: getattr(report, name) for name in FAILED}
    told = {row.id: row for row in (*audit.damaged(), *judge.unrecorded) if row.entry() is not None}
    for row in sorted(told.values(), key=lambda row: row.path):
        lists[str(row.verdict)].append(Trouble(row, judge.accused.get(row.id, "")))


def _tell_strangers(ctx: Context, audit: Audit, scope: Scope, report: VerifyReport) -> None:
    """Files that were never hashed here, and damaged ones in quarantine that nothing took the place of.

    Raises:
        OfflineMissError: Neither a file nor a row is there of what was named.
    """
    known = audit.paths()
    below = ""
    if scope.repo is not None:
        below = repo_directory(scope.repo, scope.revision, scope.repo_type)
        if scope.filename is not None:
            below = Entry(scope.repo, scope.filename, scope.revision, scope.repo_type).relative
    report.untracked = sorted(
        path for path, _ in walk.files(ctx.root, below) if path not in known and next(readings(path), None)
    )
    repaired = {row.key for row in report.repaired}
    for aside in quarantine.listed(ctx.index):
        if aside.mended and aside.key not in repaired:
            continue
        mine = (aside.repo_type, aside.repo, aside.revision) == (scope.repo_type, scope.repo, scope.revision)
        if scope.repo is None or (mine and scope.filename in (None, aside.filename)):
            report.quarantined.append(aside)
    if scope.repo is not None and not (known or report.untracked or report.quarantined):
        what = f"{scope.repo} {scope.filename}" if scope.filename else scope.repo
        raise OfflineMissError(
            f"{what} is not in the cache {ctx.root}", hint=f"model-cache --root {quoted(ctx.root)} ls"
        )


def _end(audit: Audit, report: VerifyReport) -> None:
    passed = report.exit_code() in (0, 4)
    try:
        audit.end(complete=report.complete, passed=passed)
    except IndexUnavailableError:
        return  # it was said when the first result could not be written
