"""`AsyncModelCache`: a `ModelCache` whose methods are awaited. For asyncio; under other event loops it does not work.

A file that was handed out just now is recognised by its `stat`, in the loop's own thread; everything else is done in
daemon threads of the cache's own, never in the loop's executor. Callers that miss the same file, or want the same repo,
wait for one download without a thread for each of them.

Concurrency:
    Cancelling takes a caller away, and not the work: a download goes on for the others and for the next one, and an operation
    that has begun comes to its end; one that has not is not begun. A lease or file that came for a caller who has gone is
    let go. Nothing of this belongs to a loop: one cache may be used from several, one after the other or side by side. A
    loop or a program that ends waits for none of the threads; what they had received is resumed by the next caller.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from .cache import ModelCache
from .download import notes
from .download.background import Background
from .layout import DEFAULT_REVISION, Entry
from .lease import Lease, LeasedFile
from .surface import in_family
from .threads import Threads
from .units import check_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from .progress import Progress

P = ParamSpec("P")
T = TypeVar("T")

_LOOKS = 4  # threads for what takes a few system calls: a hit, a pin, a listing
_WORKS = 16  # for what reads or fetches much: a whole repo, verify, gc
_DOWNLOADS = 32  # for single files, each of which may be a wait for another process


class _Held(Protocol):
    """What is held until it is left: a lease, a leased file."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *_: Any) -> None: ...


H = TypeVar("H", bound=_Held)
E = TypeVar("E")


class Leasing(Generic[H, E]):
    """A lease that is being taken: `async with` it, or `await` it and let it go yourself.

    Letting go is done in place, by a few system calls: it cannot be cancelled.
    """

    def __init__(self, take: Callable[[], Coroutine[Any, Any, H]]) -> None:
        self._take = take
        self._held: H | None = None

    def __await__(self) -> Generator[Any, None, H]:
        return self._take().__await__()

    async def __aenter__(self) -> E:
        self._held = await self._take()
        entered: E = self._held.__enter__()
        return entered

    async def __aexit__(self, *error: object) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(*error)


def _awaitable(
    method: Callable[Concatenate[ModelCache, P], T], *, brief: bool = False
) -> Callable[Concatenate[AsyncModelCache, P], Coroutine[Any, Any, T]]:
    """The same method, done in a thread."""

    @wraps(method)
    async def call(self: AsyncModelCache, /, *args: P.args, **kwargs: P.kwargs) -> T:
        threads = self._looks if brief else self._works
        return await _own(threads.submit(lambda: method(self._cache, *args, **kwargs)))

    return call


class AsyncModelCache:
    """A `ModelCache` for asyncio: the same arguments, and the same methods, awaited.

    `root` and `path` are as there. Whoever is told of progress is called in another thread.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        self._cache = ModelCache(root, **settings)
        self._ctx = ctx = self._cache._ctx
        self._looks = Threads(_LOOKS, "model-cache look", ctx.close)
        self._works = Threads(_WORKS, "model-cache work", ctx.close)
        self._background = Background(ctx, _DOWNLOADS)
        self._repos: dict[tuple[object, ...], Future[Path]] = {}

    def __repr__(self) -> str:
        return f"AsyncModelCache({str(self.root)!r})"

    @property
    def root(self) -> Path:
        """The root's absolute path; it need not exist yet."""
        return self._cache.root

    def path(self, repo: str, filename: str, **names: str) -> Path:
        """Where the file is or would be in this root. Touches nothing. See `ModelCache.path`."""
        return self._cache.path(repo, filename, **names)

    is_cached = _awaitable(ModelCache.is_cached, brief=True)
    entries = _awaitable(ModelCache.entries, brief=True)
    usage = _awaitable(ModelCache.usage, brief=True)
    pin = _awaitable(ModelCache.pin, brief=True)
    unpin = _awaitable(ModelCache.unpin, brief=True)
    remove = _awaitable(ModelCache.remove)
    update = _awaitable(ModelCache.update)
    gc = _awaitable(ModelCache.gc)
    verify = _awaitable(ModelCache.verify)
    reconcile = _awaitable(ModelCache.reconcile)
    lock = _awaitable(ModelCache.lock)
    wait_for_uploads = _awaitable(ModelCache.wait_for_uploads)
    sync = _awaitable(ModelCache.sync)
    import_hf = _awaitable(ModelCache.import_hf)
    verify_lock = _awaitable(ModelCache.verify_lock)

    async def fetch(
        self,
        repo: str,
        filename: str,
        *,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        force: bool = False,
        offline: bool | None = None,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """The file's absolute path; on a miss it is downloaded first. Arguments and errors are those of `ModelCache.fetch`.

        Concurrency:
            I2, I9. Callers that miss one file wait for one thread. Whoever is cancelled, or has waited for `timeout`
            seconds, leaves; the download goes on.
        """
        entry = Entry(repo, filename, revision, repo_type)
        if timeout is not None:
            check_seconds(timeout, "timeout")
        if not force and (known := self._cache._remembered(repo, filename, revision, repo_type)):
            return known.path
        asked = self._cache._asked(force, offline, progress)
        if asked.offline:
            names: dict[str, Any] = {"revision": revision, "repo_type": repo_type}
            hit_or_refuse = partial(self._cache.fetch, repo, filename, **names, force=force, offline=True)
            return await _own(self._looks.submit(hit_or_refuse))
        before = await _own(self._looks.submit(lambda: self._begin(entry, force)))
        if not isinstance(before, int):
            return before
        job = self._background.join(entry, asked)
        if not await _ended(job, timeout):
            assert timeout is not None, "else it has ended"
            raise await _own(self._looks.submit(lambda: self._background.late(entry, before, timeout)))
        found = in_family(job.result)().found
        self._cache._remember(entry, found)
        return found.path

    def _begin(self, entry: Entry, force: bool) -> Path | int:
        """The file's path if it is there, else how many bytes of it are."""
        there = None if force else self._cache._hit(entry)
        return notes.arrived(self._ctx, entry) if there is None else there

    async def fetch_repo(
        self,
        repo: str,
        *,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Path:
        """The directory of a repo, once all of it is there. Arguments and errors are those of `ModelCache.fetch_repo`.

        Concurrency:
            Callers that want the same of one repo, and nothing else than that, wait for one thread.
        """
        include, exclude = (one if one is None or isinstance(one, str) else tuple(one) for one in (include, exclude))
        names = {"revision": revision, "repo_type": repo_type, "include": include, "exclude": exclude}

        def call() -> Path:
            return self._cache.fetch_repo(repo, **names, **options)  # type: ignore[arg-type]

        if any(value is not None for value in options.values()):
            return await _own(self._works.submit(call))
        key = (os.getpid(), repo, *names.values())  # a forked child has none of its parent's threads
        job = self._repos.get(key)
        if job is None:
            job = self._repos[key] = self._works.submit(call)
            job.add_done_callback(lambda _: self._repos.pop(key, None))
        await _ended(job)
        return job.result()

    def lease(
        self, repo: str, filename: str, *, revision: str = DEFAULT_REVISION, repo_type: str = "model", **options: Any
    ) -> Leasing[Lease, Path]:
        """Fetch the file and keep it, as `async with cache.lease(repo, filename) as path:`; see `ModelCache.lease`.

        Awaited, it is a `Lease` that is given back by `release()`.
        """
        names = {"repo": repo, "filename": filename, "revision": revision, "repo_type": repo_type}
        return Leasing(lambda: self._leased(self._cache.lease, Lease.release, names, options))

    def open(
        self, repo: str, filename: str, *, revision: str = DEFAULT_REVISION, repo_type: str = "model", **options: Any
    ) -> Leasing[LeasedFile, LeasedFile]:
        """The file, open for reading bytes, and leased: `async with cache.open(repo, filename) as file:`.

        Its own methods are those of any binary file: they block, `asyncio.to_thread(file.read)` does not.
        """
        names = {"repo": repo, "filename": filename, "revision": revision, "repo_type": repo_type}
        return Leasing(lambda: self._leased(self._cache.open, LeasedFile.close, names, options))

    async def _leased(
        self, take: Callable[..., T], let_go: Callable[[T], None], names: dict[str, Any], options: dict[str, Any]
    ) -> T:
        await self.fetch(**names, **options)
        # The file is there: what was asked for beside its name has been done.
        again = partial(take, **names, offline=options.get("offline"))
        return await _own(self._works.submit(again), let_go)


async def _ended(job: Future[Any], timeout: float | None = None) -> bool:
    """Wait until it has ended, or so many seconds; whoever is cancelled meanwhile leaves it as it is."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, waiter)

    job.add_done_callback(tell)
    done, _ = await asyncio.wait((waiter,), timeout=timeout)
    return bool(done)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _own(job: Future[T], let_go: Callable[[T], None] | None = None) -> T:
    """The result of what is done for one caller alone: nobody's any more if that one is cancelled."""
    try:
        await _ended(job)
    except asyncio.CancelledError:
        if not job.cancel() and let_go is not None:
            job.add_done_callback(lambda ended: None if ended.exception() else let_go(ended.result()))
        raise
    return job.result()
