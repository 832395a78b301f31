"""The hub of a race, in a process of its own: faults and moves on order, a journal of what it sends, and I2 looked at.

I2 is told here because only the hub sees every body: when one begins while another of the same file is on its way, the
other's client must be gone, or be the very process that fetches the file in parts. A client that was killed is told by its
closed connection, whose connection it is by what the kernel says of sockets and open files.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from model_cache.testing import LoopbackHub
from model_cache.testing.answers import Answer, Request
from model_cache.testing.records import Record
from model_cache.testing.wire import Connection

from .journal import Journal
from .world import KIB, World

_LFS = 256 * KIB  # bytes from which the Hub tells a file's sha256
# Seconds between two looks, and how many of them the kernel has to close the connections of a process that died: counted, and
# not timed, so that a hub which stands still itself has looked as often.
_LOOK, _LOOKS = 0.01, 50

_LOCAL, _REMOTE, _INODE = 1, 2, 9  # columns of /proc/net/tcp


def _process(connection: Connection) -> int | None:
    """The process at the other end of a connection, None if it is gone."""
    try:
        here, there = (f"{name[1]:04X}" for name in (connection.sock.getsockname(), connection.sock.getpeername()))
    except OSError:
        return None
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        column = line.split()
        if column[_LOCAL].endswith(f":{there}") and column[_REMOTE].endswith(f":{here}"):
            return _holder(f"socket:[{column[_INODE]}]")
    return None


def _holder(socket: str) -> int | None:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if any(_leads_to(fd, socket) for fd in (process / "fd").iterdir()):
                return int(process.name)
    return None


def _leads_to(fd: Path, socket: str) -> bool:
    try:
        return os.readlink(fd) == socket
    except OSError:
        return False  # closed meanwhile


class RacedHub(LoopbackHub):
    """Writes down each body it sends, and looks at whether two of one file go to two clients that live."""

    def __init__(self, journal: Journal, small: set[str], **options: Any) -> None:
        super().__init__(**options)
        self._journal, self._small = journal, small
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
            # Asked before anything is sent: after its last byte nobody could say whose connection it was.
            whose = _process(connection)
            others = [other for other in others if whose is None or _process(other) != whose]
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
        for _ in range(_LOOKS):
            time.sleep(_LOOK)
            with self._guard:
                receiving = {id(connection) for _, connection in self._bodies.values()}
            others = [other for other in others if id(other) in receiving and not other.gone()]
            if not others:
                return
        self._journal.write("overlap", path=path, others=len(others), small=path in self._small)


def serve(journals: Path, world: World, orders: int, told: int) -> None:
    """Serve until the pipe of orders closes; the URL goes to `told`. An order is one line: `[name, arguments]`."""
    small = {file.path for file in world.all if file.size < _LFS}
    hub = RacedHub(Journal(journals / "hub.jsonl"), small, lfs_threshold=_LFS, latency=0.002)
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
                elif name == "hold":
                    hub.hold(**arguments)
                elif name == "release":
                    hub.release()
                elif name == "still":
                    hub.clear_faults()
