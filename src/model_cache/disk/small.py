"""Small files of the cache's own: read and written as a whole, whatever somebody has put in their place."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from .. import beneath, modes
from ..platforms import at, capabilities, opened
from .directories import fsync_directory
from .names import remove, set_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def touch(path: str, when: float | None = None) -> None:
    """Set the mtime of a file of the cache's own to now, or to a time; never that of what a symlink leads to.

    By its path, for each hit pays for this: a symlink in the place of its directory leads to a file only where that has one
    whose name is an entry's key.

    Raises:
        OSError: It is not there, or may not be changed.
    """
    if os.stat(path, follow_symlinks=False).st_nlink > 1:
        raise OSError(errno.EMLINK, "it is a file with another name besides", path)
    os.utime(path, None if when is None else (when, when), **capabilities.ITSELF)


@contextmanager
def scan(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What is in a directory of the cache's own, while the block lasts."""
    directory = beneath.open_directory(path)
    try:
        with os.scandir(directory) as found:
            yield found
    finally:
        at.close(directory)


def contents(path: str) -> list[str]:
    """The names of what is in a directory of the cache's own."""
    with scan(path) as found:
        return [entry.name for entry in found]


def create(path: str, mode: int) -> int:
    """A new file of exactly `mode`, whatever the umask, open for writing; the caller closes it.

    Raises:
        FileExistsError: Something stands there.
    """
    parent, name = beneath.open_parent(path)
    try:
        return modes.make_file(name, os.O_RDWR | capabilities.CLOEXEC, mode, parent=parent)
    finally:
        at.close(parent)


def write_small(path: str, data: bytes, mode: int, *, durable: bool = False) -> None:
    """Write a small file as a whole: readers see the old one or the new one. Unless `durable` a power loss can lose it."""
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    fd = create(temporary, mode)
    try:
        try:
            while data:
                data = data[os.write(fd, data) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        set_aside(temporary, path)
        if durable:
            fsync_directory(os.path.dirname(path))
    except BaseException:
        remove(temporary)
        raise
    if durable:
        fsync_directory(os.path.dirname(path))


def open_regular(path: str) -> int:
    """Open a small file of the cache's own for reading; whoever may write there could have put anything in its place.

    Raises:
        OSError: It cannot be opened, or is a FIFO (which would hang us), a symlink or a device.
    """
    parent, name = beneath.open_parent(path)
    try:
        fd = at.open_file(name, beneath.READ, parent=parent)
    finally:
        at.close(parent)
    return opened.regular(fd, path)


def open_entry(root: str, relative: str) -> int:
    """Open a file below a root as `open_regular` does; the caller closes it."""
    return opened.regular(beneath.open_entry(root, relative), f"{root}/{relative}")


def read_small(path: str, limit: int) -> bytes:
    """A small file as a whole.

    Raises:
        OSError: As `open_regular`; or it has more than `limit` bytes.
    """
    fd = open_regular(path)
    with open(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
    return data


def fsync_file(path: str) -> None:
    """Make the bytes of a file of the cache's own survive a power loss."""
    fd = at.open_file(path, os.O_RDWR | capabilities.CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
