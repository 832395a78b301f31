"""System calls as they are met: which of them concern a root, and which change something in it."""

from __future__ import annotations

import fcntl
import os
import re
from typing import NamedTuple

from ..hosts import PLACE
from .seccomp import Notice

_HERE = 0xFFFFFF9C  # AT_FDCWD, its lower 32 bits
_LOCKS = {5, 6, 7, 10, 36, 37, 38, 1024}  # fcntl: F_GETLK, F_SETLK, F_SETLKW, F_SETSIG, F_OFD_*, F_SETLEASE
_FICLONE = 0x40049409
_LONGEST = 4096  # bytes of a path

# Where the arguments have descriptors, and where paths: (directory's argument or None, path's argument).
_FILES = {
    "read": (0,), "pread64": (0,), "preadv": (0,), "preadv2": (0,), "write": (0,), "pwrite64": (0,), "fsync": (0,),
    "fdatasync": (0,), "ftruncate": (0,), "fchmod": (0,), "flock": (0,), "fcntl": (0,), "ioctl": (0,),
    "copy_file_range": (0, 2),
}  # fmt: skip
_PATHS: dict[str, tuple[tuple[int | None, int], ...]] = {
    "openat": ((0, 1),), "mkdir": ((None, 0),), "mkdirat": ((0, 1),), "rmdir": ((None, 0),), "unlink": ((None, 0),),
    "unlinkat": ((0, 1),), "rename": ((None, 0), (None, 1)), "renameat": ((0, 1), (2, 3)), "renameat2": ((0, 1), (2, 3)),
    "link": ((None, 0), (None, 1)), "linkat": ((0, 1), (2, 3)), "chmod": ((None, 0),), "fchmodat": ((0, 1),),
    "utimensat": ((0, 1),),
}  # fmt: skip
# Lengths and places; of a lock, which.
_SIZES = {"write": slice(2, 3), "pwrite64": slice(2, 4), "ftruncate": slice(1, 2), "flock": slice(1, 2)}
# A lock is gone with its process.
_CHANGE_NOTHING = {"read", "pread64", "preadv", "preadv2", "fsync", "fdatasync", "flock", "fcntl"}

_ON_INDEX = re.compile(rf"(\.model-cache|{re.escape(PLACE)}/[^/]+/[^/]+)(/index\..*)?")  # of one host, or of each


class Call(NamedTuple):
    """A system call on something below a root.

    Attributes:
        name: Of the call.
        path: What it is on, below the root; of two, the last.
        changes: Whether anything is different on disk afterwards.
        about: Everything that tells it from another call: paths, places, lengths, which lock.
    """

    name: str
    path: str
    changes: bool
    about: tuple[object, ...]

    @property
    def unlocks(self) -> bool:
        """Whether it gives a lock back."""
        return self.name == "flock" and self.about[-1] == fcntl.LOCK_UN

    @property
    def on_index(self) -> bool:
        """Whether it is on the index, its journal, its lock, or the directory that these are in."""
        return _ON_INDEX.fullmatch(self.path) is not None

    def __str__(self) -> str:
        return f"{self.name} {self.path}"


class Reader:
    """Reads the calls of one process.

    Args:
        root: Without symlinks.
    """

    def __init__(self, root: str, pid: int) -> None:
        self._root, self._pid = f"{root}/", pid
        self._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)

    def close(self) -> None:
        """Forget the process."""
        os.close(self._memory)

    def read(self, notice: Notice) -> Call | None:
        """What is being called, or None if it does not concern the root."""
        name, args = notice.name, notice.args
        if (name == "fcntl" and args[1] not in _LOCKS) or (name == "ioctl" and args[1] != _FICLONE):
            return None
        found = [self._file(args[place]) for place in _FILES.get(name, ())]
        found += [self._path(args, *places) for places in _PATHS.get(name, ())]
        ours = [path.removeprefix(self._root) for path in found if path.startswith(self._root)]
        if not ours:
            return None
        changes = name not in _CHANGE_NOTHING
        if name == "openat":
            changes = bool(args[2] & (os.O_CREAT | os.O_TRUNC))
        return Call(name, ours[-1], changes, (name, *ours, *args[_SIZES.get(name, slice(0))]))

    def _file(self, fd: int) -> str:
        try:
            return os.readlink(f"/proc/{self._pid}/fd/{fd & 0xFFFFFFFF}")
        except OSError:
            return ""

    def _path(self, args: tuple[int, ...], directory: int | None, place: int) -> str:
        if args[place] == 0:  # futimens: of the descriptor itself
            return self._file(args[directory]) if directory is not None else ""
        path = self._text(args[place])
        if path.startswith("/") or directory is None or args[directory] & 0xFFFFFFFF == _HERE:
            return path
        return f"{self._file(args[directory])}/{path}"

    def _text(self, address: int) -> str:
        # A page at a time: what is behind the text may not be mapped.
        data = os.pread(self._memory, _LONGEST - address % _LONGEST, address)
        if b"\0" not in data:
            data += os.pread(self._memory, _LONGEST, address + len(data))
        return os.fsdecode(data.split(b"\0", 1)[0])
