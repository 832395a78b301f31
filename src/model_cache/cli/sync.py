"""`sync`: the cache holds what a lock file names."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..lockfile.files import read
from ..units import format_size, plural
from . import known, output
from .command import Run, command
from .progress import narrator

if TYPE_CHECKING:
    from ..context import Context
    from ..download.request import Outcome
    from ..lockfile.format import Locked
    from ..lockfile.syncing import SyncReport

_CAME = {
    "hit": "there",
    "download": "downloaded",
    "resume": "resumed",
    "tier": "from the tier",
    "link": "linked",
    "copy": "copied",
}


@command(10, 11, 12, interrupted="what has arrived is kept; the same command goes on from there")
@click.argument("lockfile", shell_complete=known.paths)
@click.option("--offline", is_flag=True, help="Never ask the network: what is not there is a miss (10).")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched and replaced; change nothing.")
def sync(run: Run, lockfile: str, offline: bool, dry_run: bool) -> int | None:
    """Make the cache hold exactly the bytes that LOCKFILE names, or fail, and print their paths.

    What is missing is fetched at the commit that the lock file names, and linked where the cache has the bytes. A file
    that is there counts if its hash is known for this very file, else it is hashed. Other bytes that this cache downloaded
    are replaced, unless a program uses them (11); bytes that somebody placed or edited are left alone (1).
    """
    # What asks the Hub is only loaded to do so: a shell that completes a name waits for this module.
    from ..download.request import Request
    from ..lockfile.syncing import sync as bring

    files = read(lockfile)
    ctx = run.context(offline=offline or None)
    with closing(ctx.index), narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        request = Request(offline=ctx.settings.offline, progress=progress)
        report = bring(ctx, files, request, dry_run=dry_run)
    if run.json:
        output.write_json(_document(ctx, lockfile, report, dry_run=dry_run))
    elif not dry_run:
        output.write_lines(_path(ctx, file, outcome) for file, outcome in report.files)
    elif run.quiet:
        output.write_lines(file.entry.path(ctx.root) for file, outcome in report.files if outcome is None)
    else:
        _show_plan(report)
    _sum_up(run, lockfile, report, dry_run=dry_run)
    return None


def _document(ctx: Context, lockfile: str, report: SyncReport, *, dry_run: bool) -> dict[str, Any]:
    files = []
    for file, outcome in report.files:
        entry = file.entry
        names = {name: getattr(entry, name) for name in ("repo", "repo_type", "revision")}
        described = {
            "commit": file.commit,
            "filename": entry.filename,
            "path": _path(ctx, file, outcome),
            "size": file.size,
        }
        hashes = {"sha256": file.sha256, "etag": file.etag}
        source = None if outcome is None else outcome.source
        files.append({**names, **described, **hashes, "source": source, "replaced": file in report.replaced})
    return {
        "root": ctx.root,
        "lockfile": lockfile,
        "bytes_downloaded": report.downloaded,
        "dry_run": dry_run,
        "files": files,
    }


def _path(ctx: Context, file: Locked, outcome: Outcome | None) -> str:
    """Where a file is, or would be."""
    return file.entry.path(ctx.root) if outcome is None else outcome.found.text


def _show_plan(report: SyncReport) -> None:
    rows = [
        ["replace" if file in report.replaced else "fetch", str(file.entry), format_size(file.size)]
        for file, outcome in report.files
        if outcome is None
    ]
    if rows:
        output.write_table(["WOULD", "FILE", "SIZE"], rows, right=(2,))


def _sum_up(run: Run, lockfile: str, report: SyncReport, *, dry_run: bool) -> None:
    count = plural(len(report.files), "file")
    if dry_run:
        lacking = [file for file, outcome in report.files if outcome is None]
        size = format_size(sum(file.size for file in lacking))
        run.note(f"{len(lacking)} of {count} of {lockfile} would be fetched: {size}")
        return
    came = Counter(outcome.source for _, outcome in report.files if outcome is not None)
    told = ", ".join(f"{came[source]} {word}" for source, word in _CAME.items() if came[source])
    size = f" ({format_size(report.downloaded)})" if report.downloaded else ""
    run.note(f"{count} as {lockfile} has them: {told}{size}")
