"""The bytes of a download that is not complete: written where they belong, hashed, resumed by another process.

Concurrency:
    Belongs to whoever holds W of the entry; where the file system has no locks each process has a partial of its own.
    Several threads of its owner may `put` bytes at once, each its own; everything else is for one thread.
"""

from __future__ import annotations

import errno
import hashlib
import os

from .. import digest, disk, stats
from ..context import Context
from ..errors import CacheFullError, IntegrityError, StorageError
from ..hub.client import FileMeta
from ..index.ledger import Installed
from ..layout import Entry
from ..locks import open_own
from ..platforms import opened
from ..platforms.capabilities import REPLACE_OPEN
from .parts import Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..write_lock import Held


# copy_file_range(2) between two file systems, or on one that has none: then the bytes come through this process.
_NO_COPY = frozenset([errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])


class Partial:
    """An open partial.

    Attributes:
        path: Where it is.
        size: Bytes from its start on that are there without a gap.
        held: Ranges of it that are there, as they were found or as its receiver says.
        hashed: Bytes of it that the running hash has seen.
        limit: Bytes that were reserved where the size is not known, else None.
        sealed: Whether the bytes are complete, verified and durable.
        published: Whether the bytes have their name: from then on nothing is undone.
    """

    def __init__(self, ctx: Context, entry: Entry, lock: Held) -> None:
        assert lock.held, "the caller holds W"
        unique = "" if lock.excludes else f".{os.getpid()}-{os.urandom(4).hex()}"
        self.path = ctx.places.partial(entry.key) + unique
        self._fd = -1
        try:
            self._fd = open_own(self.path, ctx.settings.file_mode, linked=True)
            found = os.fstat(self._fd)
            if found.st_nlink > 1:
                # The bytes have another name (a crash before this one was removed, then a move): they are not ours to
                # write to any more, but this name is.
                self.close()
                disk.remove(self.path)
                self._fd = open_own(self.path, ctx.settings.file_mode)
                found = os.fstat(self._fd)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise disk.storage_error(error, "cannot open", self.path) from None
            raise
        self.size = found.st_size
        self.held: list[Range] = []
        self.hashed = 0
        self.limit: int | None = None
        self.sealed = self.published = False
        self._sha256 = hashlib.sha256()

    def hold(self, held: list[Range], size: int | None) -> None:
        """Say which bytes are there; all are thrown away where that is none, or more than the file's promised `size`."""
        if not held or (size is not None and self.size > size):
            self.restart()
        else:
            self.reached(held)

    def reached(self, held: list[Range]) -> None:
        """Say which bytes are there by now."""
        self.held = held
        self.size = held[0][1] if held and held[0][0] == 0 else 0

    def restart(self) -> None:
        """Throw away what is there."""
        os.ftruncate(self._fd, 0)
        self.size = self.hashed = 0
        self.held = []
        self._sha256 = hashlib.sha256()

    def cut(self) -> None:
        """Throw away what is behind the first gap."""
        os.ftruncate(self._fd, self.size)
        self.held = [(0, self.size)] if self.size else []

    def touch(self) -> None:
        """Let those who wait on this host see that something goes on."""
        opened.set_time(self._fd, self.path)

    def put(self, data: memoryview, offset: int) -> None:
        """Write bytes where they belong; they are hashed once all before them are there.

        Raises:
            CacheFullError: No room on the file system.
            StorageError: The file system refused.
        """
        if self.limit is not None and offset + len(data) > self.limit:
            raise CacheFullError(
                f"{self.path}: more bytes came of a file of unknown size than the {self.limit} that were left of max_size",
                needed=offset + len(data),
                available=self.limit,
            )
        written = 0
        try:
            while written < len(data):
                written += opened.write_at(self._fd, data[written:], offset + written)
        except OSError as error:
            raise disk.storage_error(error, "cannot write", self.path) from None

    def append(self, data: memoryview, offset: int) -> None:
        """Write bytes, and hash them on the way where all before them have been."""
        self.put(data, offset)
        if self.hashed == offset:
            self._sha256.update(data)
            self.hashed += len(data)

    def copy(self, source: int) -> None:
        """Fill it with another open file's bytes, shared on disk where the file system can; they may be hashed later.

        Raises:
            CacheFullError: No room.
            StorageError: The file system refused.
        """
        size = os.fstat(source).st_size
        try:
            while self.size < size and (count := opened.copy_range(source, self._fd, size - self.size, self.size)):
                self.size += count
        except OSError as error:
            if error.errno not in _NO_COPY:
                raise disk.storage_error(error, "cannot copy to", self.path) from None
        for block in digest.blocks(source, self.size, size):
            self.append(block, self.size)
            self.size += len(block)
        self.held = [(0, self.size)]

    def hash_up_to(self, end: int) -> None:
        """Hash what is there and was not hashed as it came, so that the running hash covers all bytes up to `end`."""
        for block in digest.blocks(self._fd, self.hashed, end):
            self._sha256.update(block)
            self.hashed += len(block)
        if self.hashed < end:
            raise StorageError(f"{self.path} became shorter while it was read", path=self.path)

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""
        assert self.hashed == self.size, "the running hash covers the file"
        return self._sha256.hexdigest()

    def check(self, meta: FileMeta, name: str) -> None:
        """Compare length and hash with what the Hub promised.

        Raises:
            IntegrityError: They differ.
        """
        if meta.size is not None and self.size != meta.size:
            raise IntegrityError(
                f"{name}: expected {meta.size} bytes, received {self.size}", expected=meta.size, found=self.size
            )
        kind, expected = ("sha256", meta.sha256) if meta.sha256 else ("git-sha1", meta.git_sha1)
        found = self.sha256 if meta.sha256 else digest.git_sha1(self._fd, self.size)
        if found != expected:
            raise IntegrityError(
                f"{name}: expected {kind} {expected}, received bytes with {found}", expected=expected, found=found
            )

    def flush(self) -> None:
        """Have what is there written to the disk, so that little is left to write in the end.

        Raises:
            CacheFullError, StorageError: As `seal`: the kernel tells of a failed write once, so nothing may use the bytes.
        """
        try:
            opened.sync_data(self._fd)
        except OSError as error:
            raise disk.storage_error(error, "cannot make durable", self.path) from None

    def seal(self) -> Installed:
        """Make the bytes durable; after this only their name is missing.

        Raises:
            CacheFullError: Blocks that were promised could not be had.
            StorageError: fsync failed; the bytes may be lost although they can still be read, so nothing may use them.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise disk.storage_error(error, "cannot make durable", self.path) from None
        self.sealed = True
        found = os.fstat(self._fd)
        return Installed(stats.inode(found), found.st_mtime_ns, self.size, stats.allocated(found), self.sha256)

    def left(self) -> int:
        """Bytes that the file system has given to it, 0 if it is empty.

        Asked of the file: an interrupt between a write and its bookkeeping must not make bytes disappear.
        """
        found = os.fstat(self._fd)
        return stats.allocated(found) if found.st_size else 0

    def fileno(self) -> int:
        """The open descriptor."""
        return self._fd

    def give_away(self) -> int:
        """The open descriptor, which is the caller's to close from now on."""
        fd, self._fd = self._fd, -1
        return fd

    def remove(self) -> None:
        """Remove its name, now that the bytes have another; closed before where a file that is open keeps its names."""
        self._loosen()
        disk.remove(self.path)

    def remove_durably(self) -> None:
        """Remove its name, and with it the bytes, so that no power loss brings them back; closed before as in `remove`."""
        self._loosen()
        disk.remove_durably(self.path)

    def _loosen(self) -> None:
        if not REPLACE_OPEN:
            self.close()

    def close(self) -> None:
        """Close; the bytes stay."""
        if self._fd >= 0:
            os.close(self.give_away())
