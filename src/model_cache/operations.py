"""What is done to entries by name: pin, remove, update, collect, verify. Names and texts become rows and numbers here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from . import listings, tiers
from .budget import census
from .budget.collection import GcReport, collect
from .budget.removal import RemoveReport
from .budget.removal import remove as remove_rows
from .context import Context
from .errors import ModelCacheError, OfflineMissError, SettingError, quoted
from .index import Row, queries
from .index.room import Room
from .layout import Entry, Snapshot, is_commit, repo_directory
from .locks import POLL
from .log import logger
from .preparing import prepare
from .progress import SILENT, Progress
from .units import parse_duration, parse_size, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .download.request import Request
    from .download.update import UpdateReport
    from .importing.taking import ImportReport
    from .integrity.reconcile import ReconcileReport
    from .integrity.report import VerifyReport
    from .lockfile.checking import How


_LOOKS = 100  # at a row that an evictor has in hand, two seconds in all: who died leaves it to the next recovery


def rows_of(ctx: Context, repo: str, filenames: Sequence[str], revision: str, repo_type: str) -> list[Row]:
    """The ready rows of the files named, or of all files of a repo at a revision.

    Raises:
        InvalidNameError: A name cannot stand for a path.
        OfflineMissError: A file is not in the index; which.
    """
    repo_directory(repo, revision, repo_type)
    wanted = [Entry(repo, name, revision, repo_type) for name in filenames]
    found = _ready(ctx, Snapshot(repo, revision, repo_type), {entry.filename for entry in wanted})
    missing = [entry for entry in wanted if entry.filename not in found]
    if missing or not found:
        name = str(missing[0]) if missing else repo
        unready = [row for row in queries.entries(ctx.index, repo) if row.state != "ready" and not found]
        if unready:
            raise OfflineMissError(
                f"{name} is not complete: its download is under way or was stopped",
                hint="model-cache fetch resumes it; gc removes what was stopped a day ago",
            )
        directory = repo_directory(repo, revision, repo_type)
        below = tiers.holder_below(ctx, missing[0]) if missing else tiers.directory_below(ctx, directory)
        if below is not None:
            raise OfflineMissError(
                f"{name} is in the lower root {below.root}, which is only read, and not in {ctx.root}",
                hint=f"who may write there: model-cache --root {quoted(below.root)} ls {repo}",
            )
        raise OfflineMissError(
            f"{name} is not in the index of {ctx.root}", hint=f"model-cache --root {quoted(ctx.root)} ls {repo}"
        )
    return [found[entry.filename] for entry in wanted] if wanted else list(found.values())


def _ready(ctx: Context, snapshot: Snapshot, wanted: set[str]) -> dict[str, Row]:
    """The ready rows of a snapshot, by filename.

    A row that an evictor has in hand is looked at again: it is gone, or ready, within milliseconds.
    """
    for _ in range(_LOOKS):
        rows = [row for row in queries.of_snapshot(ctx.index, snapshot) if row.entry() is not None]
        if not any(row.state == "deleting" and (row.filename in wanted or not wanted) for row in rows):
            break
        ctx.clock.sleep(POLL)
    return {row.filename: row for row in rows if row.state == "ready"}


def pin(ctx: Context, repo: str, filenames: Sequence[str], revision: str, repo_type: str, *, pinned: bool) -> list[Row]:
    """Keep entries from eviction, or no longer; returns them."""
    rows = rows_of(ctx, repo, filenames, revision, repo_type)
    Room(ctx.index).pin(rows, pinned=pinned)
    return rows


def remove(
    ctx: Context,
    repo: str,
    filenames: Sequence[str],
    revision: str,
    repo_type: str,
    *,
    force: bool,
    dry_run: bool = False,
) -> RemoveReport:
    """Take entries away, or (`dry_run`) say what would go."""
    prepare(ctx)
    report = remove_rows(ctx, rows_of(ctx, repo, filenames, revision, repo_type), force=force, dry_run=dry_run)
    if not filenames and not dry_run and not report.in_use:
        listings.forget(ctx, Snapshot(repo, revision, repo_type))
    return report


def update(
    ctx: Context, repo: str | None, filenames: Sequence[str], revision: str, repo_type: str, progress: Progress
) -> list[UpdateReport]:
    """Bring a repo (or files of it), or all repos, to the Hub's current commits; one report per repo and revision."""
    from .download.request import Request
    from .download.update import update_or_not

    if repo is not None:
        found = rows_of(ctx, repo, filenames, revision, repo_type)
    else:
        found = [row for row in queries.entries(ctx.index) if row.state == "ready" and row.entry() is not None]
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in found:
        if row.origin != "placed" and not is_commit(row.revision):
            groups.setdefault((row.repo_type, row.repo, row.revision), []).append(row)
    request = Request(offline=ctx.settings.offline, progress=progress)
    if repo is not None:
        return [update_or_not(ctx, rows, request, whole=not filenames) for rows in groups.values()]
    return [_one_of_many(ctx, rows, request) for rows in groups.values()]


def _one_of_many(ctx: Context, rows: list[Row], request: Request) -> UpdateReport:
    """One repo that cannot be moved does not keep the others from it."""
    from .download.update import UpdateReport, update_or_not

    try:
        return update_or_not(ctx, rows, request)
    except ModelCacheError as error:
        return UpdateReport(failed=rows, error=error)


def gc(
    ctx: Context,
    max_size: str | int | None,
    min_free: str | int | None,
    older_than: str | float | None,
    *,
    dry_run: bool,
) -> GcReport:
    """Read the arguments as people write them, and collect."""
    ctx.settings.refresh()
    prepare(ctx)
    if not dry_run and (said := census.bring_up_to_date(ctx)):
        logger.warning(said)
    return collect(
        ctx,
        max_size=None if max_size is None else parse_size(max_size, "max_size"),
        min_free=None if min_free is None else parse_size(min_free, "min_free"),
        older_than=None if older_than is None else parse_duration(older_than, "older_than"),
        dry_run=dry_run,
    )


def verify(
    ctx: Context,
    scope: tuple[str, str | None, str, str | None],
    wanted: Mapping[str, Any],
    *,
    direct: bool,
    repair: bool,
    progress: Progress | None = None,
) -> VerifyReport:
    """Read the arguments as people write them, and verify.

    Args:
        scope: (repo type, repo or None, revision, filename or None).
        wanted: `max_age time_limit byte_limit rate jobs`, None where nothing was said.

    Raises:
        SettingError: A limit cannot be used.
        StorageError: There is no root.
    """
    from .index.audit import Scope
    from .integrity.readers import Limits
    from .integrity.verify import verify as run

    repo_type, repo, revision, filename = scope
    if repo is not None:
        repo_directory(repo, revision, repo_type)
        if filename is not None:
            Entry(repo, filename, revision, repo_type)
    limits = Limits(
        max_age=None if wanted["max_age"] is None else parse_duration(wanted["max_age"], "max_age"),
        time_limit=None if wanted["time_limit"] is None else parse_duration(wanted["time_limit"], "time_limit"),
        byte_limit=None if wanted["byte_limit"] is None else parse_size(wanted["byte_limit"], "byte_limit"),
        rate=_rate(wanted["rate"]),
        jobs=check_jobs(wanted["jobs"]),
        direct=direct,
    )
    return run(ctx, Scope(repo_type, repo, revision, filename), limits, progress or SILENT, mend=repair)


def how_to_read(rate: str | int | None, jobs: int | None, *, direct: bool) -> How:
    """How the files of a lock file are read; raises SettingError where that cannot be."""
    from .lockfile.checking import How

    return How(check_jobs(jobs), _rate(rate), direct)


def _rate(rate: str | int | None) -> int | None:
    found = None if rate is None else parse_size(rate, "rate")
    if found == 0:
        raise SettingError("rate: expected more than 0 bytes per second, found 0")
    return found


def check_jobs(jobs: int | None, what: str = "jobs") -> int:
    """How many files are worked on at the same time; raises SettingError where that is no number from 1 to 64."""
    if jobs is None:
        return min(os.cpu_count() or 1, 4)
    if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= 64:
        raise SettingError(f"{what}: expected a whole number from 1 to 64, found {shown(jobs)}")
    return jobs


def import_hf(ctx: Context, directory: str | None, progress: Progress, *, link: bool, dry_run: bool) -> ImportReport:
    """Take a Hugging Face cache over; None: the one of this environment."""
    from .download.request import Request
    from .importing.taking import take_over

    where = hf_directory(os.environ) if directory is None else directory
    return take_over(ctx, os.path.abspath(where), Request(progress=progress), link=link, dry_run=dry_run)


def hf_directory(environ: Mapping[str, str]) -> str:
    """Where `huggingface_hub` has its cache.

    Source: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    if there := environ.get("HF_HUB_CACHE"):
        return os.path.expanduser(there)
    home = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return os.path.join(os.path.expanduser(home), "hub")


def reconcile(ctx: Context, *, rebuild: bool = False, progress: Progress | None = None) -> ReconcileReport:
    """Bring index and disk into agreement."""
    from .integrity.reconcile import reconcile as run

    return run(ctx, progress or SILENT, rebuild=rebuild, jobs=check_jobs(None))
