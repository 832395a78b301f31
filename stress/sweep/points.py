"""Which system calls can fail with what, and how a point is written."""

from __future__ import annotations

import re
from typing import NamedTuple

_ROOM = ("EIO", "ENOSPC", "EDQUOT")
SHORT = "SHORT"  # the kernel takes half of the bytes, and says so
# By kind of call: errors that it can return for reasons that are not the caller's fault (section 2 of the manual).
FAULTS = {
    "openat": ("EMFILE", "EIO", "ENOSPC", "EACCES"),
    "read": ("EIO", "EINTR"),
    "pread64": ("EIO", "EINTR"),
    "preadv": ("EIO", "EINTR"),
    "preadv2": ("EIO", "EINTR"),
    "write": (*_ROOM, "EINTR", SHORT),
    "pwrite64": (*_ROOM, "EINTR", SHORT),
    "fsync": _ROOM,
    "fdatasync": _ROOM,
    "rename": _ROOM,
    "renameat": _ROOM,
    "renameat2": _ROOM,
    "link": (*_ROOM, "EMLINK", "EPERM"),
    "linkat": (*_ROOM, "EMLINK", "EPERM"),
    "unlink": ("EIO",),
    "unlinkat": ("EIO",),
    "mkdir": _ROOM,
    "mkdirat": _ROOM,
    "rmdir": ("EIO",),
    "ftruncate": ("EIO",),
    "utimensat": ("EIO",),
    "chmod": ("EIO",),
    "fchmod": ("EIO",),
    "fchmodat": ("EIO",),
    "flock": ("EINTR", "EIO", "ENOLCK"),
    "fcntl": ("EINTR", "EIO", "ENOLCK"),
    "copy_file_range": (*_ROOM, "EINTR", SHORT),
    "ioctl": ("EIO", "ENOSPC"),
}
_ONCE = ("EINTR", SHORT)  # a call that is interrupted for ever is repeated for ever (PEP 475)
_WAITED_FOR = ("fcntl", "ENOLCK")  # SQLite takes it for a lock that is held, and waits five seconds each time
_DAMAGE = ("preadv", "preadv2")  # model files are read so: what cannot be read twice is damaged (tests/test_repair.py)
_SPEC = re.compile(r"(?P<kind>step|call):(?P<count>\d+)(:(?P<error>E[A-Z]+|SHORT)(?P<on>\+)?)?")


class Point(NamedTuple):
    """One place in one operation, and what happens there.

    Attributes:
        kind: `step` for a step that the constructor hands in, `call` for a system call on something below the root.
        place: Which one, from 1, all kinds and all threads together.
        error: How the call fails; empty to kill the process before it.
        on: Whether all later calls of the same kind fail likewise.
    """

    kind: str
    place: int
    error: str = ""
    on: bool = False

    def __str__(self) -> str:
        error = f":{self.error}{'+' if self.on else ''}" if self.error else ""
        return f"{self.kind}:{self.place}{error}"


def parse(spec: str) -> Point:
    """A point as it is written; raises ValueError where it is none."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise ValueError(f"{spec!r} is no point, such as step:7, call:12, call:12:EIO or call:12:ENOSPC+")
    return Point(found["kind"], int(found["count"]), found["error"] or "", bool(found["on"]))


def faults(name: str) -> list[tuple[str, bool]]:
    """Every way in which a call can fail: (error, whether from then on)."""
    once = [(error, False) for error in FAULTS[name]]
    if name in _DAMAGE:
        return once
    return once + [(error, True) for error, _ in once if error not in _ONCE and (name, error) != _WAITED_FOR]


def lasts(point: Point, name: str) -> bool:
    """Whether a call that fails at a point goes on failing: it says so, and calls of this kind can."""
    return point.on and any(on for _, on in faults(name))


def suited(point: Point, name: str) -> str:
    """How a call fails at a point: as it says, or (of threads another came first this time) as a call of this kind can."""
    ways, on = faults(name), lasts(point, name)
    if not point.error or (point.error, on) in ways:
        return point.error
    return next(error for error, goes_on in ways if goes_on == on)
