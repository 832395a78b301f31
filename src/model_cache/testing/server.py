"""The loopback hub itself: two listening ports, a thread per connection, and what a test may ask of it.

**Concurrency.** Everything public may be called from any thread while the hub serves. All threads are daemons, every
wait of theirs ends when the hub stops, and a child process made by `fork` closes the hub's sockets at once: nothing
outlives the process that made the hub.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .access import Access
from .answers import Answer, Request
from .api import ApiProtocol
from .control import Control
from .faults import Fault, FaultPlan, play
from .files import FileProtocol
from .holds import Hold
from .listener import Listener
from .records import Record, RequestLog
from .repos import LFS_THRESHOLD, RepoStore
from .routes import Routes
from .wire import BrokenOff, Connection, Tally


class LoopbackHub:
    """A Hub on 127.0.0.1, for tests, demonstrations and benchmarks: the real protocol, no network, faults on demand.

    Starts as a context manager, or by `start` and `stop`.

        with LoopbackHub() as hub:
            hub.add_repo("org/name", {"config.json": b"{}", "model.bin": b"x" * 2_000_000})
            path = ModelCache(tmp_path, endpoint=hub.url).fetch("org/name", "model.bin")
            assert hub.body_gets("model.bin") == 1

    Args:
        folder: A directory to serve: `models/{repo}/…`, `datasets/{repo}/…`, `spaces/{repo}/…`, `kernels/{repo}/…`, each
            as `main`. A repo is read when it is first asked for; later changes in the folder are not seen.
        token: The token that opens gated and private repos; any other is refused. None accepts every token.
        guest_tokens: Valid tokens that open neither.
        page_size: Items on one page of a listing, at most.
        lfs_threshold: Files of at least so many bytes are large: redirected to the second port by a signed link.
        resolve_cache: Redirect small files on the same host first, as the Hub does; else serve them directly.
        link_lifetime: Seconds for which a signed link works.
        cdn_etag: `opaque` gives the second port ETags of its own, as the Hub's storage has; `sha256` the file's.
        latency: Seconds before each answer. May be changed while the hub runs.
        rate: Bytes per second for the body on each connection, None for no limit. May be changed while the hub runs.
        address: Where to listen, for clients in another network namespace; everybody who reaches it may order faults.

    Attributes:
        store: The repos served.
        log: The requests so far.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        token: str | None = None,
        guest_tokens: Collection[str] = (),
        page_size: int = 1000,
        lfs_threshold: int = LFS_THRESHOLD,
        resolve_cache: bool = True,
        link_lifetime: float = 3600.0,
        cdn_etag: str = "opaque",
        latency: float = 0.0,
        rate: float | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.latency = latency
        self.rate = rate
        self.store = RepoStore(folder, lfs_threshold=lfs_threshold)
        self.log = RequestLog()
        access = Access(token, guest_tokens)
        self._files = FileProtocol(
            self.store, access, resolve_cache=resolve_cache, link_lifetime=link_lifetime, cdn_etag=cdn_etag
        )
        self._api = ApiProtocol(self.store, access, page_size=page_size)
        self._routes = Routes(self._files, self._api)
        self._plan = FaultPlan()
        self._holds: list[Hold] = []
        self._control = Control(self)
        self._listeners: list[Listener] = []
        self._address = address
        self._ports = (0, 0)
        self._numbers = itertools.count(1)

    def __enter__(self) -> LoopbackHub:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> LoopbackHub:
        """Binds two free ports, after a `stop` the former ones, and begins to serve; returns the hub."""
        if not self._listeners:
            for host, port in zip(("hub", "cdn"), self._ports, strict=True):
                self._listeners.append(Listener(host, self._serve, port, self._address))
            self._ports = (self._listeners[0].port, self._listeners[1].port)
            self._api.url, self._files.cdn_url = self.url, self.cdn_url
        return self

    def stop(self) -> None:
        """Breaks off every connection and frees the ports. Stopping twice is allowed."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.stop()

    @property
    def url(self) -> str:
        """The endpoint: `http://{address}:{port}`. It stays what it is when the hub stops."""
        return self._base(0)

    @property
    def cdn_url(self) -> str:
        """The second port, which serves large files by signed links: another host in the eyes of a client."""
        return self._base(1)

    def _base(self, which: int) -> str:
        if not self._ports[which]:
            raise RuntimeError("the loopback hub has no URL before it is started")
        return f"http://{self._address}:{self._ports[which]}"

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str | os.PathLike[str]],
        *,
        repo_type: str = "model",
        revision: str = "main",
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Makes a commit with exactly these files, moves the branch `revision` to it, and returns its 40-hex id.

        Earlier commits can still be resolved by their id. The id follows from names and contents.

        Args:
            repo_id: `name` or `owner/name`.
            files: Bytes, or the path of a file that must not change while it is served.
            repo_type: `model`, `dataset`, `space` or `kernel`.
            revision: The branch.
            gated: The files want a token with access; of the whole repo, from now on.
            private: The repo looks missing without a token with access; of the whole repo, from now on.
        """
        return self.store.add(repo_id, files, repo_type=repo_type, revision=revision, gated=gated, private=private)

    def tag(self, repo_id: str, name: str, revision: str = "main", *, repo_type: str = "model") -> str:
        """Gives the commit of `revision` (a branch, tag or commit) one more name; returns the commit's id."""
        return self.store.tag(repo_id, name, revision, repo_type=repo_type)

    def rename(self, repo_id: str, new_id: str, *, repo_type: str = "model") -> None:
        """Moves a repo to another id; requests for the old one are redirected, as the Hub does."""
        self.store.rename(repo_type, repo_id, new_id)

    @property
    def requests(self) -> list[Record]:
        """All requests since the start or the last `reset`, in order of arrival."""
        return self.log.snapshot()

    @property
    def leaks(self) -> list[Record]:
        """The requests that carried a token to the second port, where none belongs."""
        return [record for record in self.log.snapshot() if record.leak]

    def count(self, method: str | None = None, path_contains: str | None = None, kind: str | None = None) -> int:
        """The number of requests with this method, this text in the path, of this kind (`Record.kind`)."""
        return self.log.count(method, path_contains, kind)

    def body_gets(self, filename: str | None = None, repo: str | None = None) -> int:
        """How often the bytes of a file were asked for and begun to be sent; `filename` may be a shell pattern."""
        return len(self.log.bodies(filename, repo))

    def body_bytes(self, filename: str | None = None, repo: str | None = None) -> int:
        """Bytes of a file sent so far, all answers on both ports together."""
        return sum(record.bytes_sent for record in self.log.bodies(filename, repo))

    def wait_until(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        """Blocks until `condition()` is true; it is looked at whenever a request comes, goes on or ends.

        Raises:
            TimeoutError: It was not within `timeout` seconds.
        """
        if not self.log.wait_until(condition, timeout):
            raise TimeoutError(f"the hub's log did not come to what was waited for in {timeout:g} s")

    def settle(self, timeout: float = 60.0) -> None:
        """Waits until all that clients asked for who are gone by now is in the log, whoever killed them.

        Raises:
            TimeoutError: The hub did not accept a connection for so many seconds.
        """
        for listener in self._listeners:
            listener.settle(timeout)

    def reset(self) -> None:
        """Forgets the requests so far; repos, faults and holds stay."""
        self.log.reset()

    def fault(
        self,
        pattern: str,
        kind: str,
        *,
        times: int | None = 1,
        at: int | float = 0.5,
        skip: int = 0,
        on: str = "",
        method: str = "",
        **params: Any,
    ) -> Fault:
        """Orders a fault. See the table in `model_cache.testing` for the kinds and their parameters.

        Args:
            pattern: A shell pattern, matched with the filename, `{repo}/{filename}` and the URL's path.
            kind: What happens.
            times: On how many matching requests; None for always.
            at: Where in the answer's body: an int is an offset in bytes, a float a fraction of the body.
            skip: How many matching requests pass unharmed before.
            on: Which requests: `body` (bytes of a file), `metadata` (HEAD and redirects), `api`, `any`; by default what
                suits the kind.
            method: Only requests with this method.
            **params: Of the kind.
        """
        return self._plan.order(Fault(pattern, kind, times, at, skip, on, method, params))

    def clear_faults(self) -> None:
        """Forgets all faults ordered so far."""
        self._plan.withdraw()

    def hold(self, pattern: str, after: int | float = 0) -> Hold:
        """Stops every answer with a matching file's bytes until the returned gate is released.

        Args:
            pattern: The filename, or a shell pattern.
            after: How much of the answer's body goes out first: bytes, or a fraction as a float.
        """
        hold = Hold(pattern, after)
        self._holds.append(hold)
        return hold

    def release(self) -> None:
        """Opens every gate."""
        for hold in self._holds:
            hold.release()
        self._holds = []

    def stats(self) -> dict[str, Any]:
        """What `GET /.hub/stats` answers: the URLs, totals, totals by file, and every request, as JSON values."""
        return {"url": self.url, "cdn_url": self.cdn_url, **self.log.summary()}

    def _serve(self, connection: Connection) -> None:
        """One connection, request after request, until one side has enough."""
        try:
            while (request := connection.read_request()) is not None:
                if not self._respond(connection, request):
                    break
        except BrokenOff as end:
            if str(end) == "reset":
                connection.reset()
        finally:
            connection.close()

    def _respond(self, connection: Connection, request: Request) -> bool:
        """Answers one request; returns whether the connection can serve another."""
        if request.path.startswith("/.hub/") and request.host == "hub":
            connection.send(self._control.answer(request), head_only=False, tally=Tally())
            return True
        answer = self._routes.answer(request)
        faults = self._plan.strike(request, answer)
        record = _record(request, answer, faults)
        self.log.add(record)
        if delay := self.latency + sum(float(f.params.get("seconds", 0.1)) for f in faults if f.kind == "latency"):
            connection.stopping.wait(delay)
        answer.shape.rate = self.rate
        answer = play(faults, request, answer)
        return self._deliver(connection, request, answer, record)

    def _deliver(self, connection: Connection, request: Request, answer: Answer, record: Record) -> bool:
        if answer.replaced and answer.content is not None:
            self.store.replace(answer.repo_type, answer.repo, answer.content, answer.content.altered())
        number = f"Root=1-{int(time.time()):08x}-{next(self._numbers):024x}"
        answer.headers["X-Request-Id"] = number
        answer.close = answer.close or request.headers.get("connection", "").lower() == "close"
        answer.close = answer.close or request.version == "HTTP/1.0"
        body = answer.stage == "body" and request.method != "HEAD"
        self.log.change(record, status=answer.status, request_id=number, kind="body" if body else record.kind)
        if answer.hangup:
            return False
        holds = [hold for hold in self._holds if body and hold.matches(answer.filename)]

        def sent(count: int) -> None:
            total = record.bytes_sent + count
            self.log.change(record, bytes_sent=total, done=total == answer.length)

        head_only = request.method == "HEAD"
        self.log.change(record, done=head_only or not answer.length)
        connection.send(answer, head_only=head_only, tally=Tally(record.settling, sent), holds=holds)
        return not answer.close


def _record(request: Request, answer: Answer, faults: list[Fault]) -> Record:
    return Record(
        method=request.method,
        path=request.path,
        query=request.query,
        host=request.host,
        # A body counts as one only when it is about to be sent: a fault may yet put something else in its place.
        kind="metadata" if answer.stage == "body" else answer.stage,
        repo_type=answer.repo_type,
        repo=answer.repo,
        filename=answer.filename,
        range=request.headers.get("range", ""),
        authorization="authorization" in request.headers,
        leak=request.host == "cdn" and "authorization" in request.headers,
        user_agent=request.headers.get("user-agent", ""),
        fault=" ".join(fault.kind for fault in faults),
        headers=request.headers,
    )
