"""Places below a root, reached through no symlink: what is planted there, or renamed meanwhile, leads nowhere else.

A path is a question that the kernel answers anew at every part, and whoever may write in a directory decides what the
answer is. So what opens, makes, moves or removes something below a root goes down to its directory part by part, each
opened from the one before, and names the rest in there.

Two kinds of paths: those of the cache's own, which say by themselves where their root ends (`…/.model-cache/…`), and those
of entries, which come as a root and what is below it. The root itself may be reached through symlinks: who names it says
which one is meant.
"""

from __future__ import annotations

import errno
import os

from . import modes
from .layout import OWN

_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_PLACE = _DIRECTORY | getattr(os, "O_PATH", 0)  # to name something in it; asks for no right to read it
_NO_SYMLINK = os.O_NOFOLLOW
_LED_AWAY = frozenset([errno.ENOTDIR, errno.ELOOP])
_IN_OWN = f"/{OWN}/"
_RACES = 16  # times a directory may vanish between being made and being opened


def open_parent(path: str) -> tuple[int, str]:
    """The open directory that a path is in, and its name there; the caller closes it.

    Of a path that is not the cache's own (a file that somebody named) the directory is the one it leads to.

    Raises:
        OSError: It is not there, or (ENOTDIR) something else than a directory is.
    """
    top, own, rest = path.rpartition(_IN_OWN)
    if not own:
        directory, slash, name = path.rpartition("/")
        return os.open(directory or slash or ".", _PLACE), name
    directory, _, name = rest.rpartition("/")
    return _down(os.open(f"{top}/{OWN}", _PLACE | _NO_SYMLINK), directory, path), name


def open_directory(path: str) -> int:
    """A directory of the cache's own (or another one that somebody named), open to be read and made durable."""
    path = path.rstrip("/")
    if path.endswith(f"/{OWN}"):
        return os.open(path, _DIRECTORY | _NO_SYMLINK)
    if _IN_OWN not in path:
        return os.open(path, _DIRECTORY)
    parent, name = open_parent(path)
    try:
        return os.open(name, _DIRECTORY | _NO_SYMLINK, dir_fd=parent)
    finally:
        os.close(parent)


def open_entry_parent(root: str, relative: str) -> tuple[int, str]:
    """The open directory of what is below a root, and its name there; the caller closes it.

    Raises:
        OSError: It is not there, or (ENOTDIR) a symlink or a file is in the place of a directory.
    """
    directory, _, name = relative.rpartition("/")
    return _down(os.open(root or "/", _PLACE), directory, f"{root}/{relative}"), name


def open_entry_directory(root: str, relative: str) -> int:
    """The directory of what is below a root, open to be read and made durable; the caller closes it."""
    parent, _ = open_entry_parent(root, relative)
    try:
        return os.open(".", _DIRECTORY, dir_fd=parent)
    finally:
        os.close(parent)


def open_entry(root: str, relative: str) -> int:
    """What is below a root, open to be read; a FIFO or a device waits for nobody.

    Raises:
        OSError: It is not there, is a symlink (ELOOP), may not be read; or as `open_entry_parent`.
    """
    parent, name = open_entry_parent(root, relative)
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | _NO_SYMLINK, dir_fd=parent)
    finally:
        os.close(parent)


def _down(fd: int, directory: str, path: str) -> int:
    """The directory below an open one, which is closed."""
    for part in directory.split("/") if directory else ():
        try:
            below = os.open(part, _PLACE | _NO_SYMLINK, dir_fd=fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(fd)
        fd = below
    return fd


def open_or_make(parent: int, name: str, mode: int) -> int:
    """Open one directory, made first where it is missing (and again where somebody removed it, empty, meanwhile)."""
    for _ in range(_RACES):
        if not modes.is_closed(name, mode, parent=parent):
            try:
                return os.open(name, _DIRECTORY | _NO_SYMLINK, dir_fd=parent)
            except FileNotFoundError:
                pass
        if modes.make_directory(name, mode, parent=parent):
            os.fsync(parent)
        elif modes.is_closed(name, mode, parent=parent):
            break
    return os.open(name, _DIRECTORY | _NO_SYMLINK, dir_fd=parent)


def is_led_away(error: OSError) -> bool:
    """Whether something else than a directory was met on the way."""
    return error.errno in _LED_AWAY
