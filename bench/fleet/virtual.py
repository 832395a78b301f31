"""Virtual time for synchronous code: each process is a greenlet that runs until it waits; the one owner of greenlet.

What happens at the same time happens in the order in which it was asked for, so one seed gives one run.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from greenlet import getcurrent, greenlet

from model_cache.clock import Clock


class Time(Clock):
    """A clock that nobody waits for: it jumps to whatever comes next."""

    def __init__(self) -> None:
        self._now = 0.0
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._asked = 0
        self._main = getcurrent()
        self._alive = 0

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        """Let the others run for so long."""
        self.after(seconds, getcurrent().switch)
        self._main.switch()

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Have it called, outside of all processes: it must not wait."""
        self._asked += 1
        heapq.heappush(self._queue, (self._now + seconds, self._asked, call))

    def start(self, work: Callable[[], None], seconds: float = 0.0) -> None:
        """A process that begins after so long."""

        def run() -> None:
            work()
            self._alive -= 1

        self._alive += 1
        self.after(seconds, lambda: greenlet(run, self._main).switch())

    def leave(self) -> None:
        """Wait until somebody switches to this process."""
        self._main.switch()

    def run(self) -> int:
        """Until nothing is left to happen; returns how many things happened.

        Raises:
            RuntimeError: A process waits for what does not come.
        """
        while self._queue:
            self._now, _, call = heapq.heappop(self._queue)
            call()
        if self._alive:
            raise RuntimeError(f"{self._alive} processes wait for ever")
        return self._asked


class Signal:
    """Something that one process waits for, and that comes once."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._waiter: greenlet | None = None
        self._waits = 0
        self.has_come = False

    def wait(self, longest: float | None = None) -> bool:
        """Until it comes, or for so many seconds; whether it has come."""
        if not self.has_come:
            self._waiter = getcurrent()
            self._waits += 1
            if longest is not None:
                self._wake_after(longest)
            self._time.leave()
            self._waiter = None
        return self.has_come

    def come(self) -> None:
        """Wake who waits, after what is to happen now already."""
        if not self.has_come:
            self.has_come = True
            self._wake_after(0.0)

    def _wake_after(self, seconds: float) -> None:
        wait = self._waits

        def wake() -> None:
            if self._waiter is not None and self._waits == wait:
                self._waiter.switch()

        self._time.after(seconds, wake)


class Line:
    """A lock whose waiters are served in their order."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._held = False
        self._waiting: deque[Signal] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold it."""
        if self._held:
            mine = Signal(self._time)
            self._waiting.append(mine)
            mine.wait()
        self._held = True
        try:
            yield
        finally:
            if self._waiting:
                self._waiting.popleft().come()
            else:
                self._held = False
