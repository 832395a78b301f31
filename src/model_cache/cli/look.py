"""`path`, `root`, `cached`: where something is, and whether; loads next to nothing."""

from __future__ import annotations

import os

import click

from .. import tiers
from ..layout import Entry
from . import known, output
from .command import Run, command, names


@command()
@click.argument("repo", shell_complete=known.repos)
@click.argument("file", shell_complete=known.files)
@names
def path(run: Run, repo: str, file: str, revision: str, repo_type: str) -> int | None:
    """Print the absolute path where FILE of REPO is or would be in this root. Touches nothing, asks nobody."""
    found = Entry(repo, file, revision, repo_type).path(run.context().root)
    if run.json:
        output.write_json({"path": found})
    else:
        click.echo(found)
    return None


@command()
def root(run: Run) -> int | None:
    """Print the cache directory, made if absent."""
    ctx = run.context()
    if not os.path.isdir(ctx.root):
        ctx = run.prepared()
    if run.json:
        output.write_json({"root": ctx.root, "source": ctx.settings.root_source})
    else:
        click.echo(ctx.root)
    return None


@command(10)
@click.argument("repo", shell_complete=known.repos)
@click.argument("file", shell_complete=known.files)
@names
def cached(run: Run, repo: str, file: str, revision: str, repo_type: str) -> int | None:
    """Exit 0 if FILE of REPO is in the cache or a lower root, 10 if not. Says nothing, asks nobody."""
    entry, ctx = Entry(repo, file, revision, repo_type), run.context()
    at = tiers.holder(ctx, entry)
    if run.json:
        output.write_json({"cached": at is not None, "path": entry.path((at or ctx).root)})
    return 0 if at is not None else 10
