"""Names of files: given by link, taken by rename, removed; the one owner of all three.

Who may write in a directory can exchange what a name in it stands for at any instant. So what was verified is named by its
open descriptor where the kernel can do that, and looked at again where it cannot.
"""

from __future__ import annotations

import errno
import os

from .. import beneath, stats
from ..platforms import at, opened
from ..platforms.at import Directory
from .directories import fsync_directory

# link(2) on file systems or across mounts that have none.
_NO_LINKS = frozenset([errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK])


def publish(fd: int, partial: str, name: str, directory: Directory) -> bool:
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
        at.status(name, directory)
        return False
    except FileNotFoundError:
        _rename(partial, name, directory, over=False)
        _same(fd, name, directory)
        return True


def link(fd: int, path: str, name: str, directory: Directory) -> bool:
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


def _link(fd: int, path: str, name: str, directory: Directory) -> None:
    try:
        if opened.link(fd, name, directory):
            return
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None  # which people can look at
    _same(fd, path)
    at.link(path, name, directory)
    _same(fd, name, directory)


def _same(fd: int, path: str, directory: Directory | None = None) -> None:
    """Refuse a path that does not lead to the open file any more."""
    if not os.path.samestat(os.fstat(fd), at.status(path, directory)):
        raise FileNotFoundError(errno.ENOENT, "replaced by another file", path)


def replace(fd: int, partial: str, name: str, directory: Directory) -> None:
    """Put complete, durable bytes in the place of old ones; readers of the old inode keep it.

    No call of the kernel renames an open file. So its name is looked at before, and what stands at the path after: whoever
    may write where partials are could have exchanged it in between.
    """
    _same(fd, partial)
    _rename(partial, name, directory)
    _same(fd, name, directory)


def put(fd: int, partial: str, name: str, directory: Directory) -> None:
    """Put a copy in a directory of the caller's, over what stands there; others may put theirs there at the same time."""
    _same(fd, partial)
    _rename(partial, name, directory)


def _rename(partial: str, name: str, directory: Directory, *, over: bool = True) -> None:
    """Rename a partial into an open directory."""
    parent, old = beneath.open_parent(partial)
    try:
        at.replace(old, parent, name, directory, over=over)
    finally:
        at.close(parent)


def remove(path: str) -> bool:
    """Remove a file's name; False if it was not there, or somebody has put a directory there."""
    try:
        parent, name = beneath.open_parent(path)
    except FileNotFoundError:
        return False
    try:
        at.unlink(name, parent)
    except (FileNotFoundError, IsADirectoryError):
        return False
    finally:
        at.close(parent)
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
        at.close(parent)


def _move(parent: Directory, name: str, target: Directory, new: str) -> None:
    """Rename between two open directories, the second of which is closed."""
    try:
        at.replace(name, parent, new, target)
    finally:
        at.close(target)


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
        at.close(parent)


def give_back(aside: str, root: str, relative: str) -> None:
    """Rename what was taken to where it was, or beside what is there by now."""
    parent, name = beneath.open_entry_parent(root, relative)
    try:
        _give_back(aside, parent, name)
    finally:
        at.close(parent)


def _give_back(aside: str, parent: Directory, name: str) -> None:
    try:
        at.status(name, parent)
        name = f"{name}.{os.urandom(4).hex()}"
    except FileNotFoundError:
        pass
    directory, old = beneath.open_parent(aside)
    try:
        at.replace(old, directory, name, parent, over=False)
    finally:
        at.close(directory)


def discard(path: str, identity: tuple[int | None, int | None, int | None]) -> bool:
    """Remove the name of the file of this identity (inode, size, mtime); False if it is another file's, or is not there."""
    return stats.identity_at(path) == identity and remove(path)
