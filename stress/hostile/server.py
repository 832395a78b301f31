"""A raw server that speaks the Hub's protocol soundly, but for the one stage that a case has taken over."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

COMMIT = "c0ffee" * 6 + "cafe"
REPO, FILE = "owner/name", "model.bin"
BODY = bytes(range(256)) * 2048  # 512 KiB
SHA256 = hashlib.sha256(BODY).hexdigest()
META = {"X-Repo-Commit": COMMIT, "ETag": f'"{SHA256}"', "Content-Length": str(len(BODY))}
JSON = {"Content-Type": "application/json"}
ITEM = {"type": "file", "path": FILE, "size": len(BODY), "lfs": {"oid": SHA256, "size": len(BODY)}}
_LONGEST = 120.0  # seconds that a server stays silent, at most


class Asked(NamedTuple):
    """One request as it arrived; header names in lower case."""

    stage: str
    method: str
    target: str
    headers: dict[str, str]


class Wire:
    """One connection, from the server's side.

    Attributes:
        hub: The server it belongs to.
    """

    def __init__(self, hub: RawHub, connection: socket.socket) -> None:
        self.hub = hub
        self._connection = connection

    def send(self, data: bytes) -> None:
        """Send all of it; raises OSError once the client has gone."""
        self._connection.sendall(data)

    def wait(self, seconds: float = _LONGEST) -> bool:
        """Do nothing for a while; True when the server is to stop."""
        return self.hub.stopped.wait(seconds)


# What a case does at its stage; True: the connection serves on.
Reply = Callable[[Asked, Wire], bool]


def message(status: int, headers: dict[str, str] | None = None, body: bytes = b"", *, length: bool = True) -> bytes:
    """An answer as bytes."""
    given = headers or {}
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in given.items())]
    if length and not {"Content-Length", "Transfer-Encoding"} & set(given):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + body


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"", *, length: bool = True) -> Reply:
    """A reply that is always the same; `{hub}` in a header is the server's own address."""

    def reply(_asked: Asked, wire: Wire) -> bool:
        filled = {name: value.replace("{hub}", wire.hub.url) for name, value in (headers or {}).items()}
        wire.send(message(status, filled, body, length=length))
        return length

    return reply


class RawHub:
    """A port that serves one file of one repo; what it was asked is kept.

    Args:
        stage: What is answered by `reply`: `metadata`, `body`, `commit`, `tree`, `other`, or `any`.
        reply: Instead of the sound answer.
        host: The address it listens on; empty for all there are.
        name: What it is called in its own address.

    Attributes:
        asked: Every request.
        knocked: How many connections were made.
    """

    def __init__(self, stage: str = "", reply: Reply | None = None, host: str = "127.0.0.1", name: str = "") -> None:
        self.stopped = threading.Event()
        self.asked: list[Asked] = []
        self._stage, self._reply = stage, reply
        self.knocked = 0
        family = socket.AF_INET if host else socket.AF_INET6
        self._listener = socket.create_server((host, 0), family=family, dualstack_ipv6=not host)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{name or host}:{self.port}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> RawHub:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.knocked += 1
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        wire, received = Wire(self, connection), b""
        with contextlib.suppress(OSError), connection:
            while True:
                while b"\r\n\r\n" not in received:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    received += piece
                head, _, received = received.partition(b"\r\n\r\n")
                asked = _parsed(head.decode("latin-1"))
                self.asked.append(asked)
                taken = self._reply is not None and self._stage in (asked.stage, "any")
                if not (self._reply if taken and self._reply else _soundly)(asked, wire):
                    return


def _parsed(head: str) -> Asked:
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    stage = "other"
    if "/revision/" in target:
        stage = "commit"
    elif "/tree/" in target:
        stage = "tree"
    elif "/resolve/" in target:
        stage = "metadata" if method == "HEAD" else "body"
    return Asked(stage, method, target, {name.lower(): value for name, value in pairs})


def _soundly(asked: Asked, wire: Wire) -> bool:
    """The answer of a Hub that does not lie."""
    if asked.stage == "commit":
        wire.send(message(200, JSON, json.dumps({"sha": COMMIT}).encode()))
    elif asked.stage == "tree":
        wire.send(message(200, JSON, json.dumps([ITEM]).encode()))
    elif asked.method == "HEAD":
        wire.send(message(200, META))
    else:
        wire.send(message(200, META, BODY))
    return True
