"""The evictable files in exact order of their last use, with all names of one file as one unit.

Last uses that turn out newer than the index said are written back page by page, so that the next evictor need not look
at those rows again.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..context import Context
from ..index.room import Room
from ..index.rows import Row
from .eviction import Unit, last_use
from .lru import in_order


def candidates(ctx: Context, room: Room, skip: set[int]) -> Iterator[Unit]:
    """Units that may go as far as the index knows, least recently used first.

    Args:
        skip: Ids of rows that were found to be in use just now.
    """
    pages = _Pages(ctx, room)
    for when, row in in_order(pages.rows(), pages.use):
        names = pages.names(row)
        if any(name.id in skip or not _evictable(name) for name in names) or min(name.id for name in names) != row.id:
            continue  # the unit comes up once, under its first name
        yield Unit(tuple(names), when)


class _Pages:
    """Rows page by page, each page with its siblings and last uses."""

    def __init__(self, ctx: Context, room: Room) -> None:
        self._ctx, self._room = ctx, room
        self._units: dict[int, list[Row]] = {}
        self._later: list[tuple[int, float]] = []  # rows of this page that were used later than the index knows

    def rows(self) -> Iterator[Row]:
        """All evictable rows in the order of the index."""
        after = (-1.0, 0)
        seen: set[int] = set()
        while page := self._room.page(after):
            # Keys and paths are used below, and anybody may have written the index.
            self._units |= {ino: rows for ino, rows in self._room.siblings(page).items() if all(map(Row.entry, rows))}
            after = (page[-1].last_used_at, page[-1].id)
            # A row whose last use was written back stands further on by now, and would come again.
            yield from [row for row in page if row.id not in seen and row.entry() is not None]
            seen.update(row.id for row in page)
            later, self._later = self._later, []
            self._room.younger(later)

    def names(self, row: Row) -> list[Row]:
        """All rows of the row's file."""
        return self._units.get(row.ino or 0) or [row]

    def use(self, row: Row) -> float:
        """The unit's exact last use."""
        when = last_use(self._ctx, self.names(row))
        if when > row.last_used_at:
            self._later.append((row.id, when))
        return when


def _evictable(row: Row) -> bool:
    return row.state == "ready" and not row.pinned and row.origin != "placed" and row.next_state is None
