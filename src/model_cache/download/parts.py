"""Which bytes of a file are there, who fetches which next, and when one connection is not enough; pure, no I/O.

Parts are handed out in the order of the file, each smaller the less is left: the bytes from the start on, which are what
can be hashed, stay close behind the connections, so that little is left to hash when the last byte is there. When nothing
is left to hand out, who is done takes half of what the slowest has before it.

Concurrency:
    Not safe to share: whoever has several connections holds a lock around each call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

Range = tuple[int, int]  # first byte, one past the last

_PARTS_LEFT = 2  # parts for each connection that the rest of a file is worth: the last ones are small, none is waited for
_SECONDS_PART = 2.0  # of one connection: asking costs two round trips, a tenth of a second to a Hub that is far


class Pace(NamedTuple):
    """When a file comes over several connections, and in how large parts.

    Attributes:
        large: Bytes still to come from which it is worth while.
        window: Seconds over which a rate is measured before it counts.
        fast: Bytes per second with which one connection is as fast as what it fills: a disk takes some hundred MB/s, and
            a second connection would take turns with the first on the same cores.
        smallest: Bytes of the smallest part that is asked for by a request of its own.
        noted: Bytes between two notes of what is there: a kill makes about as many come again.
        chunk: Bytes per read: larger ones measured no faster.
    """

    large: int = 16 << 20
    window: float = 0.1
    fast: float = 200e6
    smallest: int = 1 << 20
    noted: int = 4 << 20
    chunk: int = 1 << 20


@dataclass(eq=False)
class Part:
    """What one connection fetches.

    Attributes:
        start: First byte.
        at: The next byte to come.
        end: One past the last; None: to the end of a file of unknown size. Others may move it closer.
    """

    start: int
    at: int
    end: int | None

    @property
    def left(self) -> int:
        """Bytes still to come, 0 where that is not known."""
        return 0 if self.end is None else self.end - self.at


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same bytes in as few ranges as can be, in order."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif start < end:
            found.append((start, end))
    return found


class Parts:
    """The bytes of one file: there, on their way, or still to be asked for.

    Args:
        size: Of the file, None if unknown.
        held: Ranges that are there.
        smallest: As `Pace.smallest`.
    """

    def __init__(self, size: int | None, held: Iterable[Range], smallest: int) -> None:
        self.size = size
        self._smallest = smallest
        self._held = merged(held)
        self._active: list[Part] = []

    def held(self) -> list[Range]:
        """Every byte that is there."""
        return merged([*self._held, *((part.start, part.at) for part in self._active)])

    @property
    def prefix(self) -> int:
        """Bytes from the start on that are there without a gap."""
        held = self.held()
        return held[0][1] if held and held[0][0] == 0 else 0

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return sum(end - start for start, end in self._held) + sum(part.at - part.start for part in self._active)

    @property
    def complete(self) -> bool:
        """Whether all bytes of a known number are there."""
        return self.size is not None and self.prefix >= self.size

    @property
    def coming(self) -> int:
        """Bytes that somebody fetches."""
        return sum(part.left for part in self._active)

    def gaps(self) -> list[Range]:
        """What nobody has and nobody fetches, in order."""
        assert self.size is not None
        found, at = [], 0
        for start, end in merged([*self._held, *((part.start, part.end or part.at) for part in self._active)]):
            if at < start:
                found.append((at, start))
            at = end
        return [*found, (at, self.size)] if at < self.size else found

    def whole(self) -> Part:
        """The first gap as a whole, for one connection that fetches one after the other."""
        start, end = (self.prefix, None) if self.size is None else self.gaps()[0]
        return self._begin(start, end)

    def take(self, connections: int, rate: float) -> Part | None:
        """What one of several connections fetches next; None where nothing is left that is worth a request.

        Args:
            connections: How many there are.
            rate: Bytes per second of one of them.
        """
        gaps = self.gaps()
        if gaps:
            start, end = gaps[0]
            return self._begin(start, min(end, start + self._length(connections, rate)))
        slowest = max(self._active, key=lambda part: part.left, default=None)
        if slowest is None or slowest.left < 2 * self._smallest or slowest.end is None:
            return None
        end, slowest.end = slowest.end, slowest.end - slowest.left // 2
        return self._begin(slowest.end, end)

    def share(self, part: Part, connections: int, rate: float) -> None:
        """Let others have the far end of a part that was begun as a whole."""
        if part.end is not None:
            end = part.at + self._length(connections, rate, part.left)
            part.end = min(part.end, end)

    def further(self, part: Part, reach: int, connections: int, rate: float) -> bool:
        """Let a part that has come go on where its answer does, up to `reach`, if nobody else fetches what follows."""
        for start, end in self.gaps():
            if start == part.end and reach > start:
                part.end = min(end, reach, start + self._length(connections, rate))
                return True
        return False

    def wrote(self, part: Part, count: int) -> None:
        """So many bytes of a part have come; those that another has taken over meanwhile are that one's."""
        part.at = part.at + count if part.end is None else min(part.at + count, part.end)

    def leave(self, part: Part) -> None:
        """Nobody fetches the rest of this part any more; said twice, it is as said once."""
        if part not in self._active:
            return
        self._active.remove(part)
        self._held = merged([*self._held, (part.start, part.at)])

    def _begin(self, start: int, end: int | None) -> Part:
        part = Part(start, start, end)
        self._active.append(part)
        return part

    def _length(self, connections: int, rate: float, more: int = 0) -> int:
        open_bytes = sum(end - start for start, end in self.gaps()) + more
        return max(self._smallest, min(int(rate * _SECONDS_PART), open_bytes // (connections * _PARTS_LEFT)))


def is_slow(pace: Pace, count: int, seconds: float) -> bool | None:
    """Whether a connection that brought `count` bytes in so many seconds is too slow; None: it is too early to say."""
    if seconds < pace.window:
        return None
    return count < pace.fast * seconds
