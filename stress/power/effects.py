"""What system calls do to a file system, as effects that each may or may not have reached the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass
class Write:
    """Bytes of a file, with the size and mtime that they bring."""

    ino: int
    offset: int
    data: bytes
    mtime: int

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.offset + len(self.data)


@dataclass
class Resize:
    """A file cut or extended to a size."""

    ino: int
    size: int
    mtime: int


@dataclass
class Times:
    """An mtime that was set."""

    ino: int
    mtime: int


class Names(NamedTuple):
    """Names that come (with the inode they lead to) and go (None); all of them at once."""

    changes: tuple[tuple[int, str, int | None], ...]


class Sync(NamedTuple):
    """An fsync: of a file's bytes, size and times, or of a directory's names."""

    ino: int


class Effect(NamedTuple):
    """One effect, in the order of the calls.

    Attributes:
        what: What it changes.
        words: The call, for people.
    """

    what: Write | Resize | Times | Names | Sync
    words: str


def apply(content: bytes, what: Write | Resize | Times) -> bytes:
    """A file's bytes after a change."""
    if isinstance(what, Resize):
        return content[: what.size].ljust(what.size, b"\0")
    if isinstance(what, Write):
        return content[: what.offset].ljust(what.offset, b"\0") + what.data + content[what.end :]
    return content


def rename(names: dict[tuple[int, str], int], what: Names) -> None:
    """Let names come and go."""
    for folder, name, ino in what.changes:
        if ino is None:
            names.pop((folder, name), None)
        else:
            names[folder, name] = ino
