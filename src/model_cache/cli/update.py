"""`update`: move what is there to the Hub's current commits."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..errors import DownloadError, InUseError
from ..operations import update as move
from ..units import plural
from . import known, output
from .command import Run, command, names
from .entries import checked, directory, named
from .progress import narrator

if TYPE_CHECKING:
    from ..context import Context
    from ..download.update import UpdateReport


@command(10, 11, 12)
@click.argument("repo", required=False, shell_complete=known.repos)
@click.argument("files", nargs=-1, metavar="[FILE...]", shell_complete=known.files)
@names
def update(run: Run, repo: str | None, files: tuple[str, ...], revision: str, repo_type: str) -> int | None:
    """Ask the Hub whether files of REPO (of everything, if none is given) changed, and replace those that did.

    A repo moves to its new commit as a whole, or not at all when one of its files is in use (11). Old and new bytes are
    needed at once (12). A repo that is there as a whole gets the files that are
    new at the commit, too. Prints the paths that were replaced or are new.
    """
    if repo is not None:
        ctx = checked(run, repo, files, revision, repo_type)
    else:
        run.existing()
        ctx = run.prepared()
    with closing(ctx.index), narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        reports = move(ctx, repo, files, revision, repo_type, progress)
    _tell(run, ctx, reports)
    return None


def _tell(run: Run, ctx: Context, reports: list[UpdateReport]) -> None:
    """Print what moved.

    Raises:
        DownloadError: A repo could not be moved.
        InUseError: A repo stayed at its commit because a file of it is in use.
    """
    updated = [row for report in reports for row in report.updated]
    current = [row for report in reports for row in report.current]
    in_use = [row for report in reports for row in report.in_use]
    gone = [row for report in reports for row in report.gone]
    added = [row for report in reports for row in report.added]
    if run.json:
        lists = {"updated": updated, "current": current, "in_use": in_use, "gone": gone, "added": added}
        document: dict[str, Any] = {name: [named(ctx, row) for row in rows] for name, rows in lists.items()}
        document["failed"] = [
            {"repo": report.failed[0].repo, "message": str(report.error)} for report in reports if report.error
        ]
        output.write_json(document)
    else:
        click.echo("".join(f"{ctx.root}/{row.path}\n" for row in (*updated, *added)), nl=False)
        new = f", {len(added)} new" if added else ""
        run.note(f"{plural(len(updated), 'file')} updated{new}, {len(current)} current")
    failed = [report for report in reports if report.error is not None]
    for report in failed:
        run.note(f"{directory(report.failed[0])}: {report.error}")
    for row in gone:
        run.note(f"{directory(row)} {row.filename} is not in the Hub's current commit; it stays")
    if failed and failed[0].error is not None:
        raise DownloadError(
            f"{len(failed)} of {len(reports)} repos could not be updated; the others were", hint=failed[0].error.hint
        )
    if in_use:
        told = ", ".join(f"{directory(row)} {row.filename}" for row in in_use)
        raise InUseError(
            f"{told} is in use; nothing of its repo was replaced", hint="model-cache ls --in-use says by whom"
        )
