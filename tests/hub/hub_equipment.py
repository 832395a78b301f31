"""Equipment: a clock that tests turn, and servers that answer with bytes of the test's choice."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

COMMIT = "c0ffee" * 6 + "cafe"


class FakeClock:
    """Time that passes only by sleeping; remembers the sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.sleeps: list[float] = []

    def time(self) -> float:
        """Wall-clock seconds."""
        return self.now

    def monotonic(self) -> float:
        """The same seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.sleeps.append(seconds)
        self.now += seconds


class Asked(NamedTuple):
    """One request as it arrived; header names in lower case; `peer` is the client's port."""

    method: str
    target: str
    headers: dict[str, str]
    peer: int


Reply = Callable[[Asked, socket.socket], bool]


def message(status: int, headers: dict[str, str] | None = None, body: bytes = b"", *, length: bool = True) -> bytes:
    """An HTTP/1.1 answer as bytes."""
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if length and "Content-Length" not in (headers or {}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class RawServer:
    """A port on 127.0.0.1 that answers each request by a function of the test; counts what it was asked."""

    def __init__(self, reply: Reply | bytes) -> None:
        self.reply = reply
        self.asked: list[Asked] = []
        self.released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            peer = connection.getpeername()[1]
            received = b""
            while True:
                while b"\r\n\r\n" not in received:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    received += piece
                head, _, received = received.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ")
                pairs = (line.split(": ", 1) for line in lines)
                request = Asked(method, target, {name.lower(): value for name, value in pairs}, peer)
                self.asked.append(request)
                if isinstance(self.reply, bytes):
                    connection.sendall(self.reply)
                elif not self.reply(request, connection):
                    return

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
