"""The same for several entries in one transaction: a repo of many small files would else wait for the disk at each.

What is written of each entry, and in which order, is what `Ledger` writes of one, so a crash leaves of each what it leaves
of one. The caller holds W of all of them.

**Room.** What several files lack is admitted as one sum, before the first byte of any (I4). The row of one of them, the
*carrier*, is charged for all; whenever further files are begun, their part moves from its row to theirs. The sum lives as
long as W of the carrier is held, and goes with the carrier's row when its process dies: no other record is needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..layout import Entry
from . import ledger
from .connection import Index
from .ledger import Installed, Reservation
from .room import total
from .rows import Row, select

_PAGE = 256  # values in one question


class Carried(NamedTuple):
    """The carrier's entry, and the bytes that its row is charged for beyond its own."""

    entry: Entry
    spare: int


class Several:
    """Writes what happens to several entries; each method is one transaction and raises IndexUnavailableError."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def rows(self, entries: Sequence[Entry]) -> dict[str, Row]:
        """What the index knows of these, by key."""
        found: dict[str, Row] = {}
        with self._index.reading() as connection:
            for start in range(0, len(entries) if connection is not None else 0, _PAGE):
                assert connection is not None, "the range is empty without one"
                keys = [entry.key for entry in entries[start : start + _PAGE]]
                found.update(
                    (row.key, row) for row in select(connection, f"WHERE key IN ({_marks(keys)})", tuple(keys))
                )
        return found

    def known_bytes(self, hashes: Iterable[str]) -> set[str]:
        """Those of some sha256 and etags with which ready entries were recorded."""
        wanted, found = list(set(hashes)), set[str]()
        with self._index.reading() as connection:
            for start in range(0, len(wanted) if connection is not None else 0, _PAGE):
                assert connection is not None, "the range is empty without one"
                page = tuple(wanted[start : start + _PAGE])
                for column in ("sha256", "etag"):
                    asked = f"SELECT {column} FROM entries WHERE {column} IN ({_marks(page)}) AND state = 'ready'"  # noqa: S608 # nosec B608 # a constant and question marks
                    found.update(value for (value,) in connection.execute(asked, page).fetchall())
        return found

    def reserve(
        self, reservations: Sequence[Reservation], carried: Carried, limit: int | None
    ) -> tuple[list[Entry], int]:
        """Begin downloads with the bytes that the carrier's row holds for them.

        Returns:
            The entries for which there is no room (they were not begun), and what is left with the carrier.
        """
        refused, spare = [], carried.spare
        with self._index.transaction("row:reserve") as connection:
            if not _carries(connection, carried):
                return [one.entry for one in reservations], 0  # the index was lost since: nothing was admitted
            used = total(connection)
            for one in reservations:
                new = max(one.charged - _charged(connection, one.entry), 0)
                beyond = max(new - spare, 0)
                if limit is not None and beyond and used + beyond > limit:
                    refused.append(one.entry)
                    continue
                spare, used = spare - (new - beyond), used + beyond
                ledger.reserve(connection, one)
            _carry(connection, carried.entry, spare - carried.spare)
        return refused, spare

    def carry(self, before: Carried, after: Entry | None) -> None:
        """Let another begun entry carry what is left, or (None) nobody."""
        with self._index.transaction("row:carry") as connection:
            _carry(connection, before.entry, -before.spare)
            if after is not None:
                _carry(connection, after, before.spare)

    def installing(self, files: Sequence[tuple[Entry, Installed]]) -> None:
        """Say which inodes are about to stand at the entries' paths."""
        with self._index.transaction("row:installing") as connection:
            for entry, file in files:
                ledger.installing(connection, entry, file, replacing=False)

    def ready(self, files: Sequence[tuple[Entry, str]]) -> None:
        """Say that the files stand at their paths, and how each came."""
        now = self._index.clock.time()
        with self._index.transaction("row:ready") as connection:
            for entry, source in files:
                ledger.ready(connection, entry, source, now)

    def stopped(self, left: Sequence[tuple[Entry, int]]) -> None:
        """Say what downloads that did not finish have left: partials of so many bytes, or (0) nothing."""
        with self._index.transaction("row:stopped") as connection:
            for entry, allocated in left:
                ledger.stopped(connection, entry, allocated)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _charged(connection: sqlite3.Connection, entry: Entry) -> int:
    found = connection.execute("SELECT charged + next_charged FROM entries WHERE key = ?", (entry.key,)).fetchone()
    return int(found[0]) if found else 0


def _carries(connection: sqlite3.Connection, carried: Carried) -> bool:
    asked = "SELECT 1 FROM entries WHERE key = ? AND state = 'downloading' AND charged >= ?"
    return connection.execute(asked, (carried.entry.key, carried.spare)).fetchone() is not None


def _carry(connection: sqlite3.Connection, entry: Entry, more: int) -> None:
    connection.execute("UPDATE entries SET charged = max(charged + ?, 0) WHERE key = ?", (more, entry.key))
