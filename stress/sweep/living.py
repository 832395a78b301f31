"""What a process that lives on has open."""

from __future__ import annotations

import os
from contextlib import suppress


def open_below(root: str | os.PathLike[str]) -> list[str]:
    """Paths below a root of what this process has open there, in order."""
    top, found = f"{os.path.realpath(root)}/", []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one by which this looks
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(path.removeprefix(top) for path in found if path.startswith(top))
