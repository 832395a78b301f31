"""Shared leases on the files of one job, kept until all of them are there; bounded, so that descriptors do not run out."""

from __future__ import annotations

import heapq
from contextlib import ExitStack

from .. import locks, stats

_MOST = 512
_SHARE = 2  # of the descriptors that this process can spare, one in so many


class Leases:
    """A context manager that lets all of them go.

    Where there are more files than may be held, the smallest go without: they are recent, and cheap to fetch again.
    """

    def __init__(self) -> None:
        self._most = max(min(_MOST, stats.spare_descriptors() // _SHARE), 0)
        self._held: list[tuple[int, int]] = []  # (size, descriptor), a heap
        self.all_kept = True

    def add(self, fd: int, size: int) -> None:
        """Keep an open file that has a shared lease, or let it or a smaller one go."""
        heapq.heappush(self._held, (size, fd))
        if len(self._held) > self._most:
            self.all_kept = False
            locks.release(heapq.heappop(self._held)[1])

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_: object) -> None:
        held, self._held = self._held, []
        with ExitStack() as each:  # though one cannot be let go, or an interrupt comes, the others are
            for one in held:
                each.callback(locks.release, one[1])
