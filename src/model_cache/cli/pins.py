"""`pin`, `unpin`: what no eviction takes, and what it may take again."""

from __future__ import annotations

from contextlib import closing

import click

from ..operations import pin as set_pin
from . import known, output
from .command import Run, command, names
from .entries import checked, named


@command(10)
@click.argument("repo", shell_complete=known.repos)
@click.argument("files", nargs=-1, metavar="[FILE...]", shell_complete=known.files)
@names
def pin(run: Run, repo: str, files: tuple[str, ...], revision: str, repo_type: str) -> int | None:
    """Keep files of REPO from eviction and from `rm` until they are unpinned, and print their paths.

    With no FILE, all files of the repo that are in the cache now; what is fetched later is not pinned by it.
    """
    _set(run, repo, files, revision, repo_type, pinned=True)
    return None


@command(10)
@click.argument("repo", shell_complete=known.repos)
@click.argument("files", nargs=-1, metavar="[FILE...]", shell_complete=known.files)
@names
def unpin(run: Run, repo: str, files: tuple[str, ...], revision: str, repo_type: str) -> int | None:
    """Let pinned files of REPO (all of it, if no FILE is given) be evicted again, and print their paths."""
    _set(run, repo, files, revision, repo_type, pinned=False)
    return None


def _set(run: Run, repo: str, files: tuple[str, ...], revision: str, repo_type: str, *, pinned: bool) -> None:
    ctx = checked(run, repo, files, revision, repo_type)
    with closing(ctx.index):
        rows = set_pin(ctx, repo, files, revision, repo_type, pinned=pinned)
    if run.json:
        output.write_json({"pinned" if pinned else "unpinned": [named(ctx, row) for row in rows]})
    else:
        click.echo("".join(f"{ctx.root}/{row.path}\n" for row in rows), nl=False)
