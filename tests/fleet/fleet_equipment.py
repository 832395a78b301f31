"""Engines as they are in real life, started for a test: an S3 server, PostgreSQL, and a wire that is cut or held."""

import contextlib
import socket
import threading

import pytest
from support import FILE, REPO, Told

import model_cache.fleet.bucket
from stress.fleet import ceph, engines, swift
from stress.fleet.engines import SECRET, LackingError, bucket_environment

__all__ = [
    "SECRET",
    "SERVERS",
    "SIZE",
    "SLOW",
    "SMALL",
    "Ceph",
    "Port",
    "Postgres",
    "Told",
    "Wire",
    "bytes_of",
    "fill",
    "name_bucket",
    "objects_in",
]

SMALL, SIZE = "config.json", 3_000_000


def name_bucket(setenv, bucket, port=None):
    """Have a host's environment say where an S3 server is, or the wire that leads to it."""
    for name, value in bucket_environment(port or bucket.port, key=bucket.key).items():
        setenv(name, value)


def objects_in(bucket):
    """The names of its objects."""
    return [one.name for one in model_cache.fleet.bucket.Bucket(bucket.address).stored("v1/")]


def bytes_of(bucket, name):
    """What an object holds."""
    return b"".join(model_cache.fleet.bucket.Bucket(bucket.address).fetch(name).chunks)


def fill(host, hub, tier=None, names=(FILE, SMALL)):
    """A first host downloads files, and the tier has them; what the hub saw of it is forgotten."""
    first = host("first", **({} if tier is None else {"tier": tier}))
    for name in names:
        first.fetch(REPO, name)
    assert first.wait_for_uploads(60) == 0
    hub.reset()
    return first


class Skipping:
    """An engine that skips the test where a program is not installed."""

    def run(self):
        """Serve."""
        try:
            super().run()
        except LackingError as error:
            pytest.skip(str(error))


class Rclone(Skipping, engines.Bucket):
    """A small S3 server, with ways of its own."""


class Swift(Skipping, swift.Swift):
    """A large one, as clouds have it."""


class Ceph(Skipping, ceph.Ceph):
    """One that takes ten seconds to start, and packages of Debian's: for `make test-engines`."""


SLOW = [pytest.mark.engine, pytest.mark.timeout(400)]
SERVERS = [
    pytest.param(Swift, id="swift"),
    pytest.param(Rclone, id="rclone"),
    pytest.param(Ceph, id="ceph", marks=SLOW),
]


class Postgres(Skipping, engines.Postgres):
    """The PostgreSQL of a test.

    Attributes:
        address: Has more patience than a host has by itself: machines that run the suite stand still for longer than that.
        hasty: Has what a host has by itself.
    """

    def __init__(self, options=()):
        super().__init__(options=options)
        self.hasty, self.address = self.address, f"{self.address}?connect_timeout=60"


class Port:
    """A port of this machine, whose connections are met one after the other.

    Attributes:
        port: Where to connect.
    """

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Nobody listens any more, not even who waits for a connection just now."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._meet(near)


class Wire(Port):
    """A port that leads to another, on which so many bytes come back before something is done.

    Attributes:
        connections: How many there were.
    """

    def __init__(self, target):
        self._target = target
        self.connections = 0
        self._left, self._do, self._ends = None, None, []
        self._between = None
        self._lock = threading.Lock()
        super().__init__()

    def after(self, count, do):
        """Once so many bytes have come back, `do` it before another does."""
        self._left, self._do = count, do

    def drip(self, between):
        """From now on what comes back comes byte by byte, with `between` done before each."""
        self._between = between

    def cut(self):
        """All connections that there are break off."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _meet(self, near):
        self.connections += 1
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
            # Else the system takes megabytes ahead, which still come when the server does nothing more.
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        except OSError:
            near.close()
            return
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
                while back and self._between is not None and data:
                    self._between()
                    target.sendall(data[:1])
                    data = data[1:]
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
