"""One connection of a client: requests read from its socket, answers written to it or broken off."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import partial

from .answers import REASONS, Answer, Request
from .holds import Hold

_LINE = 65536  # bytes; longer request or header lines are refused
_HEADERS = 200
_CHUNK = 1 << 20  # bytes handed to the kernel at once, and so the grain of a record's `bytes_sent`
_TICK = 0.02  # seconds between two writes of a slowed body
_LOOK = 0.05  # seconds between two looks at whether a stalled client is still there
_MORE = getattr(socket, "MSG_MORE", 0)  # Linux: the headers wait for the body and leave in one packet with it
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)  # not on Windows
_LEFT = getattr(select, "POLLRDHUP", 0)  # Linux: seen also behind a request that nobody has read yet


class BrokenOff(Exception):
    """The answer ended before its end: a fault asked for that, or the client left."""


class Tally:
    """Where the bytes of a body are counted as they go out.

    Args:
        settling: Held from before bytes leave until they are counted, so that nobody who has them misses them.
        sent: Takes their number; by default nobody cares.
    """

    def __init__(
        self, settling: threading.Lock | None = None, sent: Callable[[int], None] = lambda _count: None
    ) -> None:
        self.settling = settling or threading.Lock()
        self.sent = sent


class Connection:
    """One accepted connection.

    Args:
        sock: The socket; closed by `close`.
        host: Which port it came in on: `hub` or `cdn`.
        stopping: Set when the hub stops; ends every wait.

    **Concurrency.** One thread reads and writes; `left` and `shut` may be called from any other, and `shut` makes that
    thread's next read or write fail at once.
    """

    def __init__(self, sock: socket.socket, host: str, stopping: threading.Event) -> None:
        self.sock = sock
        self.host = host
        self.stopping = stopping
        with contextlib.suppress(OSError):  # the client may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = sock.makefile("rb")

    def read_request(self) -> Request | None:
        """The next request; None when the client closed the connection or sent none that can be understood."""
        try:
            words = self._reader.readline(_LINE).split()
            if len(words) != 3:
                return None
            headers: dict[str, str] = {}
            for _ in range(_HEADERS):
                line = self._reader.readline(_LINE)
                if line in (b"\r\n", b"\n"):
                    break
                name, colon, value = line.decode("latin-1").partition(":")
                if not colon:
                    return None
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length") or 0)
            body = self._reader.read(length) if length else b""
        except (OSError, ValueError):
            return None
        path, _, query = words[1].decode("latin-1").partition("?")
        return Request(words[0].decode("latin-1"), path, query, headers, body, words[2].decode("latin-1"), self.host)

    def send(self, answer: Answer, *, head_only: bool, tally: Tally, holds: Iterable[Hold] = ()) -> None:
        """Sends an answer, and counts the bytes of its body as they go out.

        Raises:
            BrokenOff: It did not go out whole, and the connection is of no further use.
        """
        try:
            body = answer.length > 0 and not head_only
            self.sock.sendall(self._head(answer), _MORE if body and not holds else 0)
            if body:
                self.sock.setblocking(False)
                self._body(answer, tally, sorted(((hold.offset(answer.length), hold) for hold in holds), key=_first))
            self.sock.setblocking(True)
        except OSError as error:
            raise BrokenOff(str(error)) from error

    def gone(self) -> bool:
        """Whether the client has closed its end, or the hub stops."""
        if self.stopping.is_set():
            return True
        try:
            if not _DONTWAIT and not select.select([self.sock], [], [], 0)[0]:
                return False
            return not self.sock.recv(1, socket.MSG_PEEK | _DONTWAIT)
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True

    def left(self) -> bool:
        """As `gone`, and also while a request of that client waits to be read, where the platform can tell."""
        if not _LEFT:
            return self.gone()
        watch = select.poll()
        try:
            watch.register(self.sock, _LEFT)
            return bool(watch.poll(0))
        except (OSError, ValueError):
            return True

    def shut(self) -> None:
        """Makes every read and write on the connection fail from now on."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection in good order: what was sent is delivered."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self._reader.close()
        self.sock.close()

    def reset(self) -> None:
        """Closes the connection with a TCP reset: what was sent and not yet read is lost."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reader.close()
        self.sock.close()

    def _head(self, answer: Answer) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}"]
        lines += [f"{name}: {' '.join(value.splitlines())}" for name, value in answer.headers.items()]
        if not answer.shape.unframed and answer.status != 304:
            declared = answer.shape.declared
            lines.append(f"Content-Length: {answer.length if declared is None else declared}")
        lines.append(f"Date: {formatdate(usegmt=True)}")
        lines.append(f"Connection: {'close' if answer.close else 'keep-alive'}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def _body(self, answer: Answer, tally: Tally, holds: list[tuple[int, Hold]]) -> None:
        shape, position = answer.shape, 0
        stop = shape.end_at if shape.end else answer.length
        for offset, hold in holds:
            if offset > stop:
                break
            self._part(answer, position, offset, tally)
            position = offset
            if not hold.stand(self.gone):
                raise BrokenOff("the client left while it was held")
        self._part(answer, position, stop, tally)
        if shape.end == "stall":
            while not self.gone():
                self.stopping.wait(_LOOK)
        if shape.end:
            raise BrokenOff(shape.end)

    def _part(self, answer: Answer, start: int, stop: int, tally: Tally) -> None:
        """Sends bytes `start` to `stop` of the body (offsets in the answer's body)."""
        if start >= stop:
            return
        content = answer.content
        if not answer.shape.plain:
            self._shaped(answer, start, stop, tally)
        elif content is None or (content.data is not None and not content.key):
            source = memoryview(answer.body if content is None else content.data or b"")
            base = 0 if content is None else answer.start
            self._put(source[base + start : base + stop], tally)
        elif content.path is not None and not content.key and hasattr(os, "sendfile"):
            with open(content.path, "rb", buffering=0) as file:
                self._copy(file.fileno(), answer.start + start, answer.start + stop, tally)
        else:
            for block in content.blocks(answer.start + start, answer.start + stop):
                self._put(memoryview(block), tally)

    def _put(self, data: memoryview, tally: Tally) -> None:
        """Sends bytes from memory."""
        position = 0
        while position < len(data):
            piece = data[position : position + _CHUNK]
            position += self._counted(partial(self.sock.send, piece), tally)

    def _copy(self, file: int, start: int, stop: int, tally: Tally) -> None:
        """Sends bytes from a file, which the kernel copies without this process seeing them."""
        while start < stop:
            size = min(_CHUNK, stop - start)
            count = self._counted(partial(os.sendfile, self.sock.fileno(), file, start, size), tally)
            if not count:
                raise BrokenOff("the file became shorter than it was")
            start += count

    def _counted(self, send: Callable[[], int], tally: Tally) -> int:
        """One write, counted before anybody can read the log; it waits for the client outside of the lock."""
        while True:
            try:
                with tally.settling:
                    count = send()
                    tally.sent(count)
                return count
            except BlockingIOError:
                self._writable()

    def _writable(self) -> None:
        """Waits until the client has taken something, or the connection is shut."""
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self.sock, select.POLLOUT)
            poll.poll()
        else:  # Windows
            select.select([], [self.sock], [], None)

    def _shaped(self, answer: Answer, start: int, stop: int, tally: Tally) -> None:
        shape = answer.shape
        size = shape.piece if shape.pause else max(1, int(shape.rate * _TICK)) if shape.rate else _CHUNK
        began, done, position = time.monotonic(), 0, start
        for block in _blocks(answer, start, stop, size):
            piece = bytearray(block)
            if shape.flip_at is not None and position <= shape.flip_at < position + len(block):
                piece[shape.flip_at - position] ^= 1
            self._put(memoryview(piece), tally)
            position += len(piece)
            done += len(piece)
            due = began + done / shape.rate if shape.rate else 0.0
            delay = shape.pause or due - time.monotonic()
            if delay > 0 and position < stop and self.stopping.wait(delay):
                raise BrokenOff("the hub stops")


def _blocks(answer: Answer, start: int, stop: int, size: int) -> Iterable[bytes]:
    if answer.content is not None:
        return answer.content.blocks(answer.start + start, answer.start + stop, size)
    return (answer.body[at : min(at + size, stop)] for at in range(start, stop, size))


def _first(pair: tuple[int, Hold]) -> int:
    return pair[0]
