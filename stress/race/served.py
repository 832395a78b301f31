"""The hub of a race, in a process of its own: faults and moves on order, a journal of what it sends, and I2 looked at.

I2 is told here because only the hub sees every body: when one begins while another of the same file is on its way, the
other's client must be gone. A client that was killed is told by its closed connection.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from model_cache.testing import LoopbackHub
from model_cache.testing.answers import Answer, Request
from model_cache.testing.records import Record
from model_cache.testing.wire import Connection

from .journal import Journal
from .world import KIB, World

_GRACE = 0.5  # seconds in which the kernel closes the connections of a process that died
_LOOK = 0.01


class RacedHub(LoopbackHub):
    """Writes down each body it sends, and looks at whether two of one file go to two clients that live."""

    def __init__(self, journal: Journal, **options: Any) -> None:
        super().__init__(**options)
        self._journal = journal
        self._bodies: dict[int, tuple[tuple[str, str], Connection]] = {}
        self._next = itertools.count()
        self._guard = threading.Lock()

    def _deliver(self, connection: Connection, request: Request, answer: Answer, record: Record) -> bool:
        if record.fault:
            self._journal.write("fault", kind=record.fault, path=f"{record.repo}/{record.filename}")
        if answer.stage != "body" or request.method == "HEAD":
            return super()._deliver(connection, request, answer, record)
        name, number = (record.repo, record.filename), next(self._next)
        with self._guard:
            others = [other for key, other in self._bodies.values() if key == name]
            self._bodies[number] = (name, connection)
        path, port = f"{record.repo}/{record.filename}", connection.sock.getpeername()[1]
        self._journal.write("body", number=number, path=path, start=answer.start, port=port)
        if others:
            threading.Thread(target=self._judge, args=(path, others), daemon=True).start()
        try:
            return super()._deliver(connection, request, answer, record)
        finally:
            with self._guard:
                del self._bodies[number]
            self._journal.write("sent", number=number, path=path, bytes=record.bytes_sent, fault=record.fault)

    def _judge(self, path: str, others: list[Connection]) -> None:
        """Give those who died their time; whoever still receives after it was not dead."""
        until = time.monotonic() + _GRACE
        while others and time.monotonic() < until:
            with self._guard:
                receiving = {id(connection) for _, connection in self._bodies.values()}
            others = [other for other in others if id(other) in receiving and not other.gone()]
            time.sleep(_LOOK)
        if others:
            self._journal.write("overlap", path=path, others=len(others))


def serve(journals: Path, world: World, orders: int, told: int) -> None:
    """Serve until the pipe of orders closes; the URL goes to `told`. An order is one line: `[name, arguments]`."""
    hub = RacedHub(Journal(journals / "hub.jsonl"), lfs_threshold=256 * KIB, latency=0.002)
    with hub:
        for repo in world.versions:
            hub.add_repo(repo, world.contents(repo))
        os.write(told, hub.url.encode())
        os.close(told)
        with os.fdopen(orders, encoding="utf-8") as lines:
            for line in lines:
                name, arguments = json.loads(line)
                if name == "move":
                    world.move(arguments["repo"])
                    hub.add_repo(arguments["repo"], world.contents(arguments["repo"]))
                elif name == "fault":
                    hub.fault(**arguments)
                elif name == "traffic":
                    hub.latency, hub.rate = arguments["latency"], arguments["rate"]
                elif name == "still":
                    hub.clear_faults()
