"""Doing an operation in a process that is killed, or has a system call failed; what became of it."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import seccomp, wire
from .calls import Call, Reader
from .points import SHORT, Point, lasts, suited

LIMIT = 30.0  # seconds for one operation that takes milliseconds: longer is a hang


@dataclass
class Outcome:
    """What became of a process.

    Attributes:
        ending: `done`, `refused` (an error of the family), `escaped` (any other), `killed`, `hung`, `died`.
        said: The error.
        error: Its class.
        hit: What it was killed before, or what failed; empty if it came to its end.
        call: The system call that was hit.
        steps: Named steps it came by.
        modules: What it had imported, if asked.
        calls: Every system call on something below the root, if watched.
        let_go: Those of them that changed something, as they were let go.
        kept: Paths below the root that it still had open when it was done with the cache.
    """

    ending: str = ""
    said: str = ""
    error: str = ""
    hit: str = ""
    call: Call | None = None
    steps: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    let_go: list[object] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


class _Judge:
    """Decides what becomes of each system call of one process."""

    def __init__(self, root: Path, pid: int, fd: int, point: Point | None, outcome: Outcome) -> None:
        self._pid, self.fd, self._point, self._outcome = pid, fd, point, outcome
        self._reader = Reader(os.path.realpath(root), pid)

    def close(self) -> None:
        """The process is gone."""
        self._reader.close()
        os.close(self.fd)

    def decide(self) -> None:
        """Answer the call that waits."""
        notice = seccomp.receive(self.fd)
        if notice is None:
            return
        call = self._reader.read(notice)
        if call is None:
            seccomp.answer(self.fd, notice)
            return
        self._outcome.calls.append(call)
        point = self._point
        if point is not None and self._is_meant(call, point):
            error = suited(point, call.name)
            if not self._outcome.hit:
                self._outcome.hit, self._outcome.call = f"{call} {error}".rstrip(), call
            if not error:
                os.kill(self._pid, signal.SIGKILL)
            elif error != SHORT:
                seccomp.answer(self.fd, notice, error=getattr(errno, error))
            else:
                self._outcome.let_go.append((*call.about, SHORT))
                seccomp.answer(self.fd, notice, value=_half(self._pid, notice))
            return
        if call.changes:
            self._outcome.let_go.append(call.about)
        seccomp.answer(self.fd, notice)

    def _is_meant(self, call: Call, point: Point) -> bool:
        count, first = len(self._outcome.calls), self._outcome.call
        return count == point.place or (first is not None and call.name == first.name and lasts(point, call.name))


def _half(pid: int, notice: seccomp.Notice) -> int | None:
    """Do half of a write in another process's place; None where there is no half."""
    places = {"write": 2, "pwrite64": 2, "copy_file_range": 4}
    count = notice.args[places[notice.name]] // 2
    if count == 0:
        return None
    target = seccomp.borrowed(pid, notice.args[2 if notice.name == "copy_file_range" else 0])
    try:
        if notice.name == "copy_file_range":
            source = seccomp.borrowed(pid, notice.args[0])
            try:
                return _half_copy(notice, source, target, count)
            finally:
                os.close(source)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            data = os.pread(memory.fileno(), count, notice.args[1])
        return os.write(target, data) if notice.name == "write" else os.pwrite(target, data, notice.args[3])
    finally:
        os.close(target)


def _half_copy(notice: seccomp.Notice, source: int, target: int, count: int) -> int | None:
    if notice.args[1] or notice.args[3]:
        return None  # with a place in memory that would have to be moved on
    return os.copy_file_range(source, target, count)


class Zygote:
    """The process that forks; a context manager."""

    def __enter__(self) -> Zygote:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "stress.sweep.zygote", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.wait(LIMIT)

    def know(self, modules: list[str]) -> None:
        """Import what an operation imports on its way, so that none of it is on the way any more."""
        self._channel.settimeout(LIMIT)
        for first in range(0, len(modules), 1000):
            wire.send(self._channel, modules=modules[first : first + 1000])
            wire.receive(self._channel)

    def run(
        self,
        operation: str,
        root: Path,
        endpoint: str,
        point: Point | None = None,
        *,
        then: str = "",
        watched: bool = False,
        rehearsal: bool = False,
    ) -> Outcome:
        """Do an operation (or what comes after it, by name) in a process of its own, and have it die or fail at a point.

        Args:
            watched: Stop before each system call though no point is one.
            rehearsal: Tell what was imported.
        """
        watched = watched or (point is not None and point.kind == "call")
        step = point.place if point is not None and point.kind == "step" else 0
        order: dict[str, Any] = {"operation": operation, "then": then, "root": str(root), "endpoint": endpoint}
        wire.send(self._channel, **order, step=step, watched=watched, rehearsal=rehearsal)
        outcome = Outcome()
        status = self._watch(outcome, root, point)
        if not outcome.ending:
            meant = status == -signal.SIGKILL and point is not None and not point.error and outcome.hit
            outcome.ending = "killed" if meant else "died"
            outcome.said = f"it ended with the status {status}"
        return outcome

    def _watch(self, outcome: Outcome, root: Path, point: Point | None) -> int:
        """Decide its calls, and hear what the process tells until it is gone; its exit status."""
        pid, judge, deadline = 0, None, time.monotonic() + LIMIT
        waiting = select.poll()
        waiting.register(self._channel, select.POLLIN)
        try:
            while True:
                ready = dict(waiting.poll(max(deadline - time.monotonic(), 0) * 1000))
                if not ready:
                    outcome.ending, outcome.said = "hung", f"nothing came of it in {LIMIT:g} s"
                    deadline = time.monotonic() + LIMIT
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if judge and (event := ready.get(judge.fd)):
                    if event & select.POLLIN:
                        judge.decide()
                    else:
                        waiting.unregister(judge.fd)
                if self._channel.fileno() not in ready:
                    continue
                told = wire.receive(self._channel)
                if "pid" in told:
                    pid = told["pid"]
                    if "fd" in told:
                        judge = _Judge(root, pid, told["fd"], point, outcome)
                        waiting.register(judge.fd, select.POLLIN)
                elif "step" in told:
                    outcome.hit = told["step"]
                elif "ending" in told:
                    outcome.ending, outcome.said, outcome.error = told["ending"], told["said"], told["error"]
                    outcome.steps, outcome.modules, outcome.kept = told["steps"], told["modules"], told["kept"]
                elif "status" in told:
                    return int(told["status"])
                else:
                    raise RuntimeError("the process that forks is gone")
        finally:
            if judge is not None:
                judge.close()
