"""Rooms of the dead: what processes that were killed had reserved or left half done is settled and counted anew.

A reservation is alive while W of its entry is held, whatever its pid says.
"""

from __future__ import annotations

from .. import disk, locks
from ..context import Context
from ..index.ledger import Ledger
from ..index.room import Room
from ..index.rows import Row
from ..progress import SILENT
from ..recorder import Recorder
from ..recovery import recover


def settle_dead(ctx: Context, room: Room, mine: str = "") -> list[Row]:
    """Recover every unsettled entry whose W is free; returns the rows that are now partials of nobody.

    Args:
        mine: Key of the entry whose W the caller itself holds.
    """
    partials = []
    for row in room.unsettled():
        entry = row.entry()
        if entry is None or row.key == mine:
            continue
        fd = locks.try_write(ctx.places.lock(row.key), ctx.settings.file_mode)
        if fd is None:
            continue
        try:
            settled = recover(ctx, entry, Recorder(ctx, entry, SILENT))
        finally:
            locks.release(fd)
        if settled is not None and "partial" in (settled.state, settled.next_state):
            partials.append(settled)
    return partials


def drop_partial(ctx: Context, row: Row) -> int:
    """Remove a partial that nobody is working on; returns its bytes, 0 if somebody is."""
    entry = row.entry()
    fd = None if entry is None else locks.try_write(ctx.places.lock(row.key), ctx.settings.file_mode)
    if entry is None or fd is None:
        return 0
    try:
        ledger = Ledger(ctx.index)
        now = ledger.row(entry)
        if now is None or "partial" not in (now.state, now.next_state):
            return 0
        ctx.step("reclaim:unlink-partial")
        disk.remove_durably(ctx.places.partial(row.key))
        ledger.stopped(entry, 0, replacing=now.next_state == "partial")
        return now.next_charged if now.next_state == "partial" else now.charged
    finally:
        locks.release(fd)
