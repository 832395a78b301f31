"""A hit: the file is there; say so without network, SQL, HTTP or write lock.

The slow path, once per entry, process and `touch_interval`: open, shared lease, look again, touch, let go. Its result is
a `Found`, by which `ModelCache` recognises the same file with one `stat` until the interval is over.

Concurrency:
    I3, I9. An evictor takes the exclusive lease first and reads the last use after it. So either our shared lease is
    refused (and we look at the path again), or our touch is seen. The path is compared with the open inode *after*
    the lease is ours, else a file that was just renamed away would be handed out.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from . import damage, disk, locks
from .errors import InvalidNameError, LockTimeoutError, StorageError, quoted
from .layout import Entry, clash, rivals
from .platforms import at, opened
from .platforms.capabilities import CLOEXEC, NONBLOCK, PLACE, after_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    from .context import Context

    T = TypeVar("T")

_READ = os.O_RDONLY | CLOEXEC | NONBLOCK  # a FIFO that somebody put there must not hang us
_BUSY_WAIT = 0.002  # seconds between two looks at a file that an evictor holds
_CLOSED_WAIT = 0.01  # seconds between two looks at what another user may be making
_CLOSED_LOOKS = 25  # between its making and its mode lie two system calls
_BUSY_LIMIT = 10.0  # seconds; an eviction of one file takes milliseconds
_KEPT_LEASES = 256  # leases kept for readers that cannot touch, so that descriptors do not run out

# Of this process, whichever cache they were taken for, which may be gone long before: (monotonic seconds, descriptor), a heap.
_kept: list[tuple[float, int]] = []
after_fork(after_in_child=_kept.clear)  # `locks` closes what the parent holds


class Found:
    """A file that was handed out: where, which inode, and until when a `stat` is enough to hand it out again."""

    __slots__ = ("ino", "mtime_ns", "path", "size", "text", "until")

    def __init__(self, path: Path, text: str, found: os.stat_result, until: float) -> None:
        self.path, self.text = path, text
        self.ino, self.size, self.mtime_ns = found.st_ino, found.st_size, found.st_mtime_ns
        self.until = until

    def is_as_it_was(self, now: os.stat_result) -> bool:
        """Whether what a `stat` of the path says now is this very file, unchanged."""
        return now.st_ino == self.ino and now.st_mtime_ns == self.mtime_ns and now.st_size == self.size


def find(ctx: Context, entry: Entry) -> Found | None:
    """Hand out the entry's file, or None for a miss; a file that is known to be damaged is one.

    Raises:
        StorageError: Something stands at the path that is no readable regular file.
        InvalidNameError: The path leaves the root through a symlink, or belongs to another entry.
        LockTimeoutError: Somebody held the file exclusively for ten seconds.
    """
    path = entry.path(ctx.root)
    opened = _open_leased(ctx, entry, path)
    if opened is None:
        return None
    fd, found = opened
    try:
        if not touch(ctx, entry):
            given, fd = fd, -1  # first: what is interrupted here is not closed twice
            _keep_lease(ctx, given)
        return Found(ctx.root_path / entry.relative, path, found, ctx.clock.monotonic() + ctx.settings.touch_interval)
    finally:
        if fd >= 0:
            locks.release(fd)


def recognised(ctx: Context, entry: Entry, found: os.stat_result) -> Found:
    """What a file that was leased and touched just now is recognised by."""
    until = ctx.clock.monotonic() + ctx.settings.touch_interval
    return Found(ctx.root_path / entry.relative, entry.path(ctx.root), found, until)


def rehearse(ctx: Context, entry: Entry) -> None:
    """Do once with the root what a hit does with a file, for each call takes several times as long when it is the first."""
    try:
        fd = os.open(ctx.root, _READ)
    except OSError:
        return  # not there yet: then the first call is no hit
    try:
        found = os.fstat(fd)
        opened.name_of(fd)
        damage.is_marked(ctx, entry.key, found, fd)
        recognised(ctx, entry, found)
    finally:
        os.close(fd)


def hold(ctx: Context, entry: Entry) -> tuple[Found, int] | None:
    """As `find`, with the descriptor that has the shared lease, for a caller who is to return with several files."""
    opened = _open_leased(ctx, entry, entry.path(ctx.root))
    if opened is None:
        return None
    fd, found = opened
    try:
        touch(ctx, entry)
        return recognised(ctx, entry, found), fd
    except BaseException:
        locks.release(fd)
        raise


def open_leased(ctx: Context, entry: Entry) -> int | None:
    """A descriptor of the entry's file with a shared lease on it, or None for a miss; raises as `find` does."""
    opened = _open_leased(ctx, entry, entry.path(ctx.root))
    return None if opened is None else opened[0]


def _open_leased(ctx: Context, entry: Entry, path: str) -> tuple[int, os.stat_result] | None:
    deadline = None  # most look once
    while True:
        fd = _open(ctx, entry, path)
        if fd is None:
            return None
        kept = False
        try:
            found = _lease(fd, path) if fd >= 0 else None
            if found is not None:
                if ctx.folds:
                    refuse_clash(ctx, entry)
                if damage.is_marked(ctx, entry.key, found, fd):
                    return None
                kept = True
                return fd, found
        finally:
            if not kept and fd >= 0:
                locks.release(fd)
        now = ctx.clock.monotonic()
        deadline = now + _BUSY_LIMIT if deadline is None else deadline
        if now >= deadline:
            from .users import holders

            raise LockTimeoutError(
                f"{path} was locked exclusively for more than {_BUSY_LIMIT:g} seconds{holders(path)}",
                hint=f"fuser -v {quoted(path)}",
            )
        ctx.clock.sleep(_BUSY_WAIT)


def exists(ctx: Context, entry: Entry) -> bool:
    """Whether the entry's file is there, and not known to be damaged; nothing is opened or touched.

    Raises:
        StorageError: It cannot be told, because a directory may not be searched or the disk fails.
    """
    path = entry.path(ctx.root)
    try:
        try:
            found = os.stat(path)
        except PermissionError:
            found = _once_open(ctx, lambda: os.stat(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise disk.storage_error(error, "cannot look at", path) from None
    ctx.refuse_distrusted()
    if not stat.S_ISREG(found.st_mode) or damage.is_marked(ctx, entry.key, found):
        return False
    return _inside(ctx, at.real_path(path))


def _open(ctx: Context, entry: Entry, path: str) -> int | None:
    """A descriptor, -1 where it has to be looked at again (an evictor tests the file), or None where nothing is there.

    First only the place is opened: to open what a planted symlink leads to can be an act by itself, of a device even.
    """
    try:
        try:
            place = os.open(path, PLACE)
        except PermissionError:
            place = _once_open(ctx, lambda: os.open(path, PLACE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise disk.storage_error(error, "cannot open", path) from None
    try:
        if not _is_inside(ctx, entry, place, path):
            return -1
        return _open_again(place, path)
    except BlockingIOError:
        return -1  # somebody has a kernel lease on it, for the time of a test
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk.storage_error(error, "cannot open", path) from None
    finally:
        os.close(place)


def _once_open(ctx: Context, look: Callable[[], T]) -> T:
    """Look again for a while, in a root that a group shares: a directory is closed to the others until it has its mode."""
    for _ in range(_CLOSED_LOOKS if ctx.settings.sharing == "group" else 0):
        ctx.clock.sleep(_CLOSED_WAIT)
        try:
            return look()
        except PermissionError:
            continue
    return look()


def _open_again(place: int, path: str) -> int:
    """Open the very file that a descriptor names."""
    fd = opened.again(place, _READ)
    return os.open(path, _READ) if fd is None else fd


def _lease(fd: int, path: str) -> os.stat_result | None:
    """What the path holds, if the lease could be had and it is still the inode that was opened."""
    try:
        if not locks.try_shared(fd):
            return None
    except OSError as error:
        raise disk.storage_error(error, "cannot lease", path) from None
    opened = os.fstat(fd)
    if not stat.S_ISREG(opened.st_mode):
        raise StorageError(f"{path} is not a regular file", hint=f"ls -ld {quoted(path)}", path=path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found if found.st_ino == opened.st_ino and found.st_dev == opened.st_dev else None


def _inside(ctx: Context, real: str) -> bool:
    """Whether a path without symlinks is one of an entry: below the root, and not the cache's own."""
    own = at.real_path(ctx.places.own) + "/"
    return real.startswith(ctx.real_root.rstrip("/") + "/") and not real.startswith(own)


def _is_inside(ctx: Context, entry: Entry, fd: int, path: str) -> bool:
    """Whether the open file has the name that was asked for, or another one inside the root; False if it has gone from there.

    Raises:
        InvalidNameError: Symlinks inside the root lead out of it.
        StorageError: The root is not to be trusted.
    """
    ctx.refuse_distrusted()
    real = opened.name_of(fd)
    if real == f"{ctx.real_root}/{entry.relative}":
        return True
    if not real.startswith("/"):
        real = at.real_path(path)
    if _inside(ctx, real):
        return True
    ctx.forget_real_root()  # somebody may have pointed the root elsewhere since
    if _inside(ctx, real):
        return True
    try:
        if not os.path.samestat(os.fstat(fd), os.stat(path)):
            return False
    except FileNotFoundError:
        return False
    raise InvalidNameError(
        f"{path} leads out of the root to {real}; links inside the root are not followed out of it",
        hint=f"copy the file itself to {quoted(path)}",
    )


def refuse_clash(ctx: Context, entry: Entry) -> None:
    """Refuse a name that the file system would take for another one that is there; called where it folds.

    Raises:
        InvalidNameError: Two names of the Hub would be one file here.
    """
    place = ctx.root
    for part in entry.relative.split("/"):
        try:
            present = os.listdir(place)
        except OSError:
            return  # nothing is there yet
        other = clash(part, present)
        if other is not None:
            raise InvalidNameError(
                f"{entry}: {part!r} and {other!r} in {place} are one name to this file system",
                hint="keep the cache on a file system that tells upper from lower case: MODEL_CACHE_DIR",
            )
        place = f"{place}/{part}"


def touch(ctx: Context, entry: Entry) -> bool:
    """Set the entry's last use to now; False if this process may not.

    The last use is the mtime of an empty file beside the models, so that any writer of the group can set it and the
    model file's own times keep telling of edits.
    """
    used = ctx.places.used + entry.key
    if ctx.settings.read_only:
        if not os.path.exists(used):
            _refuse_rivals(ctx, entry)
        return not os.path.isdir(ctx.places.used)  # as below: nothing is evicted where there is no `.model-cache/`
    try:
        disk.touch(used)
        return True
    except FileNotFoundError:
        pass
    except OSError:
        return False
    _refuse_rivals(ctx, entry)
    try:
        os.close(locks.open_own(used, ctx.settings.file_mode))
        disk.touch(used)
    except FileNotFoundError:
        return True  # no `.model-cache/`: nothing here is ever evicted, and a hit makes nothing
    except OSError:
        return False
    return True


def _refuse_rivals(ctx: Context, entry: Entry) -> None:
    """On the first use of a path under this name: has it been in use under another?"""
    if not os.path.lexists(entry.path(ctx.root)):
        return  # a rival's marker can outlive its file; its row is asked when this one is written
    for rival in rivals(entry):
        if os.path.exists(ctx.places.used + rival.key):
            raise InvalidNameError(
                f"{entry} and {rival} would share the path {entry.relative}, and the second one is in the cache",
                hint="use another root for one of the two: MODEL_CACHE_DIR, or --root",
            )


def _keep_lease(ctx: Context, fd: int) -> None:
    """Hold a shared lease for `min_idle` in place of a touch, so that an evictor on another mount sees the use."""
    import heapq  # which a hit that can touch does not pay

    now = ctx.clock.monotonic()
    heapq.heappush(_kept, (now + ctx.settings.min_idle, fd))
    with suppress(IndexError):  # another thread was faster
        while _kept[0][0] <= now or len(_kept) > _KEPT_LEASES:
            locks.release(heapq.heappop(_kept)[1])
