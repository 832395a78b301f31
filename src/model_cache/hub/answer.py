"""One answer of a server, its headers read and its body not yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import DownloadError
from .body import Body
from .network import reason_of
from .protocol import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DRAIN = 64 * 1024  # bytes of a redirect's own body worth reading to keep the connection


class Answer:
    """One answer, its body not yet read.

    Attributes:
        status: HTTP status.
        headers: By name in any case.
        url: Address that answered, not redacted.
        away: It came from another origin than the endpoint's, or from the endpoint after the chain had left it.
        leads_away: It is a redirect off the endpoint that was not followed.
        passed: Headers of the redirects before it.
    """

    def __init__(self, response: Any, url: str, away: bool, timeout: float, give: Callable[[bool], None]) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = url
        self.away = away
        self.leads_away = False
        self.passed: list[Mapping[str, str]] = []
        self._timeout = timeout
        self._body = Body(
            response.raw,
            name=redact(url),
            status=self.status,
            start=0,
            total=None,
            stall=timeout,
            explain=reason_of,
            on_close=give,
        )

    @property
    def location(self) -> str | None:
        """Where a redirect leads; http.client reads headers as Latin-1, but what is not ASCII in them is UTF-8."""
        location = self.headers.get("Location")
        if location is None or location.isascii():
            return location
        return location.encode("latin-1", errors="replace").decode("utf-8", errors="replace")

    def body(self, start: int = 0, total: int | None = None) -> Body:
        """The body, which then is the caller's to close."""
        self._body.start, self._body.total = start, total
        return self._body

    def drain(self) -> None:
        """Read the little a redirect says and keep the connection; cut it where that is not little."""
        try:
            if self._body.left is None or self._body.left > _DRAIN:
                return
            self._body.read_all(_DRAIN, self._timeout)
        except DownloadError:
            pass
        finally:
            self.close()

    def text(self, limit: int) -> str:
        """The beginning of the body as text, at most `limit` bytes; empty where it cannot be read."""
        buffer = memoryview(bytearray(limit))
        try:
            count = self._body.readinto(buffer)
        except DownloadError:
            count = 0
        return bytes(buffer[:count]).decode("utf-8", errors="replace")

    def close(self) -> None:
        """Give the connection back, or cut it if bytes are left."""
        self._body.close()
