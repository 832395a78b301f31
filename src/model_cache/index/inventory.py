"""What is on disk, entered into the index: by a census, which only looks, and by reconcile, which hashes.

Concurrency:
    Every change is made only while the row is what it was when the file was looked at; a row that is not ready is left to
    whoever is at it. The caller read the rows before it looked at the files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from ..layout import Entry
from .connection import Index
from .ledger import record
from .rows import SEALED, Provenance

T = TypeVar("T")

_PAGE = 256  # rows per transaction
# A file system gives a file its size in whole blocks, and a little for itself.
_OVERCHARGED = "state = 'ready' AND charged > size + size / 8 + 1048576"
_COUNTED = "state IN ('ready', 'downloading', 'partial', 'installing', 'deleting')"
_FILES = "(SELECT count(*) FROM entries WHERE entries.state = totals.state)"
_BYTES = "(SELECT coalesce(sum(charged), 0) FROM entries WHERE entries.state = totals.state)"
_MISCOUNTED = f"{_COUNTED} AND (files <> {_FILES} OR bytes <> {_BYTES})"
# A download that did not finish left a partial, and since then somebody else brought the file: both are there.
_BESIDE = (
    "UPDATE entries SET state = 'ready', origin = 'placed', verdict = NULL, verified_at = NULL, sha256 = NULL, etag = NULL,"
    " \"commit\" = NULL, next_state = iif(charged > 0, 'partial', NULL), next_charged = charged,"
    " ino = ?, mtime_ns = ?, size = ?, charged = ?, last_used_at = ? WHERE key = ? AND state = 'partial'"
)
_SETTLED = "state = 'ready' AND coalesce(next_state, 'partial') = 'partial'"


class Known(NamedTuple):
    """What the index says of the file at a path: its row, its identity, and whether nobody hashed it, or charged for it."""

    id: int
    ino: int | None
    size: int | None
    mtime_ns: int | None
    placed: int
    free: int

    @property
    def identity(self) -> tuple[int | None, int | None, int | None]:
        """Inode, size and mtime."""
        return self.ino, self.size, self.mtime_ns


# (path below the root, and what `Known` has): a hundred thousand of them are compared with the disk in half a second.
Recorded = tuple[str, int, int | None, int | None, int | None, int, int]


class Placed(NamedTuple):
    """A file that stands at an entry's path, unlike its row (`known`) or without one: sizes in bytes."""

    entry: Entry
    ino: int
    mtime_ns: int
    size: int
    charged: int
    known: Known | None = None


class Hashed(NamedTuple):
    """A file that was hashed where it stands, and what is to be recorded of it."""

    file: Placed
    sha256: str
    before: Provenance | None
    verdict: str = "ok"


class Inventory:
    """The rows as they are compared with the disk; every method that writes is some transactions of a page each."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def is_complete(self) -> bool:
        """Whether every file that was there when this index was made has been entered; not of an older one put back."""
        seen = self._index.seen  # before the index is asked, which is always at least as far
        with self._index.reading() as connection:
            if connection is None:
                return False
            # Cast, as anybody may have written it.
            asked = "SELECT name, CAST(value AS INTEGER) FROM meta WHERE name IN ('complete', 'generation')"
            found = dict(connection.execute(asked).fetchall())
            return "complete" in found and found.get("generation", 0) >= seen

    def is_stale(self) -> bool:
        """Whether this is an older index than was here: what it says of a file may be of the one before it."""
        with self._index.reading() as connection:
            if connection is None:
                return False
            return bool(connection.execute("SELECT 1 FROM meta WHERE name = 'stale'").fetchall())

    def complete(self) -> None:
        """Say that every file has been entered, and what was older than the disk compared with it."""
        with self._index.transaction("row:complete") as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('complete', '1')")
            connection.execute("DELETE FROM meta WHERE name = 'stale'")

    def recount(self) -> bool:
        """Count anew where a sum, or what a row is charged, cannot be right; whether anything was wrong.

        Neither is under a row's seal, and a bit that rots there would have an eviction empty the cache.
        """
        with self._index.reading() as connection:
            if connection is None or not (
                connection.execute(f"SELECT 1 FROM entries WHERE {_OVERCHARGED} LIMIT 1").fetchall()  # noqa: S608 # nosec B608 # a constant
                or connection.execute(f"SELECT 1 FROM totals WHERE {_MISCOUNTED} LIMIT 1").fetchall()  # noqa: S608 # nosec B608 # a constant
            ):
                return False
        with self._index.transaction("row:recount") as connection:
            blocks = "(size + 4095) / 4096 * 4096"
            connection.execute(f"UPDATE entries SET charged = {blocks} WHERE {_OVERCHARGED}")  # noqa: S608 # nosec B608 # constants
            connection.execute(f"UPDATE totals SET files = {_FILES}, bytes = {_BYTES} WHERE {_COUNTED}")  # noqa: S608 # nosec B608 # constants
            return True

    def recorded(self) -> dict[str, Recorded]:
        """What is known of each file that nobody is at, by its path below the root: (path, *Known), as it is fetched."""
        with self._index.reading() as connection:
            if connection is None:
                return {}
            found = connection.execute(
                f"SELECT path, id, ino, size, mtime_ns, origin = 'placed', charged = 0 FROM entries WHERE {_SETTLED}"  # noqa: S608 # nosec B608 # a constant
            ).fetchall()
        return {row[0]: row for row in found}

    def provenance(self, ids: Sequence[int]) -> dict[int, Provenance]:
        """What was recorded of a few rows, by their ids."""
        with self._index.reading() as connection:
            if connection is None or not ids:
                return {}
            found = connection.execute(
                'SELECT id, sha256, etag, "commit", origin, pinned, downloaded_at FROM entries'  # noqa: S608 # nosec B608 # question marks
                f" WHERE id IN ({', '.join('?' * len(ids))})",
                tuple(ids),
            ).fetchall()
        return {row[0]: Provenance(*row[1:]) for row in found}

    def enter(self, files: Iterable[Placed]) -> int:
        """Count files that nobody hashed; returns how many."""
        now = self._index.clock.time()
        return self._pages(files, "row:enter", lambda connection, file: _enter(connection, file, now))

    def adopt(self, files: Iterable[Hashed]) -> list[Hashed]:
        """Record files that were hashed; returns those that were still as they had been looked at."""
        now, adopted = self._index.clock.time(), []

        def write(connection: sqlite3.Connection, file: Hashed) -> int:
            done = _adopt(connection, file, now)
            if done:
                adopted.append(file)
            return done

        self._pages(files, "row:adopt", write)
        return adopted

    def forget(self, rows: Iterable[Known]) -> int:
        """Drop rows whose files are gone; returns how many."""

        def drop(connection: sqlite3.Connection, row: Known) -> int:
            same = f"id = ? AND {_SETTLED} AND ino IS ? AND size IS ? AND mtime_ns IS ?"
            return connection.execute(f"DELETE FROM entries WHERE {same}", (row.id, *row.identity)).rowcount  # noqa: S608 # nosec B608 # a constant

        return self._pages(rows, "row:forget", drop)

    def _pages(self, items: Iterable[T], step: str, write: Callable[[sqlite3.Connection, T], int]) -> int:
        """Write each item, a page per transaction; returns the sum of what the writes say."""
        count = 0
        rest = iter(items)
        while page := list(islice(rest, _PAGE)):
            with self._index.transaction(step) as connection:
                count += sum(write(connection, item) for item in page)
        return count


def _enter(connection: sqlite3.Connection, file: Placed, now: float) -> int:
    """One file of which nothing is known, or whose row tells of another; what had been recorded stays to be compared."""
    values = (file.ino, file.mtime_ns, file.size, file.charged)
    if file.known is not None:
        same = f"id = ? AND {_SETTLED} AND ino IS ? AND size IS ? AND mtime_ns IS ?"
        return connection.execute(
            "UPDATE entries SET origin = 'placed', verdict = NULL, verified_at = NULL, ino = ?, mtime_ns = ?, size = ?,"  # noqa: S608 # nosec B608 # a constant
            f" charged = ? WHERE {same}",
            (*values, file.known.id, *file.known.identity),
        ).rowcount
    entered = connection.execute(
        "INSERT OR IGNORE INTO entries (ino, mtime_ns, size, charged, key, repo_type, repo, revision, filename, path,"
        " state, origin, last_used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready', 'placed', ?)",
        (*values, file.entry.key, *file.entry.identity, file.entry.relative, now),
    ).rowcount
    return entered or connection.execute(_BESIDE, (*values, now, file.entry.key)).rowcount


def _adopt(connection: sqlite3.Connection, hashed: Hashed, now: float) -> int:
    """One file that was hashed; with what was recorded of it before, if its hash is still the same."""
    file, before = hashed.file, hashed.before
    if not _enter(connection, file, now):
        return 0
    etag = commit = downloaded_at = None
    origin, pinned = "adopted", 0
    if before is not None:
        pinned = before.pinned
        if before.sha256 == hashed.sha256:
            etag, commit, downloaded_at = before.etag, before.commit, before.downloaded_at
            origin = before.origin if before.origin != "placed" else "download" if commit else "adopted"
    connection.execute(
        'UPDATE entries SET origin = ?, sha256 = ?, etag = ?, "commit" = ?, pinned = max(pinned, ?), verdict = ?,'
        " verified_at = ?, downloaded_at = coalesce(?, downloaded_at, ?) WHERE key = ?",
        (origin, hashed.sha256, etag, commit, pinned, hashed.verdict, now, downloaded_at, now, file.entry.key),
    )
    connection.execute(f"{SEALED} WHERE key = ?", (file.entry.key,))
    connection.execute("UPDATE quarantine SET mended = 1 WHERE key = ?", (file.entry.key,))
    record(connection, now, "adopt", file.entry)
    return 1
