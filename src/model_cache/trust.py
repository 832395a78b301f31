"""Whether a root can be trusted with models: who could put another directory, or another file, in its place."""

from __future__ import annotations

import os
import stat

from .errors import StorageError, quoted
from .platforms import at
from .platforms.capabilities import USERS, user, user_name

# Decisions


def distrust_directory(path: str, found: os.stat_result) -> str:
    """Why what is in a directory can be anybody's word; empty where it is not."""
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return f"{path} is writable by every user of this machine (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def distrust_link(root: str, link: os.stat_result, me: int) -> str:
    """The same of the symlink that a root is reached through."""
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, me):
        return f"{root} is a symlink of {user_name(link.st_uid)}, who can point it elsewhere at any time"
    return ""


def distrust_parent(path: str, found: os.stat_result, me: int) -> str:
    """Why somebody else could put another root in the place of one below this directory; empty where nobody could."""
    if found.st_uid not in (0, me):
        return f"{path} belongs to {user_name(found.st_uid)}"
    return distrust_directory(path, found)


# Effects


def distrust(root: str) -> StorageError | None:
    """Why a root is refused; None where it is not, or not there."""
    if not USERS:
        return None  # who may write where is not said by modes here
    try:
        link = os.lstat(root)
        found = os.stat(root) if stat.S_ISLNK(link.st_mode) else link
    except OSError:
        return None
    if reason := distrust_link(root, link, user()):
        return StorageError(f"{reason}: refused", hint=f"name the directory itself: {at.real_path(root)}", path=root)
    if stat.S_ISDIR(found.st_mode) and (reason := distrust_directory(root, found)):
        hint = f"chmod o-w {quoted(root)}, or name a directory in it that only you or your group can write"
        return StorageError(f"{reason}: refused, as anybody could put files into it", hint=hint, path=root)
    return None


def refuse(root: str) -> None:
    """Refuse a root that somebody else can change at will.

    Raises:
        StorageError: Every user may write it, or it is a symlink of another user.
    """
    if (error := distrust(root)) is not None:
        raise error


def parents(root: str) -> list[tuple[str, os.stat_result]]:
    """The directories above a root, from the nearest to `/`, without symlinks; those that cannot be looked at are left out."""
    found, path = [], at.real_path(root)
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        try:
            found.append((path, os.stat(path)))
        except OSError:
            continue
    return found
