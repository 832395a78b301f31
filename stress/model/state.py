"""What a state of the model is: the disk as programs see it and as a power loss would leave it, the index, the processes.

Everything is a tuple, so a state is its own key in the set of states that were seen.

Disk. A file has bytes, and knows whether they are durable. A name leads to a file. Changes to names wait in `pending`
until their directory is synced; a power loss keeps any subset of what waits there, and of a rename both names or neither, as
every journaling file system does.

Index. A committed transaction is durable at once and whole or not there at all: that is SQLite's promise, and it is
taken at its word here.

Locks. They live in the process that holds them, so its death frees them, as the kernel does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, TypeVar

PATH, PARTIAL, TRASH, ASIDE, BESIDE = "path", "partial", "trash", "quarantine", "beside"
# Each is a directory of its own, but for the last: the other name that a file of somebody's own is given back under when
# its path was taken.
PLACES = (PATH, PARTIAL, TRASH, ASIDE, BESIDE)
NOTHING = -1  # the file that a free name leads to
FULL, HALF = 2, 1  # what a file takes on disk, in halves

# Bytes: a version of the Hub's file (`A`, then `B`), whole or the first half of it; wrong bytes of either length, which a
# power loss left or two downloads mixed; rot; somebody's own.
WHOLE, HALVES = ("A", "B"), ("a", "b")
EMPTY, WRONG_HALF, WRONG, ROT, OWN = "", "x", "X", "R", "U"

T = TypeVar("T")
Ident = tuple[int, int]  # inode, mtime


class File(NamedTuple):
    """The bytes behind an inode, whether they are durable, and how often somebody edited them (its mtime)."""

    bytes: str
    synced: bool = False
    edits: int = 0

    @property
    def size(self) -> int:
        """Halves that it occupies."""
        return 0 if not self.bytes else HALF if self.bytes in (*HALVES, WRONG_HALF) else FULL


class Change(NamedTuple):
    """A change of a name that is not durable yet; a `tail` is the other half of the rename in front of it."""

    name: int
    ino: int
    tail: bool = False


class Row(NamedTuple):
    """A row of the index, as `index/ledger.py` writes it; sizes in halves."""

    state: str
    version: str = ""
    ident: Ident | None = None
    charged: int = 0
    used: bool = False  # `last_used_at` is not older than min_idle
    next_state: str = ""
    next_version: str = ""
    next_ident: Ident | None = None
    next_charged: int = 0
    verdict: str = "ok"


class Aside(NamedTuple):
    """A row of `quarantine`."""

    ident: Ident
    charged: int


class World(NamedTuple):
    """All that outlives a process; tuples by entry, `names` by place and entry."""

    files: tuple[File, ...]
    names: tuple[int, ...]
    durable: tuple[int, ...]
    pending: tuple[Change, ...]
    rows: tuple[Row | None, ...]
    aside: tuple[Aside | None, ...]
    recent: tuple[bool, ...]  # `used/KEY` is not older than min_idle
    marks: tuple[Ident | None, ...]
    notes: tuple[str, ...]  # of which version the partial is said to be
    hub: tuple[str, ...]  # the version that the Hub has
    # Not on any disk: what the invariants remember of the past.
    received: tuple[int, ...]  # halves that came over the network for the bytes that are here
    fresh: tuple[bool, ...]  # published less than min_idle ago
    returned: frozenset[int]  # partials that a power loss brought back: that they go is not made durable
    # What may still happen.
    crashes: int
    losses: int
    events: frozenset[str]
    listing: str = ""  # the version that the repo is listed at, `MOVING` while an update is under way


class Process(NamedTuple):
    """A running program: where it is, what it holds, what it remembers. `DEAD` once it has ended, however it did."""

    program: str
    at: str
    entry: int = 0
    target: int = 0  # the entry that is being recovered or evicted, or has its turn in a loop
    writes: frozenset[int] = frozenset()  # entries whose W it holds
    evictor: bool = False  # holds G
    partial: tuple[int, ...] = ()  # by entry: the inode it writes to
    fd: tuple[int, ...] = ()  # by entry: the inode it has open
    lease: tuple[
        str, ...
    ] = ()  # by entry, on `fd`: shared, exclusive, `kernel` (and exclusive), `broken` (the same, asked for)
    rows: tuple[Row | None, ...] = ()  # by entry, as they were read
    version: str = ""  # what the Hub promised
    found: str = ""  # what it made of what it saw
    then: str = ""  # where a hit that was found goes on
    otherwise: str = ""  # where a miss goes on
    back: str = ""  # where recovery goes on
    unit: tuple[int, ...] = ()  # the entries that are replaced together
    victims: tuple[int, ...] = ()  # the names that are evicted together
    listed: tuple[Row | None, ...] = ()  # the index as it was when they were chosen
    promise: str = ""  # what it may count on: `handed`, `leased`, `open`
    promised: Ident | None = None
    repo: str = ""  # the lock of the repo: `shared`, `alone`
    tried: tuple[int, ...] = ()  # of the files that are fetched together, those that were looked at
    complete: tuple[int, ...] = ()  # those that have all their bytes, and no name
    begun: tuple[int, ...] = ()  # those that have a row, and no name
    carrier: int = NOTHING  # the one whose row is charged for what is not begun yet
    spare: int = 0  # halves that it is charged for beyond its own


DEAD = Process("", "(ended)")


MOVING = "*"

# Among the events: what is not taken for granted, see GAPS in `mutants.py`.
HALF_RENAMES = "half renames"
ANY_MOMENT = "any moment"


class State(NamedTuple):
    """The world, and every process."""

    world: World
    processes: tuple[Process, ...]


def put(values: tuple[T, ...], at: int, value: T) -> tuple[T, ...]:
    """The same values with one exchanged."""
    return (*values[:at], value, *values[at + 1 :])


def name_of(place: str, entry: int, entries: int) -> int:
    """The index of a name."""
    return PLACES.index(place) * entries + entry


def after_power_loss(world: World) -> Iterator[World]:
    """Every world that a power loss may leave: any part of what was not synced, names and bytes apart."""
    entries, halves = len(world.rows), HALF_RENAMES in world.events
    seen = set()
    torn = [_torn(file) for file in world.files]
    for files in product(*torn):
        for kept in product((True, False), repeat=len(world.pending)):
            if any(
                change.tail and keep != kept[at - 1] and (keep or not halves)
                for at, (change, keep) in enumerate(zip(world.pending, kept, strict=True))
            ):
                continue
            names = list(world.durable)
            for change, keep in zip(world.pending, kept, strict=True):
                if keep:
                    names[change.name] = change.ino
            came_back = {
                at
                for at, ino in enumerate(names)
                if ino != NOTHING and world.names[at] != ino and PLACES[at // entries] == PARTIAL
            }
            for notes in {world.notes, ("",) * entries}:
                left = world._replace(
                    files=files,
                    names=tuple(names),
                    durable=tuple(names),
                    pending=(),
                    notes=notes,
                    recent=(False,) * entries,  # touches are not made durable
                    received=(0,) * entries,
                    fresh=(False,) * entries,
                    returned=world.returned | came_back,
                    losses=world.losses - 1,
                )
                if left not in seen:
                    seen.add(left)
                    yield left


def _torn(file: File) -> tuple[File, ...]:
    if file.synced or not file.bytes:
        return (file._replace(synced=True),)
    wrong = WRONG if file.size == FULL else WRONG_HALF
    return tuple({file._replace(synced=True), file._replace(bytes=wrong, synced=True)})
