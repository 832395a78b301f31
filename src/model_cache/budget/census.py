"""Counting what is there: a new index knows of nothing, and a budget must.

An index that was just made (a first budget, a lost or damaged index) is incomplete until one walk over the root has
entered every file that has no row. Those files count, and are never evicted: nobody has hashed them, and nobody knows
whether this cache made them.

Concurrency:
    Under G, so that no file is evicted between being seen and being entered. A file that is being published has its row
    before it has its name, and is left to it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from .. import disk
from ..context import Context
from ..index.room import Placed, Room
from ..layout import OWN, readings
from ..log import logger
from . import eviction


def take(ctx: Context, room: Room) -> None:
    """Enter every file below the root that the index does not know, once per index."""
    if room.is_complete():
        return
    with eviction.sole_evictor(ctx):
        if room.is_complete():
            return
        count = room.enter(_files(ctx.root))
        room.complete()
    if count:
        logger.warning("%d files that the index did not know are counted now; they are not evicted", count)


def _files(root: str) -> Iterator[Placed]:
    """Every regular file that can be an entry, with what a row needs of it."""
    counted: set[int] = set()
    for place, folders, names in os.walk(root):
        if place == root:
            folders[:] = [name for name in folders if name != OWN]
        for name in names:
            path = os.path.join(place, name)
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            entry = next(readings(relative), None)
            try:
                found = os.stat(path, follow_symlinks=False)
            except OSError:
                continue
            if entry is not None and stat.S_ISREG(found.st_mode):
                size = 0 if found.st_ino in counted else disk.allocated(found)
                if found.st_nlink > 1:
                    counted.add(found.st_ino)  # another name of it counts nothing
                yield Placed(entry, found.st_ino, found.st_mtime_ns, found.st_size, size)
