"""A body in chunks (RFC 9112, 7.1), read so that control comes back after each read of the socket, and no line is long.

The reading of `http.client` goes on for as long as trailers, or the bytes of one line, keep coming.
"""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import io

_LINE = 1024  # bytes of a line between two chunks; a length has 16, and nobody needs an extension
_TRAILERS = 100  # lines after the last chunk
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?\r?\n", re.DOTALL)


class Chunks:
    """The payload of one answer.

    Args:
        reader: The buffered reader of the connection, after the headers.

    Attributes:
        ended: The last chunk and the lines behind it were read: the connection can serve again.
    """

    def __init__(self, reader: io.BufferedReader) -> None:
        self.ended = False
        self._reader = reader
        self._line = b""
        self._left = 0
        self._expected = self._size
        self._trailers = 0

    def readinto(self, view: memoryview) -> int | None:
        """Put some bytes into `view` and return how many; 0 at the end, None if what came was no payload.

        Raises:
            HTTPException: It is cut, or no body in chunks.
        """
        if self.ended:
            return 0
        if not self._left:
            return self._between()
        count = self._reader.readinto1(view[: self._left])
        if not count:
            raise http.client.IncompleteRead(b"")
        self._left -= count
        if not self._left:
            self._expected = self._gap
        return count

    def _between(self) -> int | None:
        """Take what is there of a line between two chunks, and heed it once it is complete."""
        there = self._reader.peek(1)
        if not there:
            raise http.client.IncompleteRead(b"")
        self._line += self._reader.read(there.find(b"\n") + 1 or len(there))
        if len(self._line) > _LINE:
            raise http.client.LineTooLong("chunk")
        if self._line.endswith(b"\n"):
            line, self._line = self._line, b""
            self._expected(line)
        return 0 if self.ended else None

    def _gap(self, line: bytes) -> None:
        if line not in (b"\r\n", b"\n"):
            raise http.client.HTTPException("no end of a chunk")
        self._expected = self._size

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise http.client.HTTPException("no length of a chunk")
        self._left = int(match[1], 16)
        if not self._left:
            self._expected = self._trailer

    def _trailer(self, line: bytes) -> None:
        self.ended = line in (b"\r\n", b"\n")
        self._trailers += 1
        if self._trailers > _TRAILERS:
            raise http.client.HTTPException("too many lines after the last chunk")
