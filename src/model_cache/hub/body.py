"""The bytes of one answer, read into the caller's buffer: bounded in memory and time, honest about a cut.

**Performance.** One `recv_into` per piece straight into the caller's buffer, over the buffered reader inside
`http.client`: no bytes object is made, and 1 GiB over loopback costs no more than requests' own `iter_content`. What
differs is that a slow line gives control back after `_LINGER` seconds with whatever came, instead of blocking until a
whole buffer is full; a caller can thus show progress, heed its deadline, and keep what a dying connection sent.

**Guarantees.** Bytes that arrived before a cut are handed over first, then the cut is raised. A body shorter than its
`Content-Length` is always an error. *Not* guaranteed: a body without a length ends where the connection ends, so a cut
looks like its end; the caller's own length and hash decide. A body that drips is cut: see `_FLOOR`.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..errors import DownloadError
from .chunks import Chunks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

# Seconds that `readinto` goes on to fill a buffer once it has some bytes: long enough that a fast line fills it, short
# enough for a progress bar.
_LINGER = 0.2
_PIECE = 64 * 1024  # bytes per read of a small answer, and where only urllib3's own reading is possible
# A time-out of the socket begins anew with each byte. So each exchange, and each stretch of a body that brings less than
# `_FLOOR` bytes, may take so many of them: a minute of the default ones, and 17 bytes per second are slower than any line.
PATIENT = 6
_FLOOR = 1024
# Whose exceptions mean a broken body. Any other comes from a signal handler of the program, such as celery's
# SoftTimeLimitExceeded, and is the program's own: it is no reason to try again.
_OF_HTTP = frozenset({"builtins", "http", "requests", "ssl", "urllib3"})


class Body:
    """The body of one answer; a context manager that closes it.

    Args:
        raw: urllib3's response.
        name: The redacted address, for messages.
        status: HTTP status.
        start: Offset in the file of the first byte that follows.
        total: Size of the whole file in bytes, None if the server did not say.
        stall: The read timeout in seconds, for messages.
        explain: Turns an exception of the HTTP libraries into words that repeat no address; called with what the caller was
            handling before, too.
        on_close: Called once; True when the connection can serve another request.

    Attributes:
        status, start, total: As above. A caller that asked for an offset looks at `start`: it is 0 where the server
            did not give the range (ignored, refused, or the file is another one now).
        left: Bytes still to come, None if unknown.
    """

    def __init__(
        self,
        raw: Any,
        *,
        name: str,
        status: int,
        start: int,
        total: int | None,
        stall: float,
        explain: Callable[[BaseException, BaseException | None], str],
        on_close: Callable[[bool], None],
    ) -> None:
        self.status = status
        self.start = start
        self.total = total
        self._raw = raw
        self._name = name
        self._stall = stall
        self._explain = explain
        self._on_close: Callable[[bool], None] | None = on_close
        self._pid = os.getpid()
        self._failure: DownloadError | None = None
        self._ended = False
        self._count = 0
        self._waited, self._since = 0.0, 0  # seconds spent waiting for bytes, and how many had come when that began
        self._http, self._reader = _buffered_reader(raw)
        self._chunks = Chunks(self._reader) if self._http and self._reader and self._http.chunked else None
        self.left: int | None = self._http.length if self._http is not None else None
        self._promised = self.left

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def readinto(self, buffer: memoryview) -> int:
        """Put the next bytes into `buffer` and return how many; 0 at the end of the body.

        Raises:
            DownloadError: Cut, reset or stalled (`transient`); or the body was opened before a fork (not).
        """
        if self._failure is None and os.getpid() != self._pid:
            # Parent and child would each get a random half of the bytes.
            self._failure = DownloadError(f"{self._name}: this body belongs to the process that opened it")
        if self._failure is not None:
            raise self._failure
        if self._ended or not len(buffer):
            return 0
        if self.left is not None and len(buffer) > self.left:
            buffer = buffer[: self.left]
        count, failure = self._fill(buffer)
        if self.left is not None:
            self.left -= count
        if failure is None and not count and self.left:
            failure = self._cut("the connection ended early")
        # Kept for the next call if bytes came before it: a socket that failed once says something else the second time.
        self._failure = failure
        if failure is None:
            self._ended = not count or self.left == 0
        elif not count:
            # Raised outside the handler, so that no exception of the HTTP libraries (they quote signed addresses)
            # hangs on to this one as its context.
            raise failure
        return count

    def _fill(self, buffer: memoryview) -> tuple[int, DownloadError | None]:
        """Read until the buffer is full, the body ends, or `_LINGER` has passed."""
        count = 0
        handled = sys.exc_info()[1]
        began = now = time.monotonic()
        try:
            while count < len(buffer):
                got = self._read_some(buffer[count:])
                if got == 0:
                    break
                count += got or 0
                self._count += got or 0
                before, now = now, time.monotonic()
                if self._drips(now - before):
                    return count, self._cut(f"less than {_FLOOR} bytes in {PATIENT * self._stall:g} s")
                if count and now > began + _LINGER:
                    break
        except TimeoutError:
            return count, self._cut(f"no byte for {self._stall:g} s")
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _OF_HTTP:
                raise
            return count, self._cut(self._explain(error, handled))
        return count, None

    def _drips(self, seconds: float) -> bool:
        """Whether, with so many more seconds of waiting, too little came in too long a time; the caller's own is not counted."""
        self._waited += seconds
        if self._count - self._since >= _FLOOR:
            self._waited, self._since = 0.0, self._count
        return self._waited > PATIENT * self._stall

    def _read_some(self, view: memoryview) -> int | None:
        if self._chunks is not None:
            return self._chunks.readinto(view)
        if self._reader is not None:
            return self._reader.readinto1(view)
        length = min(len(view), _PIECE)
        read1 = getattr(self._raw, "read1", None)  # urllib3 2 has it; 1.26 waits for the whole piece
        data = read1(length, decode_content=False) if read1 else self._raw.read(length, decode_content=False)
        data = data or b""  # None once urllib3 has let the connection go
        view[: len(data)] = data
        return len(data)

    def _cut(self, reason: str) -> DownloadError:
        of = "" if self._promised is None else f" of {self._promised}"
        return DownloadError(
            f"{self._name}: {reason} after {self._count}{of} bytes of this answer",
            hint="try again: the download goes on where it stopped",
            status=self.status,
            url=self._name,
            transient=True,
        )

    def read_all(self, limit: int, seconds: float) -> bytes:
        """The whole body of a small answer.

        Raises:
            DownloadError: More than `limit` bytes, longer than `seconds`, or cut.
        """
        kept = io.BytesIO()
        buffer = memoryview(bytearray(min(limit + 1, _PIECE)))
        deadline = time.monotonic() + seconds
        while got := self.readinto(buffer):
            kept.write(buffer[:got])
            if kept.tell() > limit:
                raise DownloadError(
                    f"{self._name}: an answer of more than {limit} bytes where a small one was expected"
                )
            if time.monotonic() > deadline:
                raise self._cut(f"the answer was not complete in {seconds:g} s")
        return kept.getvalue()

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else cut it. Closing twice is allowed."""
        on_close, self._on_close = self._on_close, None
        if on_close is None:
            return
        reusable = False
        # Whatever goes wrong with a connection that is given up is of no interest to anybody.
        with contextlib.suppress(Exception):
            reusable = (self._ended or self.left == 0) and self._failure is None and self._settle()
        if not reusable:
            with contextlib.suppress(Exception):
                self._raw.close()
        self._reader = self._http = self._chunks = None
        on_close(reusable)

    def _settle(self) -> bool:
        """Tell http.client that the body has been read past it, and urllib3 that the connection is free."""
        if self._http is not None:
            if self._chunks is not None and self._chunks.ended:
                self._http.chunked = False
                self._http.length = 0
            if self._http.length is None:
                return False
            self._http.length = 0
            self._http.read()
        self._raw.release_conn()
        return True


def _buffered_reader(raw: Any) -> tuple[http.client.HTTPResponse | None, io.BufferedReader | None]:
    """The reader below urllib3; (None, None), where it cannot be had, sends reading through urllib3."""
    response = getattr(raw, "_fp", None)
    if isinstance(response, http.client.HTTPResponse):
        reader = response.fp
        if isinstance(reader, io.BufferedReader):
            return response, reader
        if reader is None:  # answers without a body: HEAD, 204, 304
            return response, None
    return None, None
