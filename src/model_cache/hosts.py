"""Which host this is, of those that share a root: two can have one name, and a machine's id is cloned with it."""

from __future__ import annotations

import os

from . import disk

_DIGITS = 8


def identity(state: str, mode: int) -> str:
    """Eight hex digits, made once in the directory that this host alone has.

    Of two processes that make them at the same time the later one's hold from then on; what the other began with them is begun
    anew.
    """
    path = f"{state}/host"
    try:
        found = disk.read_small(path, 64).decode("ascii", "replace").strip()
    except FileNotFoundError:
        found = ""
    if len(found) == _DIGITS and set(found) <= set("0123456789abcdef"):
        return found
    made = os.urandom(_DIGITS // 2).hex()
    disk.write_small(path, f"{made}\n".encode(), mode)
    return made


def holder_name() -> str:
    """This process, as others see it in messages: pid@host. For display only, pids lie across pid namespaces."""
    import socket

    return f"{os.getpid()}@{socket.gethostname()}"
