"""Directories: made, opened, made durable, removed when they are empty; through no symlink below the root."""

from __future__ import annotations

import errno
import os
import stat

from .. import beneath, modes
from ..errors import StorageError, quoted
from ..platforms import at, capabilities, opened
from ..platforms.at import Directory
from .refusals import storage_error

_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This directory holds downloads that can be fetched again: backup programs may leave it out.
# It was made by model-cache. The convention: https://bford.info/cachedir/
"""


def make_directory(path: str, mode: int) -> bool:
    """Make one directory with exactly `mode`, whatever the umask; False if it was there (then it is left as it is)."""
    parent, name = beneath.open_parent(path)
    try:
        return modes.make_directory(name, mode, parent=parent)
    finally:
        at.close(parent)


def open_parent(root: str, relative: str, mode: int) -> Directory:
    """The open directory that holds `relative` below an existing root; what is missing of it is made, durably.

    Each part is opened from the one before it and no symlink is followed, so nothing that is planted or renamed
    meanwhile leads out of the root. The caller closes it.

    Raises:
        StorageError: A file or a symlink stands where a directory is needed, or the file system refused.
    """
    path = root
    try:
        found = at.open_directory(root)
    except OSError as error:
        raise storage_error(error, "cannot open", root) from None
    try:
        for part in relative.split("/")[:-1]:
            path = f"{path}/{part}"
            parent = found
            try:
                found = beneath.open_or_make(parent, part, mode)
            except OSError as error:
                if not beneath.is_led_away(error):
                    raise storage_error(error, "cannot make directory", path) from None
                raise _no_directory(path) from None
            at.close(parent)
    except BaseException:
        at.close(found)
        raise
    return found


def _no_directory(path: str) -> StorageError:
    kind = "a symlink" if os.path.islink(path) else "a file"
    return StorageError(
        f"{path} is {kind}, where a directory is needed",
        hint=f"ls -ld {quoted(path)}",
        path=path,
        errno=errno.ENOTDIR,
    )


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


def leads_out(root: str, relative: str) -> bool:
    """Whether a directory above `relative` is a symlink: what is behind it is not in the root, and nobody's to remove."""
    directory = os.path.dirname(relative)
    return at.real_path(f"{root}/{directory}") != os.path.join(at.real_path(root), directory)


def real_directory(path: str) -> str:
    """The path of a directory without symlinks, empty if there is none."""
    try:
        place = at.open_directory(path, place=True)
    except OSError:
        return ""
    try:
        found = opened.name_of(place) if isinstance(place, int) else ""
        if found and os.path.samestat(os.stat(place), os.stat(found)):
            return found
    except OSError:
        pass
    finally:
        at.close(place)
    return at.real_path(path)


def tag(root: str, mode: int) -> None:
    """Mark the root as a cache for backup programs (https://bford.info/cachedir/)."""
    try:
        fd = modes.make_file(f"{root}/CACHEDIR.TAG", os.O_WRONLY | capabilities.CLOEXEC, mode)
    except FileExistsError:
        return
    try:
        os.write(fd, _TAG)
    finally:
        os.close(fd)


def fsync_directory(path: str) -> None:
    """Make names that were added to or removed from a directory of the cache's own survive a power loss."""
    directory = beneath.open_directory(path)
    try:
        at.sync(directory)
    finally:
        at.close(directory)


def fsync_parent(root: str, relative: str) -> None:
    """Make an entry's name, or that it has gone, survive a power loss."""
    directory = beneath.open_entry_directory(root, relative)
    try:
        at.sync(directory)
    finally:
        at.close(directory)


def refresh_parent(root: str, relative: str) -> None:
    """Open and close an entry's directory, which makes an NFS client ask the server again for what is in it."""
    try:
        at.close(beneath.open_entry_directory(root, relative))
    except OSError:
        return  # not there yet: then nothing is cached of it either


def sync(directory: Directory) -> None:
    """Make names that were added to or removed from an open directory survive a power loss."""
    at.sync(directory)


def remove_empty_parents(root: str, relative: str) -> None:
    """Remove the directories above `relative` that have become empty, up to the root."""
    parts = relative.split("/")[:-1]
    while parts:
        try:
            parent, name = beneath.open_entry_parent(root, "/".join(parts))
            try:
                at.remove_directory(name, parent)
            finally:
                at.close(parent)
        except OSError:
            return
        parts.pop()
