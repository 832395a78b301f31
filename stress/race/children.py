"""Processes of a race: forked from one that has everything loaded, killed on request, replaced at once, all ended with it.

Concurrency:
    The parent has one thread and no connection to the index when it forks. Each child asks the kernel to die with its
    parent, so nothing outlives a race however it ends.
"""

from __future__ import annotations

import ctypes
import gc
import heapq
import importlib
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import model_cache

from .worker import REQUEST

_PR_SET_PDEATHSIG = 1  # prctl(2)
_NOT_RACED = ("cli", "testing", "doctor", "__main__")
_SLOTS = 4096  # bytes of requests that are read at a time


def preload() -> None:
    """Load everything that a worker would, once and for all of them: a restart then costs a fork."""
    import requests  # noqa: F401
    import sqlite_utils  # noqa: F401

    for found in pkgutil.walk_packages(model_cache.__path__, "model_cache."):
        if found.name.split(".")[1] not in _NOT_RACED:
            importlib.import_module(found.name)
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared


def fork(act: Callable[[], object]) -> int:
    """Run `act` in a child that dies with this process; returns its pid."""
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # An interrupt that came between the fork and the first line of the child would run the parent's way out in it.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return pid
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)  # it died before the kernel was asked
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        act()
    except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class Children:
    """The worker processes, one for each slot.

    Args:
        live: What a child does, given its slot and its life; it does not return.
        count: How many there are.

    Attributes:
        pids: By slot.
        lives: By slot: which life is lived.
    """

    def __init__(self, live: Callable[[int, int, int], NoReturn], count: int) -> None:
        self._live = live
        self._requests, self._killer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._due: list[tuple[float, int, int, int]] = []
        self._stopped: list[tuple[float, int, int]] = []
        self.lives = [0] * count
        self.pids = [self._start(slot) for slot in range(count)]

    def reap(self) -> list[tuple[int, int, str, int]]:
        """Who ended since the last look, each replaced at once: (slot, life, how, status)."""
        dead = []
        for slot, pid in enumerate(self.pids):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                dead.append((slot, self.lives[slot], self._how(status), status))
                self.lives[slot] += 1
                self.pids[slot] = self._start(slot)
        return dead

    def kill(self) -> None:
        """Send the signals that are due."""
        self._read_requests()
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, slot, life, number = heapq.heappop(self._due)
            if self.lives[slot] == life:
                os.kill(self.pids[slot], number)
        while self._stopped and self._stopped[0][0] <= now:
            _, slot, pid = heapq.heappop(self._stopped)
            if self.pids[slot] == pid:
                os.kill(pid, signal.SIGCONT)

    def stop(self, slot: int, seconds: float) -> None:
        """Stop a process for a while."""
        os.kill(self.pids[slot], signal.SIGSTOP)
        heapq.heappush(self._stopped, (time.monotonic() + seconds, slot, self.pids[slot]))

    def end(self) -> None:
        """Kill everybody, whatever they are at."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self.pids:
            os.waitpid(pid, 0)
        self.pids = []

    def _start(self, slot: int) -> int:
        life = self.lives[slot]
        return fork(lambda: self._live(slot, life, self._killer))

    def _read_requests(self) -> None:
        try:
            data = os.read(self._requests, _SLOTS // REQUEST.size * REQUEST.size)
        except BlockingIOError:
            return
        for slot, life, after, number in REQUEST.iter_unpack(data):
            heapq.heappush(self._due, (time.monotonic() + after, slot, life, number))

    @staticmethod
    def _how(status: int) -> str:
        if os.WIFSIGNALED(status):
            return signal.Signals(os.WTERMSIG(status)).name if os.WTERMSIG(status) in _OURS else "itself"
        # SIGTERM is the only way to 0. The SIGKILL that an earlier operation asked for may find the process on that way.
        return "SIGTERM" if os.WEXITSTATUS(status) == 0 else "itself"


_OURS = (signal.SIGKILL, signal.SIGTERM)
