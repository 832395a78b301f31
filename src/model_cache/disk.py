"""Changes to the file system; the one owner of rename, link, fsync and unlink.

Each function does one durable step and says what a crash before and after it leaves. What must be on disk first is the
caller's business: the order of steps stands with the operations.
"""

from __future__ import annotations

import errno
import os
import stat

from . import modes, stats
from .errors import CacheFullError, StorageError, quoted

_FULL = frozenset([errno.ENOSPC, errno.EDQUOT])
# link(2) on file systems or across mounts that have none.
_NO_LINKS = frozenset([errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK])
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_RACES = 16  # times a directory may vanish between being made and being opened
_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This directory holds downloads that can be fetched again: backup programs may leave it out.
# It was made by model-cache. The convention: https://bford.info/cachedir/
"""


def storage_error(error: OSError, what: str, path: str) -> StorageError | CacheFullError:
    """The family's own error for a refusal of the file system."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return CacheFullError(
            f"{what} {path}: {reason}", hint="free some space on that file system, or set MODEL_CACHE_DIR to another"
        )
    return StorageError(f"{what} {path}: {reason}", path=path, errno=error.errno or 0)


def is_full(error: OSError) -> bool:
    """Whether the file system or a quota has no room left."""
    return error.errno in _FULL


def open_parent(root: str, relative: str, mode: int) -> int:
    """The open directory that holds `relative` below an existing root; what is missing of it is made, durably.

    Each part is opened from the one before it and no symlink is followed, so nothing that is planted or renamed
    meanwhile leads out of the root. The caller closes it.

    Raises:
        StorageError: A file or a symlink stands where a directory is needed, or the file system refused.
    """
    path = root
    try:
        fd = os.open(root, _DIRECTORY)
    except OSError as error:
        raise storage_error(error, "cannot open", root) from None
    try:
        for part in relative.split("/")[:-1]:
            path = f"{path}/{part}"
            parent = fd
            try:
                fd = _open_or_make(parent, part, mode)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise storage_error(error, "cannot make directory", path) from None
                kind = "a symlink" if os.path.islink(path) else "a file"
                raise StorageError(
                    f"{path} is {kind}, where a directory is needed",
                    hint=f"ls -ld {quoted(path)}",
                    path=path,
                    errno=errno.ENOTDIR,
                ) from None
            os.close(parent)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_or_make(parent: int, name: str, mode: int) -> int:
    """Open one directory, made first where it is missing (and again where somebody removed it, empty, meanwhile)."""
    for _ in range(_RACES):
        if not modes.is_closed(name, mode, parent=parent):
            try:
                return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            except FileNotFoundError:
                pass
        if modes.make_directory(name, mode, parent=parent):
            os.fsync(parent)
        elif modes.is_closed(name, mode, parent=parent):
            break
    return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def leads_out(root: str, relative: str) -> bool:
    """Whether a directory above `relative` is a symlink: what is behind it is not in the root, and nobody's to remove."""
    directory = os.path.dirname(relative)
    return os.path.realpath(f"{root}/{directory}") != os.path.join(os.path.realpath(root), directory)


def tag(root: str, mode: int) -> None:
    """Mark the root as a cache for backup programs (https://bford.info/cachedir/)."""
    try:
        fd = modes.make_file(f"{root}/CACHEDIR.TAG", os.O_WRONLY | os.O_CLOEXEC, mode)
    except FileExistsError:
        return
    try:
        os.write(fd, _TAG)
    finally:
        os.close(fd)


def fsync_file(path: str) -> None:
    """Make the bytes of a file of the cache's own survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_directory(path: str) -> None:
    """Make names that were added to or removed from a directory survive a power loss."""
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def refresh_directory(path: str) -> None:
    """Open and close a directory, which makes an NFS client ask the server again for what is in it."""
    try:
        os.close(os.open(path, _DIRECTORY))
    except OSError:
        return  # not there yet: then nothing is cached of it either


def publish(fd: int, partial: str, name: str, directory: int) -> bool:
    """Give complete, durable bytes their name in an open directory; False if something stands there (it is not touched).

    The open file itself is linked, not whatever the partial's path leads to by now.

    A link never replaces, so nobody's file can be overwritten in the gap between a check and a rename. Where the file
    system has no links, that gap exists: check, then rename.

    Concurrency:
        I1, I7. Before: the bytes have only the partial's name. After: both names; the caller removes the partial's.
    """
    try:
        if os.path.exists(f"/proc/self/fd/{fd}"):
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
        else:
            _same(fd, partial)
            os.link(partial, name, dst_dir_fd=directory, follow_symlinks=False)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    _same(fd, partial)
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        return False
    except FileNotFoundError:
        os.rename(partial, name, dst_dir_fd=directory)
        return True


def link(source: str, name: str, directory: int, ino: int) -> bool:
    """Give a file a second name in an open directory; False where there are no links, or something stands there.

    A source path that leads to another inode by now (`ino` is the one that was verified) is not left linked.
    """
    try:
        os.link(source, name, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS or isinstance(error, (FileExistsError, FileNotFoundError)):
            return False
        raise
    if os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino == ino:
        return True
    os.unlink(name, dir_fd=directory)
    return False


def _same(fd: int, path: str) -> None:
    """Refuse a path that does not lead to the open file any more."""
    if not os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
        raise FileNotFoundError(errno.ENOENT, "replaced by another file", path)


def replace(fd: int, partial: str, name: str, directory: int) -> None:
    """Put complete, durable bytes in the place of old ones; readers of the old inode keep it."""
    _same(fd, partial)
    os.replace(partial, name, dst_dir_fd=directory)


def sync(directory: int) -> None:
    """Make names that were added to or removed from an open directory survive a power loss."""
    os.fsync(directory)


def remove(path: str) -> bool:
    """Remove a file's name; False if it was not there, or somebody has put a directory there."""
    try:
        os.unlink(path)
    except (FileNotFoundError, IsADirectoryError):
        return False
    return True


def remove_durably(path: str) -> bool:
    """Remove a file's name so that no power loss brings it back; False if it was not there.

    Before its row goes (I5): bytes that came back without one would be counted by nobody.
    """
    removed = remove(path)
    fsync_directory(os.path.dirname(path))  # also if it was gone: who removed it may have died before this
    return removed


def set_aside(path: str, aside: str) -> None:
    """Rename within the cache's own directory."""
    os.rename(path, aside)


def take(path: str, aside: str, identity: tuple[int | None, int | None, int | None]) -> bool:
    """Rename the file of this identity (inode, size, mtime) within the root; False if another one was at the path.

    Concurrency:
        I7. A name is renamed before it can be known whose it is by then: somebody's own file that took the place at the
        last moment gets its name back, and another one if that was taken too.
    """
    os.rename(path, aside)
    found = stats.identity_at(aside)
    if found == identity:
        return True
    os.rename(aside, f"{path}.{os.urandom(4).hex()}" if os.path.lexists(path) else path)
    return False


def discard(path: str, identity: tuple[int | None, int | None, int | None]) -> bool:
    """Remove the name of the file of this identity (inode, size, mtime); False if it is another file's, or is not there."""
    return stats.identity_at(path) == identity and remove(path)


def write_small(path: str, data: bytes, mode: int, *, durable: bool = False) -> None:
    """Write a small file as a whole: readers see the old one or the new one. Unless `durable` a power loss can lose it."""
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            os.fchmod(fd, mode)
            while data:
                data = data[os.write(fd, data) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        if durable:
            fsync_directory(os.path.dirname(path))
    except BaseException:
        remove(temporary)
        raise
    if durable:
        fsync_directory(os.path.dirname(path))


def open_regular(path: str) -> int:
    """Open a small file of the cache's own for reading; whoever may write there could have put anything in its place.

    Raises:
        OSError: It cannot be opened, or is a FIFO (which would hang us), a symlink or a device.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return fd


def read_small(path: str, limit: int) -> bytes:
    """A small file as a whole.

    Raises:
        OSError: As `open_regular`; or it has more than `limit` bytes.
    """
    fd = open_regular(path)
    with open(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
    return data


def real_directory(path: str) -> str:
    """The path of a directory without symlinks, empty if there is none."""
    try:
        fd = os.open(path, _DIRECTORY | getattr(os, "O_PATH", 0))
    except OSError:
        return ""
    try:
        # One system call where /proc is there; realpath costs one per part.
        found = os.readlink(f"/proc/self/fd/{fd}")
        if os.path.samestat(os.fstat(fd), os.stat(found)):
            return found
    except OSError:
        pass
    finally:
        os.close(fd)
    return os.path.realpath(path)


def is_directory(path: str) -> bool:
    """Whether a directory of the cache's own is there.

    Raises:
        StorageError: Something else stands there; a symlink would lead what is written there out of the root.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(mode):
        kind = "a symlink" if stat.S_ISLNK(mode) else "a file"
        raise StorageError(
            f"{path} is {kind}, where a directory is needed",
            hint=f"ls -ld {quoted(path)}",
            path=path,
            errno=errno.ENOTDIR,
        )
    return True


def remove_empty_parents(root: str, relative: str) -> None:
    """Remove the directories above `relative` that have become empty, up to the root."""
    parts = relative.split("/")[:-1]
    while parts:
        try:
            os.rmdir("/".join([root, *parts]))
        except OSError:
            return
        parts.pop()
