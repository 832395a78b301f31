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
from .platforms import at, capabilities
from .platforms.at import Directory

READ = os.O_RDONLY | capabilities.CLOEXEC | capabilities.NONBLOCK
_LED_AWAY = frozenset([errno.ENOTDIR, errno.ELOOP])
_IN_OWN = f"/{OWN}/"
_RACES = 16  # times a directory may vanish between being made and being opened


def open_parent(path: str) -> tuple[Directory, str]:
    """The open directory that a path is in, and its name there; the caller closes it.

    Of a path that is not the cache's own (a file that somebody named) the directory is the one it leads to.

    Raises:
        OSError: It is not there, or (ENOTDIR) something else than a directory is.
    """
    top, own, rest = path.rpartition(_IN_OWN)
    if not own:
        directory, slash, name = path.rpartition("/")
        return at.open_directory(directory or slash or ".", place=True), name
    directory, _, name = rest.rpartition("/")
    return _down(at.open_directory(f"{top}/{OWN}", follow=False, place=True), directory, path), name


def open_directory(path: str) -> Directory:
    """A directory of the cache's own (or another one that somebody named), open to be read and made durable."""
    path = path.rstrip("/")
    if path.endswith(f"/{OWN}"):
        return at.open_directory(path, follow=False)
    if _IN_OWN not in path:
        return at.open_directory(path)
    parent, name = open_parent(path)
    try:
        return at.open_directory(name, parent=parent, follow=False)
    finally:
        at.close(parent)


def open_entry_parent(root: str, relative: str) -> tuple[Directory, str]:
    """The open directory of what is below a root, and its name there; the caller closes it.

    Raises:
        OSError: It is not there, or (ENOTDIR) a symlink or a file is in the place of a directory.
    """
    directory, _, name = relative.rpartition("/")
    return _down(at.open_directory(root or "/", place=True), directory, f"{root}/{relative}"), name


def open_entry_directory(root: str, relative: str) -> Directory:
    """The directory of what is below a root, open to be read and made durable; the caller closes it."""
    parent, _ = open_entry_parent(root, relative)
    try:
        return at.open_directory(".", parent=parent)
    finally:
        at.close(parent)


def open_entry(root: str, relative: str) -> int:
    """What is below a root, open to be read; a FIFO or a device waits for nobody.

    Raises:
        OSError: It is not there, is a symlink (ELOOP), may not be read; or as `open_entry_parent`.
    """
    parent, name = open_entry_parent(root, relative)
    try:
        return at.open_file(name, READ, parent=parent)
    finally:
        at.close(parent)


def _down(above: Directory, directory: str, path: str) -> Directory:
    """The directory below an open one, which is closed."""
    for part in directory.split("/") if directory else ():
        try:
            below = at.open_directory(part, parent=above, follow=False, place=True)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            at.close(above)
        above = below
    return above


def open_or_make(parent: Directory, name: str, mode: int) -> Directory:
    """Open one directory, made first where it is missing (and again where somebody removed it, empty, meanwhile)."""
    for _ in range(_RACES):
        if not modes.is_closed(name, mode, parent=parent):
            try:
                return at.open_directory(name, parent=parent, follow=False)
            except FileNotFoundError:
                pass
        if modes.make_directory(name, mode, parent=parent):
            at.sync(parent)
        elif modes.is_closed(name, mode, parent=parent):
            break
    return at.open_directory(name, parent=parent, follow=False)


def is_led_away(error: OSError) -> bool:
    """Whether something else than a directory was met on the way."""
    return error.errno in _LED_AWAY
