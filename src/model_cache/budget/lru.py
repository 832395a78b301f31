"""Exact least-recently-used order at the cost of the victims, not of the whole cache; pure.

The index keeps a lower bound of each last use; the exact one is the mtime of a file, which costs a system call. So rows
are examined in the order of their bounds, and one is a victim only when its exact last use is not younger than the
bound of every row that has not been examined: whatever those turn out to be, they were used later.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar


class Bounded(Protocol):
    """What the order needs of a row."""

    @property
    def id(self) -> int:
        """Breaks ties, so that the order is the same for everybody."""

    @property
    def last_used_at(self) -> float:
        """A lower bound of the last use, in seconds since the epoch."""


R = TypeVar("R", bound=Bounded)


def in_order(rows: Iterable[R], last_use: Callable[[R], float]) -> Iterator[tuple[float, R]]:
    """The rows by exact last use, oldest first, examined no earlier than needed.

    Args:
        rows: In the order of (lower bound, id).
        last_use: The exact last use, never before the bound.

    Yields:
        (exact last use in seconds since the epoch, row); ties in the order of the ids.
    """
    waiting: list[tuple[float, int, R]] = []
    for row in rows:
        bound = (row.last_used_at, row.id)
        while waiting and waiting[0][:2] < bound:
            when, _, oldest = heapq.heappop(waiting)
            yield when, oldest
        heapq.heappush(waiting, (max(last_use(row), row.last_used_at), row.id, row))
    while waiting:
        when, _, oldest = heapq.heappop(waiting)
        yield when, oldest
