"""`rm`: take named entries away, never one in use unless forced.

Concurrency:
    Under G, by the same steps as an eviction; recent use does not protect against somebody who names the entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..context import Context
from ..index.room import Room
from ..index.rows import Row
from . import designated, eviction
from .eviction import Rules, Spared, Unit
from .reclaim import drop_partial


@dataclass
class RemoveReport:
    """What was removed, what stayed because it is in use, and the bytes that were freed."""

    removed: list[Row] = field(default_factory=list)
    in_use: list[Spared] = field(default_factory=list)
    freed_bytes: int = 0


def remove(ctx: Context, rows: list[Row], *, force: bool = False, dry_run: bool = False) -> RemoveReport:
    """Remove ready entries.

    Args:
        rows: What to remove; other names of the same file keep it.
        force: Also what is pinned, leased or open; running programs keep the bytes they have open.
        dry_run: Only say what would go.

    Raises:
        LockTimeoutError: An eviction did not end in time.
        StorageError: The file system has no locks.
    """
    designated.refuse_to_take(ctx)
    report = RemoveReport()
    room = Room(ctx.index)
    taken = []
    for row in rows:
        if row.origin == "placed":
            report.in_use.append(Spared(row, "placed"))
        elif row.pinned and not force:
            report.in_use.append(Spared(row, "pinned"))
        else:
            taken.append(Unit((_without_partial(ctx, row, dry_run=dry_run),), row.last_used_at))
    rules = Rules("remove", idle=False, used=not force, linked=False)
    with eviction.sole_evictor(ctx):
        for batch in eviction.batches(taken):
            result = eviction.plan(ctx, batch, rules) if dry_run else eviction.evict(ctx, room, batch, rules)
            report.removed += [row for unit in result.gone for row in unit.rows]
            report.freed_bytes += sum(unit.charged for unit in result.gone)
            report.in_use += result.spared
    return report


def _without_partial(ctx: Context, row: Row, *, dry_run: bool) -> Row:
    """The row, once what a replacement that was stopped has left beside the file is gone."""
    if row.next_state != "partial" or dry_run:
        return row._replace(next_state=None) if row.next_state == "partial" else row
    drop_partial(ctx, row)
    return row._replace(next_state=None, next_charged=0)
