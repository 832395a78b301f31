"""HTTP through `requests`, of which this module is the only importer: one request, one chain of redirects.

Redirects are walked here and judged by `protocol.next_hop`; requests itself never follows one.

**Secrets.** The token is sent to the endpoint's own origin alone, and in a chain of redirects never again once the
chain has left it. An `auth=` object is always set, else `.netrc` would be used. The exceptions and debug lines of
requests and urllib3 quote whole addresses, whose queries can be signatures: exceptions are turned into words of our
own outside their handler, so that none stays as `__context__`; debug lines are redacted while one of our requests runs.

**Concurrency.** A `Transport` may be shared between threads: each request borrows a session that nobody else uses. A
child made by `fork` forgets the sessions it inherited and never reads or writes their sockets.
"""

from __future__ import annotations

import http.client
import logging
import os
import sys
import threading
import time
import weakref
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from ..errors import DownloadError
from ..platforms.capabilities import after_fork
from ..version import __version__
from .addresses import zone_of
from .answer import Answer
from .body import PATIENT
from .network import too_long, unanswered
from .peers import Gate, check_all
from .protocol import MAX_HOPS, REDIRECTS, next_hop, origin, redact
from .redaction import REDACTION
from .watch import Halt, Watch, announce_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .tokens import Token

logger = logging.getLogger("model_cache.hub")

_AGENT = f"model-cache/{__version__}"  # who asks, for whoever runs the Hub or a mirror
_IDLE = 16  # sessions kept for reuse; more threads than that at once open new ones
_SHORTEST = 8  # characters of a token that is looked for in answers; a shorter one would be found in any text


class Transport:
    """Sends requests to one endpoint and to where it redirects.

    Args:
        endpoint: Address of the Hub, without a closing slash.
        token: The secret to send there, or None.
    """

    def __init__(self, endpoint: str, token: Token | None) -> None:
        self.endpoint = endpoint
        self.has_token = token is not None
        self._token = token
        self._home = origin(endpoint)
        self._seen = self._home[
            1
        ]  # where the endpoint is: its host, then the address of the last connection that served
        self._bearer = _Bearer(token, self._home)
        self._nobody = _Bearer(None, self._home)
        self._reset()
        _TRANSPORTS.add(self)

    def _reset(self) -> None:
        """Start with no sessions; in a forked child nothing of the parent's may be used, its lock included."""
        self._lock = threading.Lock()
        self._idle: list[_Session] = []
        self._closed = False

    def close(self) -> None:
        """Close idle connections, and those in use as soon as they are given back."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._closed = True
        for session in idle:
            session.close()

    def conceal(self, text: str) -> str:
        """A server's text without the token, which it knows and may repeat."""
        secret = "" if self._token is None else self._token.reveal()
        return text.replace(secret, "***") if len(secret) >= _SHORTEST else text

    def conceal_bytes(self, data: bytes) -> bytes:
        """The same of a document that is not decoded yet."""
        secret = b"" if self._token is None else self._token.reveal().encode()
        return data.replace(secret, b"***") if len(secret) >= _SHORTEST else data

    def walk(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        leave: Callable[[list[Mapping[str, str]]], Mapping[str, str]] | None = None,
        limit: float | None = None,
        halt: Halt | None = None,
    ) -> Answer:
        """Send a request and follow its redirects.

        Args:
            method: `HEAD` or `GET`.
            url: An address of the endpoint.
            headers: Of the request.
            timeout: Seconds to connect, and seconds without a byte.
            leave: Called with the headers of the redirects, the last of which leads away from the endpoint; returns the
                headers to send there. None: such a redirect is not followed but returned (`Answer.leads_away`).
            limit: Seconds for the whole chain and for the body after it; None: what moves is waited for.
            halt: Cuts the chain and the body after it when it is called.

        Returns:
            The last answer, to be closed by the caller; `passed` has the headers of the redirects before it.

        Raises:
            DownloadError: No answer, too many redirects, or one that is refused.
        """
        try:
            return self._walk(method, url, headers, timeout, leave, limit, halt or Halt())
        except DownloadError as error:
            # Error reporters send the variables of each frame, and the frames below have whole addresses in theirs.
            failure = error.with_traceback(None)
        raise failure

    def _walk(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        leave: Callable[[list[Mapping[str, str]]], Mapping[str, str]] | None,
        limit: float | None,
        halt: Halt,
    ) -> Answer:
        passed: list[Mapping[str, str]] = []
        away = False
        until = None if limit is None else time.monotonic() + limit
        while True:
            left = None if until is None else until - time.monotonic()
            answer = self._send(method, url, headers, timeout=timeout, left=left, away=away, halt=halt)
            answer.passed = passed
            if answer.status not in REDIRECTS:
                return answer
            hop = next_hop(url, answer.location, self.endpoint, zone_of(self._seen))
            if hop.verdict == "refused" or len(passed) == MAX_HOPS:
                answer.close()
                reason = hop.reason or f"it is redirect number {MAX_HOPS + 1} in a row"
                raise DownloadError(
                    f"{redact(url)}: a redirect is refused: {reason}", status=answer.status, url=redact(url)
                )
            if hop.verdict == "other-origin" and not away:
                if leave is None:
                    answer.leads_away = True
                    return answer
                headers = leave([*passed, answer.headers])
                away = True
            answer.drain()
            passed.append(answer.headers)
            url = hop.url

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        left: float | None,
        away: bool,
        halt: Halt,
    ) -> Answer:
        bound = PATIENT * timeout if left is None else left
        if bound <= 0:
            raise too_long(url, 0.0)
        timeout = min(timeout, bound)
        session = self._take()
        started = time.monotonic()
        watch = Watch(bound)
        halt.add(watch)
        home = origin(url) == self._home
        gate = Gate(zone_of(self._seen), self._seen, home=home, shown=redact(url))
        response, failure = None, None
        try:
            response, failure = self._ask(session, method, url, headers, timeout, away=away, within=(watch, gate))
        finally:
            watch.stop()
            if response is None or watch.over:
                halt.discard(watch)
                session.close()
        if watch.over:
            failure = too_long(url, bound)
            if response is not None:  # headers that were cut off look like all there are
                response.raw.close()
        if failure is not None:  # raised here, not in the handler: see Secrets above
            logger.debug("%s %s: %s", method, redact(url), failure.message)
            raise failure
        assert response is not None
        if home and gate.peer:  # not before: until TLS has said who it is, an address is anybody's
            self._seen = gate.peer
        seconds = time.monotonic() - started
        logger.debug("%s %s -> %d in %.3f s", method, redact(url), response.status_code, seconds)
        if left is not None:
            watch.extend(left - seconds)

        def give(reusable: bool) -> None:
            halt.discard(watch)
            watch.stop()
            self._give(session, reusable and not watch.over)

        if self.has_token:
            for name, value in response.headers.items():
                response.headers[name] = self.conceal(value)
        return Answer(response, url, away, timeout, give)

    def _ask(
        self,
        session: _Session,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        away: bool,
        within: tuple[Watch, Gate],
    ) -> tuple[requests.Response | None, DownloadError | None]:
        """One exchange: its answer, or why there is none, which is not raised here: see Secrets above."""
        watch, gate = within
        handled = sys.exc_info()[1]  # who asks in a handler of their own is not told what they handle
        try:
            with REDACTION, watch, gate:
                response = session.request(
                    method,
                    url,
                    headers={"Accept-Encoding": "identity", "User-Agent": _AGENT, **headers},
                    auth=self._nobody if away else self._bearer,
                    allow_redirects=False,
                    stream=True,
                    timeout=(timeout, timeout),
                )
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as error:
            return None, unanswered(error, url, timeout, handled)
        return response, None

    def _take(self) -> _Session:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Session()

    def _give(self, session: _Session, reusable: bool) -> None:
        with self._lock:
            if reusable and not self._closed and session.pid == os.getpid() and len(self._idle) < _IDLE:
                self._idle.append(session)
                return
        session.close()


class _Session(requests.Session):
    """A session for one borrower at a time: no redirects, no cookies, no retries of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.pid = os.getpid()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._environment: dict[tuple[str, str, int], dict[str, Any]] = {}
        for prefix in ("https://", "http://"):
            self.mount(prefix, _Adapter(pool_connections=4, pool_maxsize=2, max_retries=0))

    def merge_environment_settings(self, url: Any, *given: Any) -> Any:
        """Proxies and certificates as the environment has them, looked up once per origin: it costs as much as a request."""
        asked = origin(url)
        if asked not in self._environment:
            self._environment[asked] = dict(super().merge_environment_settings(url, *given))
        return dict(self._environment[asked])

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - the signature is requests'
        """Say that there is none: even with `allow_redirects=False` requests prepares the next request otherwise.

        For that it would read the redirect's whole body into memory, however long, and look into `.netrc`.
        """
        return None


class _Adapter(HTTPAdapter):
    """An adapter whose connections announce themselves to the watch over their exchange, and pass its gate if direct."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Make the pools for direct connections."""
        super().init_poolmanager(*args, **more)
        announce_all(self.poolmanager)
        check_all(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """The pools for one proxy."""
        manager = super().proxy_manager_for(proxy, **more)
        announce_all(manager)
        return manager


class _Bearer(AuthBase):
    """Sets `Authorization` on requests to one origin; being there at all keeps requests from `.netrc`."""

    def __init__(self, token: Token | None, home: tuple[str, str, int]) -> None:
        self._token = token
        self._home = home

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.pop("Authorization", None)
        if self._token is not None and origin(request.url or "") == self._home:
            request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


_TRANSPORTS: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport._reset()


after_fork(after_in_child=_after_fork)
