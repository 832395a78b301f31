"""A bound on a whole exchange: socket time-outs begin anew with each byte, so a server that drips never meets them.

Concurrency:
    The connection is shut from a thread of its own, which wakes whoever reads it. Shutting, not closing: the descriptor
    stays the reader's, so its number cannot have become another file meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from typing import Any

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
        self._timer: threading.Timer | None = None
        self.extend(seconds)

    def __enter__(self) -> Watch:
        _current.watch = self
        return self

    def __exit__(self, *exc: object) -> None:
        _current.watch = None

    def extend(self, seconds: float) -> None:
        """Begin to count anew."""
        self.stop()
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self.shut)
        timer.daemon = True
        timer.start()
        self._timer = timer

    def stop(self) -> None:
        """The exchange is over, or is bounded otherwise from now on."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            # Gone at once: a program that forks next is to have no thread of ours.
            timer.join()

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
        """The time is over now."""
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
