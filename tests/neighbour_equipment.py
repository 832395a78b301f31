"""A directory that is none of the cache's business, watched by the kernel: what is opened, changed or moved there is told."""

import ctypes
import os
import struct
from contextlib import contextmanager

_LIBC = ctypes.CDLL(None, use_errno=True)
_EVENTS = {
    0x1: "read", 0x2: "written", 0x4: "attributes changed", 0x20: "opened", 0x40: "moved from", 0x80: "moved to",
    0x100: "made in", 0x200: "removed from", 0x400: "removed", 0x800: "moved",
}  # fmt: skip


class Outside:
    """A file and a directory of somebody's own beside a root, and what happened to them.

    Source: inotify(7). A watch on a directory tells of everything in it, by whatever path it was reached.
    """

    def __init__(self, folder):
        self.folder = folder
        self.directory, self.file = folder / "directory", folder / "file"
        self.directory.mkdir(parents=True)
        self.file.write_bytes(b"somebody's own")
        for name in ("x", "index.db", "config.toml", "x.lock"):
            (self.directory / name).write_bytes(b"somebody's own, too")
        self._before = self._look()
        self._fd = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0, os.strerror(ctypes.get_errno())
        for path in (folder, self.directory):
            assert _LIBC.inotify_add_watch(self._fd, os.fsencode(path), sum(_EVENTS)) >= 0

    def _look(self):
        """{path: (bytes, mode, owner, mtime, links)}."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.lstat()
            data = path.read_bytes() if path.is_file() else b""
            links = 0 if path == self.file else status.st_nlink  # a second name of that one is what is planted
            found[str(path.relative_to(self.folder))] = data, status.st_mode, status.st_uid, status.st_mtime_ns, links
        return found

    def happened(self):
        """What was done there since it was last asked, in words: empty if nothing was."""
        told = []
        try:
            data = os.read(self._fd, 1 << 20)
        except BlockingIOError:
            data = b""
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16 : 16 + length].rstrip(b"\0").decode()
            told += [f"{words}: {name}" for bit, words in _EVENTS.items() if mask & bit]
            data = data[16 + length :]
        now = self._look()
        self.forget()
        return sorted(
            {*told, *(f"differs: {path}" for path in {*now, *self._before} if self._before.get(path) != now.get(path))}
        )

    def forget(self):
        """Forget what was done so far, by a look at it or by the test itself."""
        try:
            while os.read(self._fd, 1 << 20):
                pass
        except BlockingIOError:
            return

    def close(self):
        """Watch no more."""
        os.close(self._fd)


@contextmanager
def outside(folder):
    """Something of somebody's own, watched while the block lasts."""
    watched = Outside(folder)
    try:
        yield watched
    finally:
        watched.close()
