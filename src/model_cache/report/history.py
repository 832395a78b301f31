"""How full the cache was, told backwards from how full it is, and what was evicted and wanted again; pure.

The index keeps the last 10,000 events with the size of each file, not how full the cache was: that is reckoned back from
the present. What occupied room and left no event (a partial, what an update added, a file that somebody deleted) shows as
if it had always been so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .facts import Event

CAME = ("download", "resume", "tier", "copy", "adopt")
WENT = ("evict", "expire", "asked", "remove")


class Moment(NamedTuple):
    """A span of time: when it begins, the bytes at its end and at most, and what happened in it."""

    at: float
    size: int
    peak: int
    came: int = 0
    went: int = 0
    goings: int = 0
    regretted: int = 0
    regrets: int = 0


def history(events: Sequence[Event], total: int, now: float, spans: int) -> list[Moment]:
    """Spans of equal length from the first event until now; none where nothing happened.

    Args:
        events: The oldest first.
        total: Bytes now.
        now: Seconds since the epoch.
        spans: How many; every event falls into one of them.
    """
    events = sorted((event for event in events if 0 < event.at <= now), key=lambda event: event.at)
    if not events:
        return []
    began = events[0].at
    length = max(now - began, 60.0) / spans
    of: list[list[Event]] = [[] for _ in range(spans)]
    for event in events:
        of[min(int((event.at - began) / length), spans - 1)].append(event)
    made, size = [], total
    for number in range(spans - 1, -1, -1):
        end = peak = size
        for event in reversed(of[number]):
            size = max(size - _change(event), 0)
            peak = max(peak, size)
        made.append(Moment(began + number * length, end, peak, *_sums(of[number])))
    return made[::-1]


def _change(event: Event) -> int:
    return event.size if event.kind in CAME else -event.size if event.kind in WENT else 0


def _sums(events: Sequence[Event]) -> tuple[int, int, int, int, int]:
    """Bytes that came; bytes and files that went; bytes and files that came again."""
    went = [event.size for event in events if event.kind in WENT]
    again = [event.size for event in events if event.kind == "regret"]
    return sum(event.size for event in events if event.kind in CAME), sum(went), len(went), sum(again), len(again)
