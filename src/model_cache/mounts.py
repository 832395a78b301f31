"""Which mount holds a path: `/proc/self/mountinfo`, read and searched.

Source: proc_pid_mountinfo(5). Other systems have no such file: nothing is known there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from .platforms import at, capabilities

_MOUNTINFO = "/proc/self/mountinfo"
# Space, tab, newline and backslash are written in octal: `\040`.
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount as this process sees it.

    Attributes:
        device: (major, minor) of what is mounted.
        point: Absolute path.
        type: Of the file system: `ext4`, `nfs4`, `fuse.sshfs`.
        source: A device, a server, or a word.
        options: Those of the mount and of the file system.
    """

    device: tuple[int, int]
    point: str
    type: str
    source: str
    options: frozenset[str]


def parse(text: bytes) -> list[Mount]:
    """All mounts in the order in which they were made; lines that cannot be understood are left out."""
    found = []
    for line in text.splitlines():
        # 36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        # The number of fields before the dash varies; no field holds a bare dash.
        before, dash, after = line.partition(b" - ")
        fields, more = before.split(b" "), after.split(b" ")
        major, _, minor = fields[2].partition(b":") if len(fields) >= 6 else (b"", b"", b"")
        if not dash or len(more) < 2 or not (major.isdigit() and minor.isdigit()):
            continue
        options = b",".join([fields[5], *more[2:]]).split(b",")
        found.append(
            Mount(
                (int(major), int(minor)),
                _plain(fields[4]),
                _plain(more[0]),
                _plain(more[1]),
                frozenset(_plain(option) for option in options if option),
            )
        )
    return found


def _plain(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda octal: bytes([int(octal[1], 8) & 0xFF]), field))


def holding(mounts: Iterable[Mount], path: str, device: tuple[int, int]) -> Mount | None:
    """The mount that a path without symlinks is on.

    Of the mounts above the path those of its device come first: another may be hidden by a mount over its parent. Then
    the longest counts, and of two on one point the later. Btrfs gives its files devices that no mount has: there the
    longest of all has to do.
    """
    above = [mount for mount in mounts if path == mount.point or path.startswith(mount.point.rstrip("/") + "/")]
    same = [mount for mount in above if mount.device == device]
    best: Mount | None = None
    for mount in same or above:
        if best is None or len(mount.point) >= len(best.point):
            best = mount
    return best


def find(path: str) -> Mount | None:
    """The mount that an existing path is on, or None where this system does not tell."""
    if not capabilities.PROC:
        return None
    try:
        with open(_MOUNTINFO, "rb") as file:
            mounts = parse(file.read())
    except OSError:
        return None
    device = os.stat(path).st_dev
    return holding(mounts, at.real_path(path), (os.major(device), os.minor(device)))
