"""A file system of one's own at a path that only this process and its children see, on which inodes count from one.

Rows of the index name files by inode, size and mtime, so a state after a power loss is only the recorded one if its files
have the recorded inode numbers. On a tmpfs that was just mounted the n-th inode to be made has the number n, so every
state gets such a tmpfs and its inodes in the order of their numbers; what the kernel gives is compared with what is wanted.

Source: mm/shmem.c, `shmem_reserve_inode`: a mount counts for itself. namespaces(7), mount(2), user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_NEWNS, _NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14  # linux/mount.h
_DETACH = 2  # sys/mount.h
_libc = ctypes.CDLL(None, use_errno=True)


def go_private() -> None:
    """Leave the mounts that others see; who is not root becomes root of a user namespace for it.

    Raises:
        OSError: Neither is allowed here.
    """
    user, group = os.geteuid(), os.getegid()
    if user:
        _check(_libc.unshare(_NEWUSER | _NEWNS), "unshare")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    else:
        _check(_libc.unshare(_NEWNS), "unshare")
    _check(_libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None), "mount /")


def mount_own(path: Path) -> None:
    """Mount an empty tmpfs that goes when this process ends; who called `go_private` does not see it."""
    _check(_libc.unshare(_NEWNS), "unshare")
    _check(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, b"mode=0755"), f"mount {path}")


def unmount(path: Path) -> None:
    """Take the tmpfs away from the path; it goes once nobody uses it any more."""
    _check(_libc.umount2(os.fsencode(path), _DETACH), f"umount {path}")


def _check(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
