"""A directory for the trials, on the file system of the root, that is gone afterwards.

Its place: `.model-cache/` where that is a directory of its own, else the root, else the nearest directory above where a
root would be. Its name says whose it is; one that a killed doctor left behind is removed by the next.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .. import disk, modes
from ..clock import Clock
from ..platforms.capabilities import user

_PREFIX = ".model-cache-doctor-"
_DEAD_AFTER = 3600.0  # seconds; every wait of a doctor is bounded, and all together are far shorter


def base(root: str, own: str) -> str:
    """The directory to make the scratch directory in; it exists."""
    if os.path.isdir(own) and not os.path.islink(own):  # a symlink would lead out of the root
        return own
    place = root
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    return place


@contextmanager
def scratch(place: str, clock: Clock) -> Iterator[str]:
    """A new directory below `place` that only this user may enter; removed with all that is in it.

    Raises:
        OSError: It cannot be made.
    """
    _remove_dead(place, clock)
    path = os.path.join(place, _PREFIX + os.urandom(8).hex())
    try:
        modes.make_directory(path, 0o700)
        yield path
    finally:
        _remove(path)


def _remove(path: str) -> None:
    """Remove a scratch directory, which has only files in it, as far as that can be done."""
    try:
        for name in os.listdir(path):
            disk.remove(f"{path}/{name}")
    except OSError:
        return  # whoever made it looks whether it is gone
    place, _, name = path.rpartition("/")
    disk.remove_empty_parents(place, f"{name}/")


def _remove_dead(place: str, clock: Clock) -> None:
    """Remove what doctors that were killed have left behind."""
    oldest = clock.time() - _DEAD_AFTER
    try:
        with os.scandir(place) as entries:
            found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries if _is_ours(entry.name)]
    except OSError:
        return  # another doctor removes its own just now
    for path, status in found:
        if stat.S_ISDIR(status.st_mode) and status.st_uid == user() and status.st_mtime < oldest:
            _remove(path)


def _is_ours(name: str) -> bool:
    digits = name.removeprefix(_PREFIX)
    return digits != name and len(digits) == 16 and set(digits) <= set("0123456789abcdef")
