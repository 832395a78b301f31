"""The index as a file: is it there, is it one that may be opened, and does an error mean that it is damaged?"""

from __future__ import annotations

import os
import sqlite3
import stat

from .. import disk
from ..errors import IndexUnavailableError, quoted
from ..platforms.opened import read_at

_BESIDE = ("journal", "wal", "shm")
_MAGIC = bytes.fromhex("d9d505f920a163d7")  # ends a journal that has a super-journal
_DAMAGED = frozenset([sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG])


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file itself is not in order."""
    # Python cannot even put into words what SQLite says of a schema whose text has rotted.
    return isinstance(error, UnicodeDecodeError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def is_unusable(error: BaseException) -> bool:
    """Of opening and checking: what is asked then never fails but for what is in the file."""
    return is_damage(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_ERROR


def identity(path: str) -> tuple[int, int] | None:
    """Device and inode of what is at a path, None if nothing is."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def is_empty(path: str) -> bool:
    """Whether there is no index: it was never made, or somebody removed it or cut it to nothing."""
    try:
        return os.lstat(path).st_size == 0
    except (FileNotFoundError, NotADirectoryError):
        return True


def is_stranded(journal: str) -> bool:
    """Whether there is an empty journal that this process may not write: its maker died before SQLite gave it its mode."""
    try:
        return os.lstat(journal).st_size == 0 and not os.access(journal, os.W_OK)
    except (FileNotFoundError, NotADirectoryError):
        return False


def refuse_odd(path: str) -> None:
    """SQLite opens by path: what somebody planted there could lead it anywhere, hang it, or have it change another file.

    Raises:
        IndexUnavailableError: The directory is a symlink; the index or what SQLite keeps beside it is no regular file, or
            has a second name somewhere.
    """
    own = os.path.dirname(path)
    if os.path.islink(own):
        raise _odd(own, "a symlink")
    for name in (path, *(f"{path}-{more}" for more in _BESIDE)):
        try:
            found = os.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISREG(found.st_mode):
            raise _odd(name, "a symlink" if stat.S_ISLNK(found.st_mode) else "no regular file")
        if found.st_nlink > 1:
            raise _odd(name, "a file with another name besides, which would be changed with it")


def _odd(path: str, kind: str) -> IndexUnavailableError:
    return IndexUnavailableError(f"index {path} is {kind}, and is not opened", hint=f"ls -l {quoted(path)}")


def refuse_foreign_journal(path: str) -> None:
    """Refuse a journal that names another file: SQLite would take it back, and then *remove the file it names*.

    A transaction over several databases leaves such a journal; there is never one here, so somebody planted it. Asked
    before each transaction: SQLite looks at the journal each time, however long the index has been open.

    Source: https://sqlite.org/fileformat2.html#the_rollback_journal, "super-journal"; pager_delsuper() in SQLite's pager.c.

    Raises:
        IndexUnavailableError: There is one.
    """
    journal = f"{path}-journal"
    try:
        fd = disk.open_regular(journal)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if is_stranded(journal):
            return  # it names nothing; who writes removes it
        raise IndexUnavailableError(f"index {journal}: {error.strerror}", hint=f"ls -l {quoted(journal)}") from None
    try:
        size = os.fstat(fd).st_size
        foreign = read_at(fd, len(_MAGIC), max(size - len(_MAGIC), 0)) == _MAGIC
    finally:
        os.close(fd)
    if foreign:
        raise _odd(journal, "a journal that names another file, which SQLite would remove")
