"""What a report is made of. Sizes in bytes, times in seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class File(NamedTuple):
    """One entry.

    Attributes:
        repo: As its directory below the root is called.
        name: The filename.
        size: Of the file; None where it is not known.
        charged: What counts against the budget: 0 for a further name of a file.
        state: As `ls` says it.
        used: When it was last used; 0 for never.
        verified: When it was last compared with its hash, or None.
        verdict: What that found, or None.
        keeps: Why it does not go before others do; empty where nothing is known to keep it.
    """

    repo: str
    name: str
    size: int | None
    charged: int
    state: str
    used: float
    verified: float | None = None
    verdict: str | None = None
    keeps: str = ""


class Event(NamedTuple):
    """Something that happened to an entry: `kind` and `size` as in the index."""

    at: float
    kind: str
    size: int


class Verified(NamedTuple):
    """How the files with a recorded hash are.

    Attributes:
        last: When a verify of the whole cache last ended, or None.
        last_success: When one last came to the end with no damage left, or None.
        quarantined: Damaged files in quarantine that nothing took the place of.
    """

    last: float | None = None
    last_success: float | None = None
    quarantined: int = 0


@dataclass(frozen=True)
class Facts:
    """What is known of one root at one moment.

    Attributes:
        root: Its path.
        now: The moment.
        version: Of this program.
        total: What counts against the budget, everything included.
        budget: The ceiling, or None.
        free, disk: Of the file system; None where it does not tell.
        others: Bytes by what they are that no ready file has: reserved, partial, quarantined.
        files: All entries.
        order: Those of them that may be asked to go, the longest unused first.
        events: What happened, the oldest first.
        verified: Of the cache as a whole.
        indexed: Whether there is an index; without one nothing but its absence is known.
        left_out: Rows of the index that make no sense, and are in none of these.
    """

    root: str
    now: float
    version: str
    total: int = 0
    budget: int | None = None
    free: int | None = None
    disk: int | None = None
    others: Mapping[str, int] = field(default_factory=dict)
    files: Sequence[File] = ()
    order: Sequence[File] = ()
    events: Sequence[Event] = ()
    verified: Verified = field(default_factory=Verified)
    indexed: bool = True
    left_out: int = 0
