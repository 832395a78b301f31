"""Damaged bytes that were moved aside, and what they count for.

Concurrency:
    I4, I5. A row is there before its file and until it is gone. While the damaged file still stands at its entry's path
    too, the entry is charged for it; triggers hand the charge over in the transaction in which the entry lets go.
"""

from __future__ import annotations

from typing import NamedTuple

from ..layout import Entry, is_key
from .connection import Index
from .rows import SEALED


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

    @property
    def is_sound(self) -> bool:
        """Whether this cache can have written it: name and key become paths, and anybody may have written the index."""
        texts = (self.name, self.key, self.repo_type, self.repo, self.revision, self.filename)
        numbers = (self.size or 0, self.charged, self.ino or 0, self.mtime_ns or 0, self.mended)
        return (
            all(isinstance(text, str) for text in texts)
            and all(isinstance(number, int) for number in numbers)
            and isinstance(self.at, (int, float))
            and self.charged >= 0
            and 0 <= self.at < _FOREVER
            and is_name(self.name)
            and (self.key == "" or is_key(self.key))
        )


_FOREVER = 2.0**40  # seconds since the epoch; what is said to be moved aside then would never age out
_COLUMNS = ", ".join(f'"{name}"' for name in Aside._fields)


def is_name(name: str) -> bool:
    """Whether a file may be called so in quarantine: one part of a path, that can be shown and recorded as it is."""
    return name.isprintable() and "/" not in name and name not in ("", ".", "..")


def listed(index: Index, where: str = "1", values: tuple[object, ...] = ()) -> list[Aside]:
    """What is in quarantine, the oldest first; rows that make no sense are left out."""
    return [aside for _, aside in _rows(index, where, values) if aside.is_sound]


def _rows(index: Index, where: str = "1", values: tuple[object, ...] = ()) -> list[tuple[int, Aside]]:
    with index.reading() as connection:
        if connection is None:
            return []
        found = connection.execute(f"SELECT id, {_COLUMNS} FROM quarantine WHERE {where} ORDER BY at, id", values)  # noqa: S608 # nosec B608 # constants
        return [(row[0], Aside(*row[1:])) for row in found.fetchall()]


def forget_odd(index: Index) -> None:
    """Drop the rows that make no sense; a file that one of them may have meant is entered anew."""
    odd = [(row,) for row, aside in _rows(index) if not aside.is_sound]
    if odd:
        with index.transaction("quarantine:odd") as connection:
            connection.executemany("DELETE FROM quarantine WHERE id = ?", odd)


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
        mine = "key = ? AND state = 'ready' AND ino IS ? AND size IS ? AND mtime_ns IS ?"
        # Whoever pinned the entry wants it pinned when it comes again: that is kept, like a partial without a byte.
        connection.execute(
            f"UPDATE entries SET state = 'partial', charged = 0, ino = NULL, verdict = NULL WHERE pinned AND {mine}",  # noqa: S608 # nosec B608 # a constant
            (bad.entry.key, *bad.identity),
        )
        connection.execute(f"DELETE FROM entries WHERE {mine}", (bad.entry.key, *bad.identity))  # noqa: S608 # nosec B608 # a constant
        # A trigger has handed the charge over, unless the entry had no row, or other entries have the file too.
        connection.execute(
            "UPDATE quarantine SET charged = ? WHERE name = ? AND charged = 0 AND NOT EXISTS (SELECT 1 FROM entries"
            " WHERE ino IS ? AND size IS ? AND mtime_ns IS ? AND charged > 0)",
            (bad.charged, name, *bad.identity),
        )


def dropped(index: Index, bad: Damaged) -> None:
    """Say that the damaged file is gone from its path and from everywhere: its entry is missing."""
    with index.transaction("quarantine:dropped") as connection:
        # Without its inode: a trigger hands the charge over to another entry that has the file too.
        connection.execute(
            "UPDATE entries SET charged = 0, ino = NULL, verdict = 'missing' WHERE key = ? AND state = 'ready' AND ino IS ?"
            " AND size IS ? AND mtime_ns IS ?",
            (bad.entry.key, *bad.identity),
        )
        connection.execute(f"{SEALED} WHERE key = ? AND ino IS NULL", (bad.entry.key,))


def counted(index: Index, name: str, ino: int, mtime_ns: int, size: int, charged: int) -> None:
    """Count a file that is in quarantine: one that this index knows nothing of, or that nothing is charged for.

    That happens when the entry's file was changed, so that its row tells of another one, while it had both names.
    """
    with index.transaction("quarantine:counted") as connection:
        connection.execute(
            "INSERT OR IGNORE INTO quarantine (name, key, repo_type, repo, revision, filename, size, ino, mtime_ns, at,"
            " mended) VALUES (?, '', '', '', '', '', ?, ?, ?, ?, 1)",
            (name, size, ino, mtime_ns, index.clock.time()),
        )
        connection.execute(
            "UPDATE quarantine SET charged = ? WHERE name = ? AND charged = 0"
            " AND NOT EXISTS (SELECT 1 FROM entries WHERE ino = ? AND charged > 0)"
            " AND NOT EXISTS (SELECT 1 FROM quarantine WHERE ino = ? AND charged > 0)",
            (charged, name, ino, ino),
        )


def gone(index: Index, names: list[str]) -> None:
    """Say that files are not in quarantine any more."""
    with index.transaction("quarantine:gone") as connection:
        connection.executemany("DELETE FROM quarantine WHERE name = ?", [(name,) for name in names])
