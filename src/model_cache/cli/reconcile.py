"""`reconcile`: the index agrees with the disk again."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import click

from ..errors import LockTimeoutError, StorageError, quoted
from ..operations import reconcile as bring_together
from ..units import format_duration, plural
from . import output
from .command import Run, command
from .entries import skipped
from .progress import narrator

if TYPE_CHECKING:
    from ..context import Context
    from ..integrity.reconcile import ReconcileReport

_CLASSES = ("adopted", "rebound", "dropped", "damaged", "busy")


@command(11, interrupted="the next reconcile goes on where this one was")
@click.option("--rebuild", is_flag=True, help="Begin a new index, and hash every file.")
@click.option("--skip-if-busy", is_flag=True, help="Exit 0 while another run is under way, not 11.")
def reconcile(run: Run, rebuild: bool, skip_if_busy: bool) -> int | None:
    """Bring index and disk into agreement: after a restore, an edit, a lost index, or files placed by hand.

    Files that the index does not know, or knows otherwise, are hashed and entered as they are; rows without files are
    dropped. No file is written, moved or removed. What was adopted may be evicted under a budget: pin what must stay.
    With -q only the paths of what was adopted.
    """
    ctx = run.existing()
    if not os.path.isdir(ctx.places.own) and not rebuild:
        raise StorageError(
            f"{ctx.root} (from {ctx.settings.root_source}) was never used as a cache",
            hint=f"if its files are those of a cache: model-cache --root {quoted(ctx.root)} reconcile --rebuild",
            path=ctx.root,
        )
    ctx = run.prepared()
    with closing(ctx.index), narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        try:
            report = bring_together(ctx, rebuild=rebuild, progress=progress)
        except LockTimeoutError as error:
            return skipped(run, error, skip=skip_if_busy)
    _tell(run, ctx, report)
    return None


def _tell(run: Run, ctx: Context, report: ReconcileReport) -> None:
    lists = {name: getattr(report, name) for name in _CLASSES}
    if run.json:
        paths = {name: [{"path": f"{ctx.root}/{path}"} for path in found] for name, found in lists.items()}
        output.write_json({"root": ctx.root, **paths, "index": report.index, "seconds": round(report.seconds, 3)})
    elif run.quiet:
        click.echo("".join(f"{ctx.root}/{path}\n" for path in report.adopted), nl=False)
    else:
        rows = [[name, path] for name, found in lists.items() for path in found]
        if rows:
            output.write_table(["DONE", "FILE"], rows)
    if report.index == "damaged":
        run.note("the index was damaged and was set aside; what its newest backup knew was kept where the hash agrees")
    elif report.index == "older":
        run.note("the index was older than the cache: what it knew was kept where the hash agrees")
    elif report.index == "new":
        run.note("the index was gone, and there was no backup of it: a new one was made")
    told = ", ".join(f"{len(found)} {name}" for name, found in lists.items() if found)
    run.note(f"{told or 'nothing to do'}, in {format_duration(report.seconds)}")
    if report.busy:
        run.note(f"{plural(len(report.busy), 'file')} changed meanwhile, or cannot be read; the next run looks again")
