"""The index as a file: is it there, is it one that may be opened, and does an error mean that it is damaged?"""

from __future__ import annotations

import os
import sqlite3
import stat

from ..errors import IndexUnavailableError, quoted

_DAMAGED = frozenset([sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB])


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
    """SQLite would follow a symlink that somebody planted here to a file anywhere, and write it; a FIFO would hang it."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        kind = "a symlink" if stat.S_ISLNK(mode) else "no regular file"
        raise IndexUnavailableError(f"index {path} is {kind}, and is not opened", hint=f"ls -l {quoted(path)}")
