"""Damaged bytes that were moved aside, and what they count for.

Concurrency:
    I4, I5. A row is there before its file and until it is gone. While the damaged file still stands at its entry's path
    too, the entry is charged for it; triggers hand the charge over in the transaction in which the entry lets go.
"""

from __future__ import annotations

from typing import NamedTuple

from ..layout import Entry
from .connection import Index


class Damaged(NamedTuple):
    """The very file that was found to be damaged, and what had been recorded of it."""

    entry: Entry
    ino: int
    size: int
    mtime_ns: int
    sha256: str | None
    commit: str | None
    charged: int = 0

    @property
    def identity(self) -> tuple[int | None, int | None, int | None]:
        """Inode, size and mtime."""
        return self.ino, self.size, self.mtime_ns


class Aside(NamedTuple):
    """One file in quarantine: its name there, the entry it was, sizes in bytes, and when it was moved aside.

    Attributes:
        sha256, commit: What had been recorded of it.
        mended: Whether other bytes have taken its place since.
    """

    name: str
    key: str
    repo_type: str
    repo: str
    revision: str
    filename: str
    size: int | None
    charged: int
    sha256: str | None
    commit: str | None
    ino: int | None
    mtime_ns: int | None
    at: float
    mended: int

    @property
    def identity(self) -> tuple[int | None, int | None, int | None]:
        """Inode, size and mtime of the damaged file."""
        return self.ino, self.size, self.mtime_ns


_COLUMNS = ", ".join(f'"{name}"' for name in Aside._fields)


def listed(index: Index, where: str = "1", values: tuple[object, ...] = ()) -> list[Aside]:
    """What is in quarantine, the oldest first."""
    with index.reading() as connection:
        if connection is None:
            return []
        found = connection.execute(f"SELECT {_COLUMNS} FROM quarantine WHERE {where} ORDER BY at, id", values)  # noqa: S608 - constants
        return [Aside(*row) for row in found.fetchall()]


def of(index: Index, entry: Entry) -> list[Aside]:
    """What is in quarantine of one entry."""
    return listed(index, "key = ?", (entry.key,))


def enter(index: Index, bad: Damaged, name: str) -> None:
    """Say that a damaged file is about to get a second name in quarantine."""
    with index.transaction("quarantine:enter") as connection:
        connection.execute(
            "INSERT INTO quarantine (name, key, repo_type, repo, revision, filename, size, charged, sha256,"
            ' "commit", ino, mtime_ns, at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)',
            (name, bad.entry.key, *bad.entry.identity, bad.size, bad.sha256, bad.commit)
            + (bad.ino, bad.mtime_ns, index.clock.time()),
        )


def alone(index: Index, bad: Damaged, name: str) -> None:
    """Say that the damaged file has left its path: `name` in quarantine is the only one left, or there is none."""
    with index.transaction("quarantine:alone") as connection:
        connection.execute(
            "DELETE FROM entries WHERE key = ? AND state = 'ready' AND ino IS ? AND size IS ? AND mtime_ns IS ?",
            (bad.entry.key, *bad.identity),
        )
        # A trigger has handed the charge over, unless the entry had no row, or other entries have the file too.
        connection.execute(
            "UPDATE quarantine SET charged = ? WHERE name = ? AND charged = 0 AND NOT EXISTS (SELECT 1 FROM entries"
            " WHERE ino IS ? AND size IS ? AND mtime_ns IS ? AND charged > 0)",
            (bad.charged, name, *bad.identity),
        )


def unknown(index: Index, name: str, ino: int, mtime_ns: int, size: int, charged: int) -> None:
    """Enter a file that is in quarantine and that this index knows nothing of."""
    with index.transaction("quarantine:unknown") as connection:
        connection.execute(
            "INSERT OR IGNORE INTO quarantine (name, key, repo_type, repo, revision, filename, size, charged, ino,"
            " mtime_ns, at, mended) VALUES (?, '', '', '', '', '', ?, ?, ?, ?, ?, 1)",
            (name, size, charged, ino, mtime_ns, index.clock.time()),
        )


def gone(index: Index, names: list[str]) -> None:
    """Say that files are not in quarantine any more."""
    with index.transaction("quarantine:gone") as connection:
        connection.executemany("DELETE FROM quarantine WHERE name = ?", [(name,) for name in names])
