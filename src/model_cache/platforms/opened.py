"""What is asked of an open file, and done with it, that not each system can: its name, its bytes at a place, its copies.

Concurrency:
    Where bytes cannot be read and written at a place in one call (`capabilities.POSITIONAL`), the place is a state that all users
    of a descriptor share: one lock for this process makes two calls one. Descriptors are not shared between processes.
"""

from __future__ import annotations

import errno
import os
import stat

from . import capabilities
from .capabilities import fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .at import Directory

# ioctl_ficlone(2): EOPNOTSUPP where the file system has no reflinks, ENOTTY and ENOSYS where the kernel or a sandbox has
# none, EXDEV between two file systems, EINVAL where it has them and not for these files, ETXTBSY for a swap file.
_NO_CLONE = frozenset([errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.ETXTBSY])
_FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h
if not capabilities.POSITIONAL:
    import threading

    _at_place = threading.Lock()
    capabilities.after_fork(
        before=_at_place.acquire, after_in_parent=_at_place.release, after_in_child=_at_place.release
    )


# Names


def name_of(fd: int) -> str:
    """The path of an open file without symlinks; empty where the system does not tell."""
    if not capabilities.PROC:
        return ""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # one system call; realpath costs one per part
    except OSError:
        return ""


def again(fd: int, flags: int) -> int | None:
    """Open the very file that a descriptor names once more, whatever its path leads to by now; None where that cannot be."""
    if not capabilities.PROC:
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    except FileNotFoundError:
        return None  # /proc went away, as in a chroot


def regular(fd: int, path: str | None = None) -> int:
    """The descriptor, if it is of a regular file; else, and where that cannot be told, it is closed.

    Raises:
        OSError: It is of something else (EINVAL), or it cannot be told.
    """
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def link(fd: int, name: str, directory: Directory | None) -> bool:
    """Give the open file itself a name in an open directory; False where only paths can be linked.

    Raises:
        FileExistsError: Something has it. OSError: As link(2).
    """
    if isinstance(directory, str) or not capabilities.PROC or not os.path.exists(f"/proc/self/fd/{fd}"):
        return False
    if not capabilities.HARD_LINKS:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name)
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
    return True


def refuse_if_open(path: str) -> None:
    """Where a file that is open cannot lose its name, refuse as such a system does, though this one could.

    Only tests come here on a system with leases; where there are none the kernel refuses by itself.

    Raises:
        PermissionError: Somebody has it open, this process too.
    """
    if capabilities.REPLACE_OPEN or fcntl is None or not hasattr(fcntl, "F_SETLEASE"):
        return
    try:
        fd = os.open(path, os.O_RDONLY | capabilities.NONBLOCK | capabilities.NOFOLLOW | capabilities.CLOEXEC)
    except OSError:
        return  # nothing is there
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise PermissionError(errno.EACCES, "it is open", path) from None
    finally:
        os.close(fd)


# Modes, owners and times


def set_mode(fd: int, mode: int) -> None:
    """Give an open file exactly this mode, where files have modes."""
    if capabilities.MODES:
        os.fchmod(fd, mode)


def set_mode_of_directory(directory: Directory, mode: int) -> None:
    """The same of a directory, which may be open only to name what is in it: for that there is no fchmod."""
    fd = directory
    if isinstance(fd, str):
        if capabilities.MODES:
            os.chmod(fd, mode)
        return
    if stat.S_IMODE(os.fstat(fd).st_mode) == mode:
        return
    if not capabilities.PATH_ONLY:
        set_mode(fd, mode)
        return
    if capabilities.PROC:
        try:
            os.chmod(f"/proc/self/fd/{fd}", mode)
            return
        except FileNotFoundError:
            pass  # as in `again`
    readable = os.open(".", capabilities.DIRECTORY, dir_fd=fd)
    try:
        set_mode(readable, mode)
    finally:
        os.close(readable)


def repair(fd: int, mode: int, group: int) -> bool:
    """Give the file of a descriptor, which need not be open for reading, this group and mode; False if this user may not.

    Source: open(2), "O_PATH": such a descriptor is changed by its name below `/proc/self/fd`, which leads to no other file.
    """
    if not (capabilities.MODES and capabilities.PROC):
        return False
    path = f"/proc/self/fd/{fd}"
    try:
        if os.stat(path).st_gid != group:
            os.chown(path, -1, group)
        os.chmod(path, mode)
    except OSError:
        return False
    return stat.S_IMODE(os.stat(path).st_mode) == mode


def set_time(fd: int, path: str, ns: tuple[int, int] | None = None) -> None:
    """Set the times of an open file, of which the path is, to now or to these (access, change of the bytes)."""
    where = fd if capabilities.TIMES else path
    if ns is None:
        os.utime(where)
    else:
        os.utime(where, ns=ns)


# Bytes


def read_at(fd: int, size: int, offset: int) -> bytes:
    """At most so many bytes from a place on."""
    if capabilities.POSITIONAL:
        return os.pread(fd, size, offset)
    with _at_place:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)


def read_into(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill a buffer from a place on; how many bytes that were."""
    if capabilities.POSITIONAL:
        return os.preadv(fd, [buffer], offset)
    data = read_at(fd, len(buffer), offset)
    buffer[: len(data)] = data
    return len(data)


def write_at(fd: int, data: bytes | memoryview, offset: int) -> int:
    """Write bytes at a place; how many were written."""
    if capabilities.POSITIONAL:
        return os.pwrite(fd, data, offset)
    with _at_place:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)


def sync(fd: int) -> None:
    """Have the bytes, and all that the file system says of them, written to the disk."""
    os.fsync(fd)


def sync_data(fd: int) -> None:
    """Have the bytes written to the disk, and of the rest what is needed to read them."""
    if capabilities.DATA_SYNC:
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def copy_range(source: int, target: int, size: int, offset: int) -> int:
    """Have the kernel copy bytes from where the source is to a place in the target; how many that were.

    Raises:
        OSError: As copy_file_range(2); ENOSYS where there is none.
    """
    if not capabilities.COPY_RANGE:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.copy_file_range(source, target, size, offset)


def clone(source_fd: int, target_fd: int) -> bool:
    """Make the file open for writing a copy that shares its blocks with the other (a reflink); False where that cannot be.

    Source: ioctl_ficlone(2). The clone is atomic: the target has the source's bytes of one moment.

    Raises:
        OSError: A descriptor that may not be read or written (EBADF), a target that may not change (EPERM), no room.
    """
    if not capabilities.REFLINKS:
        return False
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def forget_cached(fd: int) -> bool:
    """Ask the kernel to drop a file's pages, so that the next read comes from the disk; False where it cannot be asked.

    Pages that are dirty, or mapped by a running program, stay (posix_fadvise(2), POSIX_FADV_DONTNEED).
    """
    if not capabilities.ADVICE:
        return False
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        return False
    return True
