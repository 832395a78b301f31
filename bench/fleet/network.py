"""A link that transfers share: each gets the same, up to what one host can take.

All transfers of a link move at one rate at any time, so what each has received since it began is the difference of one number
that grows with the link. The next to end is the first of a heap, and a change costs the logarithm of how many there are.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from .virtual import Signal, Time


@dataclass(order=True)
class _Transfer:
    end: float
    number: int
    begin: float = field(compare=False)
    ended: Signal = field(compare=False)
    received: int = field(default=0, compare=False)


class Link:
    """One direction of a server's connection.

    Args:
        capacity: Bytes per second for all transfers together.
        each: Bytes per second for one of them, at most.

    Attributes:
        carried: Bytes by its rate over time; to be compared with what the ends say.
        most: Transfers at one time.
    """

    def __init__(self, time: Time, capacity: float, each: float) -> None:
        self._time, self._capacity, self._each = time, capacity, each
        self._transfers: list[_Transfer] = []
        self._grown = 0.0  # bytes that a transfer has which has been there from the beginning
        self._at = 0.0
        self._number = self._plan = 0
        self.carried = 0.0
        self.most = 0

    def carry(self, size: int) -> int:
        """Wait until so many bytes came; returns how many did, which is less where the link was cut."""
        if size <= 0:
            return 0
        self._advance()
        self._number += 1
        transfer = _Transfer(self._grown + size, self._number, self._grown, Signal(self._time), size)
        heapq.heappush(self._transfers, transfer)
        self.most = max(self.most, len(self._transfers))
        self._replan()
        transfer.ended.wait()
        return transfer.received

    def cut(self) -> None:
        """End all transfers where they are."""
        self._advance()
        for transfer in sorted(self._transfers):
            transfer.received = int(self._grown - transfer.begin)
            transfer.ended.come()
        self._transfers.clear()

    @property
    def _rate(self) -> float:
        return min(self._each, self._capacity / len(self._transfers)) if self._transfers else 0.0

    def _advance(self) -> None:
        grown = self._rate * (self._time.time() - self._at)
        self._grown += grown
        self.carried += grown * len(self._transfers)
        self._at = self._time.time()

    def _replan(self) -> None:
        """Look again when the next one ends; what was planned before is void."""
        self._plan += 1
        plan = self._plan

        def end() -> None:
            if plan == self._plan:
                self._advance()
                while self._transfers and self._transfers[0].end - self._grown < 0.5:  # bytes
                    heapq.heappop(self._transfers).ended.come()
                self._replan()

        if self._transfers:
            self._time.after(max(0.0, (self._transfers[0].end - self._grown) / self._rate), end)
