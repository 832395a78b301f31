"""What each trial is handed: a directory on the file system in question, and a second process that works in it."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..clock import Clock
from ..platforms.capabilities import CLOEXEC
from .partner import Partner


class Trial(NamedTuple):
    """Attributes: `directory`, empty and this user's own; `clock`, a source of time."""

    directory: str
    clock: Clock

    def partner(self) -> Partner:
        """A second process in the directory, to be entered with `with`."""
        return Partner(self.directory)

    def path(self, name: str) -> str:
        """The path of a file in the directory."""
        return f"{self.directory}/{name}"

    def file(self, name: str, data: bytes = b"") -> str:
        """Make a file; its path."""
        path = self.path(name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
        return path
