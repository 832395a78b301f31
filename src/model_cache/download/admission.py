"""Room for a download, before its first byte."""

from __future__ import annotations

from .. import disk
from ..context import Context
from ..errors import CacheFullError
from ..hub.client import FileMeta
from ..layout import Entry
from ..units import format_size

_BLOCK = 4096  # bytes; the allocation unit of every file system this is likely to run on


def reservation(meta: FileMeta) -> int:
    """Bytes that the file will come to occupy, rounded up to whole blocks; 0 while its size is unknown."""
    return -(-(meta.size or 0) // _BLOCK) * _BLOCK


def check_disk(ctx: Context, entry: Entry, meta: FileMeta, present: int) -> None:
    """Refuse a download that the file system cannot hold.

    Raises:
        CacheFullError: Less is free than what is still to come.
    """
    free = disk.free_bytes(ctx.root)
    needed = (meta.size or 0) - present
    if free is not None and needed > free:
        raise CacheFullError(
            f"{entry} needs {format_size(needed)} more, and {ctx.root} has {format_size(free)} free",
            hint="free some space there, or set MODEL_CACHE_DIR to another file system",
            needed=needed,
            available=free,
        )
