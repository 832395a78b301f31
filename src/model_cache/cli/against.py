"""`verify --lock`: are the bytes those that a lock file names?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import quoted
from ..lockfile.checking import check
from ..lockfile.files import read
from ..operations import how_to_read
from ..units import format_duration, format_size, plural
from . import output
from .command import Run, UsageMistake
from .entries import abbreviated
from .progress import narrator

if TYPE_CHECKING:
    from ..context import Context
    from ..lockfile.checking import Difference, LockReport

_CLASSES = ("changed", "missing", "unreadable")
_WITH_LOCK = ("rate", "jobs")  # of the options that say how far and how fast: a part of the files proves nothing


def refuse_others(*, repo: str | None, **options: object) -> None:
    """Refuse what a lock file leaves nothing to say about; raises UsageMistake."""
    given = [name for name, value in options.items() if name not in _WITH_LOCK and value not in (None, False)]
    if repo is not None:
        raise UsageMistake("--lock is about the files that the lock file names, and a REPO is given", "leave out REPO")
    if given:
        name = "--" + given[0].replace("_", "-")
        hint = "model-cache sync fetches what is missing" if given[0] == "repair" else f"leave out {name}"
        raise UsageMistake(f"--lock reads all files of the lock file and writes nothing, and {name} is given", hint)


def verify_lock(run: Run, lockfile: str, rate: int | None, jobs: int | None, *, direct: bool, strict: bool) -> int:
    """Read and compare; returns the exit code."""
    how, files = how_to_read(rate, jobs, direct=direct), read(lockfile)
    ctx = run.existing()
    with narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        report = check(ctx, files, how, progress)
    if run.json:
        output.write_json(_document(ctx, lockfile, report))
    elif run.quiet:
        paths = [one.file.entry.path(ctx.root) for one in report.failed]
        paths += [f"{ctx.root}/{path}" for path in report.untracked] if strict else []
        click.echo("".join(f"{path}\n" for path in paths), nl=False)
    else:
        _show(report, strict=strict)
    _sum_up(run, lockfile, report)
    return report.exit_code(strict=strict)


def _document(ctx: Context, lockfile: str, report: LockReport) -> dict[str, Any]:
    """The fields of `verify`, those among them that a lock file says nothing about being empty."""
    lists = {name: [_described(ctx, one) for one in getattr(report, name)] for name in _CLASSES}
    return {
        "root": ctx.root,
        "lockfile": lockfile,
        "checked": report.checked,
        "checked_bytes": report.checked_bytes,
        "ok": report.ok,
        "rebound": 0,
        "corrupt": [],
        **lists,
        "untracked": [{"path": f"{ctx.root}/{path}"} for path in report.untracked],
        "quarantined": [],
        "repaired": [],
        "errors": [],
        "remaining": 0,
        "complete": True,
        "resumed": None,
        "seconds": round(report.seconds, 3),
    }


def _described(ctx: Context, one: Difference) -> dict[str, Any]:
    entry = one.file.entry
    names = {name: getattr(entry, name) for name in ("repo", "repo_type", "revision", "filename")}
    return {**names, "path": entry.path(ctx.root), "size": one.file.size, "detail": one.detail or None}


def _show(report: LockReport, *, strict: bool) -> None:
    rows = [[name, str(one.file.entry), abbreviated(one.detail)] for name in _CLASSES for one in getattr(report, name)]
    if strict:
        rows += [["untracked", path, ""] for path in report.untracked]
    if rows:
        output.write_table(["FOUND", "FILE", "DETAIL"], rows)


def _sum_up(run: Run, lockfile: str, report: LockReport) -> None:
    counts = {"ok": report.ok} | {name: len(getattr(report, name)) for name in (*_CLASSES, "untracked")}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "ok")
    took = format_duration(report.seconds)
    run.note(
        f"verified {plural(report.checked, 'file')} of {lockfile}, {format_size(report.checked_bytes)} in {took}: {told}"
    )
    if report.missing:
        run.note(f"hint: model-cache sync {quoted(lockfile)} fetches what is missing")
