"""What a report is about, gathered: the index, the last uses beside the files, and who uses what would go next.

Concurrency:
    Takes no lock of the cache and changes nothing. What `gc` would try under locks is told as far as looking can tell it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import __version__, stats
from ..budget.limits import ceiling
from ..index import queries
from ..report import Event, Facts, File, Verified
from ..units import format_duration
from .entries import Holders, directory
from .listing import is_sound, touched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..context import Context
    from ..index import Row

_LOOKED_AT = 40  # of the next to go: for so many it is looked up who uses them


def facts(ctx: Context) -> Facts:
    """What is known of the root now; raises IndexUnavailableError."""
    index, now = ctx.index, ctx.clock.time()
    indexed = queries.is_recorded(index)
    everything = queries.entries(index)
    rows = [row for row in everything if is_sound(row)]
    uses = touched(ctx.places.used, [row.key for row in rows])
    used = {row.id: min(max(row.last_used_at, when), now) for row, when in zip(rows, uses, strict=True)}
    totals = queries.totals(index)
    return Facts(
        root=ctx.root,
        now=now,
        version=__version__,
        total=totals.all,
        budget=ceiling(ctx),
        free=stats.free_bytes(ctx.root),
        disk=stats.total_bytes(ctx.root),
        others={"reserved": totals.reserved, "partial": totals.partial, "quarantined": totals.quarantined},
        files=[_file(row, row.charged, used[row.id]) for row in rows],
        order=_order(ctx, rows, used, now),
        events=[Event(*event) for event in queries.events(index)],
        verified=Verified(
            queries.last_run(index, "verify"),
            queries.last_run(index, "verify_success"),
            queries.condition(index).quarantined,
        ),
        indexed=indexed,
        left_out=len(everything) - len(rows),
    )


def _file(row: Row, charged: int, used: float, keeps: str = "") -> File:
    kept = keeps or ("pinned" if row.pinned else "")
    return File(directory(row), row.filename, row.size, charged, row.state, used, row.verified_at, row.verdict, kept)


def _order(ctx: Context, rows: Sequence[Row], used: dict[int, float], now: float) -> list[File]:
    """The ready files, all names of one as one, the longest unused first; why each would stay, as far as can be told."""
    units: dict[object, list[Row]] = {}
    for row in rows:
        if row.state == "ready":
            units.setdefault(row.id if row.ino is None else row.identity, []).append(row)
    ordered = sorted(units.values(), key=lambda names: (max(used[row.id] for row in names), names[0].id))
    holders = Holders(ctx, [names[0] for names in ordered[:_LOOKED_AT]])
    return [
        _file(
            max(names, key=lambda row: row.charged),
            sum(row.charged for row in names),
            last := max(used[row.id] for row in names),
            _keeps(ctx, names, now - last, in_use=bool(holders.of(names[0]))),
        )
        for names in ordered
    ]


def _keeps(ctx: Context, names: Sequence[Row], age: float, *, in_use: bool) -> str:
    if any(row.pinned for row in names):
        return "pinned"
    if any(row.origin == "placed" for row in names):
        return "placed by hand"
    if any(row.next_state is not None for row in names):
        return "being replaced"
    if in_use:
        return "in use"
    idle = ctx.settings.min_idle
    return f"used less than {format_duration(idle)} ago" if age < idle else ""
