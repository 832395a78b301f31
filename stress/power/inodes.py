"""The file system of a recording, in memory: which inode a descriptor or a path is, whatever was renamed in between."""

from __future__ import annotations

from dataclasses import dataclass

from .calls import Call
from .effects import Effect, Names, Resize, Sync, Times, Write, apply, rename
from .image import TOP, Image


class Unexplained(Exception):
    """The recording does not account for what is on the disk."""


@dataclass
class Open:
    """An open file, which several descriptors can share."""

    ino: int
    offset: int = 0
    append: bool = False


class Model:
    """Inodes, their names, and what is open.

    Args:
        image: What was on the disk before; it is changed to what is there afterwards.
        top: The directory it was mounted on.
        device: Its number, as (major, minor).
        next_ino: The number that the next inode to be made has.
    """

    def __init__(self, image: Image, top: str, device: tuple[int, int], next_ino: int) -> None:
        self.image, self.effects = image, list[Effect]()
        self._top, self._device, self._next = top, device, next_ino
        self._open: dict[int, Open] = {}
        self.born: dict[int, int] = {}  # inodes of files that were made, and when
        self._last: dict[int, Write | Resize | Times] = {}  # by inode, its last change
        self._at = 0

    def settle(self, there: Image) -> None:
        """Learn the mtimes that nobody asked for from what is on the disk, and compare all with it; raises Unexplained."""
        for ino, mtime in there.mtimes.items():
            self._observe(ino, mtime)
        self.image.modes.update(there.modes)
        mine, theirs = self.image.tree(), there.tree()
        if mine != theirs:
            raise Unexplained(f"names differ: {sorted(mine.items() ^ theirs.items())}")
        for path, ino in mine.items():
            for facts in ("contents", "mtimes"):
                if getattr(self.image, facts).get(ino) != getattr(there, facts).get(ino):
                    raise Unexplained(f"{facts} of {path} differ")

    def _is_ours(self, word: str) -> bool:
        """Whether strace shows a path below the top."""
        return "".join(f"\\x{byte:02x}" for byte in self._top.encode()) in word

    def _find(self, call: Call, folder: int, path: int) -> tuple[int, str] | None:
        """(directory, name) that a descriptor and a path mean; None for what is elsewhere."""
        text = call.text(path).decode("utf-8", "surrogateescape")
        if text.startswith("/"):
            if not f"{text}/".startswith(f"{self._top}/"):
                return None
            at, parts = TOP, text[len(self._top) :].strip("/").split("/")
        else:
            opened = self._open.get(call.fd(folder)) if folder >= 0 else None
            if opened is None:
                return None
            at, parts = opened.ino, text.split("/")
        if ".." in parts or "." in parts:
            raise Unexplained("a path with dots")
        for part in parts[:-1]:
            at = self.image.names[at, part]
        return at, parts[-1]

    def _inode(self, call: Call, folder: int, path: int) -> int | None:
        """The inode that a path leads to; also through /proc/self/fd."""
        text = call.text(path).decode("utf-8", "surrogateescape")
        if text.startswith("/proc/self/fd/"):
            opened = self._open.get(int(text.rpartition("/")[2]))
            return None if opened is None else opened.ino
        found = self._find(call, folder, path)
        if found is None:
            return None
        return TOP if found == (TOP, "") else self.image.names[found]

    def _again(self, call: Call, at: int) -> Open | None:
        """What is open, where that is opened once more: a directory as `.`, a file through /proc/self/fd."""
        text = call.text(at)
        if text.startswith(b"/proc/self/fd/"):
            return self._open.get(int(text.rpartition(b"/")[2]))
        return self._open.get(call.fd(at - 1)) if at and text == b"." else None

    def _make(self, folder: bool, mode: str) -> int:
        ino, self._next = self._next, self._next + 1
        self.image.modes[ino] = int(mode, 8) & 0o777
        if folder:
            self.image.folders.add(ino)
        else:
            self.image.contents[ino], self.image.mtimes[ino] = b"", self._at
            self.born[ino] = self._at
        return ino

    def _add(self, what: Write | Resize | Times | Names | Sync, words: str) -> None:
        self.effects.append(Effect(what, words))
        if isinstance(what, (Write, Resize, Times)):
            content = apply(self.image.contents[what.ino], what)
            self.image.contents[what.ino], self.image.mtimes[what.ino] = content, what.mtime
            self._last[what.ino] = what
        elif isinstance(what, Names):
            rename(self.image.names, what)

    def _observe(self, ino: int, mtime: int) -> None:
        """Somebody saw the mtime of a file: it is that of its last change."""
        if ino in self._last:
            self._last[ino].mtime = mtime
        elif ino in self.born:
            self.born[ino] = mtime
        if ino in self.image.mtimes:
            self.image.mtimes[ino] = mtime

    def _words(self, ino: int) -> str:
        return self.image.path_of(ino)

    def _path(self, name: tuple[int, str]) -> str:
        folder = "" if name[0] == TOP else f"{self._words(name[0])}/"
        return folder + name[1]
