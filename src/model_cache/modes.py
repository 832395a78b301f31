"""Modes of what the cache makes: exactly those of `sharing`, whatever the umask, from the first moment that others see it.

A file that had its mode only after its name would be closed to the rest of its group for a moment, and for good if its
maker died in it. So a file of a group is made without a name, given its mode, and then its name (open(2), `O_TMPFILE`).
A directory cannot be made so: who finds an empty one that is closed makes it anew.
"""

from __future__ import annotations

import errno
import os
import stat

_PLACE = (
    os.O_RDONLY
    | os.O_NOFOLLOW
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_PATH", 0)  # to change its mode; asks for no right to read it
)
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


def make_file(name: str, flags: int, mode: int, *, parent: int | None = None) -> int:
    """Make and open a file that is not there yet, with exactly `mode`.

    Args:
        parent: An open directory that `name` is in.

    Raises:
        FileExistsError: It is there by now.
        OSError: It cannot be made.
    """
    if mode & stat.S_IRWXG and hasattr(os, "O_TMPFILE"):
        fd = _make_nameless(name, flags, mode, parent)
        if fd is not None:
            return fd
    try:
        fd = os.open(name, flags | os.O_CREAT | os.O_EXCL, mode, dir_fd=parent)
    except PermissionError as error:
        # SFTP has no word for a file that another host made meanwhile: sshfs says EPERM (sftp(1), SSH_FX_FAILURE).
        if error.errno != errno.EPERM or not os.access(name, os.F_OK, dir_fd=parent):
            raise
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
    try:
        os.fchmod(fd, mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make_nameless(name: str, flags: int, mode: int, parent: int | None) -> int | None:
    """The same by way of a file without a name; None where there are none."""
    try:
        fd = os.open(os.path.dirname(name) or ".", flags | os.O_TMPFILE, mode, dir_fd=parent)
    except OSError as error:
        if error.errno in _NO_NAMELESS:
            return None
        raise
    try:
        os.fchmod(fd, mode)
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=parent, follow_symlinks=True)
    except OSError as error:
        os.close(fd)
        if error.errno in _NO_NAMELESS:
            return None
        raise
    return fd


def make_directory(name: str, mode: int, *, parent: int | None = None) -> bool:
    """Make one directory with exactly `mode`; False if it is there and can be used, or is not ours to make anew.

    Args:
        parent: An open directory that `name` is in.
    """
    if is_closed(name, mode, parent=parent):
        try:
            os.rmdir(name, dir_fd=parent)  # removes nothing: it must be empty
        except OSError:
            return False
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        return False
    try:
        # Of what was opened, not of a name: in its place a symlink could be by now, and lead anywhere.
        fd = os.open(name, _PLACE, dir_fd=parent)
        try:
            _set_mode(fd, mode)
        finally:
            os.close(fd)
    except (FileNotFoundError, PermissionError):
        return False  # another user found it closed in this very moment, and made it anew
    return True


def _set_mode(fd: int, mode: int) -> None:
    if stat.S_IMODE(os.fstat(fd).st_mode) == mode:
        return
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)  # a descriptor that only names a place has no fchmod
    except FileNotFoundError:  # no /proc here
        again = os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
        try:
            os.fchmod(again, mode)
        finally:
            os.close(again)


def is_closed(name: str, mode: int, *, parent: int | None = None) -> bool:
    """Whether a directory that a group is to share is there, and closed to this process."""
    if not mode & stat.S_IWGRP or os.access(name, os.W_OK | os.X_OK, dir_fd=parent, effective_ids=_EFFECTIVE):
        return False
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


_EFFECTIVE = os.access in os.supports_effective_ids


def repair(fd: int, mode: int, group: int) -> bool:
    """Give the file of a descriptor, which need not be open for reading, this group and mode; False if this user may not.

    Source: open(2), "O_PATH": such a descriptor is changed by its name below `/proc/self/fd`, which leads to no other file.
    """
    path = f"/proc/self/fd/{fd}"
    try:
        if os.stat(path).st_gid != group:
            os.chown(path, -1, group)
        os.chmod(path, mode)
    except OSError:
        return False
    return stat.S_IMODE(os.stat(path).st_mode) == mode
