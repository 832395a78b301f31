"""Engines as they are in real life, started for a test: an S3 server, PostgreSQL, and a wire that is cut or held."""

import contextlib
import socket
import threading

import pytest

from stress.fleet import engines
from stress.fleet.engines import SECRET, LackingError, bucket_environment

__all__ = ["SECRET", "SIZE", "SMALL", "Bucket", "Postgres", "Wire", "name_bucket"]

SMALL, SIZE = "config.json", 3_000_000


def name_bucket(setenv, port):
    """What a host's environment says of an S3 server."""
    for name, value in bucket_environment(port).items():
        setenv(name, value)


class Skipping:
    """An engine that skips the test where a program is not installed."""

    def run(self):
        """Serve."""
        try:
            super().run()
        except LackingError as error:
            pytest.skip(str(error))


class Bucket(Skipping, engines.Bucket):
    """The S3 server of a test."""


class Postgres(Skipping, engines.Postgres):
    """The PostgreSQL of a test."""


class Wire:
    """A port that leads to another, on which so many bytes come back before something is done.

    Attributes:
        port: Where to connect.
        connections: How many there were.
    """

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._left, self._do, self._ends = None, None, []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def after(self, count, do):
        """Once so many bytes have come back, `do` it before another does."""
        self._left, self._do = count, do

    def cut(self):
        """All connections that there are break off."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Nobody listens any more, not even who waits for a connection just now."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                self._ends += (near, far)
                for source, target, back in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._relay, args=(source, target, back), daemon=True).start()

    def _relay(self, source, target, back):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if back and self._left is not None:
                    with self._lock:
                        self._left -= len(data)
                        if self._left <= 0 and self._do is not None:
                            do, self._do = self._do, None
                            do()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
