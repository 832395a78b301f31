"""What the file system says of a file, and of itself; nothing is opened or changed."""

from __future__ import annotations

import os

from .platforms import capabilities
from .platforms.space import room

Identity = tuple[int, int, int]  # inode, size in bytes, mtime in ns: an inode's number alone is used again at once


def inode(found: os.stat_result) -> int:
    """The number of a file in 64 bits with a sign, which is what SQLite stores; file systems give 64 without, Windows 128."""
    return (found.st_ino + (1 << 63)) % (1 << 64) - (1 << 63)


def identity(found: os.stat_result) -> Identity:
    """What tells a file from any other that has or had its path."""
    return inode(found), found.st_size, found.st_mtime_ns


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


_KEPT_FREE = 128  # descriptors left to the program around us


def spare_descriptors() -> int:
    """How many files this process may hold open beside those of the program around us; never less than 2."""
    limit = capabilities.most_open_files()
    return 1 << 16 if limit is None else max(limit - _KEPT_FREE, 2)


def free_bytes(path: str) -> int | None:
    """Bytes an unprivileged process may still write below `path`, or None where that cannot be told."""
    try:
        return room(path)[1]
    except OSError:
        return None


def total_bytes(path: str) -> int | None:
    """Size in bytes of the file system that holds `path`, or None where that cannot be told."""
    try:
        return room(path)[0]
    except OSError:
        return None
