"""A listening port: accepts, gives each connection a thread, and takes all of them down with it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable

from .wire import Connection

_BACKLOG = 1024  # connections that may wait to be accepted: a stampede must not be refused
_JOIN = 5.0  # seconds that stopping waits for threads whose sockets are already shut


class Listener:
    """One listening port, with a thread that accepts and a thread for each connection.

    Args:
        host: The name its connections carry: `hub` or `cdn`.
        serve: Called in a thread of its own with each connection; closes it before it returns.
        port: The port to bind; 0 for any that is free.
        address: Where to listen.
    """

    def __init__(
        self, host: str, serve: Callable[[Connection], None], port: int = 0, address: str = "127.0.0.1"
    ) -> None:
        self.host = host
        self.stopping = threading.Event()
        self.sock = socket.create_server((address, port), backlog=_BACKLOG)
        self.address: str
        self.port: int
        self.address, self.port = self.sock.getsockname()
        self.live: dict[threading.Thread, Connection] = {}
        self._serve = serve
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name=f"loopback-{host}", daemon=True)
        _LISTENERS.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Stops accepting, breaks off all connections, and waits for their threads."""
        self.stopping.set()
        # A connection of our own ends the blocking accept on every platform.
        with contextlib.suppress(OSError):
            socket.create_connection((self.address, self.port), timeout=1).close()
        self._thread.join(_JOIN)
        self.sock.close()
        with self._lock:
            live = list(self.live.items())
        for _, connection in live:
            connection.shut()
        for thread, _ in live:
            thread.join(_JOIN)

    def settle(self, timeout: float) -> None:
        """Waits until every connection whose client is gone has come to its end, for each at most so many seconds."""
        # They are accepted in their order: when this one has its end, those before it are live, or were.
        with socket.create_connection((self.address, self.port), timeout) as last:
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        with self._lock:
            live = list(self.live.items())
        for thread, connection in live:
            if connection.left():
                thread.join(timeout)

    def forsake(self) -> None:
        """Closes the sockets that a forked child inherited, and nothing of the parent's."""
        for sock in (self.sock, *(connection.sock for connection in self.live.values())):
            with contextlib.suppress(OSError):
                os.close(sock.detach())

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self.sock.accept()
            except OSError:
                self.stopping.wait(0.01)  # no descriptors left, or a client that was gone before it was accepted
                continue
            if self.stopping.is_set():
                sock.close()
                return
            connection = Connection(sock, self.host, self.stopping)
            thread = threading.Thread(target=self._run, args=(connection,), name=f"loopback-{self.host}", daemon=True)
            with self._lock:
                self.live[thread] = connection
            thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            self._serve(connection)
        finally:
            with self._lock:
                self.live.pop(threading.current_thread(), None)


_LISTENERS: weakref.WeakSet[Listener] = weakref.WeakSet()


def _after_fork() -> None:
    for listener in list(_LISTENERS):
        listener.forsake()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
