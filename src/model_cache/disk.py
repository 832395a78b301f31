"""Changes to the file system; the one owner of rename, link, fsync and unlink.

Each function does one durable step and says what a crash before and after it leaves. What must be on disk first is the
caller's business: the order of steps stands with the operations.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager

from . import beneath, stats
from .errors import CacheFullError, StorageError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = frozenset([errno.ENOSPC, errno.EDQUOT])
# link(2) on file systems or across mounts that have none.
_NO_LINKS = frozenset([errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK])
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
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


def make_directory(path: str, mode: int) -> bool:
    """Make one directory with exactly `mode`, whatever the umask; False if it was there (then it is left as it is)."""
    parent, name = beneath.open_parent(path)
    try:
        return beneath.make_directory(parent, name, mode)
    finally:
        os.close(parent)


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
                fd = beneath.open_or_make(parent, part, mode)
            except OSError as error:
                if not beneath.is_led_away(error):
                    raise storage_error(error, "cannot make directory", path) from None
                raise _no_directory(path) from None
            os.close(parent)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _no_directory(path: str) -> StorageError:
    kind = "a symlink" if os.path.islink(path) else "a file"
    return StorageError(
        f"{path} is {kind}, where a directory is needed",
        hint=f"ls -ld {quoted(path)}",
        path=path,
        errno=errno.ENOTDIR,
    )


def leads_out(root: str, relative: str) -> bool:
    """Whether a directory above `relative` is a symlink: what is behind it is not in the root, and nobody's to remove."""
    directory = os.path.dirname(relative)
    return os.path.realpath(f"{root}/{directory}") != os.path.join(os.path.realpath(root), directory)


def tag(root: str) -> None:
    """Mark the root as a cache for backup programs (https://bford.info/cachedir/)."""
    try:
        fd = os.open(f"{root}/CACHEDIR.TAG", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
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
    """Make names that were added to or removed from a directory of the cache's own survive a power loss."""
    fd = beneath.open_directory(path)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_parent(root: str, relative: str) -> None:
    """Make an entry's name, or that it has gone, survive a power loss."""
    fd = beneath.open_entry_directory(root, relative)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def refresh_parent(root: str, relative: str) -> None:
    """Open and close an entry's directory, which makes an NFS client ask the server again for what is in it."""
    try:
        os.close(beneath.open_entry_directory(root, relative))
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
        _link(fd, partial, name, directory)
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
        _rename(partial, name, directory)
        _same(fd, name, directory)
        return True


def link(fd: int, path: str, name: str, directory: int) -> bool:
    """Give an open file another name in an open directory; False where there are no links, or something stands there.

    The open file itself, as `publish` does: it was verified, and its path can lead to another one by now.
    """
    try:
        _link(fd, path, name, directory)
    except OSError as error:
        if error.errno in _NO_LINKS or isinstance(error, (FileExistsError, FileNotFoundError)):
            return False
        raise
    return True


def _link(fd: int, path: str, name: str, directory: int) -> None:
    if os.path.exists(f"/proc/self/fd/{fd}"):
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
        return
    _same(fd, path)
    os.link(path, name, dst_dir_fd=directory, follow_symlinks=False)
    _same(fd, name, directory)


def _same(fd: int, path: str, directory: int | None = None) -> None:
    """Refuse a path that does not lead to the open file any more."""
    if not os.path.samestat(os.fstat(fd), os.stat(path, dir_fd=directory, follow_symlinks=False)):
        raise FileNotFoundError(errno.ENOENT, "replaced by another file", path)


def replace(fd: int, partial: str, name: str, directory: int) -> None:
    """Put complete, durable bytes in the place of old ones; readers of the old inode keep it.

    No call of the kernel renames an open file. So its name is looked at before, and what stands at the path after: whoever
    may write where partials are could have exchanged it in between.
    """
    _same(fd, partial)
    _rename(partial, name, directory)
    _same(fd, name, directory)


def _rename(partial: str, name: str, directory: int) -> None:
    """Rename a partial into an open directory."""
    parent, old = beneath.open_parent(partial)
    try:
        os.replace(old, name, src_dir_fd=parent, dst_dir_fd=directory)
    finally:
        os.close(parent)


def sync(directory: int) -> None:
    """Make names that were added to or removed from an open directory survive a power loss."""
    os.fsync(directory)


def remove(path: str) -> bool:
    """Remove a file's name; False if it was not there, or somebody has put a directory there."""
    try:
        parent, name = beneath.open_parent(path)
    except FileNotFoundError:
        return False
    try:
        os.unlink(name, dir_fd=parent)
    except (FileNotFoundError, IsADirectoryError):
        return False
    finally:
        os.close(parent)
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
    parent, name = beneath.open_parent(path)
    try:
        _move(parent, name, *beneath.open_parent(aside))
    finally:
        os.close(parent)


def _move(parent: int, name: str, target: int, new: str) -> None:
    """Rename between two open directories, the second of which is closed."""
    try:
        os.rename(name, new, src_dir_fd=parent, dst_dir_fd=target)
    finally:
        os.close(target)


def take(root: str, relative: str, aside: str, identity: tuple[int | None, int | None, int | None]) -> bool:
    """Rename the file of this identity (inode, size, mtime) within the root; False if another one was at the path.

    Concurrency:
        I7. A name is renamed before it can be known whose it is by then: somebody's own file that took the place at the
        last moment gets its name back, and another one if that was taken too.
    """
    parent, name = beneath.open_entry_parent(root, relative)
    try:
        _move(parent, name, *beneath.open_parent(aside))
        found = stats.identity_at(aside)
        if found == identity:
            return True
        _give_back(aside, parent, name)
        return False
    finally:
        os.close(parent)


def give_back(aside: str, root: str, relative: str) -> None:
    """Rename what was taken to where it was, or beside what is there by now."""
    parent, name = beneath.open_entry_parent(root, relative)
    try:
        _give_back(aside, parent, name)
    finally:
        os.close(parent)


def _give_back(aside: str, parent: int, name: str) -> None:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        name = f"{name}.{os.urandom(4).hex()}"
    except FileNotFoundError:
        pass
    directory, old = beneath.open_parent(aside)
    try:
        os.rename(old, name, src_dir_fd=directory, dst_dir_fd=parent)
    finally:
        os.close(directory)


def discard(path: str, identity: tuple[int | None, int | None, int | None]) -> bool:
    """Remove the name of the file of this identity (inode, size, mtime); False if it is another file's, or is not there."""
    return stats.identity_at(path) == identity and remove(path)


def touch(path: str, when: float | None = None) -> None:
    """Set the mtime of a file of the cache's own to now, or to a time; never that of what a symlink leads to.

    Raises:
        OSError: It is not there, or may not be changed.
    """
    parent, name = beneath.open_parent(path)
    try:
        if os.stat(name, dir_fd=parent, follow_symlinks=False).st_nlink > 1:
            raise OSError(errno.EMLINK, "it is a file with another name besides", path)
        os.utime(name, None if when is None else (when, when), dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)


@contextmanager
def scan(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What is in a directory of the cache's own, while the block lasts."""
    fd = beneath.open_directory(path)
    try:
        with os.scandir(fd) as found:
            yield found
    finally:
        os.close(fd)


def create(path: str, mode: int) -> int:
    """A new file of exactly `mode`, whatever the umask, open for writing; the caller closes it.

    Raises:
        FileExistsError: Something stands there.
    """
    parent, name = beneath.open_parent(path)
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=parent)
    finally:
        os.close(parent)
    os.fchmod(fd, mode)
    return fd


def write_small(path: str, data: bytes, mode: int, *, durable: bool = False) -> None:
    """Write a small file as a whole: readers see the old one or the new one. Unless `durable` a power loss can lose it."""
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    fd = create(temporary, mode)
    try:
        try:
            while data:
                data = data[os.write(fd, data) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        set_aside(temporary, path)
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
    parent, name = beneath.open_parent(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
    return _regular(fd, path)


def open_entry(root: str, relative: str) -> int:
    """Open a file below a root as `open_regular` does; the caller closes it."""
    return _regular(beneath.open_entry(root, relative), f"{root}/{relative}")


def _regular(fd: int, path: str) -> int:
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
        raise _no_directory(path)
    return True


def remove_empty_parents(root: str, relative: str) -> None:
    """Remove the directories above `relative` that have become empty, up to the root."""
    parts = relative.split("/")[:-1]
    while parts:
        try:
            parent, name = beneath.open_entry_parent(root, "/".join(parts))
            try:
                os.rmdir(name, dir_fd=parent)
            finally:
                os.close(parent)
        except OSError:
            return
        parts.pop()
