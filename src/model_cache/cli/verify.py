"""`verify`: is what is in the cache what was recorded?"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..errors import LockTimeoutError, quoted
from ..layout import DEFAULT_REVISION
from ..operations import verify as check
from ..units import format_duration, format_size, plural
from . import known, output
from .command import Run, UsageMistake, command, duration, names, rate, size
from .entries import abbreviated, check_names, directory, named, skipped
from .progress import narrator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..context import Context
    from ..integrity.report import Trouble, VerifyReport

_TOLD = 3  # files that are named in a hint
_CLASSES = ("corrupt", "unreadable", "changed", "missing")


@command(3, 4, 10, 11, interrupted="the next verify goes on where this one was")
@click.argument("repo", required=False, shell_complete=known.repos)
@click.argument("file", required=False, shell_complete=known.files)
@names
@click.option("--repair", is_flag=True, help="Quarantine what is damaged, and fetch the recorded bytes again.")
@click.option("--max-age", metavar="DURATION", callback=duration, help="Only what was not verified for this long (7d).")
@click.option("--time-limit", metavar="DURATION", callback=duration, help="Begin no further file after this long (2h).")
@click.option("--byte-limit", metavar="SIZE", callback=size, help="Begin no further file after this much (500GB).")
@click.option("--rate", metavar="SIZE", callback=rate, help="Read at most this much per second (200MB).")
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), help="Files read at the same time.")
@click.option("--direct", is_flag=True, help="Read the disk, not the memory that the kernel keeps of it.")
@click.option("--strict", is_flag=True, help="Missing and untracked files fail too (3).")
@click.option(
    "--lock",
    "lockfile",
    metavar="LOCKFILE",
    shell_complete=known.paths,
    help="The files and hashes of a lock file, and not the index.",
)
@click.option("--skip-if-busy", is_flag=True, help="Exit 0 while another run is under way, not 11.")
def verify(
    run: Run,
    repo: str | None,
    file: str | None,
    revision: str,
    repo_type: str,
    repair: bool,
    direct: bool,
    strict: bool,
    lockfile: str | None,
    skip_if_busy: bool,
    **limits: Any,
) -> int | None:
    """Read files again and compare them with what was recorded: all of them, those of REPO, or one FILE.

    Known damage comes first, then what was never verified, then the oldest. A run that was stopped is gone on with by the
    next one, unless --max-age says what is due. No network, unless --repair. With -q only the paths of what failed.

    With --lock it is the files of a lock file that are read, all of them, and compared with the hashes there: who can replace
    a model can replace what is recorded of it here, and finds no such hash in a file that is kept elsewhere.
    """
    if repo is None and (revision, repo_type) != (DEFAULT_REVISION, "model"):
        raise UsageMistake(
            "--revision and --repo-type are about one repo, and no REPO is given", "model-cache verify --help"
        )
    if lockfile is not None:
        from .against import refuse_others, verify_lock

        refuse_others(repo=repo, repair=repair, skip_if_busy=skip_if_busy, **limits)
        return verify_lock(run, lockfile, limits["rate"], limits["jobs"], direct=direct, strict=strict)
    if repo is not None:
        check_names(repo, () if file is None else (file,), revision, repo_type)
    ctx = run.existing()
    with closing(ctx.index), narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        try:
            scope = (repo_type, repo, revision, file)
            report = check(ctx, scope, limits, direct=direct, repair=repair, progress=progress)
        except LockTimeoutError as error:
            return skipped(run, error, skip=skip_if_busy)
    if run.json:
        output.write_json(_document(ctx, report))
    elif run.quiet:
        click.echo("".join(f"{path}\n" for path in _failed(ctx, report, strict=strict)), nl=False)
    else:
        _show(report, strict=strict)
    _sum_up(run, ctx, report)
    return report.exit_code(strict=strict)


def _document(ctx: Context, report: VerifyReport) -> dict[str, Any]:
    troubles = {
        name: [{**named(ctx, one.row), "detail": one.detail or None} for one in getattr(report, name)]
        for name in _CLASSES
    }
    quarantined = [
        {
            **{name: getattr(aside, name) for name in ("repo", "repo_type", "revision", "filename", "size")},
            "path": f"{ctx.places.quarantine}{aside.name}",
            "since": output.timestamp(aside.at),
            "mended": bool(aside.mended),
        }
        for aside in report.quarantined
    ]
    return {
        "root": ctx.root,
        "checked": report.checked,
        "checked_bytes": report.checked_bytes,
        "ok": report.ok,
        "rebound": report.rebound,
        **troubles,
        "untracked": [{"path": f"{ctx.root}/{path}"} for path in report.untracked],
        "quarantined": quarantined,
        "repaired": [named(ctx, row) for row in report.repaired],
        "errors": [{**named(ctx, row), "message": str(error)} for row, error in report.errors],
        "remaining": report.remaining,
        "complete": report.complete,
        "resumed": output.timestamp(report.resumed),
        "seconds": round(report.seconds, 3),
    }


def _failed(ctx: Context, report: VerifyReport, *, strict: bool) -> Iterator[str]:
    """The paths because of which the run does not end with 0."""
    yield from (f"{ctx.root}/{one.row.path}" for one in _remaining(report))
    yield from (f"{ctx.places.quarantine}{aside.name}" for aside in report.quarantined if not aside.mended)
    if strict:
        yield from (f"{ctx.root}/{one.row.path}" for one in report.missing)
        yield from (f"{ctx.root}/{path}" for path in report.untracked)


def _remaining(report: VerifyReport) -> list[Trouble]:
    """Damage that still stands at its path."""
    moved = {aside.key for aside in report.quarantined if not aside.mended}
    return [one for one in report.damaged if one.row.key not in moved]


def _show(report: VerifyReport, *, strict: bool) -> None:
    """What is not as recorded, and what became of it."""
    told = {row.key: "repaired" for row in report.repaired}
    told |= {row.key: f"not repaired: {error}" for row, error in report.errors}
    told |= {aside.key: "moved into quarantine" for aside in report.quarantined if not aside.mended}
    rows = []
    for name in _CLASSES:
        for one in getattr(report, name):
            detail = abbreviated(told.get(one.row.key, one.detail))
            rows.append([name, directory(one.row), one.row.filename, detail])
    for aside in report.quarantined:
        if not aside.mended:
            what = f"the Hub has other bytes than were recorded; kept as {aside.name}"
            rows.append(["quarantined", aside.repo, aside.filename, what])
    if strict:
        rows += [["untracked", "", path, ""] for path in report.untracked]
    if rows:
        output.write_table(["FOUND", "REPO", "FILE", "DETAIL"], rows)


def _sum_up(run: Run, ctx: Context, report: VerifyReport) -> None:
    counts = {"ok": report.ok, "rebound": report.rebound} | {name: len(getattr(report, name)) for name in _CLASSES}
    alone = [aside for aside in report.quarantined if not aside.mended]
    counts |= {"repaired": len(report.repaired), "quarantined": len(alone), "untracked": len(report.untracked)}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "ok")
    took = format_duration(report.seconds)
    run.note(f"verified {plural(report.checked, 'file')}, {format_size(report.checked_bytes)} in {took}: {told}")
    if report.resumed is not None:
        run.note(
            f"went on with the run of {output.timestamp(report.resumed)}; what that one verified was not read again"
        )
    if report.remaining:
        run.note(f"{plural(report.remaining, 'file')} remain for the next run")
    if report.quarantined:
        size = format_size(sum(aside.charged for aside in report.quarantined))
        run.note(f"the damaged bytes ({size}) are kept in {ctx.places.quarantine} for 30 days")
    for hint in _hints(report):
        run.note(f"hint: {hint}")


def _hints(report: VerifyReport) -> Iterator[str]:
    """What to do about it, each a command that can be run."""
    tried = {row.key for row, _ in report.errors}
    remaining = _remaining(report)
    if any(str(one.row.verdict) != "changed" and one.row.key not in tried for one in remaining):
        yield "model-cache verify --repair fetches the recorded bytes of what is damaged"
    yield from dict.fromkeys(error.hint for _, error in report.errors if error.hint)
    for aside in [aside for aside in report.quarantined if not aside.mended][:_TOLD]:
        yield f"model-cache fetch {aside.repo} {quoted(aside.filename)} gets the Hub's current bytes"
    if report.changed:
        yield "model-cache reconcile accepts what was changed; once it is moved away, fetch brings the Hub's back"
    for one in report.missing[:_TOLD]:
        yield f"model-cache fetch {one.row.repo} {quoted(one.row.filename)} downloads it again; reconcile drops it"
    if report.untracked:
        yield "model-cache reconcile hashes and enters what is untracked"
