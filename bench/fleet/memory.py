"""Bytes of a large file that take no room: a file that is one hole, mapped, of which the address says which bytes they are."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

_STAMP = 16  # bytes at its start that tell one file's blocks from another's


class Bytes:
    """The bytes of one file.

    Args:
        path: Where the hole is to be; its name is in the stamp.
        size: Bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._stamp = path.name.encode()[:_STAMP].ljust(_STAMP)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w+b") as file:
            file.truncate(size)
            os.pwrite(file.fileno(), self._stamp, 0)
            self._bytes = memoryview(mmap.mmap(file.fileno(), size))
        self._address = _address(self._bytes)

    def part(self, begin: int, end: int) -> memoryview:
        """Some of them."""
        return self._bytes[begin:end]

    def has(self, part: memoryview, begin: int) -> bool:
        """Whether these are the bytes that stand there in this file."""
        return not len(part) or _address(part) == self._address + begin

    def begin_with(self, block: bytes) -> bool:
        """Whether a block that was read is the first of this file."""
        return block.startswith(self._stamp)


def _address(part: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(part))
