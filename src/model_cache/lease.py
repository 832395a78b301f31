"""Leases: a file that stays where it is for as long as somebody says so.

Concurrency:
    I3. A lease is a shared `flock` on the model file's own open description. Whoever would evict, update or remove the
    file must have the exclusive one first. The kernel drops a lease with the last descriptor, so a killed process
    leaves none behind; a forked child closes its copies and holds nothing.
"""

from __future__ import annotations

import io
import os

from . import hit, locks, tiers
from .context import Context
from .errors import LockTimeoutError
from .layout import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_ATTEMPTS = 100  # times a file may be replaced between being found and being leased


class Lease:
    """A held lease; a context manager that gives the path.

    Attributes:
        path: The file's absolute path; it is not evicted, updated or removed (without force) while this is held.
    """

    def __init__(self, ctx: Context, entry: Entry, path: Path, fd: int) -> None:
        self.path = path
        self._ctx, self._entry = ctx, entry
        self._fd = fd
        self._pid = os.getpid()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def fileno(self) -> int:
        """The open, leased descriptor (read-only)."""
        return self._fd

    def release(self) -> None:
        """Let the file go; in a forked child, and a second time, this does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._pid == os.getpid():
            try:
                # What was leased for hours was in use until now, not until it was fetched.
                hit.touch(self._ctx, self._entry)
            finally:
                locks.release(fd)

    def __del__(self) -> None:
        self.release()


class LeasedFile(io.BufferedReader):
    """A leased file, open for reading bytes; closing it gives the lease back."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(io.FileIO(lease.fileno(), closefd=False))
        self._lease = lease
        self.path = lease.path

    @property
    def name(self) -> str:
        """The file's absolute path."""
        return str(self.path)

    def close(self) -> None:
        """Close and let the file go."""
        super().close()
        self._lease.release()


def take(ctx: Context, entry: Entry, fetch: Callable[[], object]) -> Lease:
    """Fetch the file and hold on to it.

    Raises:
        ModelCacheError: As fetching does.
        LockTimeoutError: Somebody else held the file exclusively again and again.
    """
    for _ in range(_ATTEMPTS):
        fetch()
        opened = tiers.open_leased(ctx, entry)
        if opened is not None:
            at, fd = opened
            return Lease(at, entry, at.path(entry), fd)
    raise LockTimeoutError(f"{entry.path(ctx.root)} could not be leased: it was replaced again and again")
