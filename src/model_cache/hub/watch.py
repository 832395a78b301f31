"""A bound on a whole exchange: socket time-outs begin anew with each byte, so a server that drips never meets them.

Concurrency:
    Connections are shut from a thread of its own, which wakes whoever reads them. Shutting, not closing: the descriptor
    stays the reader's, so its number cannot have become another file meanwhile. One thread watches over all exchanges that
    are under way, and is gone with the last of them: a program that forks next is to have no thread of ours.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
from typing import Any

from ..platforms.capabilities import after_fork

# The watch over the exchange that this thread is in; connections announce themselves to it.
_current = threading.local()


class Watch:
    """Shuts the connection of one exchange when its time is over.

    Args:
        seconds: From now.

    Attributes:
        over: Whether the time was over; then the connection is of no use any more.
    """

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._lock = threading.Lock()
        self._connection: Any = None
        self._socket: Any = None
        self._guard: _Guard | None = None
        self.extend(seconds)

    def __enter__(self) -> Watch:
        _current.watch = self
        return self

    def __exit__(self, *exc: object) -> None:
        _current.watch = None

    def extend(self, seconds: float) -> None:
        """Begin to count anew."""
        before = self._guard
        self._guard = _Guard.of(self, seconds)
        if before is not None and before is not self._guard:
            before.forget(self)

    def stop(self) -> None:
        """The exchange is over, or is bounded otherwise from now on."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.forget(self)

    def announce(self, connection: Any) -> None:
        """This connection is used now; it may have been made for an earlier exchange, or be made anew."""
        with self._lock:
            self._connection = connection
            # Kept, because a connection that ends with its answer lets its socket go to the body.
            self._socket = connection.sock
            over = self.over
        if over:
            raise TimeoutError("the time for this exchange is over")

    def shut(self) -> None:
        """Its time is over: wake whoever reads the connection."""
        with self._lock:
            self.over = True
            made = getattr(self._connection, "sock", None) or self._socket
        made = getattr(made, "socket", made)  # TLS inside TLS, to a proxy, wraps the socket
        if isinstance(made, socket.socket):
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which would take the TLS state away from under the reader.
                socket.socket.shutdown(made, socket.SHUT_RDWR)


class Halt:
    """Cuts all exchanges it was handed to, from another thread: whoever waits for a byte of them waits no longer."""

    def __init__(self) -> None:
        self.called = False
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()

    def add(self, watch: Watch) -> None:
        """Another exchange, which is over before it began if this was called already."""
        with self._lock:
            self._watches.add(watch)
            called = self.called
        if called:
            watch.shut()

    def discard(self, watch: Watch) -> None:
        """An exchange has ended."""
        with self._lock:
            self._watches.discard(watch)

    def call(self) -> None:
        """Cut them, and any that comes later."""
        with self._lock:
            self.called = True
            watches = list(self._watches)
        for watch in watches:
            watch.shut()


class _Guard:
    """The thread that waits for the next watch whose time is over; it ends, and another begins, whenever there is none."""

    _lock = threading.Lock()
    _now: _Guard | None = None

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._until: dict[Watch, float] = {}
        self._changed = threading.Condition(_Guard._lock)
        self._next = 0.0  # when the thread looks again, at the latest
        self._thread = threading.Thread(target=self._run, name="model-cache watch", daemon=True)

    @classmethod
    def of(cls, watch: Watch, seconds: float) -> _Guard:
        """Whoever watches now, told of one more."""
        until = time.monotonic() + min(seconds, threading.TIMEOUT_MAX / 2)
        with cls._lock:
            guard = cls._now
            begin = guard is None
            if guard is None:
                guard = cls._now = cls()
            guard._until[watch] = until
            if until < guard._next:
                guard._changed.notify()
            if begin:
                try:
                    guard._thread.start()
                except BaseException:
                    cls._now = None  # no thread to be had: the next one tries again
                    raise
        return guard

    def forget(self, watch: Watch) -> None:
        """This one is over; the thread is gone when the last one is."""
        with self._lock:
            self._until.pop(watch, None)
            ends = not self._until and _Guard._now is self
            if ends:
                _Guard._now = None
                self._changed.notify()
        if ends and self._pid == os.getpid():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                due = [watch for watch, until in self._until.items() if until <= now]
                for watch in due:
                    del self._until[watch]
                if not due:
                    if _Guard._now is not self:
                        return
                    self._next = min(self._until.values(), default=now + threading.TIMEOUT_MAX / 2)
                    self._changed.wait(self._next - now)
            for watch in due:
                watch.shut()

    @classmethod
    def after_fork(cls) -> None:
        """In a child nobody watches: the thread is the parent's, and so perhaps is the lock."""
        cls._lock, cls._now = threading.Lock(), None


after_fork(after_in_child=_Guard.after_fork)


def announce_all(manager: Any) -> None:
    """Let every connection that a pool manager of urllib3 makes announce itself."""
    manager.pool_classes_by_scheme = {
        scheme: _announcing(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


@functools.cache
def _announcing(pool: Any) -> Any:
    """A kind of pool whose connections say when they are used."""
    if issubclass(pool.ConnectionCls, _Announcing):
        return pool
    connection = type(pool.ConnectionCls.__name__, (_Announcing, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Announcing:
    """What is put before urllib3's kinds of connection."""

    def connect(self) -> Any:
        """Connect; said before, for a handshake can take long, and after, when the socket is there."""
        _announce(self)
        connected = super().connect()  # type: ignore[misc]  # of the class that this one is put before
        _announce(self)
        return connected

    def request(self, *args: Any, **more: Any) -> Any:
        """Send a request, over a connection that may be an old one."""
        _announce(self)
        return super().request(*args, **more)  # type: ignore[misc]  # as above


def _announce(connection: Any) -> None:
    """Tell the watch over the exchange that this thread is in, if there is one."""
    watch: Watch | None = getattr(_current, "watch", None)
    if watch is not None:
        watch.announce(connection)
