"""`import-hf`: files of a Hugging Face cache become files of this one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..operations import import_hf as take_over
from ..units import format_size, plural
from . import known, output
from .command import Run, command
from .progress import narrator

if TYPE_CHECKING:
    from ..importing.taking import Imported, ImportReport


@command(10, 11, 12, interrupted="what was taken over is kept; the same command goes on from there")
@click.argument("directory", required=False, metavar="[DIR]", shell_complete=known.directories)
@click.option("--link", is_flag=True, help="Hard links: no bytes are copied, and both caches share each file.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken over; change nothing.")
def import_hf(run: Run, directory: str | None, link: bool, dry_run: bool) -> int | None:
    """Take over the Hugging Face cache DIR (by default that of huggingface_hub), and print the paths.

    Each file is verified against the name of its blob while it is copied; blocks are shared where the file system can.
    Nothing is downloaded, what is there already stays, and the other cache stays as it is. With --link evicting a file frees
    nothing, and who edits one edits both.
    """
    ctx = run.context()
    with closing(ctx.index), narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        report = take_over(ctx, directory, progress, link=link, dry_run=dry_run)
    if run.json:
        output.write_json({"root": ctx.root, "dry_run": dry_run, "bytes_copied": report.copied, **_lists(report)})
        return None
    output.write_lines(one.path for one in report.imported)
    for skipped in report.skipped:
        run.note(f"skipped {skipped.path}: {skipped.reason}")
    would = "would be " if dry_run else ""
    size = format_size(sum(one.size for one in report.imported))
    run.note(f"{plural(len(report.imported), 'file')} ({size}) {would}taken over, {len(report.skipped)} skipped")
    return None


def _lists(report: ImportReport) -> dict[str, Any]:
    return {
        "imported": [_described(one) for one in report.imported],
        "skipped": [{"path": one.path, "reason": one.reason} for one in report.skipped],
    }


def _described(one: Imported) -> dict[str, Any]:
    names = {name: getattr(one.entry, name) for name in ("repo", "repo_type", "revision", "filename")}
    return {**names, "path": one.path, "size": one.size, "source": one.way}
