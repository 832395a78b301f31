"""What a file system says of its room and of its names, as far as the system can be asked."""

from __future__ import annotations

import os

from . import capabilities


def room(path: str) -> tuple[int, int]:
    """(bytes of the file system that holds a path, those that an unprivileged process may still write); raises OSError."""
    if not capabilities.VOLUMES:
        import shutil

        usage = shutil.disk_usage(path)
        return usage.total, usage.free
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def inodes(path: str) -> tuple[int, int]:
    """(files that the file system can have, how many more this process may make); 0 of 0 where nothing limits them."""
    if not capabilities.VOLUMES:
        return 0, 0
    found = os.statvfs(path)
    return found.f_files, found.f_favail


def is_read_only(path: str) -> bool:
    """Whether the file system below `path` is mounted read-only, which no permission changes."""
    if not capabilities.VOLUMES:
        return False
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def longest_name(path: str) -> int | None:
    """Bytes that a name may have in a directory; None where the system does not tell."""
    return os.pathconf(path, "PC_NAME_MAX") if hasattr(os, "pathconf") else None
