"""What a row says now, after its file was looked at: nobody is accused of what this cache itself is doing.

Concurrency:
    I6. A replacement, an eviction and a link each write the row before they touch the path. So a row that is read behind
    the file tells of everything that could have been seen of it.
"""

from __future__ import annotations

from .. import locks
from ..context import Context
from ..index.audit import Audit
from ..index.rows import Row
from ..progress import SILENT
from ..recorder import Recorder
from ..recovery import recover

_UNDER_WAY = ("downloading", "installing")


def current(ctx: Context, audit: Audit, row: Row) -> Row | None:
    """The entry's row as it is now, settled if a dead process left it half done; None if there is none to judge by."""
    now = _ready(audit, row)
    if now is None or now.next_state not in _UNDER_WAY:
        return now
    entry = now.entry()
    fd = None if entry is None else locks.try_write(ctx.places.lock(row.key), ctx.settings.file_mode)
    if entry is None or fd is None:
        return None  # somebody replaces it right now, and verifies what it puts there
    try:
        recover(ctx, entry, Recorder(ctx, entry, SILENT))
    finally:
        locks.release(fd)
    return _ready(audit, row)


def _ready(audit: Audit, row: Row) -> Row | None:
    found = audit.page([row.id])
    return found[0] if found and found[0].key == row.key and found[0].state == "ready" else None
