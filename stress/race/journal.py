"""Journals: one append-only file of JSON lines per process, written before and after each operation.

No queue and no lock joins the processes of a race: whoever is killed leaves every line it wrote whole.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """Appends events to one file; each line is one write, so a kill leaves whole lines.

    Args:
        path: The file; made if it is not there.
        **always: Fields of every event.
    """

    def __init__(self, path: Path, **always: object) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._always = always

    def write(self, kind: str, /, **fields: object) -> Event:
        """Append an event with its time (monotonic seconds, the same clock in every process); returns it."""
        event: Event = {"e": kind, "t": time.monotonic(), **self._always, **fields}
        os.write(self._fd, json.dumps(event, separators=(",", ":")).encode() + b"\n")
        return event

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Reader:
    """Reads what was appended to some journals since the last look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[str, int] = {}

    def new(self) -> list[Event]:
        """Events that came since, by file and in the order they were written; a line that is not whole yet waits."""
        found: list[Event] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            offset = self._offsets.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path.name] = offset + len(whole)
            found += [json.loads(line) for line in whole.splitlines()]
        return found
