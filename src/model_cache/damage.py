"""Damage marks: what verify found to be rotten is known to every hit without the index.

A mark names the exact file that is damaged (inode, size, mtime), so it says nothing of what has taken that file's place
since; the hash of the damaged bytes, so that a touch or a copy of the whole root does not hide them; and what was
recorded, so that the file can be judged and mended though the index be lost.

Concurrency:
    Made by verify before the index is told; a hit reads it under its shared lease. Whoever replaces the file need not
    remove the mark at the same instant: it does not fit the new one.
"""

from __future__ import annotations

import os
from contextlib import suppress

from . import disk, stats
from .layout import is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context
    from .index.rows import Row

_LIMIT = 4096  # bytes of a mark; it has some three hundred
_FACTS = ("size", "sha256", "etag", "commit", "ino", "mtime_ns", "found")


class Mark:
    """What is known of a damaged file: its identity, and what had been recorded of it.

    Raises:
        TypeError, KeyError, UnicodeEncodeError: The facts are none that this cache writes.
    """

    __slots__ = ("commit", "etag", "found", "ino", "mtime_ns", "sha256", "size")

    def __init__(self, facts: dict[str, object]) -> None:
        self.ino, self.size, self.mtime_ns = (_number(facts[name]) for name in ("ino", "size", "mtime_ns"))
        self.etag, self.commit = _text(facts["etag"]), _text(facts["commit"])
        self.sha256, self.found = _hash(facts["sha256"]), _hash(facts["found"])

    @property
    def identity(self) -> tuple[int, int, int]:
        """Inode, size in bytes and mtime in ns of the damaged file."""
        return self.ino, self.size, self.mtime_ns

    def fits(self, found: os.stat_result) -> bool:
        """Whether this is the file that is damaged, and not another that has its place."""
        return self.identity == stats.identity(found)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    if value is not None:
        value.encode()  # JSON has escapes for what is no text
    return value


def _hash(value: object) -> str | None:
    if value is not None and not is_sha256(value):
        raise TypeError(value)
    return _text(value)


def mark(ctx: Context, row: Row, found: str | None) -> None:
    """Say that the file the row describes is damaged; durable.

    Args:
        found: The sha256 of its bytes, None where they could not be read.
    """
    import json

    path = ctx.places.damaged + row.key
    facts = {name: getattr(row, name) for name in _FACTS if name != "found"} | {"found": found}
    disk.write_small(path, json.dumps(facts).encode(), ctx.settings.file_mode, durable=True)


def read(ctx: Context, key: str) -> Mark | None:
    """The mark of an entry, None if there is none or it makes no sense: anybody may have written it."""
    import json

    path = ctx.places.damaged + key
    try:
        facts = json.loads(disk.read_small(path, _LIMIT))
        return Mark(facts)
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def is_known(ctx: Context, key: str) -> bool:
    """Whether an entry has a mark at all, whatever it says."""
    return os.access(
        ctx.places.damaged + key, os.F_OK
    )  # every hit asks; `exists` makes an exception of the usual answer


def is_marked(ctx: Context, key: str, found: os.stat_result, fd: int | None = None) -> bool:
    """Whether an entry's file, as it was found at its path, is known to be damaged.

    Args:
        fd: The file, open: where another one than the mark names is there, and has its size, the bytes are hashed.
    """
    known = read(ctx, key) if is_known(ctx, key) else None
    if known is None or known.fits(found):
        return known is not None
    if fd is None or known.found is None or known.size != found.st_size:
        return False
    from . import digest

    if digest.sha256(fd)[0] == known.found:
        return True
    with suppress(OSError):
        if not ctx.settings.read_only:
            forget(ctx, key)  # other bytes have its place: nobody need hash them again
    return False


def forget(ctx: Context, key: str) -> None:
    """Remove the mark, whatever it says: the file was mended, replaced, or found to be right after all."""
    disk.remove(ctx.places.damaged + key)


def marked(ctx: Context) -> set[str]:
    """The keys of all entries that have a mark."""
    try:
        return set(disk.contents(ctx.places.damaged))
    except OSError:
        return set()
