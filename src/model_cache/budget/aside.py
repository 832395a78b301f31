"""Damaged bytes in quarantine: they count, they age out, and they go before a download fails for want of room.

Concurrency:
    W of the entry is tried: a repair that is under way is left alone. I5: the file goes before its row.
"""

from __future__ import annotations

import os

from .. import disk, locks
from ..context import Context
from ..index import quarantine
from ..index.quarantine import Aside

KEPT = 30 * 86400.0  # seconds that damaged bytes are kept for whoever wants to know what became of them


def expire(ctx: Context, before: float) -> tuple[int, int]:
    """Remove what was moved aside before then (seconds since the epoch); how many, and their bytes."""
    freed = [_remove(ctx, aside) for aside in quarantine.listed(ctx.index, "at < ?", (before,))]
    gone = [size for size in freed if size is not None]
    return len(gone), sum(gone)


def drop_oldest(ctx: Context, mine: str) -> bool:
    """Remove the oldest that counts for anything; False if there is none.

    Args:
        mine: Key of the entry whose W the caller itself holds.
    """
    return any(_remove(ctx, aside, mine) is not None for aside in quarantine.listed(ctx.index, "charged > 0"))


def _remove(ctx: Context, aside: Aside, mine: str = "") -> int | None:
    """Remove one, and return its bytes; None if somebody works on its entry."""
    locked = aside.key not in ("", mine)
    fd = locks.try_write(ctx.places.lock(aside.key), ctx.settings.file_mode) if locked else -1
    if fd is None:
        return None
    try:
        ctx.step("quarantine:remove")
        path = ctx.places.quarantine + aside.name
        if not disk.discard(path, aside.identity) and os.path.lexists(path):
            return None  # a file that was moved here by a race with its owner, whose it is (I7)
        disk.fsync_directory(ctx.places.quarantine)  # the row must not go while the file can come back
        quarantine.gone(ctx.index, [aside.name])
        return aside.charged
    finally:
        if fd >= 0:
            locks.release(fd)
