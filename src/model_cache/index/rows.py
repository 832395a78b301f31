"""The shape of a row of the index."""

from __future__ import annotations

import sqlite3
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from ..errors import InvalidNameError
from ..layout import Entry, is_sha256


class Row(NamedTuple):
    """What the index knows of one entry.

    Sizes are in bytes, times in seconds since the epoch. `charged` is what counts against the budget: the allocated
    bytes of a ready file, the reservation of a download. `next_*` are the values that a replacement under way will have.
    `last_used_at` is a lower bound: the exact time is the mtime of the entry's file under `used/`.
    """

    id: int
    key: str
    repo_type: str
    repo: str
    revision: str
    filename: str
    path: str
    state: str
    size: int | None
    charged: int
    sha256: str | None
    etag: str | None
    commit: str | None
    ino: int | None
    mtime_ns: int | None
    origin: str
    downloaded_at: float | None
    last_used_at: float
    verified_at: float | None
    verdict: str | None
    pinned: int
    holder: str | None
    next_state: str | None
    next_size: int | None
    next_charged: int
    next_sha256: str | None
    next_etag: str | None
    next_commit: str | None
    next_ino: int | None
    next_mtime_ns: int | None
    seal: str | None

    @property
    def identity(self) -> tuple[int | None, int | None, int | None]:
        """Inode, size and mtime of the file that was recorded: an inode's number alone is used again at once."""
        return self.ino, self.size, self.mtime_ns

    @property
    def is_sealed(self) -> bool:
        """Whether the facts are those that were written: SQLite does not notice a bit that rots inside a value."""
        if self.sha256 is not None and not is_sha256(self.sha256):
            return False  # anybody can compute a checksum; no bytes could ever be as such a row says
        judged_by = (self.sha256, self.etag, self.commit, self.ino, self.mtime_ns, self.pinned)
        return self.seal == seal(self.key, self.origin, self.size, *judged_by)

    def entry(self) -> Entry | None:
        """The entry, its names checked again: an index can have been written by anybody. None if they do not pass."""
        try:
            entry = Entry(self.repo, self.filename, self.revision, self.repo_type)
        except InvalidNameError:
            return None
        return entry if entry.relative == self.path and entry.key == self.key else None


# Written with every change of the facts, in the same transaction; `seal` is registered on each connection.
SEALED = 'UPDATE entries SET seal = seal(key, origin, size, sha256, etag, "commit", ino, mtime_ns, pinned)'


def seal(*facts: object) -> str:
    """A checksum over what an entry is judged by: key, origin, size, sha256, etag, commit, inode, mtime, pinned."""
    return blake2b(repr(facts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


# Bytes that rotted are not always text; a row that has such is one that makes no sense, and no reason to read no other.
text = partial(str, encoding="utf-8", errors="replace")

COLUMNS = ", ".join(f'"{name}"' for name in Row._fields)


def select(connection: sqlite3.Connection, rest: str = "", values: tuple[object, ...] = ()) -> list[Row]:
    """All rows that match, fetched before returning: an open cursor would make another process's commit fail."""
    return [Row(*found) for found in connection.execute(f"SELECT {COLUMNS} FROM entries {rest}", values).fetchall()]  # noqa: S608 # nosec B608 # constants


class Provenance(NamedTuple):
    """What had been recorded of an entry, and holds if its hash still does."""

    sha256: str | None
    etag: str | None
    commit: str | None
    origin: str
    pinned: int
    downloaded_at: float | None


def call_stale(connection: sqlite3.Connection) -> None:
    """Note that this index is an older one than was here: it does not know every file, nor what each is by now."""
    connection.execute("DELETE FROM meta WHERE name = 'complete'")
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('stale', '1')")


_FOREVER = 2**53  # transactions


def next_generation(connection: sqlite3.Connection, seen: int) -> int:
    """Count this transaction, in the index and (`seen`, by the caller) beside it.

    An index that has counted less than was seen is an older one that somebody put back: it does not know of every file,
    and is incomplete until all have been looked at again.
    """
    found = connection.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'generation'").fetchone()
    # Anybody may have written either: a number that no cache lives to see would make every index an older one.
    known, seen = (number if 0 <= number < _FOREVER else 0 for number in ((found and found[0]) or 0, seen))
    if known < seen:
        call_stale(connection)
    generation = max(known, seen) + 1
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('generation', ?)", (str(generation),))
    return generation


def provenance(connection: sqlite3.Connection) -> dict[str, Provenance]:
    """What an index knows of where its files came from, by path."""
    found = connection.execute(
        "SELECT path, sha256, etag, \"commit\", origin, pinned, downloaded_at FROM entries WHERE state = 'ready'"
    ).fetchall()
    return {row[0]: Provenance(*row[1:]) for row in found}
