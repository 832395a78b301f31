"""Damage marks: what verify found to be rotten is known to every hit without the index.

A mark names the exact file that is damaged (inode, size, mtime), so it says nothing of what has taken that file's place
since, and with what bytes it was recorded, so that it can be judged and mended though the index be lost.

Concurrency:
    Made by verify before the index is told; a hit reads it under its shared lease. Whoever replaces the file need not
    remove the mark at the same instant: it does not fit the new one.
"""

from __future__ import annotations

import os

from . import disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context
    from .index.rows import Row

_LIMIT = 4096  # bytes of a mark; it has some three hundred
_FACTS = ("size", "sha256", "etag", "commit", "ino", "mtime_ns")


class Mark:
    """What is known of a damaged file: its identity, and what had been recorded of it.

    Raises:
        TypeError, KeyError: The facts are none that this cache writes.
    """

    __slots__ = ("commit", "etag", "ino", "mtime_ns", "sha256", "size")

    def __init__(self, facts: dict[str, object]) -> None:
        self.ino, self.size, self.mtime_ns = (_number(facts[name]) for name in ("ino", "size", "mtime_ns"))
        self.sha256, self.etag, self.commit = (_text(facts[name]) for name in ("sha256", "etag", "commit"))

    @property
    def identity(self) -> tuple[int, int, int]:
        """Inode, size in bytes and mtime in ns of the damaged file."""
        return self.ino, self.size, self.mtime_ns

    def fits(self, found: os.stat_result) -> bool:
        """Whether this is the file that is damaged, and not another that has its place."""
        return self.identity == (found.st_ino, found.st_size, found.st_mtime_ns)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value


def mark(ctx: Context, row: Row) -> None:
    """Say that the file the row describes is damaged; durable."""
    import json

    path = ctx.places.damaged + row.key
    facts = {name: getattr(row, name) for name in _FACTS}
    disk.write_small(path, json.dumps(facts).encode(), ctx.settings.file_mode)
    disk.fsync_file(path)
    disk.fsync_directory(ctx.places.damaged)


def read(ctx: Context, key: str) -> Mark | None:
    """The mark of an entry, None if there is none or it makes no sense: anybody may have written it."""
    path = ctx.places.damaged + key
    if not os.path.exists(path):
        return None
    import json

    try:
        facts = json.loads(disk.read_small(path, _LIMIT))
        return Mark(facts)
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def is_marked(ctx: Context, key: str, found: os.stat_result) -> bool:
    """Whether an entry's file, as it was found at its path, is known to be damaged."""
    known = read(ctx, key)
    return known is not None and known.fits(found)


def forget(ctx: Context, key: str) -> None:
    """Remove the mark, whatever it says: the file was mended, replaced, or found to be right after all."""
    disk.remove(ctx.places.damaged + key)


def marked(ctx: Context) -> set[str]:
    """The keys of all entries that have a mark."""
    try:
        return set(os.listdir(ctx.places.damaged))
    except OSError:
        return set()
