"""`report`: a page to look at, or a copy of the index for programs that show tables."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click

from ..errors import IndexUnavailableError, StorageError, quoted
from ..index.export import export
from ..platforms import at
from ..report import Facts, history, page
from ..report.grouping import repos
from . import known, output, target
from .command import Run, UsageMistake, command
from .reported import facts

if TYPE_CHECKING:
    from ..context import Context

_SPANS = 120  # of the history in JSON, as on the page


@command()
@click.option(
    "-o",
    "--output",
    "to",
    metavar="PATH",
    shell_complete=known.paths,
    help="Write the page to PATH, as a whole or not at all.",
)
@click.option(
    "--database",
    metavar="PATH",
    shell_complete=known.paths,
    help="Write a copy of the index to PATH, for Datasette and sqlite3; no page.",
)
def report(run: Run, to: str | None, database: str | None) -> int | None:
    """Print one HTML page: what fills the cache, how that went, how it was verified, what would go next.

    The page needs no network and no script. With -o it goes to a file. With --json the same as numbers, in place of what
    would be printed. Only looks.
    """
    if database is not None and to is not None:
        raise click.UsageError("--database writes no page: leave out --output, or run both")
    to = None if to == "-" else to
    if to is None and database is None and not run.json and sys.stdout is not None and sys.stdout.isatty():
        raise UsageMistake("a report is a page of HTML, and this is a terminal", "model-cache report -o report.html")
    ctx = run.existing()
    with closing(ctx.index):
        if database is not None:
            _copy(run, ctx, database)
            return None
        path = None if to is None else _outside(ctx, to, "--output")
        found = facts(ctx)
    if path is not None:
        target.write(path, page(found).encode(), _mode())
        run.note(f"wrote {path}")
    if run.json:
        output.write_json(_document(found))
    elif path is None:
        click.echo(page(found), nl=False, color=True)
    return None


def _copy(run: Run, ctx: Context, database: str) -> None:
    """The copy, and beside it what Datasette is told of the copy."""
    path = _outside(ctx, database, "--database")
    stem = os.path.splitext(path)[0]
    beside = _outside(ctx, f"{stem}.datasette.json", "--database")
    shipped = json.loads(files("model_cache.report").joinpath("datasette.json").read_text(encoding="utf-8"))
    shipped["databases"] = {os.path.basename(stem): shipped["databases"]["model-cache"]}
    try:
        there = export(ctx.index, path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint=f"ls -ld {quoted(os.path.dirname(path))}", path=path
        ) from None
    if not there:
        raise IndexUnavailableError(
            f"nothing is recorded of {ctx.root} (from {ctx.settings.root_source}): there is no index",
            hint=f"model-cache --root {quoted(ctx.root)} reconcile hashes and enters what is there",
        )
    target.write(beside, f"{json.dumps(shipped, indent=2)}\n".encode(), _mode())
    if run.json:
        output.write_json({"database": path, "metadata": beside})
    else:
        click.echo(f"{path}\n{beside}")
        run.note(f"look at it with: datasette {quoted(path)} --metadata {quoted(beside)}")


def _outside(ctx: Context, path: str, option: str) -> str:
    """The absolute path of a file that may be written: nothing of the cache's own.

    Raises:
        StorageError: It is, or something else than a file is there.
    """
    whole = target.replaceable(path, option)
    own = at.real_path(ctx.places.own)
    if os.path.commonpath([own, at.real_path(os.path.dirname(whole))]) == own:
        raise StorageError(
            f"{option} {path}: expected a place outside of the cache's own directory {ctx.places.own}",
            hint="name a file elsewhere",
            path=whole,
        )
    return whole


def _mode() -> int:
    """The mode that a shell's redirection would give the file."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def _document(found: Facts) -> dict[str, Any]:
    ready = [file for file in found.files if file.state == "ready"]
    wrong = [file for file in ready if file.verdict not in (None, "ok", "rebound")]
    last = found.verified
    return {
        "root": found.root,
        "at": output.timestamp(found.now),
        "total_bytes": found.total,
        "budget_bytes": found.budget,
        "free_bytes": found.free,
        "other_bytes": dict(found.others),
        "repos": [
            {"directory": one.name, "files": one.files, "bytes": one.size, "last_used_at": output.timestamp(one.used)}
            for one in repos(ready)
        ],
        "history": [
            {
                "at": output.timestamp(moment.at),
                "total_bytes": moment.size,
                "peak_bytes": moment.peak,
                "came_bytes": moment.came,
                "went_bytes": moment.went,
                "went_files": moment.goings,
                "regret_bytes": moment.regretted,
                "regret_files": moment.regrets,
            }
            for moment in history(found.events, found.total, found.now, _SPANS)
        ],
        "verification": {
            "last_verify": output.timestamp(last.last),
            "last_verify_success": output.timestamp(last.last_success),
            "never_verified": sum(file.verified is None for file in ready),
            "quarantined": last.quarantined,
            "damaged": [{"directory": f.repo, "filename": f.name, "verdict": f.verdict} for f in wrong],
        },
        "next": [
            {
                "directory": file.repo,
                "filename": file.name,
                "bytes": file.charged,
                "last_used_at": output.timestamp(file.used),
                "stays": file.keeps or None,
            }
            for file in found.order
        ],
    }
