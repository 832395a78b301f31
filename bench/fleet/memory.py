"""Bytes of a large file that take no room: a file that is one hole, mapped, of which the address says which bytes they are."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path


class Bytes:
    """The bytes of one file.

    Args:
        path: Where the hole is to be; its name is in the stamp.
        size: Bytes.

    Attributes:
        stamp: What whoever reads the file from its start reads.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self.stamp = path.name.encode()
        with path.open("w+b") as file:
            file.truncate(size)
            self._bytes = memoryview(mmap.mmap(file.fileno(), size))
        self._address = _address(self._bytes)

    def part(self, begin: int, end: int) -> memoryview:
        """Some of them."""
        return self._bytes[begin:end]

    def has(self, part: memoryview, begin: int) -> bool:
        """Whether these are the bytes that stand there in this file."""
        return not len(part) or _address(part) == self._address + begin


def _address(part: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(part))
