"""`ls`: what the index knows to be in the cache."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from functools import lru_cache
from itertools import chain
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import click

from .. import listings, stats
from ..errors import IndexUnavailableError
from ..index import queries
from ..layout import Snapshot, repo_directory
from ..platforms import at
from ..units import format_duration, format_size, plural
from . import known, output, selection
from .command import Run, command
from .entries import Holders
from .selection import Listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..context import Context
    from ..index import Row
    from ..listings import Listing
    from ..settings import Settings

_NUMBERS = ("size", "charged", "downloaded_at", "last_used_at", "verified_at", "next_size", "next_charged", "pinned")
_TEXTS = ("state", "sha256", "etag", "commit", "origin", "verdict", "holder", "next_state", "next_etag", "next_commit")
_THERE = ("ready", "corrupt", "unreadable", "changed")  # something stands at the path
_KEY = queries.LISTED.index("key")


@command()
@click.argument("repo", required=False, shell_complete=known.repos)
@click.option("--filter", "filters", metavar="TEST", multiple=True, help=selection.FILTER_HELP)
@click.option("--sort", metavar="KEY[:desc]", help=f"One of {', '.join(selection.SORT_KEYS)}.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Show the first N.")
@click.option("--repos", is_flag=True, help="Sum by repo.")
@click.option("--in-use", is_flag=True, help="Say which processes have each file leased, open or mapped.")
def ls(
    run: Run, repo: str | None, filters: tuple[str, ...], sort: str | None, limit: int | None, repos: bool, in_use: bool
) -> int | None:
    """List the cache, or one REPO of it: what the index knows, in the order of names, and then what lower roots have.

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
        total = queries.totals(ctx.index).all
        document = {"root": ctx.root, "total_bytes": total, "budget_bytes": budget_bytes(ctx.settings)}
        listed: Iterable[Listed] = chain(_read(run, ctx, repo), _below(run, ctx, repo))
        if tests:
            listed = (one for one in listed if all(test(one) for test in tests))
        if repos:
            _show_repos(run, _by_repo(ctx, listed, order, filtered=bool(tests))[:limit], document)
        else:
            shown: Iterable[Listed] = selection.first(selection.arrange(listed, order), limit)
            if in_use:
                shown = _with_users(run, ctx, repo, shown)
            _show_entries(run, shown, document, now)
    return None


def budget_bytes(settings: Settings) -> int | None:
    """The ceiling in bytes, or None where there is none."""
    if isinstance(settings.max_size, float):
        return int(settings.max_size * (stats.total_bytes(settings.root) or 0))
    return settings.max_size


def is_sound(row: Row) -> bool:
    """Whether a row can be shown: names that pass, numbers that are numbers. Anybody may have written the index."""
    numbers = all(_is_number(getattr(row, name)) for name in _NUMBERS)
    texts = all(isinstance(getattr(row, name), (str, type(None))) for name in _TEXTS)
    return numbers and texts and row.entry() is not None


def _is_number(value: object) -> bool:
    # SQLite keeps a BLOB in any column, and infinities, which JSON has no word for.
    return value is None or (isinstance(value, (int, float)) and abs(value) < float("inf"))


def _read(run: Run, ctx: Context, repo: str | None) -> Iterator[Listed]:
    """What can be shown, in the order of names, and what is to be said of the rest once all is read."""
    rows = left_out = 0
    for page in queries.pages(ctx.index, repo):
        passed = selection.sound(page)
        rows += len(page)
        left_out += len(page) - len(passed)
        yield from _listed(ctx, passed)
    if not rows and not os.path.exists(ctx.places.index):
        run.note("there is no index yet: files placed by hand are found all the same, and not listed")
    elif not rows and repo is not None:
        run.note(f"nothing of {repo} is in the index")
    if left_out:
        rest = "names no entry, and was left out" if left_out == 1 else "name no entry, and were left out"
        run.note(f"warning: {plural(left_out, 'row')} of {ctx.places.index} {rest}")


def _below(run: Run, ctx: Context, repo: str | None) -> Iterator[Listed]:
    """What a fetch would find in the lower roots, as their indexes have it: what stands there and in no root above."""
    above = [ctx]
    for below in ctx.lower:
        try:
            with closing(below.index) as index:
                for page in queries.pages(index, repo):
                    for one in _listed(below, selection.sound(page)):
                        relative = one.path[len(below.root) :]
                        if os.path.exists(one.path) and not any(os.path.lexists(at.root + relative) for at in above):
                            yield one._replace(lower=below.root)
        except IndexUnavailableError as error:
            run.note(f"warning: what is in the lower root {below.root} cannot be listed: {error}")
        above.append(below)


def _listed(ctx: Context, rows: list[tuple[Any, ...]]) -> list[Listed]:
    root, uses = ctx.root, touched(ctx.places.used, [row[_KEY] for row in rows])
    # fmt: off
    return [
        Listed(repo, repo_type, revision, filename, f"{root}/{path}", size, sha256, etag, commit,
               downloaded, used if used > when else when, verified, pinned != 0, None, state)
        for (repo_type, repo, revision, filename, path, _, used, size, downloaded, verified, pinned, sha256, etag, commit,
             state), when in zip(rows, uses, strict=True)
    ]
    # fmt: on


def touched(folder: str, keys: list[str]) -> list[float]:
    """Last uses by the files beside the models, in seconds since the epoch; 0 where there is none.

    All of a page in one go, by names relative to their directory: this is a fifth of the time that a listing takes.
    """
    try:
        directory = at.open_directory(folder)
    except OSError:
        return [0.0] * len(keys)
    times = []
    for key in keys:
        try:
            times.append(at.status(key, directory).st_mtime)
        except OSError:
            times.append(0.0)  # not used since it was downloaded, or by nobody who may say so
    at.close(directory)
    return times


def _with_users(run: Run, ctx: Context, repo: str | None, shown: Iterable[Listed]) -> list[Listed]:
    listed = list(shown)
    wanted = {one.path for one in listed}
    rows = {
        path: row
        for row in queries.entries(ctx.index, repo)
        if (path := f"{ctx.root}/{row.path}") in wanted and is_sound(row)
    }
    holders = Holders(ctx, rows.values())
    holders.note(run)
    return [one._replace(in_use=holders.of(rows[one.path]) if one.path in rows else []) for one in listed]


def _show_entries(run: Run, shown: Iterable[Listed], document: dict[str, Any], now: float) -> None:
    if run.json:
        output.write_json_list(document, "entries", _FORMS, shown)
        return
    if run.quiet:
        output.write_lines(one.path for one in shown)
        return
    listed = list(shown)
    if listed:
        rows = [[one.directory, one.filename, _size(one.size), _ago(one, now), _remarks(one)] for one in listed]
        output.write_table(["REPO", "FILE", "SIZE", "USED", "STATE"], rows, right=(2,), grouped=True)
    _summary(run, sum(one.size or 0 for one in listed), len(listed), document)


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


_again = lru_cache(maxsize=1024)(_text)


def _few(column: Sequence[str | None]) -> Iterable[str]:
    return map(_again, column)  # many entries have it in common


def _texts(column: Sequence[str | None]) -> Iterable[str]:
    return map(_text, column)


def _others(column: Sequence[object]) -> Iterable[str]:
    return [json.dumps(value, indent=2).replace("\n", "\n      ") for value in column]


def _numbers(column: Sequence[float | None]) -> Iterable[object]:
    return _others(column) if None in column else column


def _flags(column: Sequence[bool]) -> Iterable[str]:
    return ["true" if value else "false" for value in column]


def _users(column: Sequence[list[str] | None]) -> Iterable[str]:
    return _others(column) if any(value is not None for value in column) else ["null"] * len(column)


# What makes JSON of the fields of `Listed`.
_FORMS: dict[str, Callable[[Sequence[Any]], Iterable[object]]] = {
    **dict.fromkeys(("repo", "repo_type", "revision"), _few),
    **dict.fromkeys(("filename", "path"), _texts),
    "size": _numbers,
    **dict.fromkeys(("sha256", "etag"), _texts),
    "commit": _few,
    **dict.fromkeys(("downloaded_at", "last_used_at", "verified_at"), output.json_timestamps),
    "pinned": _flags,
    "in_use": _users,
    "state": _few,
    "lower": _few,
}


def _by_repo(
    ctx: Context, listed: Iterable[Listed], order: tuple[str, bool] | None, *, filtered: bool
) -> list[dict[str, Any]]:
    sums: dict[tuple[str | None, str], dict[str, Any]] = {}
    wholes: dict[tuple[str | None, str], Listing | None] = {}
    roots: dict[str | None, Context] = {None: ctx} | {below.root: below for below in ctx.lower}
    for one in listed:
        names = {"repo": one.repo, "repo_type": one.repo_type, "revision": one.revision}
        place = one.lower, one.directory
        found = sums.get(place)
        if found is None:
            counts = {"files": 0, "files_in_repo": None, "size": 0, "used": 0.0}
            found = sums[place] = {"directory": one.directory, **names, "lower": one.lower, **counts}
            # Of a selection by --filter nobody could say of how many it is.
            at = roots[one.lower]
            whole = None if filtered else listings.read(at, Snapshot(one.repo, one.revision, one.repo_type))
            wholes[place] = whole
        found["files"] += 1
        found["size"] += one.size or 0
        found["used"] = max(found["used"], one.last_used_at)
        whole = wholes[place]
        if whole is not None:
            found["files_in_repo"] = len(whole.files)
            found["of_it"] = found.get("of_it", 0) + (one.state in _THERE and whole.file(one.filename) is not None)
    repos = list(sums.values())
    if order is not None:
        repos.sort(key=lambda found: found[order[0]], reverse=order[1])
    return repos


def _files(found: dict[str, Any]) -> str:
    """How many files, and of how many where that is known."""
    whole, there = found["files_in_repo"], found.get("of_it", 0)
    return str(found["files"]) if whole is None or there == whole else f"{there} of {whole}"


def _show_repos(run: Run, repos: list[dict[str, Any]], document: dict[str, Any]) -> None:
    size, files = sum(found["size"] for found in repos), sum(found["files"] for found in repos)
    now = time.time()
    ages = [_since(found["used"], now) for found in repos]
    for found in repos:
        found["last_used_at"] = output.timestamp(found.pop("used"))
        found["path"] = f"{found['lower'] or document['root']}/{found['directory']}"
    if run.json:
        described = [
            {name: value for name, value in found.items() if name not in ("directory", "of_it")}
            | {"complete": None if found["files_in_repo"] is None else found["of_it"] == found["files_in_repo"]}
            for found in repos
        ]
        output.write_json({**document, "repos": described})
    elif run.quiet:
        output.write_lines(found["path"] for found in repos)
    else:
        rows = [
            [found["directory"], _files(found), _size(found["size"]), age]
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
    below = [] if one.lower is None else [f"in {one.lower}"]
    return ", ".join([one.state, *below, *(["pinned"] if one.pinned else []), *(one.in_use or [])])
