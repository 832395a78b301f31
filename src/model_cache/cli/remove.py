"""`rm`: take named entries away."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from ..errors import InUseError, quoted
from ..layout import DEFAULT_REVISION
from ..operations import remove, rows_of
from ..units import format_size, plural
from . import known, output
from .command import Run, UsageMistake, command, names
from .entries import Reasons, check_names, checked, directory, named

if TYPE_CHECKING:
    from ..budget.eviction import Spared
    from ..budget.removal import RemoveReport
    from ..context import Context
    from ..index import Row

_TOLD = 3  # entries that the message about those that stayed names


@command(10, 11)
@click.argument("repo", shell_complete=known.repos)
@click.argument("files", nargs=-1, metavar="[FILE...]", shell_complete=known.files)
@names
@click.option("--force", is_flag=True, help="Also what is pinned, leased or open; who has it open keeps the bytes.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
def rm(
    run: Run,
    repo: str,
    files: tuple[str, ...],
    revision: str,
    repo_type: str,
    force: bool,
    yes: bool,
    dry_run: bool,
) -> int | None:
    """Remove files of REPO (all of it at the revision, if no FILE is given), and print their paths.

    Asks on a terminal unless --yes; with no terminal it removes nothing without --yes. What is pinned, leased or open
    in a program stays (11), unless --force. What the cache did not make, or somebody changed, stays in any case.
    """
    check_names(repo, files, revision, repo_type)
    asks = not (yes or dry_run)
    if asks and not (sys.stdin is not None and sys.stdin.isatty()):
        raise UsageMistake(
            "rm asks before it removes, and there is no terminal to ask on", "add --yes, or --dry-run to look first"
        )
    ctx = checked(run, repo, files, revision, repo_type)
    with closing(ctx.index):
        if asks and not _agreed(ctx, rows_of(ctx, repo, files, revision, repo_type)):
            run.note("nothing was removed")
            return 1
        report = remove(ctx, repo, files, revision, repo_type, force=force, dry_run=dry_run)
    _tell(run, ctx, report, dry_run=dry_run)
    return None


def _agreed(ctx: Context, rows: list[Row]) -> bool:
    size = format_size(sum(row.size or 0 for row in rows))
    what = (
        f"{directory(rows[0])} {rows[0].filename}" if len(rows) == 1 else f"{len(rows)} files of {directory(rows[0])}"
    )
    return click.confirm(output.one_line(f"remove {what}, {size}, from {ctx.root}?"), err=True)


def _tell(run: Run, ctx: Context, report: RemoveReport, *, dry_run: bool) -> None:
    """Print what went.

    Raises:
        InUseError: Something that was named stayed; what, and why.
    """
    reasons = Reasons(ctx, report.in_use)
    if run.json:
        stayed = [{**named(ctx, one.row), "reason": one.reason, "in_use": reasons.users(one)} for one in report.in_use]
        removed = [named(ctx, row) for row in report.removed]
        output.write_json({"removed": removed, "in_use": stayed, "freed_bytes": report.freed_bytes, "dry_run": dry_run})
    else:
        click.echo("".join(f"{ctx.root}/{row.path}\n" for row in report.removed), nl=False)
        did = "would remove" if dry_run else "removed"
        if report.removed or not report.in_use:
            run.note(f"{did} {plural(len(report.removed), 'file')}, {format_size(report.freed_bytes)}")
    if report.in_use:
        told = [f"{one.row.filename} ({reasons.text(one)})" for one in report.in_use[:_TOLD]]
        more = f" and {len(report.in_use) - _TOLD} more" if len(report.in_use) > _TOLD else ""
        raise InUseError(
            f"{directory(report.in_use[0].row)}: {', '.join(told)}{more} {'would stay' if dry_run else 'stayed'}",
            hint=_hint(report.in_use),
        )


def _hint(spared: list[Spared]) -> str:
    """What lets them go, by the reason that kept them."""
    reasons = {one.reason for one in spared}
    ways = []
    if pinned := [one.row for one in spared if one.reason == "pinned"]:
        ways.append(_unpin(pinned))
    if reasons & {"leased", "open"}:
        ways.append("stop the program, or --force: who has a file open keeps its bytes")
    elif "untested" in reasons:
        ways.append("have one of them do it, or --force: who has a file open keeps its bytes")
    elif "refused" in reasons:
        ways.append("have the owner of its directory or root do it")
    elif ways:
        ways[0] += ", or --force"
    if ways:
        return "; ".join(ways)
    return "try again later" if "busy" in reasons else "remove such a file by hand, if nobody needs it"


def _unpin(rows: list[Row]) -> str:
    """The command that unpins these rows of one repo; of many, the one for all of the repo."""
    first = rows[0]
    words = ["model-cache unpin", first.repo]
    words += [quoted(row.filename) for row in rows] if len(rows) <= _TOLD else []
    if first.revision != DEFAULT_REVISION:
        words.append(f"--revision {quoted(first.revision)}")
    if first.repo_type != "model":
        words.append(f"--repo-type {first.repo_type}")
    return " ".join(words)
