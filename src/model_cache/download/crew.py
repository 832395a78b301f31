"""Threads that receive files while one thread does everything else; with one worker no thread at all.

Work has two lanes. Most threads take small files first, so that something is there soon; a few take large ones first, so
that a link which is slow to answer and one which is slow to send are both busy.

Concurrency:
    The threads are daemons: they never keep a program from ending. What a thread holds for a piece of work (W, an open
    partial) belongs to that work, and its end is told whatever it was. A forked child has none of the threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from ..threads import end

T = TypeVar("T")

_LARGE_FIRST = 4  # one thread of so many


class Crew(Generic[T]):
    """Does pieces of work of one kind; a context manager, at whose end no thread of it is left.

    Args:
        do: The work; what it raises is its own to keep.
        workers: Threads; 1 does the work in the caller's.
        close: Called in each thread at its end.
    """

    def __init__(self, do: Callable[[T], None], workers: int, close: Callable[[], None]) -> None:
        self._do, self._workers, self._close = do, workers, close
        self._done: SimpleQueue[T] = SimpleQueue()
        self._lanes: tuple[deque[T], deque[T]] = (deque(), deque())
        self._changed = threading.Condition()
        self._ending = False
        self._threads: list[threading.Thread] = []
        self.pending = 0  # pieces that were given and not collected

    def give(self, work: T, *, large: bool) -> None:
        """A piece of work, for the next thread that is free."""
        self.pending += 1
        if self._workers == 1 and not self._threads:
            self._finish(work)
            return
        with self._changed:
            self._lanes[large].append(work)
            self._changed.notify()
        if len(self._threads) < min(self._workers, self.pending):
            try:
                self._begin()
            except RuntimeError:
                self._do_without()

    def _do_without(self) -> None:
        """This machine gives no more threads: those that there are do, or the caller's."""
        self._workers = max(len(self._threads), 1)
        if not self._threads:
            with self._changed:
                left = [*self._lanes[False], *self._lanes[True]]
                for lane in self._lanes:
                    lane.clear()
            for work in left:
                self._finish(work)

    def _begin(self) -> None:
        number = len(self._threads)
        large_first = number % _LARGE_FIRST == _LARGE_FIRST - 1
        thread = threading.Thread(target=self._run, args=(large_first,), name=f"model-cache {number}", daemon=True)
        self._threads.append(thread)  # first: an interrupt that comes while it starts must find it
        try:
            thread.start()
        except RuntimeError:
            self._threads.remove(thread)
            raise

    def collect(self) -> list[T]:
        """Wait for a piece that is done, and take all that are."""
        found = [self._done.get()]
        while not self._done.empty():
            found.append(self._done.get())
        self.pending -= len(found)
        return found

    def withdraw(self) -> list[T]:
        """Take back what no thread has begun."""
        with self._changed:
            found = [*self._lanes[False], *self._lanes[True]]
            for lane in self._lanes:
                lane.clear()
        self.pending -= len(found)
        return found

    def _run(self, large_first: bool) -> None:
        try:
            while (work := self._next(large_first)) is not None:
                self._finish(work)
                del work  # an idle thread keeps nothing open
        finally:
            self._close()

    def _finish(self, work: T) -> None:
        try:
            self._do(work)
        finally:
            self._done.put(work)

    def _next(self, large_first: bool) -> T | None:
        with self._changed:
            while True:
                for lane in (self._lanes[large_first], self._lanes[not large_first]):
                    if lane:
                        return lane.popleft()
                if self._ending:
                    return None
                self._changed.wait()

    def __enter__(self) -> Crew[T]:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._threads, self._tell)

    def _tell(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()
