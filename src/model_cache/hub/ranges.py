"""What one GET asks for, hop by hop, so that a range never joins bytes of two different files; no I/O.

On the endpoint `If-Range` sees to that, with the Hub's etag. The storage behind a redirect has ETags of its own, so
the Hub's would only make it send everything. There the redirect itself vouches (its `X-Linked-Etag` is the etag of the
bytes we have), and `If-Range` carries the storage's own ETag where an earlier answer told it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .protocol import content_range, normal_etag, parse_size, strong_etag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .failures import Target

_REMEMBERED = 256  # files whose storage ETag is kept


class Validators:
    """The storage's ETags as its answers told them, by file; a few, in memory: losing one costs an `If-Range`."""

    def __init__(self) -> None:
        self._known: dict[Target, str] = {}

    def get(self, target: Target) -> str | None:
        """The ETag of this file, ready to be sent."""
        return self._known.get(target)

    def remember(self, target: Target, etag: str | None) -> None:
        """Keep a strong ETag for the next range of this file; single dictionary steps need no lock."""
        strong = strong_etag(etag)
        if strong is not None:
            if len(self._known) >= _REMEMBERED:
                self._known = {}
            self._known[target] = strong


class Wanted:
    """The part of a file that one GET wants.

    Args:
        validators: What is known of the storage's ETags.
        target: The file.
        offset: First byte.
        end: One past the last byte, or None.
        etag: The Hub's etag of the bytes already there; without one that a header can carry, nothing would vouch for
            the rest, and the whole file is asked for.
        anew: Not from a cache on the way (RFC 9111, 5.2.1.4): what it gave before was wrong.
    """

    def __init__(
        self,
        validators: Validators,
        target: Target,
        offset: int,
        end: int | None,
        etag: str | None,
        anew: bool = False,
    ) -> None:
        self._validators = validators
        self._target = target
        self.etag = etag or ""
        self._strong = strong_etag(f'"{etag}"') if etag else None
        self.offset = offset
        last = "" if end is None else str(end - 1)
        vouched = offset == 0 or self._strong is not None
        self._always = {"Cache-Control": "no-cache"} if anew else {}
        self._range = {"Range": f"bytes={offset}-{last}"} if vouched and (offset or last) else {}

    @property
    def ranged(self) -> bool:
        """Whether less than the whole file is asked for."""
        return bool(self._range)

    def at_home(self) -> Mapping[str, str]:
        """Headers for the endpoint."""
        vouched = {"If-Range": self._strong} if self._range and self._strong else {}
        return {**self._always, **self._range, **vouched}

    def away(self, redirects: list[Mapping[str, str]]) -> Mapping[str, str]:
        """Headers for the storage, given those of the redirects that led there."""
        return {**self._always, **self._range_away(redirects)}

    def _range_away(self, redirects: list[Mapping[str, str]]) -> Mapping[str, str]:
        if not self._range or not self.etag:
            return self._range
        linked = next((headers["X-Linked-Etag"] for headers in reversed(redirects) if "X-Linked-Etag" in headers), None)
        known = self._validators.get(self._target)
        if linked is not None and normal_etag(linked) != self.etag:
            return {}  # another file has this name now
        if known is not None:
            return {**self._range, "If-Range": known}
        return self._range if linked is not None else {}

    def placed(self, status: int, headers: Mapping[str, str], *, away: bool) -> tuple[int, int | None] | None:
        """Where an answer's bytes belong: (offset of the first, size of the file); None if nobody can tell.

        None is the answer to a 416, to a 206 that was not asked for or is not what was asked for, and to a 206 with the
        endpoint's word that it is another file: a server that knows no `If-Range`.
        """
        if status == 206:
            found = content_range(headers)
            if not self._range or found is None or found[0] != self.offset:
                return None
            if parse_size(headers.get("Content-Length")) not in (None, found[1] - found[0]):
                return None
            etag = normal_etag(headers.get("X-Linked-Etag") or headers.get("ETag"))
            if not away and self.etag and etag not in ("", self.etag):
                return None
            return found[0], found[2]
        if status == 416:
            return None
        return 0, None if "Transfer-Encoding" in headers else parse_size(headers.get("Content-Length"))
