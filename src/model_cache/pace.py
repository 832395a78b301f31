"""When a large file comes over several connections: the numbers; what is made of them is decided in `download.parts`."""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """When a file comes over several connections, and in how large parts.

    Attributes:
        large: Bytes still to come from which it is worth while.
        window: Seconds over which a rate is measured before it counts.
        fast: Bytes per second with which one connection is as fast as what it fills: a disk takes some hundred MB/s, and
            a second connection would take turns with the first on the same cores.
        smallest: Bytes of the smallest part that is asked for by a request of its own.
        noted, between: Bytes and seconds, at least, between two notes of what is there: a kill makes come again what came
            since the last one.
        flushed: Bytes that are written to the disk at a time where the network is slower than it.
        chunk: Bytes per read: larger ones measured no faster.
    """

    large: int = 16 << 20
    window: float = 0.1
    fast: float = 200e6
    smallest: int = 1 << 20
    noted: int = 4 << 20
    between: float = 0.04
    flushed: int = 64 << 20
    chunk: int = 1 << 20
