"""One process of a host: does what it is ordered to, line by line, and tells what happens, line by line; both are JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from model_cache import ModelCache, ModelCacheError
from model_cache.progress import Progress

_TOLD = ("body:open", "part:open", "tier:write", "tier:offer")  # steps after which one knows where bytes come from

_telling = threading.Lock()


class Teller(Progress):
    """Tells what happens, each thing once in each fetch."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._total = 0
        self._name = ""

    def begin(self, name: str) -> None:
        """Another file is wanted."""
        self._told.clear()
        self._name = name

    def once(self, event: str, **more: object) -> None:
        """Tell it, unless it was told of this file."""
        if event not in self._told:
            self._told.add(event)
            tell(event, name=self._name, **more)

    def step(self, name: str) -> None:
        """Before a step."""
        if name in _TOLD:
            self.once(name)

    def started(self, name: str, total: int | None, done: int) -> None:  # noqa: ARG002 - as the base class has it
        """A body comes."""
        self._total = total or 0

    def advanced(self, done: int) -> None:
        """Some of it is here."""
        if done * 3 >= self._total:
            self.once("third")

    def waiting(self, name: str, holder: str, done: int, total: int | None, seconds: float) -> None:  # noqa: ARG002 - as above
        """It waits for another host, or for a process of this one."""
        self.once("waits" if holder == "another host" else "stands")

    def warning(self, message: str) -> None:
        """What went wrong."""
        tell("warning", name=self._name, text=message)


def tell(event: str, **more: object) -> None:
    """A line for who ordered, from whatever thread; the time is the same for all processes of this kernel."""
    line = json.dumps({"event": event, "at": time.monotonic(), **more})
    with _telling:
        print(line, flush=True)


def main() -> None:
    """Until nothing is ordered any more; its uploads end before it does."""
    root, settings = sys.argv[1], json.loads(sys.argv[2])
    teller = Teller()
    cache = ModelCache(root, token=False, step=teller.step, **settings)
    tell("ready")
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        teller.begin(order["name"])
        began = time.monotonic()
        try:
            path = cache.fetch(order["repo"], order["name"], revision=order["revision"], progress=teller)
            tell("done", name=order["name"], seconds=time.monotonic() - began, path=str(path))
        except ModelCacheError as error:
            tell("failed", name=order["name"], seconds=time.monotonic() - began, text=str(error))


if __name__ == "__main__":
    main()
