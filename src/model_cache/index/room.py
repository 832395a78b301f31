"""The index as the budget sees it: usage, admission, and the rows that may go.

Concurrency:
    I4. Admission is one transaction over all processes: what is there, what others reserved and what is being asked for
    are compared and written together. Bytes that an eviction frees become the reservation they were freed for in the
    transaction that drops their rows, so nobody else can take them in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..layout import Entry
from .connection import Index
from .ledger import Promise, Reservation, record, reserve
from .rows import SEALED, Row, select

PAGE = 256  # rows per page of victims, and per batch of an eviction

# What an evictor may take: pinned entries and files that somebody placed by hand are not among them.
EVICTABLE = "state = 'ready' AND pinned = 0 AND origin <> 'placed' AND next_state IS NULL"


class Claim(NamedTuple):
    """Room that one download asks for.

    Attributes:
        entry, promise, holder, replacing: As in `Ledger.reserve`.
        wanted: Bytes that it will come to occupy at most.
        limit: Ceiling in bytes for everything, None for no ceiling.
        whole: Of which the entry is one file, where the bytes of several are admitted at once; for messages.
    """

    entry: Entry
    promise: Promise
    holder: str
    replacing: bool
    wanted: int
    limit: int | None
    whole: str = ""

    @property
    def name(self) -> str:
        """What the room is for."""
        return self.whole or str(self.entry)


class Room:
    """Usage and admission; every method that writes is one transaction."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def admit(self, claim: Claim) -> int:
        """Reserve all that is wanted, or nothing; returns how many bytes are missing (0: admitted)."""
        with self._index.transaction("row:reserve") as connection:
            return _admit(connection, claim, partly=False)

    def page(self, after: tuple[float, int] = (-1.0, 0)) -> list[Row]:
        """The next rows that may go, by the lower bound of their last use, behind (last use, id).

        One more than a page, so that a page's last victim is known without asking for the next page.
        """
        with self._index.reading() as connection:
            if connection is None:
                return []
            where = f"WHERE {EVICTABLE} AND (last_used_at, id) > (?, ?) ORDER BY last_used_at, id LIMIT {PAGE + 1:d}"
            return select(connection, where, after)

    def siblings(self, rows: Sequence[Row]) -> dict[int, list[Row]]:
        """The rows of those of these files that have several names, by inode: the names of one file are one unit."""
        inodes = [row.ino for row in rows if row.ino is not None]
        with self._index.reading() as connection:
            if connection is None or not inodes:
                return {}
            several = (
                f"SELECT ino FROM entries WHERE ino IN ({', '.join('?' * len(inodes))})"  # noqa: S608 # nosec B608 # question marks
                " AND state IN ('ready', 'deleting') GROUP BY ino HAVING count(*) > 1"
            )
            where = f"WHERE ino IN ({several}) AND state IN ('ready', 'deleting')"
            found = select(connection, where, tuple(inodes))
        units: dict[int, list[Row]] = {}
        for row in found:
            units.setdefault(row.ino or 0, []).append(row)
        return units

    def younger(self, uses: Iterable[tuple[int, float]]) -> None:
        """Write back last uses that were newer than their rows said: (id, seconds since the epoch)."""
        changes = [(when, row, when) for row, when in uses]
        if changes:
            with self._index.transaction("row:last-use") as connection:
                connection.executemany(
                    "UPDATE entries SET last_used_at = ? WHERE id = ? AND last_used_at <> ?", changes
                )

    def deleting(self, rows: Sequence[Row]) -> list[Row]:
        """Say that these are about to go; returns those that still were as they are given here."""
        kept = []
        with self._index.transaction("row:deleting") as connection:
            for row in rows:
                changed = connection.execute(
                    "UPDATE entries SET state = 'deleting' WHERE id = ? AND state = 'ready' AND ino IS ?"
                    " AND next_state IS NULL",
                    (row.id, row.ino),
                )
                if changed.rowcount:
                    kept.append(row)
        return kept

    def gone(self, evicted: Sequence[Row], spared: Sequence[Row], reason: str, claim: Claim | None) -> int:
        """Drop the rows of files that are gone, put the others back, and give the freed bytes to the claim.

        Returns:
            Bytes still missing for the claim.
        """
        now = self._index.clock.time()
        with self._index.transaction("row:gone") as connection:
            for row in spared:
                connection.execute("UPDATE entries SET state = 'ready' WHERE id = ? AND state = 'deleting'", (row.id,))
            for row in evicted:
                entry = row.entry()
                if entry is not None:
                    record(connection, now, reason, entry, str(row.last_used_at))
                # The key too: ids are given anew where the index was, meanwhile.
                connection.execute("DELETE FROM entries WHERE id = ? AND key = ?", (row.id, row.key))
            return 0 if claim is None else _admit(connection, claim, partly=True)

    def unsettled(self) -> list[Row]:
        """Rows of which something is under way, or was when its process died."""
        with self._index.reading() as connection:
            if connection is None:
                return []
            return select(connection, "WHERE state <> 'ready' OR next_state IS NOT NULL")

    def total(self) -> int:
        """Bytes that count against the budget now."""
        with self._index.reading() as connection:
            return 0 if connection is None else total(connection)

    def note_gc(self, freed: int) -> None:
        """Say that a collection ended now, and how many bytes it freed."""
        with self._index.transaction("row:gc") as connection:
            now = self._index.clock.time()
            connection.execute("INSERT INTO events (at, kind, size) VALUES (?, 'gc', ?)", (now, freed))
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('last_gc', ?)", (repr(now),))

    def pin(self, rows: Sequence[Row], *, pinned: bool) -> None:
        """Keep entries from eviction, or no longer."""
        with self._index.transaction("row:pin") as connection:
            for row in rows:
                connection.execute("UPDATE entries SET pinned = ? WHERE key = ?", (int(pinned), row.key))
                if row.is_sealed:
                    connection.execute(f"{SEALED} WHERE key = ?", (row.key,))


def total(connection: sqlite3.Connection) -> int:
    """Bytes that count against the budget, in the caller's transaction."""
    return int(connection.execute("SELECT CAST(total(bytes) AS INTEGER) FROM totals").fetchone()[0])


def _admit(connection: sqlite3.Connection, claim: Claim, *, partly: bool) -> int:
    """Compare and reserve in the caller's transaction; `partly` keeps what there is of the room for this claim."""
    mine = 0
    for charged, next_charged in connection.execute(
        "SELECT charged, next_charged FROM entries WHERE key = ?", (claim.entry.key,)
    ).fetchall():
        mine = next_charged if claim.replacing else charged + next_charged  # a new download ends what was to replace
    free = claim.wanted if claim.limit is None else claim.limit - (total(connection) - mine)
    granted = min(max(free, mine), claim.wanted) if partly else claim.wanted
    if not partly and free < claim.wanted:
        return claim.wanted - free
    reserve(
        connection,
        Reservation(claim.entry, claim.promise, max(granted, 0), claim.holder, claim.replacing),
    )
    return max(claim.wanted - max(granted, 0), 0)
