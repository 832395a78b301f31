"""Looking at every file once: an index that was just made or brought back does not know what is there, and a budget must.

An index is incomplete when it is new, restored from a backup, or an older one that somebody put back. One walk over the
root then enters files that have no row. They count, and are never evicted; `reconcile` hashes and adopts them.

Of an index that is older than the disk, rows are compared too: one whose file is gone is dropped, and a file that
differs from its row is called `placed`, since it is not known whether this cache or somebody else put it there.

Concurrency:
    Under G, so that no file is evicted between being seen and being entered. The rows are read before the files, and a
    row is only changed while it is what was read: whatever this cache did to the file since is in the row.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from .. import disk, locks, stats, walk
from ..context import Context
from ..index import quarantine, queries
from ..index.inventory import Inventory, Known, Placed, Recorded
from ..index.ledger import Ledger
from ..index.room import Room
from ..layout import Entry, is_key, readings
from ..log import logger
from . import eviction
from .reclaim import settle_dead


def bring_up_to_date(ctx: Context, *, thorough: bool = False) -> str:
    """Set a damaged index aside, and look at every file where it may not know them all; what there is to say of it."""
    damaged = Ledger(ctx.index).mend(thorough=thorough)
    ctx.index.open()
    said = ""
    if Inventory(ctx.index).is_stale():
        what = (
            "damaged, and set aside; a backup has its place"
            if damaged
            else "gone, or an older one was put in its place"
        )
        said = f"the index of {ctx.root} was {what}: what that does not know is untracked until model-cache reconcile"
    elif damaged:
        said = f"the index of {ctx.root} was damaged, and set aside; there was no backup, so all is untracked"
    take(ctx)
    Inventory(ctx.index).recount()
    return said


def take(ctx: Context) -> None:
    """Look at every file below the root, once per index that does not know them all."""
    inventory = Inventory(ctx.index)
    if inventory.is_complete():
        return
    with eviction.sole_evictor(ctx):
        ctx.index.open()
        if inventory.is_complete():
            return
        settle_dead(ctx, Room(ctx.index))  # of what an older index calls under way, files may stand at their paths
        known = inventory.recorded()
        unlike = strangers(ctx, known)
        if inventory.is_stale():
            count = inventory.enter(unlike)
            gone = inventory.forget(row for _, row in missing(ctx, known))
        else:
            count, gone = inventory.enter(file for file in unlike if file.known is None), 0
        settle_quarantine(ctx)
        drop_unknown_partials(ctx)
        inventory.complete()
    if count or gone:
        logger.warning(
            "%d files that the index did not know are counted now, and not evicted; %d rows had no file", count, gone
        )


def strangers(ctx: Context, known: dict[str, Recorded], *, placed: bool = False) -> Iterator[Placed]:
    """Files without a row, or unlike their row; rows that were met are taken out of `known`.

    Names of one file count once: those without a charge of their own come last, when it is known who is charged.

    Args:
        placed: Also those that are as their row says, and were never hashed.
    """
    counted: set[int] = set()
    linked: list[Placed] = []
    for path, found in walk.files(ctx.root):
        row = known.pop(path, None)
        if row is not None:
            _, _, ino, size, mtime_ns, by_hand, free = row
            alike = ino == stats.inode(found) and mtime_ns == found.st_mtime_ns and size == found.st_size
            if alike and not (placed and by_hand):
                if found.st_nlink > 1 and not free:
                    counted.add(stats.inode(found))
                continue
        entry = reading(ctx, path)
        if entry is None:
            continue
        before = None if row is None else Known(*row[1:])
        file = Placed(entry, stats.inode(found), found.st_mtime_ns, found.st_size, stats.allocated(found), before)
        if found.st_nlink > 1:
            linked.append(file)
        else:
            yield file
    for file in linked:
        yield file._replace(charged=0) if file.ino in counted else file
        counted.add(file.ino)


def missing(ctx: Context, known: dict[str, Recorded]) -> Iterator[tuple[str, Known]]:
    """Of the rows that no file was met for: those whose path is free."""
    for path, row in known.items():
        if not os.path.lexists(f"{ctx.root}/{path}"):
            yield path, Known(*row[1:])


def reading(ctx: Context, path: str) -> Entry | None:
    """The entry that a path below the root most likely is: the one that was in use, else the first that it can be."""
    entries = list(readings(path))
    for entry in entries if len(entries) > 1 else ():
        if os.path.exists(ctx.places.used + entry.key):
            return entry
    return entries[0] if entries else None


def drop_unknown_partials(ctx: Context) -> None:
    """Partials that no row tells of go, unless somebody is at them: nothing would count them."""
    for key in sorted(filter(is_key, _unknown(ctx, disk.contents(ctx.places.partials)))):
        fd = locks.try_write(ctx.places.lock(key), ctx.settings.file_mode)
        if fd is None:
            continue
        try:
            for name in _unknown(ctx, [key]):
                disk.remove(ctx.places.partial(name))
        finally:
            locks.release(fd)


def _unknown(ctx: Context, keys: list[str]) -> set[str]:
    return set(keys) - {row.key for row in queries.unsettled(ctx.index)} if keys else set()


def settle_quarantine(ctx: Context) -> None:
    """Files in quarantine count, whatever the index knows of them; rows without a file go."""
    quarantine.forget_odd(ctx.index)
    charged = {aside.name for aside in quarantine.listed(ctx.index, "charged > 0")}
    with disk.scan(ctx.places.quarantine) as found:
        files = {file.name: file.stat(follow_symlinks=False) for file in found if file.is_file(follow_symlinks=False)}
    for name in sorted(filter(quarantine.is_name, files.keys() - charged)):
        status = files[name]
        size = stats.allocated(status)
        quarantine.counted(ctx.index, name, stats.inode(status), status.st_mtime_ns, status.st_size, size)
    for aside in quarantine.listed(ctx.index):
        if not os.path.lexists(ctx.places.quarantine + aside.name):
            _drop_row(ctx, aside)


def _drop_row(ctx: Context, aside: quarantine.Aside) -> None:
    """Under W, tried: a repair that is under way writes the row before it makes the name."""
    lock = ctx.places.lock(aside.key) if aside.key else ""
    fd = locks.try_write(lock, ctx.settings.file_mode) if lock else None
    if lock and fd is None:
        return
    try:
        if not os.path.lexists(ctx.places.quarantine + aside.name):
            quarantine.gone(ctx.index, [aside.name])
    finally:
        if fd is not None:
            locks.release(fd)
