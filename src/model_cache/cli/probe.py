"""`status`: how the cache is; with a lock file only whether its files are there, for a readiness probe.

What shows the rest is loaded only where it is asked for: a probe runs every few seconds, and has no use for SQL.
"""

from __future__ import annotations

import click

from ..errors import quoted
from ..units import plural
from . import known, output
from .command import Run, UsageMistake, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..context import Context
    from ..lockfile.probe import Lacking


@command(10)
@click.option(
    "--require",
    "lockfile",
    metavar="LOCKFILE",
    shell_complete=known.paths,
    help="Exit 0 if all of its files are there, else 10.",
)
@click.option("--by-user", is_flag=True, help="Also whose files fill the cache, by the owners of the files.")
def status(run: Run, lockfile: str | None, by_user: bool) -> int | None:
    """Show how full the cache and its disk are, and which downloads are under way or stopped.

    The usage is everything that counts against the budget; reserved is the part of it for downloads that are under way
    or were killed. A stopped download is resumed by the next fetch of the same file. With -q it prints nothing.

    A file belongs to whoever began its download: with --by-user each file is looked at.

    With --require only whether the files of a lock file stand at their paths, with their sizes and no known damage; what
    is lacking is named. For a readiness probe: no file is opened, no network, no index.
    """
    if lockfile is not None and by_user:
        raise UsageMistake("--by-user looks into all files, --require only at those of a lock file", "leave one out")
    if lockfile is None:
        from .status import show

        return show(run, by_user=by_user)
    from ..lockfile.files import read
    from ..lockfile.probe import lacking

    files = read(lockfile)
    ctx = run.context()
    found = lacking(ctx, files)
    _tell(run, ctx, lockfile, len(files), found)
    return 10 if found else 0


def _tell(run: Run, ctx: Context, lockfile: str, count: int, found: list[Lacking]) -> None:
    named = [{**_named(ctx, one), "reason": one.reason} for one in found]
    if run.json:
        output.write_json(
            {"root": ctx.root, "lockfile": lockfile, "files": count, "ready": not found, "lacking": named}
        )
    elif run.quiet:
        click.echo("".join(f"{one['path']}\n" for one in named), nl=False)
    elif found:
        output.write_table(["LACKING", "FILE"], [[one.reason, str(one.file.entry)] for one in found])
    if not found:
        run.note(f"{plural(count, 'file')} of {lockfile} in {ctx.root}")
        return
    run.note(f"{len(found)} of {plural(count, 'file')} of {lockfile} not in {ctx.root}")
    run.note(f"hint: model-cache sync {quoted(lockfile)}")


def _named(ctx: Context, one: Lacking) -> dict[str, object]:
    entry = one.file.entry
    names = {name: getattr(entry, name) for name in ("repo", "repo_type", "revision", "filename")}
    return {**names, "path": entry.path(ctx.root), "size": one.file.size}
