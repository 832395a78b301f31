"""`lock`: write down which bytes a deployment needs."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..errors import quoted
from ..layout import DEFAULT_REVISION, PREFIXES
from ..lockfile.format import dump
from ..units import format_size, plural
from . import known, output, target
from .command import Run, UsageMistake, command, duration
from .progress import narrator

if TYPE_CHECKING:
    from ..lockfile.format import Locked

_STDOUT = "-"


@command(10, 11, 12, interrupted="the lock file is as it was; small files that were fetched are kept")
@click.argument("repo", required=False, metavar="[REPO[@REV]]", shell_complete=known.repos)
@click.argument("files", nargs=-1, metavar="[FILE...]", shell_complete=known.files)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="PATH",
    default=_STDOUT,
    shell_complete=known.paths,
    help="The lock file; stdout unless given.",
)
@click.option("--add", is_flag=True, help="Keep what the lock file has of other repos and revisions.")
@click.option("--force", is_flag=True, help="Overwrite a file that is no lock file.")
@click.option("--repo-type", type=click.Choice(list(PREFIXES)), default="model", help="model unless given.")
@click.option("--include", metavar="PATTERN", multiple=True, help="Only what matches: '*.json', 'onnx/' for all below.")
@click.option("--exclude", metavar="PATTERN", multiple=True, help="Not what matches.")
@click.option("--from-cache", is_flag=True, help="What is in the cache, with its recorded hashes; asks nobody.")
@click.option("--used-within", metavar="DURATION", callback=duration, help="Of that only what was used since (30d).")
def lock(
    run: Run,
    repo: str | None,
    files: tuple[str, ...],
    path: str,
    add: bool,
    force: bool,
    repo_type: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    from_cache: bool,
    used_within: float | None,
) -> int | None:
    """Write down commit, size and sha256 of the files of REPO at REV (main unless given), or of each FILE of it.

    Asks the Hub, and fetches small files, of which it does not know the sha256. One lock file can have many repos: name
    the first, then each further one with --add. With --from-cache and no REPO it is all that is in the cache.
    """
    target.refuse_empty(path, "--output")
    if not repo and not from_cache:
        raise UsageMistake("no REPO given: expected a repo, or --from-cache", "model-cache lock gpt2 -o models.lock")
    name, _, revision = (repo or "").partition("@")
    if repo is not None and repo.endswith("@"):
        raise UsageMistake(f"expected a revision behind the @, found {repo!r}", f"model-cache lock {quoted(name)}")
    # What asks the Hub is only loaded to do so: a shell that completes a name waits for this module.
    from ..download.request import Request
    from ..lockfile.lock import Target
    from ..lockfile.lock import lock as write_down
    from ..lockfile.making import Asked

    names = (name or None, revision or DEFAULT_REVISION, repo_type, files)
    asked = Asked(*names, list(include) or None, list(exclude) or None)
    asked.check()
    ctx = run.existing() if from_cache else run.context()
    with closing(ctx.index), narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        request = Request(offline=ctx.settings.offline, progress=progress)
        place = Target(None if path == _STDOUT else path, add, force)
        found = write_down(ctx, asked, request, place, cached=from_cache, used_within=used_within)
    _tell(run, path, found)
    return None


def _tell(run: Run, path: str, files: list[Locked]) -> None:
    if run.json:
        output.write_json(
            {"lockfile": None if path == _STDOUT else path, "files": [_described(file) for file in files]}
        )
    elif path == _STDOUT:
        click.echo(dump(files), nl=False)
    size = format_size(sum(file.size for file in files))
    where = "" if path == _STDOUT else f" in {path}"
    run.note(f"locked {plural(len(files), 'file')}, {size}{where}")


def _described(file: Locked) -> dict[str, Any]:
    names: dict[str, Any] = {name: getattr(file.entry, name) for name in ("repo", "repo_type", "revision", "filename")}
    return names | {"commit": file.commit, "size": file.size, "sha256": file.sha256, "git_sha1": file.git_sha1}
