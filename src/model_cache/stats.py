"""What the file system says of a file, and of itself; nothing is opened or changed."""

from __future__ import annotations

import os

Identity = tuple[int, int, int]  # inode, size in bytes, mtime in ns: an inode's number alone is used again at once


def identity(found: os.stat_result) -> Identity:
    """What tells a file from any other that has or had its path."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def identity_at(path: str) -> Identity | None:
    """The identity of what is at a path (of a symlink itself), None where nothing can be seen."""
    try:
        return identity(os.stat(path, follow_symlinks=False))
    except OSError:
        return None


def allocated(found: os.stat_result) -> int:
    """Bytes the file system has allocated for a file, which is what a budget counts."""
    # st_blocks counts 512-byte units whatever the block size (stat(2)).
    return found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size


def user_name(uid: int) -> str:
    """A user as people know them."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (KeyError, ImportError):
        return f"user {uid}"


_KEPT_FREE = 128  # descriptors left to the program around us


def spare_descriptors() -> int:
    """How many files this process may hold open beside those of the program around us; never less than 2."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return 512
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(limit - _KEPT_FREE, 2) if limit != resource.RLIM_INFINITY else 1 << 16


def is_read_only(path: str) -> bool:
    """Whether the file system below `path` is mounted read-only, which no permission changes."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except (OSError, AttributeError):
        return False


def free_bytes(path: str) -> int | None:
    """Bytes an unprivileged process may still write below `path`, or None where that cannot be told."""
    try:
        found = os.statvfs(path)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def total_bytes(path: str) -> int | None:
    """Size in bytes of the file system that holds `path`, or None where that cannot be told."""
    try:
        found = os.statvfs(path)
    except (OSError, AttributeError):
        return None
    return found.f_blocks * found.f_frsize
