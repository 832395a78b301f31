"""JSON of a server: bounded before it is parsed, for a few bytes of it can become very many of memory; pure, no I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..errors import DownloadError
from .protocol import redact

if TYPE_CHECKING:
    from .protocol import TreeItem

PAGE_LIMIT = 4 << 20  # bytes; a page of 1000 files has about 0.3 MB
COMMIT_LIMIT = 8 << 20  # bytes; the answer about a revision names every file: 100,000 of them, at 80 bytes each
_VALUES = 400_000  # in one document; an empty list, `[],`, takes 64 bytes
_PAGES = 2000
_FILES = 100_000  # of one repo, as many as the Hub advises; some 60 MB while they are looked at and kept
_NAMES = 8 << 20  # bytes of all their names in memory
_SECONDS = 600.0  # for a whole listing


def parse(data: bytes, url: str, *, plain: bool = False) -> object:
    """The document.

    Args:
        data: As it came.
        url: Where from, for messages.
        plain: Only ASCII is wanted of it, and the rest may be garbled: one character beyond Latin-1 makes four bytes of
            each one in its text.

    Raises:
        DownloadError: It is no JSON, too deep, or has too many values.
    """
    shown = redact(url)
    values = sum(map(data.count, (b",", b"[", b"{")))  # at least as many as there are
    if values > _VALUES:
        raise DownloadError(f"{shown}: a document of {values} values, where at most {_VALUES} were expected", url=shown)
    # Escaped characters beyond Latin-1 go too; a backslash that is left before them escapes the slash.
    text = data.replace(b"\\u", b"//").decode("latin-1") if plain else data.decode(errors="replace")
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        pass  # raised below: the exception here holds the whole text, and would hang on as the context
    else:
        return document
    raise DownloadError(
        f"{shown}: expected JSON of the Hub's API, found {len(data)} bytes of something else", url=shown
    )


def stated_error(text: str) -> str:
    """What a refusal's JSON says in `error`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) else ""


class Pages:
    """The pages of one listing so far: none of them twice, not too many, not for too long.

    Args:
        now: By the monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._until = now + _SECONDS
        self._seen: set[str] = set()
        self._files = self._names = 0

    def turn(self, url: str, now: float) -> None:
        """Heed the page that is to be asked for next.

        Raises:
            DownloadError: There is to be none.
        """
        problem = ""
        if url in self._seen:
            problem = "leads back to a page it had"
        elif len(self._seen) >= _PAGES:
            problem = f"has more than {_PAGES} pages"
        elif now > self._until:
            problem = f"was not complete in {_SECONDS:g} s"
        if problem:
            raise DownloadError(f"{redact(url)}: the listing {problem}", url=redact(url))
        self._seen.add(url)

    def count(self, items: list[TreeItem], url: str) -> list[TreeItem]:
        """The items of a page, if they are not too many with those before.

        Raises:
            DownloadError: They are.
        """
        self._files += len(items)
        if self._files > _FILES:
            raise DownloadError(f"{redact(url)}: the Hub lists more than {_FILES} files", url=redact(url))
        self._names += sum(len(item.path) * (1 if item.path.isascii() else 4) for item in items)
        if self._names > _NAMES:
            raise DownloadError(f"{redact(url)}: the names of the files take more than {_NAMES} bytes", url=redact(url))
        return items


def is_gated(document: object) -> bool:
    """Whether the API's answer about a repo says that its files are for those who accepted its licence.

    Source: https://huggingface.co/docs/hub/api, `gated`: false, or how a request for access is treated.
    """
    return isinstance(document, dict) and bool(document.get("gated"))
