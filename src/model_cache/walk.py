"""What is below a root: every file that can be an entry, with what `stat` says of it; every directory.

Of files, what is the cache's own is left out, and so is what is no regular file: a symlink is not followed and never an
entry. Nor is the name that an NFS client gives to a removed file which somebody has open: it goes when that one closes it.
"""

from __future__ import annotations

import os
import stat

from . import beneath
from .layout import OWN, PATH_BYTES
from .platforms import at
from .platforms.at import Directory
from .volumes import is_silly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def files(root: str, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to the root, status) of every regular file; of those below one directory, or one file.

    What appears or vanishes meanwhile may be in it or not; directories that may not be read are passed over.
    """
    waiting = [below]
    if below:
        try:
            parent, name = beneath.open_entry_parent(root, below)
            try:
                found = at.status(name, parent)
            finally:
                at.close(parent)
        except OSError:
            return
        if not stat.S_ISDIR(found.st_mode):
            if stat.S_ISREG(found.st_mode):
                yield below, found
            return
    while waiting:
        place = waiting.pop()
        try:
            fd = beneath.open_entry_directory(root, f"{place}/" if place else "")
        except OSError:
            continue
        try:
            yield from _within(fd, place, waiting)
        finally:
            at.close(fd)


def directories(root: str) -> list[str]:
    """Every directory below a root, the cache's own too, and before them the root itself (empty); each after the one it is in.

    No recursion, and nothing deeper than a path can lead: somebody may have nested them without end.
    """
    found = [""]
    for place in found:  # which grows meanwhile
        below = f"{place}/" if place else ""
        try:
            fd = beneath.open_entry_directory(root, below)
        except OSError:
            continue
        try:
            with os.scandir(fd) as entries:
                inner = [f"{below}{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            at.close(fd)
        found += [path for path in inner if len(os.fsencode(path)) <= PATH_BYTES]
    return found


def _within(fd: Directory, place: str, waiting: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The regular files of one open directory; those in it are added to what waits."""
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name if not place else f"{place}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    if name != OWN:
                        waiting.append(name)
                elif entry.is_file(follow_symlinks=False) and not is_silly(entry.name):
                    yield name, entry.stat(follow_symlinks=False)
            except OSError:
                continue
