"""`status` without a lock file: usage against the budget, free disk, downloads in flight."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import click

from .. import disk, listings, locks, stats
from ..budget.owners import shares
from ..download import notes
from ..errors import IndexUnavailableError, InvalidNameError
from ..index import queries
from ..index.audit import FAILED
from ..layout import Snapshot
from ..units import format_size, plural
from ..users import leases
from . import output
from .command import Run
from .entries import directory, named
from .listing import budget_bytes, is_sound

if TYPE_CHECKING:
    from ..context import Context
    from ..index import Index, Row

_LOW = 0.1  # share of the file system; below that a person should know
_TOLD = 500  # locks on one file system that are looked up: far more than programs that use models
_LABEL = 13  # characters that the names in front of the lines have
_WEEK = 7 * 86400.0  # seconds; the time for which thrash is told


def show(run: Run, *, by_user: bool) -> int | None:
    """Print usage, free disk, leases and downloads; and whose files those are."""
    ctx = run.existing()
    with closing(ctx.index) as index:
        totals, held = queries.totals(index), queries.held(index)
        regret = queries.regret(index, ctx.clock.time() - _WEEK)
        downloads = [
            _download(ctx, row) for row in queries.unsettled(index) if row.state != "deleting" and is_sound(row)
        ]
        lower = [_lower(below) for below in ctx.lower]
        leased, damaged, incomplete = _leases(ctx), _damaged(index), _incomplete(ctx)
        users = _by_user(ctx) if by_user else None
        events = {f"last_{kind}": output.timestamp(queries.last_run(index, kind)) for kind in ("verify", "gc")}
    document: dict[str, Any] = {
        "root": ctx.root,
        "entries": totals.files,
        "total_bytes": totals.all,
        "reserved_bytes": totals.reserved,
        "pinned_bytes": held.pinned,
        "quarantined_bytes": totals.quarantined,
        "budget_bytes": budget_bytes(ctx.settings),
        "free_bytes": stats.free_bytes(ctx.root),
        "downloads": downloads,
        "incomplete": incomplete,
        "leases": leased,
        "lower": lower,
        "by_user": users,
        **events,
        "damaged": damaged,
        "regret": {"files": regret.files, "bytes": regret.bytes, "lacking_bytes": regret.lacking},
    }
    if run.json:
        output.write_json(document)
    elif not run.quiet:
        _print(_lines(ctx, document), document)
    _warn(run, ctx, document["free_bytes"])
    return None


def _print(lines: list[str], document: dict[str, Any]) -> None:
    if not output.is_terminal():
        click.echo("\n".join(lines))
        return
    from .terminal import write_facts

    budget = document["budget_bytes"]
    write_facts(lines, _LABEL, ("budget", document["total_bytes"] / budget) if budget else None)


def _damaged(index: Index) -> dict[str, int]:
    """How many files are known to be wrong, by what is wrong with them."""
    failed = queries.failed(index)
    return {name: failed.get(name, 0) for name in (*FAILED, "quarantined")}


def _by_user(ctx: Context) -> list[dict[str, Any]]:
    """Who has how many files and bytes, most first."""
    found = shares(ctx, [row for row in queries.entries(ctx.index) if is_sound(row)])
    return [{"user": one.user, "uid": one.uid, "files": one.files, "bytes": one.bytes} for one in found]


def _lower(below: Context) -> dict[str, Any]:
    """What a lower root has, by its index: null where that cannot be told."""
    described: dict[str, Any] = {"root": below.root, "state": "ok", "entries": None, "total_bytes": None}
    if not os.path.isdir(below.root):
        return described | {"state": "missing"}
    if not os.access(below.root, os.R_OK | os.X_OK):
        return described | {"state": "unreadable"}
    with closing(below.index) as index, suppress(IndexUnavailableError):
        if os.path.exists(below.places.index):
            totals = queries.totals(index)
            described |= {"entries": totals.files, "total_bytes": totals.all}
    return described


def _incomplete(ctx: Context) -> list[dict[str, Any]]:
    """Repos that were asked for as a whole, and of which a part is missing."""
    found = []
    known = set(listings.keys(ctx))
    for names in queries.snapshots(ctx.index) if known else ():
        try:
            snapshot = Snapshot(*names)
        except InvalidNameError:
            continue
        listing = listings.read(ctx, snapshot) if snapshot.key in known else None
        if listing is None:
            continue
        there = sum(listing.file(name) is not None for name in queries.filenames(ctx.index, snapshot))
        if there < len(listing.files):
            described = {"repo": snapshot.repo, "repo_type": snapshot.repo_type, "revision": snapshot.revision}
            counts = {"files": there, "files_in_repo": len(listing.files)}
            found.append({**described, "directory": snapshot.directory, **counts})
    return found


def _leases(ctx: Context) -> list[dict[str, Any]]:
    """The entries that running programs have leased; nothing where this system does not tell."""
    held = leases(os.stat(ctx.root).st_dev)
    rows = [row for row in queries.by_inode(ctx.index, sorted(held)[:_TOLD]) if is_sound(row)]
    return [{**named(ctx, row), "by": [str(user) for user in held[row.ino or 0]]} for row in rows]


def _download(ctx: Context, row: Row) -> dict[str, Any]:
    replacing = row.next_state is not None
    alive = _alive(ctx.places.lock(row.key))
    entry = row.entry()
    assert entry is not None, "the row was looked at before"
    return {
        "repo": row.repo,
        "repo_type": row.repo_type,
        "revision": row.revision,
        "filename": row.filename,
        "size": row.next_size if replacing else row.size,
        "done_bytes": notes.arrived(ctx, entry),
        "state": "stopped" if alive is False else "running" if alive else "unknown",
        "holder": row.holder if alive else None,
        "directory": directory(row),
    }


def _alive(lock: str) -> bool | None:
    """Whether somebody holds the write lock: what a row says is being done is being done only then.

    A shared lock is enough to ask, so whoever may read the cache may look, and nothing is made.
    """
    try:
        fd = disk.open_regular(lock)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    free = locks.try_shared(fd)
    known = not free or locks.flock_works(fd)
    locks.release(fd)
    return not free if known else None


def _lines(ctx: Context, document: dict[str, Any]) -> list[str]:
    """The document for people."""
    budget, free, total = document["budget_bytes"], document["free_bytes"], stats.total_bytes(ctx.root)
    reserved, pinned = format_size(document["reserved_bytes"]), format_size(document["pinned_bytes"])
    used = f"{format_size(document['total_bytes'])}, {reserved} of it reserved, {pinned} pinned"
    if document["quarantined_bytes"]:
        used += f", {format_size(document['quarantined_bytes'])} quarantined"
    disk_line = "unknown" if free is None or total is None else f"{format_size(free)} free of {format_size(total)}"
    lines = [
        f"root         {output.one_line(ctx.root)} (from {ctx.settings.root_source})",
        f"entries      {document['entries']}",
        f"usage        {used}",
        f"budget       {_budget_line(budget, document['total_bytes'])}",
        f"disk         {disk_line}",
        f"last gc      {document['last_gc'] or 'never'}",
        f"last verify  {document['last_verify'] or 'never'}",
    ]
    for one in document["by_user"] or ():
        amount = f"{format_size(one['bytes'])}, {plural(one['files'], 'file')}"
        lines.append(output.one_line(f"user         {one['user']}: {amount}"))
    for below in document["lower"]:
        amount = {"missing": "not there", "unreadable": "may not be read"}.get(
            below["state"], "no index that can be read"
        )
        if below["entries"] is not None:
            amount = f"{plural(below['entries'], 'file')}, {format_size(below['total_bytes'])}"
        lines.append(output.one_line(f"lower        {below['root']}: {amount}"))
    damaged = ", ".join(f"{count} {name}" for name, count in document["damaged"].items() if count)
    if damaged:
        lines.append(f"damage       {damaged}: model-cache verify says which and what to do")
    if document["regret"]["files"]:
        lines.append(f"regret       {_regret_line(document['regret'], budget)}")
    for lease in document["leases"]:
        name = f"{lease['repo']} {lease['filename']}"
        lines.append(output.one_line(f"lease        {name}: {', '.join(lease['by'])}"))
    for part in document["incomplete"]:
        amount = f"{part['files']} of {plural(part['files_in_repo'], 'file')}"
        lines.append(output.one_line(f"incomplete   {part['directory']}: {amount}, the next fetch of it gets the rest"))
    return lines + [f"download     {_download_line(download)}" for download in document["downloads"]]


def _budget_line(budget: int | None, total: int) -> str:
    if budget is None:
        return "none: nothing is ever evicted to save space"
    left = f"{format_size(budget - total)} left" if total <= budget else f"{format_size(total - budget)} over"
    return f"{format_size(budget)}, {left}"


def _regret_line(regret: dict[str, int], budget: int | None) -> str:
    again = f"{format_size(regret['bytes'])} ({plural(regret['files'], 'file')}) downloaded again within a day of their eviction"
    better = "" if budget is None else f"; {format_size(budget + regret['lacking_bytes'])} would have avoided it"
    return f"{again}, this week{better}"


def _download_line(download: dict[str, Any]) -> str:
    done, size = download["done_bytes"], download["size"]
    amount = f"{format_size(done)} of {format_size(size)}" if size else format_size(done)
    holder = f" by {download['holder']}" if download["holder"] else ""
    resumable = ", the next fetch resumes it" if download["state"] == "stopped" else ""
    text = f"{download['directory']} {download['filename']}: {amount}, {download['state']}{holder}{resumable}"
    return output.one_line(text)


def _warn(run: Run, ctx: Context, free: int | None) -> None:
    total = stats.total_bytes(ctx.root)
    if free is None or not total or free >= total * _LOW or ctx.settings.min_free is not None:
        return  # with a min_free somebody has decided how much is enough
    never = "" if ctx.settings.evicts else ", and nothing here is ever evicted (model-cache config max_size=…)"
    run.note(
        f"warning: only {format_size(free)} ({free * 100 // total} %) of the file system of {ctx.root} is free{never}"
    )
