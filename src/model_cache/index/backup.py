"""Copies of the index beside it: what a lost or damaged one is brought back from.

Two are kept, the newest and the one before it, under names that never change, so that people can open them with any
program that reads SQLite while the index itself stays untouched. A copy is checked before it gets its name, and again
before it is brought back.

Concurrency:
    The caller holds the index lock. I10: a copy has its name once it is whole and durable; a crash between the two
    renames leaves the older one alone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from urllib.parse import quote

from .. import disk
from . import schema
from .rows import Provenance, call_stale, provenance

NEWEST, BEFORE = "index.db", "index.1.db"


def keep(connection: sqlite3.Connection, folder: str, mode: int, step: Callable[[str], None]) -> bool:
    """Copy the open index; False if the copy is damaged, which then has no name."""
    temporary = f"{folder}/{NEWEST}.{os.urandom(8).hex()}"  # nobody can have put a journal beside it
    try:
        if not _copy(connection, temporary, mode):
            return False
        step("index:backup")
        newest = f"{folder}/{NEWEST}"
        if os.path.lexists(newest):
            disk.set_aside(newest, f"{folder}/{BEFORE}")
        disk.set_aside(temporary, newest)
        disk.fsync_directory(folder)
        return True
    finally:
        disk.remove(temporary)


def restore(folder: str, path: str, mode: int, version: int, step: Callable[[str], None]) -> bool:
    """Put the newest sound copy where the index was; False if there is none.

    What it says is older than what is on disk: it is incomplete until every file has been looked at.
    """
    temporary = f"{path}.{os.urandom(8).hex()}"
    for name in (NEWEST, BEFORE):
        try:
            with _open_sound(f"{folder}/{name}", version) as connection:
                if not _copy(connection, temporary, mode, call_stale):
                    continue
            step("index:restore")
            # A journal that was left beside the lost index belongs to other pages than these.
            disk.remove(f"{path}-journal")
            disk.set_aside(temporary, path)
            disk.fsync_directory(os.path.dirname(path))
            return True
        except (sqlite3.Error, OSError, UnicodeDecodeError):
            continue
        finally:
            disk.remove(temporary)
    return False


def remembered(folder: str, version: int) -> dict[str, Provenance]:
    """Where files came from, by path, as the newest sound copy has it; nothing where there is none."""
    for name in (NEWEST, BEFORE):
        try:
            with _open_sound(f"{folder}/{name}", version) as connection:
                return provenance(connection)
        except (sqlite3.Error, OSError, UnicodeDecodeError):
            continue
    return {}


class _open_sound:
    """A connection to a copy that is whole and of a version that is known; closed at the end of the block."""

    def __init__(self, path: str, version: int) -> None:
        os.close(disk.open_regular(path))  # no symlink, no FIFO
        self._connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
        try:
            self._connection.execute("PRAGMA trusted_schema = OFF")
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, schema.LONGEST_ROW)
            found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if not 0 < found <= version or not is_sound(self._connection):
                raise sqlite3.DatabaseError("not a copy of the index")
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def is_sound(connection: sqlite3.Connection, *, thorough: bool = False) -> bool:
    """Whether pages, schema and values are in order; raises sqlite3.DatabaseError where SQLite cannot even look.

    Args:
        thorough: Also whether each index of a table agrees with it, which takes three times as long.
    """
    check = "integrity_check" if thorough else "quick_check"
    return bool(connection.execute(f"PRAGMA {check}(1)").fetchone()[0] == "ok") and schema.is_sound(connection)


def _copy(
    source: sqlite3.Connection, target: str, mode: int, change: Callable[[sqlite3.Connection], None] | None = None
) -> bool:
    """Copy a whole index into a new, durable file; False if the copy is damaged."""
    disk.remove(target)
    os.close(disk.create(target, mode))
    copy = sqlite3.connect(f"file:{quote(target)}?mode=rw", uri=True, isolation_level=None)
    try:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = MEMORY")
        if change is not None:
            change(copy)
        if not is_sound(copy, thorough=True):
            return False
    finally:
        copy.close()
    disk.fsync_file(target)
    return True
