"""`ls`: what the index knows to be in the cache."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from .. import disk
from ..index import queries
from ..layout import repo_directory
from ..units import format_duration, format_size, plural
from . import output, selection
from .command import Run, command
from .entries import Holders, directory, last_use
from .selection import Listed

if TYPE_CHECKING:
    from ..context import Context
    from ..index import Row
    from ..settings import Settings

_NUMBERS = ("size", "charged", "downloaded_at", "last_used_at", "verified_at", "next_size", "next_charged", "pinned")
_TEXTS = ("state", "sha256", "etag", "commit", "origin", "verdict", "holder", "next_state", "next_etag", "next_commit")


@command()
@click.argument("repo", required=False)
@click.option("--filter", "filters", metavar="TEST", multiple=True, help=selection.FILTER_HELP)
@click.option("--sort", metavar="KEY[:desc]", help=f"One of {', '.join(selection.SORT_KEYS)}.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Show the first N.")
@click.option("--repos", is_flag=True, help="Sum by repo.")
@click.option("--in-use", is_flag=True, help="Say which processes have each file leased, open or mapped.")
def ls(
    run: Run, repo: str | None, filters: tuple[str, ...], sort: str | None, limit: int | None, repos: bool, in_use: bool
) -> int | None:
    """List the cache, or one REPO of it: what the index knows, in the order of names.

    With -q the absolute paths, with --repos -q the repos' directories.
    """
    now = time.time()
    tests = [selection.parse_filter(text, now) for text in filters]
    order = None if sort is None else selection.parse_sort(sort)
    if repos and order is not None and order[0] in ("file", "verified", "downloaded"):
        raise click.UsageError("--repos sorts by repo, size or used")
    if repos and in_use:
        raise click.UsageError("--in-use is about files, and cannot be summed by --repos")
    if repo is not None:
        repo_directory(repo)  # refuses what is no repo
    ctx = run.existing()
    with closing(ctx.index):
        listed = [one for one in _read(run, ctx, repo) if all(test(one) for test in tests)]
        totals = queries.totals(ctx.index)
    document = {"root": ctx.root, "total_bytes": totals.all, "budget_bytes": budget_bytes(ctx.settings)}
    if repos:
        _show_repos(run, _by_repo(listed, order)[:limit], document)
    else:
        shown = selection.arrange(listed, order)[:limit]
        _show_entries(run, _with_users(run, ctx, shown) if in_use else shown, document, now)
    return None


def budget_bytes(settings: Settings) -> int | None:
    """The ceiling in bytes, or None where there is none."""
    if isinstance(settings.max_size, float):
        return int(settings.max_size * (disk.total_bytes(settings.root) or 0))
    return settings.max_size


def is_sound(row: Row) -> bool:
    """Whether a row can be shown: names that pass, numbers that are numbers. Anybody may have written the index."""
    numbers = all(_is_number(getattr(row, name)) for name in _NUMBERS)
    texts = all(isinstance(getattr(row, name), (str, type(None))) for name in _TEXTS)
    return numbers and texts and row.entry() is not None


def _is_number(value: object) -> bool:
    # SQLite keeps a BLOB in any column, and infinities, which JSON has no word for.
    return value is None or (isinstance(value, (int, float)) and abs(value) < float("inf"))


def _read(run: Run, ctx: Context, repo: str | None) -> list[Listed]:
    rows = queries.entries(ctx.index, repo)
    if not rows and not os.path.exists(ctx.places.index):
        run.note("there is no index yet: files placed by hand are found all the same, and not listed")
    elif not rows and repo is not None:
        run.note(f"nothing of {repo} is in the index")
    listed = [_listed(ctx, row) for row in rows if is_sound(row)]
    if len(listed) < len(rows):
        count = len(rows) - len(listed)
        rest = "names no entry, and was left out" if count == 1 else "name no entry, and were left out"
        run.note(f"warning: {plural(count, 'row')} of {ctx.places.index} {rest}")
    return listed


def _listed(ctx: Context, row: Row) -> Listed:
    return Listed(row, f"{ctx.root}/{row.path}", last_use(ctx, row))


def _with_users(run: Run, ctx: Context, listed: list[Listed]) -> list[Listed]:
    holders = Holders(ctx, [one.row for one in listed])
    holders.note(run)
    return [one._replace(in_use=holders.of(one.row)) for one in listed]


def _show_entries(run: Run, listed: list[Listed], document: dict[str, Any], now: float) -> None:
    if run.json:
        output.write_json({**document, "entries": [_described(one) for one in listed]})
        return
    if run.quiet:
        click.echo("".join(f"{one.path}\n" for one in listed), nl=False)
        return
    if listed:
        rows = [
            [directory(one.row), one.row.filename, _size(one.row.size), _ago(one, now), _remarks(one)] for one in listed
        ]
        output.write_table(["REPO", "FILE", "SIZE", "USED", "STATE"], rows, right=(2,))
    _summary(run, sum(one.row.size or 0 for one in listed), len(listed), document)


def _described(one: Listed) -> dict[str, Any]:
    row = one.row
    described: dict[str, Any] = {name: getattr(row, name) for name in ("repo", "repo_type", "revision", "filename")}
    described |= {"path": one.path, "size": row.size, "sha256": row.sha256, "etag": row.etag, "commit": row.commit}
    described["downloaded_at"] = output.timestamp(row.downloaded_at)
    described["last_used_at"] = output.timestamp(one.last_used_at)
    described["verified_at"] = output.timestamp(row.verified_at)
    return described | {"pinned": bool(row.pinned), "in_use": one.in_use, "state": row.state}


def _by_repo(listed: list[Listed], order: tuple[str, bool] | None) -> list[dict[str, Any]]:
    sums: dict[str, dict[str, Any]] = {}
    for one in selection.arrange(listed, None):
        row = one.row
        found = sums.setdefault(
            directory(row),
            {
                "repo": row.repo,
                "repo_type": row.repo_type,
                "revision": row.revision,
                "files": 0,
                "size": 0,
                "used": 0.0,
            },
        )
        found["files"] += 1
        found["size"] += row.size or 0
        found["used"] = max(found["used"], one.last_used_at)
    repos = [{"directory": name, **found} for name, found in sums.items()]
    if order is not None:
        repos.sort(key=lambda found: found[order[0]], reverse=order[1])
    return repos


def _show_repos(run: Run, repos: list[dict[str, Any]], document: dict[str, Any]) -> None:
    size, files = sum(found["size"] for found in repos), sum(found["files"] for found in repos)
    now = time.time()
    ages = [_since(found["used"], now) for found in repos]
    for found in repos:
        found["last_used_at"] = output.timestamp(found.pop("used"))
        found["path"] = f"{document['root']}/{found['directory']}"
    if run.json:
        described = [{name: value for name, value in found.items() if name != "directory"} for found in repos]
        output.write_json({**document, "repos": described})
    elif run.quiet:
        click.echo("".join(f"{found['path']}\n" for found in repos), nl=False)
    else:
        rows = [
            [found["directory"], str(found["files"]), _size(found["size"]), age]
            for found, age in zip(repos, ages, strict=True)
        ]
        if rows:
            output.write_table(["REPO", "FILES", "SIZE", "USED"], rows, right=(1, 2))
        _summary(run, size, files, document)


def _summary(run: Run, size: int, count: int, document: dict[str, Any]) -> None:
    budget = document["budget_bytes"]
    of = "no budget is set" if budget is None else f"the budget is {format_size(budget)}"
    run.note(f"{plural(count, 'file')}, {format_size(size)}; {of}")


def _size(size: int | None) -> str:
    return "?" if size is None else format_size(size)


def _ago(one: Listed, now: float) -> str:
    return _since(one.last_used_at, now)


def _since(moment: float, now: float) -> str:
    return f"{format_duration(max(now - moment, 0.0))} ago" if moment else "never"


def _remarks(one: Listed) -> str:
    return ", ".join([one.row.state, *(["pinned"] if one.row.pinned else []), *(one.in_use or [])])
