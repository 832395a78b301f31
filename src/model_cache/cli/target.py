"""Files that a command is told to write: replaced as a whole, and only where a file is what was there."""

from __future__ import annotations

import os
import stat

from .. import disk
from ..errors import SettingError, StorageError, quoted


def replaceable(path: str, option: str) -> str:
    """The absolute path, at which there is a file or nothing.

    Raises:
        SettingError: There is no path: a variable of a shell was empty.
        StorageError: Something else is there: to replace a device, a symlink or a directory is hardly what was meant.
    """
    refuse_empty(path, option)
    whole = os.path.abspath(path)
    try:
        mode = os.lstat(whole).st_mode
    except OSError:
        return whole  # not there, or not to be looked at: writing says so
    if not stat.S_ISREG(mode):
        raise StorageError(
            f"{option} {path}: expected a file or nothing there, found {_kind(mode)}; it is not replaced",
            hint=f"ls -ld {quoted(whole)}",
            path=whole,
        )
    return whole


def refuse_empty(path: str, option: str) -> None:
    """Refuse what is no path, and would be taken for the working directory; raises SettingError."""
    if not path:
        raise SettingError(f"{option}: expected the path of a file, found ''")


def _kind(mode: int) -> str:
    names = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symlink", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")


def write(path: str, data: bytes, mode: int) -> None:
    """Write it as a whole or not at all; raises StorageError."""
    try:
        disk.write_small(path, data, mode)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            hint=f"ls -ld {quoted(os.path.dirname(path))}",
            path=path,
            errno=error.errno or 0,
        ) from None
