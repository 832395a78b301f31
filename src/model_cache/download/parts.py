"""Which bytes of a file are there, who fetches which next, and when one connection is not enough; pure, no I/O.

Parts are handed out in the order of the file: the bytes from the start on, which are what can be hashed, stay close
behind the connections. They become smaller towards the end of the file, so that little is left to hash, and nobody far
behind the others, when the last byte is there. When nothing is left to hand out, who is done takes half of what the
slowest has before it.

Concurrency:
    Not safe to share: whoever has several connections holds a lock around each call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..pace import Pace

Range = tuple[int, int]  # first byte, one past the last

_ROUNDS = 2  # a part is at most what is left for one connection, divided by this: another one always follows
_SECONDS = 2.0  # of one connection for one part, at most
_BEYOND_DOUBT = 4  # times slower than what is fast
_ASKINGS = (
    4  # times that it takes to ask for a part, which its bytes should take at least; half of that to take it over
)


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


def _bytes(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)


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
        self._connections, self._rate, self._asking = 1, 0.0, _SECONDS
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
        return _bytes(self._held) + sum(part.at - part.start for part in self._active)

    @property
    def complete(self) -> bool:
        """Whether all bytes of a known number are there."""
        return self.size is not None and self.prefix >= self.size

    @property
    def missing(self) -> int:
        """Bytes still to come, 0 where that is not known."""
        return 0 if self.size is None else self.size - self.done

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

    def measure(self, connections: int, rate: float) -> None:
        """Settle how large parts are, for so many connections of `rate` bytes per second each."""
        self._connections, self._rate = connections, rate

    def asked(self, seconds: float) -> None:
        """Say how long the answer to a request took; the quickest counts, for the first ones connect."""
        self._asking = min(self._asking, seconds)

    def _worth(self, askings: int) -> int:
        """Bytes that take so many times as long as asking for them: a tenth of a second to a Hub that is far."""
        return max(int(self._rate * min(self._asking * askings, _SECONDS)), self._smallest)

    def _length(self, left: int) -> int:
        most = max(int(self._rate * _SECONDS), self._smallest)
        return max(min(most, left // (self._connections * _ROUNDS)), self._worth(_ASKINGS))

    def share(self, part: Part) -> None:
        """Let others have the far end of a part that was begun as a whole."""
        if part.end is not None:
            part.end = min(part.end, part.at + self._length(part.left))

    def take(self) -> Part | None:
        """What one of several connections fetches next; None where nothing is left that is worth a request."""
        gaps = self.gaps()
        if gaps:
            start, end = gaps[0]
            return self._begin(start, min(end, start + self._length(_bytes(gaps))))
        slowest = max(self._active, key=lambda part: part.left, default=None)
        if slowest is None or slowest.end is None or slowest.left < 2 * self._worth(_ASKINGS // 2):
            return None
        end, slowest.end = slowest.end, slowest.end - slowest.left // 2
        return self._begin(slowest.end, end)

    def further(self, part: Part, reach: int) -> bool:
        """Let a part that has come go on where its answer does, up to `reach`, if nobody else fetches what follows."""
        gaps = self.gaps()
        for start, end in gaps:
            if start == part.end and reach > start:
                part.end = min(end, reach, start + self._length(_bytes(gaps)))
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


def is_slow(pace: Pace, count: int, seconds: float) -> bool | None:
    """Whether a connection that brought `count` bytes in so many seconds is too slow; None: it is too early to say.

    What is slow beyond doubt is told in half the time.
    """
    if seconds < pace.window / 2:
        return None
    if seconds < pace.window:
        return True if count < pace.fast / _BEYOND_DOUBT * seconds else None
    return count < pace.fast * seconds
