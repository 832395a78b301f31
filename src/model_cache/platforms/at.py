"""Names in an open directory: opened, looked at, made, moved, linked, removed; by path where a system has no such calls.

What names a place through its open directory cannot be led elsewhere by who renames the directories above it, or plants a
symlink there. Where a system has only paths (`capabilities.AT`), each part is looked at before it is used, and a symlink in its
place is refused; somebody who exchanges it in between is not noticed.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from . import capabilities, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Directory = int | str  # an open directory; its path where there are no names in open ones
_TRIES = 40  # of a change to the name of a file that somebody has open, where that is in the way
_PAUSE = 0.025  # seconds between two: a reader of a small file is done in less


def open_directory(
    name: str, *, parent: Directory | None = None, follow: bool = True, place: bool = False
) -> Directory:
    """Open a directory; `place`: only to name what is in it, which asks for no right to read. It is closed by `close`.

    Raises:
        OSError: It is not there, or (ENOTDIR, or ELOOP with `follow=False`) something else is.
    """
    if capabilities.AT:
        flags = capabilities.DIRECTORY | (capabilities.PLACE if place else 0)
        return _open(name, flags, 0, parent if isinstance(parent, int) else None, follow=follow)
    path = _path(name, parent)
    found = os.stat(path, follow_symlinks=follow)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return path


def close(directory: Directory) -> None:
    """Close what `open_directory` opened."""
    if isinstance(directory, int):
        os.close(directory)


def open_file(
    name: str, flags: int, mode: int = 0o600, *, parent: Directory | None = None, follow: bool = False
) -> int:
    """Open a file, not through a symlink in its own place (ELOOP) unless `follow`; the caller closes it."""
    if isinstance(parent, int):
        return _open(name, flags, mode, parent, follow=follow)
    return _open(_path(name, parent), flags, mode, None, follow=follow)


def _open(name: str, flags: int, mode: int, parent: int | None, *, follow: bool) -> int:
    if follow or capabilities.NO_FOLLOW or flags & os.O_EXCL:  # O_EXCL follows nothing
        return os.open(name, flags | (0 if follow else capabilities.NOFOLLOW), mode, dir_fd=parent)
    before = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISLNK(before.st_mode):
        fd = os.open(name, flags, mode, dir_fd=parent)
        if os.path.samestat(before, os.fstat(fd)):
            return fd
        os.close(fd)  # exchanged in between, perhaps for a symlink
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)


def open_nameless(folder: str, flags: int, mode: int, parent: Directory | None) -> int:
    """A file without a name in a directory (open(2), `O_TMPFILE`); only where there is such a thing."""
    flags |= os.O_TMPFILE
    if isinstance(parent, int):
        return os.open(folder, flags, mode, dir_fd=parent)
    return os.open(folder if parent is None else f"{parent}/{folder}", flags, mode)


def real_path(path: str | os.PathLike[str], *, strict: bool = False) -> str:
    """A path without symlinks, with `/` between its parts whatever the system puts there: such paths are compared as text."""
    return os.path.realpath(path, strict=strict).replace(os.sep, "/")


def status(name: str, parent: Directory | None) -> os.stat_result:
    """What the file system says of a name, of a symlink itself."""
    if isinstance(parent, int):
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    return os.stat(_path(name, parent), follow_symlinks=False)


def may(name: str, what: int, parent: Directory | None) -> bool:
    """Whether this process may do that (`os.access`) with what a name leads to."""
    effective = os.access in os.supports_effective_ids
    if isinstance(parent, int):
        return os.access(name, what, dir_fd=parent, effective_ids=effective)
    return os.access(_path(name, parent), what, effective_ids=effective)


def make_directory(name: str, mode: int, parent: Directory | None) -> None:
    """Make a directory."""
    if isinstance(parent, int):
        os.mkdir(name, mode, dir_fd=parent)
    else:
        os.mkdir(_path(name, parent), mode)


def remove_directory(name: str, parent: Directory | None) -> None:
    """Remove an empty directory."""
    if isinstance(parent, int):
        os.rmdir(name, dir_fd=parent)
    else:
        os.rmdir(_path(name, parent))


def unlink(name: str, parent: Directory | None) -> None:
    """Remove a file's name."""
    for last in _tries():
        try:
            opened.refuse_if_open(_reachable(name, parent))
            if isinstance(parent, int):
                os.unlink(name, dir_fd=parent)
            else:
                os.unlink(_path(name, parent))
            return
        except PermissionError:
            if last:
                raise


def replace(old: str, parent: Directory, new: str, target: Directory, *, over: bool = True) -> None:
    """Give a file another name, over what has it; without `over` not knowingly: the caller has looked before."""
    call = os.replace if over else os.rename  # the same where rename(2) is, and not on Windows
    for last in _tries():
        try:
            opened.refuse_if_open(_reachable(old, parent))
            opened.refuse_if_open(_reachable(new, target))
            if isinstance(parent, int) and isinstance(target, int):
                call(old, new, src_dir_fd=parent, dst_dir_fd=target)
            else:
                call(_path(old, parent), _path(new, target))
            return
        except PermissionError:
            if last:
                raise


def _tries() -> Iterator[bool]:
    """Once; where a file that is open cannot lose its name, several times with a pause, True with the last."""
    if not capabilities.REPLACE_OPEN:
        for _ in range(_TRIES - 1):
            yield False
            time.sleep(_PAUSE)
    yield True


def link(path: str, name: str, directory: Directory) -> None:
    """Give what is at a path, a symlink too, another name in an open directory.

    Raises:
        FileExistsError: Something has it. OSError: As link(2); EOPNOTSUPP where the system has no second names.
    """
    if not capabilities.HARD_LINKS:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
    if isinstance(directory, int):
        os.link(path, name, dst_dir_fd=directory, follow_symlinks=False)
    else:
        os.link(path, _path(name, directory))


def sync(directory: Directory) -> None:
    """Make names that were added to or removed from a directory survive a power loss, where the system can be asked to."""
    if not capabilities.DIRECTORY_SYNC:
        return
    fd = directory if isinstance(directory, int) else os.open(directory, capabilities.DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        if isinstance(directory, str):
            os.close(fd)


def _path(name: str, parent: Directory | None) -> str:
    assert not isinstance(parent, int), "a directory is open everywhere, or nowhere"
    return name if parent is None else f"{parent}/{name}"


def _reachable(name: str, parent: Directory | None) -> str:
    """A path for the eyes of `refuse_if_open` alone."""
    return f"/proc/self/fd/{parent}/{name}" if isinstance(parent, int) else _path(name, parent)
