"""The shape of a row of the index."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ..errors import InvalidNameError
from ..layout import Entry


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

    @property
    def identity(self) -> tuple[int | None, int | None, int | None]:
        """Inode, size and mtime of the file that was recorded: an inode's number alone is used again at once."""
        return self.ino, self.size, self.mtime_ns

    def entry(self) -> Entry | None:
        """The entry, its names checked again: an index can have been written by anybody. None if they do not pass."""
        try:
            entry = Entry(self.repo, self.filename, self.revision, self.repo_type)
        except InvalidNameError:
            return None
        return entry if entry.relative == self.path and entry.key == self.key else None


COLUMNS = ", ".join(f'"{name}"' for name in Row._fields)


def select(connection: sqlite3.Connection, rest: str = "", values: tuple[object, ...] = ()) -> list[Row]:
    """All rows that match, fetched before returning: an open cursor would make another process's commit fail."""
    return [Row(*found) for found in connection.execute(f"SELECT {COLUMNS} FROM entries {rest}", values).fetchall()]  # noqa: S608 - constants
