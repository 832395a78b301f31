"""Work in daemon threads: so many at a time, and none that keeps a program from ending.

An executor of the standard library is waited for when the interpreter ends, however long its work goes on.

Concurrency:
    A thread ends when nothing waits any more. A forked child has none of its parent's threads and begins anew; what its
    parent had queued is not done there.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from .platforms.capabilities import after_fork

T = TypeVar("T")

_STARTING = 5000  # milliseconds for a thread to begin; one that an interrupt kept from it never does


class Threads:
    """Threads that do what is submitted, in that order.

    Args:
        most: How many there are at a time; what else is submitted waits.
        name: Of each, for whoever looks at a process.
        after: Called in the thread after each piece of work, before anybody is told of its end.
    """

    def __init__(self, most: int, name: str, after: Callable[[], None]) -> None:
        self._most, self._name, self._after = most, name, after
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """With nothing to do and no threads; in a forked child before any of its own threads is there to come in between."""
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have it called in a thread; what waits for one can be cancelled.

        Raises:
            RuntimeError: No thread is to be had.
        """
        work: tuple[Future[T], Callable[[], T]] = (Future(), call)
        with self._lock:
            self._waiting.append(work)
            if self._running < self._most:
                try:
                    threading.Thread(target=self._run, name=self._name, daemon=True).start()
                except BaseException:
                    self._waiting.remove(work)
                    raise
                self._running += 1
        return work[0]

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                future, call = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                self._do(future, call)
            del future, call  # a thread that waits for the lock keeps nothing alive

    def _do(self, future: Future[Any], call: Callable[[], Any]) -> None:
        try:
            try:
                result = call()
            finally:
                self._after()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for it
            future.set_exception(error)
        else:
            future.set_result(result)


def end(ending: Sequence[threading.Thread], tell: Callable[[], None]) -> None:
    """Tell threads to end, and wait until all have; an interrupt meanwhile is raised after that."""
    interrupt: BaseException | None = None
    while True:
        try:
            tell()
            for thread in ending:
                _join(thread)
            break
        except BaseException as error:  # noqa: BLE001 - whatever comes: what the threads write to is closed next
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _join(thread: threading.Thread) -> None:
    """Wait for a thread's end; an interrupt can have come while it was being started."""
    for _ in range(_STARTING):
        if thread.ident is not None or thread not in threading.enumerate():
            break
        time.sleep(0.001)
    if thread.ident is not None:
        thread.join()


_all: weakref.WeakSet[Threads] = weakref.WeakSet()


def _after_fork() -> None:
    for threads in list(_all):
        threads._begin()


after_fork(after_in_child=_after_fork)
