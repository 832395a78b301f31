"""Every lock of the cache, as the kernel gives it; the one user of `fcntl` for that.

Locks and their order: **W → G → exclusive lease → index lock**. Nothing waits for an earlier one while it holds a later
one; under G the W of other entries are only tried.

- W, the write lock of one entry (`write_lock`, or `try_write`). Also the truth about liveness: what a
  row says is being done is being done only while its W is held.
- The lock of a repo, which its listing and every change of commit go by (`download/repo_lock.py`): taken before any W, held
  shared by whoever fetches files of its commit.
- Lease: `flock` on the model file itself, shared for readers, exclusive for whoever takes the file away. The kernel
  drops it at death.
- Open test: a write lease of the kernel on the model file (fcntl(2), F_SETLEASE), granted only while nobody at all has
  the file open or mapped.
- Plain locks on a file of their own: the index lock, and G.

**Fork.** Releasing is explicit (`LOCK_UN`) and only ever done by the process that locked: a child shares its parent's
open file descriptions, so its unlocking would unlock the parent. `os.register_at_fork` closes in the child what the
parent held; `filelock` does the same for W.

**File systems.** Where `flock` is not implemented, `WriteLock.excludes` is False and a shared lease says nothing:
downloads stay correct by unique partials, atomic publish and the hash; whatever takes files away must refuse.
"""

from __future__ import annotations

import errno
import os

from . import beneath, modes
from .errors import LockTimeoutError, quoted
from .platforms import at, capabilities, opened
from .platforms.at import Directory
from .platforms.capabilities import FLOCK, LEASES, fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .clock import Clock

# flock(2) on file systems that have none: ENOSYS and EOPNOTSUPP (FUSE), ENOLCK (NFS without a lock daemon), and the
# kernel's own ENOTSUPP, 524, that some network file systems leak.
NO_FLOCK = frozenset([errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, 524])
# A directory, a symlink, a FIFO, a socket, a file with another name.
_NO_LOCK_FILE = frozenset([errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EMLINK])
_BUSY = frozenset([errno.EAGAIN, errno.EACCES])
POLL = 0.02  # seconds between two tries of W: a waiter leaves this long after the publish at the latest
_WORD = 128  # bytes that a holder may leave in its lock's file
_SHORT_POLL = 0.001  # seconds between two tries of a lock that is held for one transaction

_held: set[int] = set()  # descriptors with a lock of this process, closed in a forked child


def _close_inherited() -> None:
    for fd in tuple(_held):
        try:
            os.close(fd)
        except OSError:  # pragma: no cover - closed between the fork and now
            continue
    _held.clear()


capabilities.after_fork(after_in_child=_close_inherited)


def _flock(fd: int, operation: int) -> bool:
    """Try once; True if locked, or if this file system has no locks to give."""
    if not FLOCK:
        return True
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_FLOCK:
            return True
        if error.errno in _BUSY:
            return False
        raise
    _held.add(fd)
    return True


def _try_alone(fd: int) -> bool:
    return _flock(fd, fcntl.LOCK_EX if FLOCK else 0)


def try_shared(fd: int) -> bool:
    """Take a shared lease on the open model file; False while somebody holds it exclusively."""
    return _flock(fd, fcntl.LOCK_SH if FLOCK else 0)


def try_exclusive(fd: int) -> bool:
    """Take the exclusive lease on the open model file; False while anybody holds a lease, or it cannot be told.

    NFS refuses an exclusive lock through a read-only descriptor (EBADF; flock(2), "NFS details"): then the descriptor is opened
    again, for writing too, under its own number, so that there is no second one which the open test would count.
    """
    try:
        return _flock(fd, fcntl.LOCK_EX if FLOCK else 0)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    try:
        _reopen(fd)
        return _flock(fd, fcntl.LOCK_EX if FLOCK else 0)
    except OSError:
        return False  # not ours to write


def _reopen(fd: int) -> None:
    """Open the same file for writing too, whatever its path leads to by now, and put it in the place of the descriptor."""
    writable = opened.again(fd, os.O_RDWR | capabilities.CLOEXEC | capabilities.NONBLOCK)
    if writable is None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        os.dup2(writable, fd, inheritable=False)
    finally:
        os.close(writable)


def is_held(fd: int) -> bool:
    """Whether this process has a lock on the descriptor; not so where the file system has none to give."""
    return fd in _held


def release(fd: int) -> None:
    """Unlock and close a descriptor that this process locked; in a forked child that inherited it, do nothing."""
    if fd in _held:
        _held.discard(fd)
        # Explicit: closing alone would leave the lock with any child that was forked meanwhile. Where it fails (a
        # server that does not answer), closing has to do: what was done under the lock is done.
        try:  # noqa: SIM105 - every hit comes here
            fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError:
            pass
    os.close(fd)


def flock_works(fd: int) -> bool:
    """Whether the file system of an open file implements flock."""
    if not FLOCK:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        return error.errno not in NO_FLOCK
    return True


def try_sole_use(fd: int) -> bool | None:
    """The open test: True if nobody else has this file open or mapped, False if somebody has, None where there is none.

    Until `release`, an `open` by anybody else waits in the kernel (at most fs.lease-break-time seconds).

    Source: fcntl(2), "Leases". It counts our own other descriptors.

    Raises:
        PermissionError: It is for the file's owner, or a process with CAP_LEASE.
    """
    if not LEASES:
        return None
    import signal  # 7 ms that a hit does not pay

    # The break of the lease is announced by a signal; SIGIO would end the process, SIGURG is ignored by default.
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        # EAGAIN: somebody has it open. EACCES: not ours to ask. EINVAL: this file system has no leases.
        if error.errno == errno.EACCES:
            raise
        return False if error.errno == errno.EAGAIN else None
    return True


def has_sole_use(fd: int) -> bool:
    """Whether the kernel lease is still ours: a process that was stopped too long has lost it."""
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_WRLCK


def try_write(path: str, mode: int, *, shared: bool = False) -> int | None:
    """W, tried once and taken on its file directly, for an evictor that needs thousands; None if somebody holds it.

    Or if somebody has put something there that can be no lock. `shared`: others may hold it so too.
    """
    try:
        return try_raw(path, mode, shared=shared)
    except OSError as error:
        if error.errno in _NO_LOCK_FILE:
            return None
        raise


def try_raw(path: str, mode: int, *, shared: bool = False) -> int | None:
    """W without `filelock`, to be given back by `release`; None if somebody holds it.

    It is the same lock: `filelock` takes this flock on this file, and both look at the link count afterwards, because a
    lock file may be removed by whoever holds it (`remove_lock_file`) between another's open and flock.
    """
    while True:
        fd = open_own(path, mode)
        try:
            locked = (try_shared if shared else _try_alone)(fd)
            if locked and os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            release(fd)
            raise
        release(fd)
        if not locked:
            return None


def open_own(path: str, mode: int, *, linked: bool = False) -> int:
    """Open a file of the cache's own, made with exactly `mode` (whatever the umask) if it is not there.

    Args:
        linked: It may have another name besides; else that is refused, for what is written would be written there too.

    Raises:
        OSError: Something else is there (EISDIR, ELOOP, ENXIO, EINVAL), or a file with another name (EMLINK).
    """
    parent, name = beneath.open_parent(path)
    try:
        fd = _open_or_make(parent, name, mode)
        try:
            if not linked and os.fstat(fd).st_nlink > 1:  # 0: removed meanwhile, which who locks it looks at
                raise OSError(errno.EMLINK, "it is a file with another name besides, which would be changed with it")
        except BaseException:
            os.close(fd)
            raise
        return fd
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        at.close(parent)


def _open_or_make(parent: Directory, name: str, mode: int) -> int:
    flags = os.O_RDWR | capabilities.CLOEXEC | capabilities.NONBLOCK
    while True:
        try:
            return opened.regular(at.open_file(name, flags, parent=parent))
        except FileNotFoundError:
            pass
        try:
            return modes.make_file(name, flags, mode, parent=parent)
        except FileExistsError:
            continue


class Hold:
    """An open descriptor that is locked, or about to be: let go by `release`, or when nobody refers to this any more.

    An interrupt can come before the first step of letting go; the lock would stay until the process ends.
    """

    fd = -1  # what is interrupted while it is made has none

    def __init__(self, fd: int) -> None:
        self._pid = os.getpid()
        self.fd = fd

    def release(self) -> None:
        """Unlock and close; a second time, this does nothing."""
        fd, self.fd = self.fd, -1  # first: a number that is closed may be a stranger's file by then
        try:
            if fd >= 0:
                release(fd)
        except BaseException:
            if is_held(fd):  # it was not begun
                self.fd = fd
            raise

    def __del__(self) -> None:
        if self.fd >= 0 and self._pid == os.getpid():
            self.release()


class FileMutex:
    """A lock on a file of its own, held for the length of a transaction (index lock) or an eviction (G).

    Who waits looks every millisecond, where SQLite's own busy handler pauses for longer and longer; in which order they get it
    nobody promises.
    """

    def __init__(self, path: str, mode: int, clock: Clock) -> None:
        self._path, self._mode, self._clock = path, mode, clock
        self._hold: Hold | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._hold is not None and is_held(self._hold.fd)

    def acquire(self, timeout: float) -> None:
        """Wait at most `timeout` seconds.

        Raises:
            LockTimeoutError: Somebody held it all that time.
            OSError: The file cannot be opened.
        """
        hold = Hold(open_own(self._path, self._mode))
        try:
            deadline = self._clock.monotonic() + timeout
            while not _try_alone(hold.fd):
                if self._clock.monotonic() >= deadline:
                    raise self._too_long(timeout)
                self._clock.sleep(_SHORT_POLL)
            self._hold = hold
        except BaseException as error:
            self._hold = None
            hold.release()
            if isinstance(error, OSError) and error.filename is None and error.errno is not None:
                raise OSError(error.errno, error.strerror, self._path) from None  # flock does not say of which file
            raise

    def _too_long(self, timeout: float) -> LockTimeoutError:
        from .users import holders

        return LockTimeoutError(
            f"{self._path} was locked for more than {timeout:g} seconds{holders(self._path)}",
            hint=f"fuser -v {quoted(self._path)}",
        )

    @property
    def word(self) -> str:
        """What the last holder wrote into the lock's file; read and written only while it is held."""
        assert self._hold is not None, "the lock is held"
        try:
            return opened.read_at(self._hold.fd, _WORD, 0).decode("ascii", "replace").strip()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None

    @word.setter
    def word(self, text: str) -> None:
        assert self._hold is not None, "the lock is held"
        opened.write_at(self._hold.fd, text.encode("ascii", "replace")[:_WORD].ljust(_WORD), 0)

    def release(self) -> None:
        """Give the lock back."""
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()
