"""Follows recorded system calls on a model of the file system, and says what each of them did.

A call that changes something below the top and is not understood here ends the recording with an error; and in the end the
model must be what is on the disk: then nothing has been left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .calls import Call
from .effects import Names, Resize, Sync, Times, Write
from .image import TOP
from .inodes import Model, Open, Unexplained

_NOW = re.compile(r"UTIME_NOW|NULL")
_OBSERVED = re.compile(
    r"stx?_ino=(?P<ino>\d+).*?stx?_mtime=(?:(?P<s>\d+)(?: /\*.*?\*/)?, st_mtime_nsec=(?P<ns>\d+)"
    r"|\{tv_sec=(?P<xs>\d+), tv_nsec=(?P<xns>\d+)\})"
)
_DEVICE = re.compile(r"st_dev=makedev\((0x[0-9a-f]+|\d+), (0x[0-9a-f]+|\d+)\)")
_DEVICE_X = re.compile(r"stx_dev_major=(0x[0-9a-f]+|\d+), stx_dev_minor=(0x[0-9a-f]+|\d+)")
_FIELD = re.compile(r'iov_base="((?:\\x[0-9a-f]{2})*)"')

__all__ = ["Follower", "Unexplained"]


class Follower(Model):
    """What each kind of call does to the model."""

    def follow(self, calls: Sequence[Call]) -> None:
        """Follow them all; raises Unexplained."""
        for call in calls:
            self._at = int(call.at * 1e9)
            known = _CALLS.get(call.name)
            try:
                if known is not None:
                    known(self, call)
                elif any(self._is_ours(word) for word in (*call.args, call.detail)):
                    raise Unexplained("it is not known what that does")
            except (Unexplained, KeyError, ValueError, IndexError) as error:
                raise Unexplained(f"{call.name}({', '.join(call.args)[:400]}): {error!r}") from error

    def open(self, call: Call) -> None:
        """open, openat, creat."""
        at = 1 if call.name == "openat" else 0
        self._open.pop(call.result, None)
        flags = call.args[at + 1] if len(call.args) > at + 1 else ""
        if call.name == "creat":
            raise Unexplained("files that are made in this way")
        again = self._again(call, at)
        if again is not None and "O_TMPFILE" not in flags:
            self._open[call.result] = Open(again.ino, append="O_APPEND" in flags)
            return
        found = (TOP, "") if again is not None else self._find(call, at - 1, at)
        if found is None:
            return
        if "O_TMPFILE" in flags:  # a file without a name, which `linkat` gives it
            self._open[call.result] = Open(self._make(False, call.args[at + 2]))
            return
        ino = TOP if found == (TOP, "") else self.image.names.get(found)
        if ino is None:
            ino = self._make(False, call.args[at + 2])
            self._add(Names(((*found, ino),)), f"make {self._path(found)}")
        elif "O_TRUNC" in flags and self.image.contents[ino]:
            self._add(Resize(ino, 0, self._at), f"empty {self._words(ino)}")
        self._open[call.result] = Open(ino, append="O_APPEND" in flags)

    def close(self, call: Call) -> None:
        """Close."""
        self._open.pop(call.fd(0), None)

    def dup(self, call: Call) -> None:
        """Dup and its kind: the same open file, and offset."""
        if call.name == "fcntl" and not call.args[1].startswith("F_DUPFD"):
            return
        opened = self._open.get(call.fd(0))
        self._open.pop(call.result, None)
        if opened is not None:
            self._open[call.result] = opened

    def seek(self, call: Call) -> None:
        """Lseek."""
        opened = self._open.get(call.fd(0))
        if opened is not None:
            opened.offset = call.result

    def read(self, call: Call) -> None:
        """read: moves the offset."""
        opened = self._open.get(call.fd(0))
        if opened is not None:
            opened.offset += call.result

    def write(self, call: Call) -> None:
        """write, writev, pwrite64, pwritev."""
        opened = self._open.get(call.fd(0))
        if opened is None:
            if self._is_ours(call.args[0]):
                raise Unexplained("a descriptor that was not seen to be opened")
            return
        if call.name in ("writev", "pwritev"):
            data = b"".join(bytes.fromhex(one.replace("\\x", "")) for one in _FIELD.findall(call.args[1]))
        else:
            data = call.text(1)
        if call.name.startswith("p"):
            offset = call.number(3)
        else:
            offset = len(self.image.contents[opened.ino]) if opened.append else opened.offset
            opened.offset = offset + call.result
        self._written(opened.ino, offset, data[: call.result])

    def _written(self, ino: int, offset: int, data: bytes) -> None:
        words = f"write {len(data)} bytes at {offset} of {self._words(ino)}"
        if data:
            self._add(Write(ino, offset, data, self._at), words)

    def copy(self, call: Call) -> None:
        """copy_file_range: as a write of what the source has."""
        source, target = self._open.get(call.fd(0)), self._open.get(call.fd(2))
        if source is None or target is None or (call.args[1] != "NULL" and not call.args[1].startswith("[")):
            raise Unexplained("only within the cache")
        start = source.offset if call.args[1] == "NULL" else _position(call.args[1], call.result)
        offset = target.offset if call.args[3] == "NULL" else _position(call.args[3], call.result)
        if call.args[1] == "NULL":
            source.offset += call.result
        if call.args[3] == "NULL":
            target.offset += call.result
        self._written(target.ino, offset, self.image.contents[source.ino][start : start + call.result])

    def resize(self, call: Call) -> None:
        """ftruncate, truncate."""
        if call.name == "truncate":
            ino = self._inode(call, -1, 0)
        else:
            opened = self._open.get(call.fd(0))
            ino = None if opened is None else opened.ino
        size = call.number(1)
        if ino is not None and size != len(self.image.contents[ino]):
            self._add(Resize(ino, size, self._at), f"cut {self._words(ino)} to {size} bytes")

    def sync(self, call: Call) -> None:
        """fsync, fdatasync."""
        opened = self._open.get(call.fd(0))
        if opened is not None:
            self._add(Sync(opened.ino), f"{call.name} {self._words(opened.ino) if opened.ino != TOP else 'the top'}")

    def rename(self, call: Call) -> None:
        """rename, renameat, renameat2."""
        old, new = (
            (self._find(call, -1, 0), self._find(call, -1, 1))[:2]
            if call.name == "rename"
            else (
                self._find(call, 0, 1),
                self._find(call, 2, 3),
            )
        )
        if "RENAME_EXCHANGE" in call.args[-1]:
            raise Unexplained("an exchange")
        if old is None and new is None:
            return
        if old is None or new is None:
            raise Unexplained("from or to elsewhere")
        ino = self.image.names[old]
        if self.image.names.get(new) != ino:
            words = f"rename {self._path(old)} to {self._path(new)}"
            self._add(Names(((*old, None), (*new, ino))), words)

    def link(self, call: Call) -> None:
        """link, linkat."""
        short = call.name == "link"
        new = self._find(call, -1, 1) if short else self._find(call, 2, 3)
        if new is None:
            return
        ino = self._inode(call, -1, 0) if short else self._inode(call, 0, 1)
        if ino is None:
            raise Unexplained("from elsewhere")
        self._add(Names(((*new, ino),)), f"link {self._words(ino)} as {self._path(new)}")

    def unlink(self, call: Call) -> None:
        """unlink, unlinkat, rmdir."""
        found = self._find(call, 0, 1) if call.name == "unlinkat" else self._find(call, -1, 0)
        if found is not None:
            self._add(Names(((*found, None),)), f"remove {self._path(found)}")

    def mkdir(self, call: Call) -> None:
        """mkdir, mkdirat."""
        at = 1 if call.name == "mkdirat" else 0
        found = self._find(call, at - 1, at)
        if found is not None:
            self._add(Names(((*found, self._make(True, call.args[at + 1])),)), f"make {self._path(found)}/")

    def times(self, call: Call) -> None:
        """Utimensat."""
        if call.args[1] == "NULL":
            opened = self._open.get(call.fd(0))
            ino = None if opened is None else opened.ino
        else:
            ino = self._inode(call, 0, 1)
        if ino is None or ino in self.image.folders:
            return
        mtime = self._at
        if not _NOW.search(call.args[2]):
            seconds, nanoseconds = re.findall(r"tv_sec=(\d+), tv_nsec=(\d+)", call.args[2])[1]
            mtime = int(seconds) * 10**9 + int(nanoseconds)
        self._add(Times(ino, mtime), f"set the mtime of {self._words(ino)}")

    def observe(self, call: Call) -> None:
        """Stat and its kind."""
        text = " ".join(call.args)
        found, device = _OBSERVED.search(text), _DEVICE.search(text) or _DEVICE_X.search(text)
        if found is None or device is None or (int(device[1], 0), int(device[2], 0)) != self._device:
            return
        ino = int(found["ino"])
        opened = self._open.get(call.fd(0)) if call.name == "fstat" else None
        if opened is not None and opened.ino != ino:
            raise Unexplained(f"inode {ino} was taken for {opened.ino}")
        self._observe(ino, int(found["s"] or found["xs"]) * 10**9 + int(found["ns"] or found["xns"]))

    def harmless(self, call: Call) -> None:
        """Changes nothing that survives, or only permissions, which are taken as they are in the end."""
        if call.name == "mmap" and "MAP_SHARED" in call.args[3] and "PROT_WRITE" in call.args[2]:
            raise Unexplained("a shared mapping")


def _position(word: str, moved: int) -> int:
    """Where a copy began, of `[0 => 60000]`, or of what was left of it."""
    first, _, last = word.strip("[]").partition("=>")
    return int(last) - moved if last else int(first)


_CALLS: dict[str, Callable[[Follower, Call], None]] = {
    **dict.fromkeys(("open", "openat", "creat"), Follower.open),
    "close": Follower.close,
    **dict.fromkeys(("dup", "dup2", "dup3", "fcntl"), Follower.dup),
    "lseek": Follower.seek,
    **dict.fromkeys(("read", "readv"), Follower.read),
    **dict.fromkeys(("write", "writev", "pwrite64", "pwritev"), Follower.write),
    "copy_file_range": Follower.copy,
    **dict.fromkeys(("ftruncate", "truncate"), Follower.resize),
    **dict.fromkeys(("fsync", "fdatasync"), Follower.sync),
    **dict.fromkeys(("rename", "renameat", "renameat2"), Follower.rename),
    **dict.fromkeys(("link", "linkat"), Follower.link),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), Follower.unlink),
    **dict.fromkeys(("mkdir", "mkdirat"), Follower.mkdir),
    "utimensat": Follower.times,
    **dict.fromkeys(("stat", "lstat", "fstat", "newfstatat", "fstatat64", "statx"), Follower.observe),
    **dict.fromkeys(("mmap", "chmod", "fchmod", "fchmodat", "fchmodat2"), Follower.harmless),
}
