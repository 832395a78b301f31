"""The Hub as the rest of the package sees it: metadata, bytes, commits and listings, by name.

**Waiting.** Questions with small answers (`metadata`, `commit`, `tree`) are asked again after 429, 5xx and broken
connections, within the bounds of `retries`, because locks may be held meanwhile. `open_body` asks once: whoever
downloads decides, by `DownloadError.transient`, whether and from which byte to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ..errors import DownloadError, SettingError
from ..layout import is_commit
from . import plain
from .answer import Answer
from .body import PATIENT, Body
from .documents import COMMIT_LIMIT, PAGE_LIMIT, Pages, is_gated, parse, stated_error
from .failures import Refusal, Shared, Target, gated, refused
from .protocol import (
    FileMeta,
    TreeItem,
    commit_of,
    file_meta,
    next_page,
    origin,
    redact,
    resolve_url,
    revision_url,
    tree_items,
    tree_url,
)
from .ranges import Validators, Wanted
from .retries import repeat
from .shortcut import Shortcuts
from .tokens import Token
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..clock import Clock
    from .watch import Halt

__all__ = ["Body", "FileMeta", "Hub", "HubClient", "TreeItem"]

_DETAIL = 4096  # bytes read of a refusal's body


class Hub(Protocol):
    """What the rest of the package needs of a Hub; `HubClient` is the one over HTTP."""

    # `deadline` is by the monotonic clock: no answer is waited for beyond it.

    def metadata(
        self, repo_type: str, repo: str, revision: str, filename: str, *, deadline: float | None = None
    ) -> FileMeta:
        """What the Hub promises about a file."""

    def open_body(
        self,
        repo_type: str,
        repo: str,
        commit: str,
        filename: str,
        *,
        offset: int = 0,
        end: int | None = None,
        etag: str | None = None,
        deadline: float | None = None,
        halt: Halt | None = None,
        anew: bool = False,
    ) -> Body:
        """The bytes of a file, from `offset` where the server can."""

    def commit(self, repo_type: str, repo: str, revision: str, *, deadline: float | None = None) -> str:
        """The commit a revision stands for."""

    def tree(self, repo_type: str, repo: str, commit: str, *, deadline: float | None = None) -> Iterator[TreeItem]:
        """The files of a repo."""

    def close(self) -> None:
        """Let go of connections."""


class HubClient:
    """A Hub over HTTP. Safe to share between threads, and to inherit over `fork`.

    Args:
        endpoint: Its address, such as `https://huggingface.co`.
        token: The token, or None.
        clock: Tells time and waits (`clock.Clock`).
        etag_timeout: Seconds to connect and to wait for a small answer.
        download_timeout: Seconds without a byte after which a body has stalled.
        retries: How often a question is repeated.
        shared: What it asks for is for a root that a group shares; then there is no token.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        token: str | Token | None,
        clock: Clock,
        etag_timeout: float = 10.0,
        download_timeout: float = 10.0,
        retries: int = 5,
        shared: Shared | None = None,
    ) -> None:
        for name, value in (("etag_timeout", etag_timeout), ("download_timeout", download_timeout)):
            if not value > 0:
                raise SettingError(f"{name}: expected more than 0 seconds, found {value!r}")
        self.endpoint = endpoint.rstrip("/")
        problem = _problem(self.endpoint)
        if problem:
            raise SettingError(f"endpoint {redact(endpoint)!r}: expected an address such as https://host: {problem}")
        secret = Token(token, "the argument token") if isinstance(token, str) else token
        self._transport = Transport(self.endpoint, secret)
        self._clock = clock
        self._etag_timeout = etag_timeout
        self._download_timeout = download_timeout
        self._retries = retries
        self._shared = shared
        self._validators = Validators()
        self._shortcuts = Shortcuts()

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def metadata(
        self, repo_type: str, repo: str, revision: str, filename: str, *, deadline: float | None = None
    ) -> FileMeta:
        """What the Hub promises about a file: commit, etag, size, hash.

        Raises:
            NotFoundError: No such repo, revision or file.
            AccessError: Private, gated, or a token that is not accepted.
            DownloadError: No answer, or one that cannot be used.
        """
        url = resolve_url(self.endpoint, repo_type, repo, revision, filename)
        target = Target(self.endpoint, repo_type, repo, revision, filename)

        def ask() -> FileMeta:
            answer = self._transport.walk("HEAD", url, {}, timeout=self._etag_timeout, limit=self._left(deadline))
            try:
                if answer.status != 200 and not answer.leads_away:
                    raise self._refused(answer, target)
                return file_meta([*answer.passed, answer.headers], url, redirected=answer.leads_away)
            finally:
                answer.close()

        return repeat(ask, self._clock, self._retries, deadline)

    def _left(self, deadline: float | None) -> float | None:
        return None if deadline is None else deadline - self._clock.monotonic()

    def commit(self, repo_type: str, repo: str, revision: str, *, deadline: float | None = None) -> str:
        """The 40-hex commit that a branch, tag or commit stands for; raises as `metadata` does."""
        url = revision_url(self.endpoint, repo_type, repo, revision)
        target = Target(self.endpoint, repo_type, repo, revision)

        def ask() -> str:
            data, *_ = self._document(url, target, deadline, COMMIT_LIMIT)
            document = parse(data, url, plain=True)
            if self._shared is not None and is_gated(document):
                raise gated(self._shared, target)
            return commit_of(document, url)

        return repeat(ask, self._clock, self._retries, deadline)

    def tree(self, repo_type: str, repo: str, commit: str, *, deadline: float | None = None) -> Iterator[TreeItem]:
        """Each file of a repo at a commit, page by page; raises as `metadata` does.

        The paths are the server's word: check each (`layout.check_filename`) before it becomes a path.
        """
        url: str | None = tree_url(self.endpoint, repo_type, repo, commit)
        target = Target(self.endpoint, repo_type, repo, commit)
        pages = Pages(self._clock.monotonic())
        while url is not None:
            pages.turn(url, self._clock.monotonic())
            items, following = self._page(url, target, deadline)
            yield from pages.count(items, url)
            url = following

    def _page(self, url: str, target: Target, deadline: float | None) -> tuple[list[TreeItem], str | None]:
        def ask() -> tuple[list[TreeItem], str | None]:
            data, headers, final = self._document(url, target, deadline, PAGE_LIMIT)
            items = tree_items(parse(data, url), url)
            if any(self._transport.conceal(item.path) != item.path for item in items):
                items.clear()  # error reporters send the variables of each frame
                raise DownloadError(f"{redact(url)}: the listing names a file after the token", url=redact(url))
            return items, next_page(headers, final, self.endpoint)

        return repeat(ask, self._clock, self._retries, deadline)

    def open_body(
        self,
        repo_type: str,
        repo: str,
        commit: str,
        filename: str,
        *,
        offset: int = 0,
        end: int | None = None,
        etag: str | None = None,
        deadline: float | None = None,
        halt: Halt | None = None,
        anew: bool = False,
    ) -> Body:
        """Ask for the bytes of a file at a commit.

        Args:
            repo_type: `model`, `dataset`, `space` or `kernel`.
            repo: `name` or `owner/name`.
            commit: 40 hex digits.
            filename: The path inside the repo.
            offset: First byte wanted. `Body.start` says what comes: `offset`, or 0 where the server ignores or refuses
                the range (416), has other bytes under this name now, or `etag` vouches for nothing: then the whole file
                is sent, whatever `end` says, and what was there before is to be dropped.
            end: One past the last byte wanted, None for all.
            etag: The Hub's etag of the bytes already there (`FileMeta.etag`).
            deadline: By the monotonic clock; then the body is cut, too.
            halt: By which another thread can cut it, whatever it waits for (but for the name of a host to be found).
            anew: No cache on the way may answer from what it has.

        Raises:
            DownloadError: As for `metadata`, at once: `transient` says whether asking again can help. An expired link
                is transient, as every call gets a new one.
        """
        if not is_commit(commit):
            raise DownloadError(f"expected a 40-hex commit of {repo!r}, found {commit!r}")
        target = Target(self.endpoint, repo_type, repo, commit, filename)
        wanted = Wanted(self._validators, target, offset, end, etag, anew)
        if shortcut := self._shortcuts.address(target, etag):
            try:
                body = self._open(target, wanted, deadline, halt, shortcut)
            except DownloadError as error:
                if error.status is None:
                    raise
                self._shortcuts.forget(target)
            else:
                if body is not None:
                    return body
        body = self._open(target, wanted, deadline, halt)
        body = body or self._open(target, Wanted(self._validators, target, 0, None, None, anew), deadline, halt)
        assert body is not None  # what asks for no range is answered by a body or a refusal
        return body

    def _open(
        self, target: Target, wanted: Wanted, deadline: float | None, halt: Halt | None, shortcut: str = ""
    ) -> Body | None:
        """One GET; None where the range was not well answered and the whole file is to be asked for."""
        asked = resolve_url(self.endpoint, target.repo_type, target.repo, target.revision, target.filename)
        url = shortcut or asked
        answer = self._transport.walk(
            "GET",
            url,
            wanted.at_home(),
            timeout=self._download_timeout,
            leave=wanted.away,
            limit=self._left(deadline),
            halt=halt,
        )
        keep = False
        try:
            placed = wanted.placed(answer.status, answer.headers, away=answer.away)
            if placed is None and wanted.ranged:
                return None
            if placed is None or answer.status not in (200, 206):
                raise self._refused(answer, target)
            plain.check_bytes(answer, target.filename, placed[1])
            if answer.away:
                self._validators.remember(target, answer.headers.get("ETag"))
            elif answer.url not in (asked, shortcut):
                self._shortcuts.learn(target, wanted.etag, answer.url)
            keep = True
            return answer.body(*placed)
        finally:
            if not keep:
                answer.close()

    def _document(
        self, url: str, target: Target, deadline: float | None, limit: int
    ) -> tuple[bytes, Mapping[str, str], str]:
        """Bytes, headers and address of an answer of the API, which never comes from another host."""
        wanted = {"Accept": "application/json"}
        answer = self._transport.walk("GET", url, wanted, timeout=self._etag_timeout, limit=self._left(deadline))
        try:
            if answer.leads_away:
                raise DownloadError(f"{redact(url)}: the API redirects to another host; that is not followed")
            if answer.status != 200:
                raise self._refused(answer, target)
            plain.check_document(answer, redact(url))
            data = answer.body().read_all(limit, PATIENT * self._etag_timeout)
            return self._transport.conceal_bytes(data), answer.headers, answer.url
        finally:
            answer.close()

    def _refused(self, answer: Answer, target: Target) -> DownloadError:
        detail = ""
        if answer.headers.get("Content-Type", "").lower().startswith("application/json"):
            detail = self._transport.conceal(stated_error(answer.text(_DETAIL)))
        now, has_token = self._clock.time(), self._transport.has_token
        refusal = Refusal(
            answer.status, answer.headers, answer.url, detail, answer.away, has_token, now, shared=self._shared
        )
        return refused(refusal, target)


def _problem(endpoint: str) -> str:
    """Why this cannot be an endpoint; empty if it can."""
    try:
        origin(endpoint)
    except ValueError as error:
        return str(error)
    return "it carries a user name" if "@" in urlsplit(endpoint).netloc else ""
