"""Hashes of open files, read without moving their offset; the bytes are never held as a whole.

Concurrency:
    The reads and `update` both let other threads run, so several files are hashed at once by as many threads.
"""

from __future__ import annotations

import hashlib

from .platforms import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 1 << 20  # bytes per read: measured the fastest from 64 KiB to 1 MiB, for one reader and for several


def blocks(fd: int, start: int = 0, end: int | None = None) -> Iterator[memoryview]:
    """The bytes of an open file from `start` up to `end` (or its end), in views that hold until the next one."""
    buffer = memoryview(bytearray(_BLOCK if end is None else min(_BLOCK, max(end - start, 0))))
    while end is None or start < end:
        count = opened.read_into(fd, buffer if end is None else buffer[: end - start], start)
        if count == 0:
            return
        yield buffer[:count]
        start += count


def sha256(fd: int, each: Callable[[int], None] | None = None) -> tuple[str, int]:
    """The sha256 of an open file, and how many bytes that were.

    Args:
        each: Called with the size of each block before it is hashed; what it raises ends the reading.

    Raises:
        OSError: A block cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for block in blocks(fd):
        if each is not None:
            each(len(block))
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def git_sha1(fd: int, size: int) -> str:
    """Git's object name of a file of `size` bytes: sha1 over `blob {size}`, a NUL, and the content."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for block in blocks(fd, 0, size + 1):  # a byte too many is another file
        digest.update(block)
    return digest.hexdigest()
