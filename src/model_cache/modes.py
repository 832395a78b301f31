"""Modes of what the cache makes: exactly those of `sharing`, whatever the umask, from the first moment that others see it.

A file that had its mode only after its name would be closed to the rest of its group for a moment, and for good if its
maker died in it. So a file of a group is made without a name, given its mode, and then its name (open(2), `O_TMPFILE`).
A directory cannot be made so: who finds an empty one that is closed makes it anew.
"""

from __future__ import annotations

import errno
import os
import stat

from .platforms import at, capabilities, opened
from .platforms.at import Directory

# open(2) of a file without a name, and link(2) of it, where the file system or the kernel has neither.
_NO_NAMELESS = frozenset(
    [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EXDEV, errno.ENOENT]
)


# Decisions


def right(sharing: str, *, directory: bool) -> int:
    """The mode of what is made under this `sharing`."""
    if sharing == "group":
        return 0o2775 if directory else 0o664
    return 0o700 if directory else 0o600


def wrong(mode: int, sharing: str, *, directory: bool) -> str:
    """What is wrong with the permission bits of something of the cache's own; empty if nothing is."""
    if mode & stat.S_IWOTH:
        return "every user can write it, and so decide what a model is"
    if sharing != "group":
        return "its group can write it, and sharing is private" if mode & stat.S_IWGRP else ""
    if directory and mode & stat.S_ISVTX:
        return "it is sticky: nobody can remove or replace what another user made"
    if directory and not mode & stat.S_ISGID:
        return "it is not setgid: what is made in it belongs to other groups"
    needed = stat.S_IRWXG if directory else stat.S_IRGRP | stat.S_IWGRP
    return "" if mode & needed == needed else "its group cannot use it, and sharing is group"


# Effects


def make_file(name: str, flags: int, mode: int, *, parent: Directory | None = None) -> int:
    """Make and open a file that is not there yet, with exactly `mode`.

    Args:
        parent: An open directory that `name` is in.

    Raises:
        FileExistsError: It is there by now.
        OSError: It cannot be made.
    """
    if mode & stat.S_IRWXG and capabilities.NAMELESS:
        fd = _make_nameless(name, flags, mode, parent)
        if fd is not None:
            return fd
    try:
        fd = at.open_file(name, flags | os.O_CREAT | os.O_EXCL, mode, parent=parent)
    except PermissionError as error:
        # SFTP has no word for a file that another host made meanwhile: sshfs says EPERM (sftp(1), SSH_FX_FAILURE).
        if error.errno != errno.EPERM or not at.may(name, os.F_OK, parent):
            raise
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
    try:
        opened.set_mode(fd, mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make_nameless(name: str, flags: int, mode: int, parent: Directory | None) -> int | None:
    """The same by way of a file without a name; None where there are none."""
    try:
        fd = at.open_nameless(os.path.dirname(name) or ".", flags, mode, parent)
    except OSError as error:
        if error.errno in _NO_NAMELESS:
            return None
        raise
    try:
        opened.set_mode(fd, mode)
        if opened.link(fd, name, parent):
            return fd
    except OSError as error:
        os.close(fd)
        if error.errno in _NO_NAMELESS:
            return None
        raise
    os.close(fd)
    return None


def make_directory(name: str, mode: int, *, parent: Directory | None = None) -> bool:
    """Make one directory with exactly `mode`; False if it is there and can be used, or is not ours to make anew.

    Args:
        parent: An open directory that `name` is in.
    """
    if is_closed(name, mode, parent=parent):
        try:
            at.remove_directory(name, parent)  # removes nothing: it must be empty
        except OSError:
            return False
    try:
        at.make_directory(name, mode, parent)
    except FileExistsError:
        return False
    try:
        # Of what was opened, not of a name: in its place a symlink could be by now, and lead anywhere.
        made = at.open_directory(name, parent=parent, follow=False, place=True)
        try:
            opened.set_mode_of_directory(made, mode)
        finally:
            at.close(made)
    except (FileNotFoundError, PermissionError):
        return False  # another user found it closed in this very moment, and made it anew
    return True


def is_closed(name: str, mode: int, *, parent: Directory | None = None) -> bool:
    """Whether a directory that a group is to share is there, and closed to this process."""
    if not mode & stat.S_IWGRP or at.may(name, os.W_OK | os.X_OK, parent):
        return False
    try:
        return stat.S_ISDIR(at.status(name, parent).st_mode)
    except OSError:
        return False
