"""A bucket as a tier; the one owner of obstore.

Time-outs: 2 s to connect, 5 s without a byte of an answer, one retry; a body as a whole may take any time, and its bytes are
handed on as they come, so that who reads them sees one that drips. Sending is given a minute for the answer to each part,
because that time begins before the part is sent.

While the library waits, an interrupt is not heard; and it waits for ever where a listing has no end but no objects either, or
where somebody put a FIFO into a folder that is the bucket, or that is on a server which is gone. So a listing, and what is
opened in a folder, is waited for from outside, in a thread that may be left behind.

Concurrency:
    Safe to share between threads, not over `fork`: the library's own threads do not exist in a forked child, where it would
    wait for ever. There the tier is refused, and the Hub used.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from ..threads import Threads
from .environment import ENDPOINTS, told, unusable
from .protocols import Blob, EngineError, NotHereError, Stored

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
_PART = 8 << 20  # bytes of a part of an upload
_MOST_PARTS = 9000  # of one object; S3 takes 10,000
_PARTS_AT_A_TIME = 2
_ANY_TIME = timedelta(days=365)
_ERRORS = (BaseError, OSError, ValueError)
_OPENED = 12.0  # seconds for a file in a folder to be opened
_LISTED = 60.0  # seconds for more of a listing
_PAGE = 1000  # objects

_stores: dict[str, ObjectStore] = {}  # of memory, by address: all caches of a process see the same one
_used_by = 0  # the process in which the library's threads are
_waiting = Threads(8, "model-cache tier", lambda: None)


class Bucket:
    """The objects below one address.

    Args:
        address: As the setting `tier` has it; credentials come from the environment, as obstore reads it.
    """

    def __init__(self, address: str) -> None:
        self._folder = url2pathname(urlsplit(address).path) if address.startswith("file:") else None
        with _told():
            self._reading = _open(address, 5.0)
            self._writing = _open(address, 60.0)

    def fetch(self, name: str, offset: int = 0) -> Blob | None:
        """The bytes of an object from `offset`, None if there is no such object."""
        _refuse_fork()
        if self._folder is None:
            return self._fetch(name, offset)
        return _within(_OPENED, lambda: self._fetch(name, offset))

    def _fetch(self, name: str, offset: int) -> Blob | None:
        with _told(), suppress(FileNotFoundError):
            if self._folder is not None and not stat.S_ISREG(os.lstat(f"{self._folder}/{name}").st_mode):
                return None  # nor is it opened: it may never come to that; what is offered replaces it
            if not offset:
                got = obstore.get(self._reading, name)
            else:
                got = obstore.get(self._reading, name, options={"range": {"offset": offset}})
            # What rots keeps its ETag, and what replaces it has the same one: the time tells them apart.
            version = f"{got.meta['e_tag']} {got.meta['last_modified'].isoformat()}"
            return Blob(got.meta["size"], _chunks(got), version)
        return None

    def offer(self, name: str, data: bytes | Iterable[bytes], size: int) -> None:
        """Put an object there, in parts where it is large."""
        _refuse_fork()
        part = max(_PART, size // _MOST_PARTS + 1)
        with _told():
            if isinstance(data, bytes) or size <= part:
                whole = data if isinstance(data, bytes) else b"".join(data)
                obstore.put(self._writing, name, whole, use_multipart=False)
            else:
                obstore.put(self._writing, name, iter(data), chunk_size=part, max_concurrency=_PARTS_AT_A_TIME)

    def drop(self, name: str) -> None:
        """Take an object away."""
        _refuse_fork()
        with _told(), suppress(FileNotFoundError):
            obstore.delete(self._writing, name)

    def stored(self, prefix: str) -> Iterator[Stored]:
        """What there is below a prefix."""
        _refuse_fork()
        with _told():
            pages = obstore.list(self._reading, prefix=prefix, chunk_size=_PAGE)
            while page := _within(_LISTED, lambda: next(pages, None)):
                for one in page:
                    yield Stored(one["path"], one["size"], one["last_modified"].timestamp())


def _open(address: str, answer: float) -> ObjectStore:
    if address.startswith("memory:"):
        return _stores.setdefault(address, from_url("memory:///"))
    if address.startswith("file:"):
        return from_url(address, mkdir=True)
    if why := unusable(os.environ):
        raise EngineError(why)
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=2),
        "read_timeout": timedelta(seconds=answer),
        "timeout": _ANY_TIME,
    }
    if any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS):
        options["allow_http"] = True  # whoever names such an endpoint means it
    retries: Any = {"max_retries": 1, "backoff": {"max_backoff": timedelta(seconds=1)}}
    return from_url(address, client_options=options, retry_config=retries)  # type: ignore[call-overload,no-any-return]


def _chunks(got: Any) -> Iterator[bytes]:
    with _told():
        yield from got.stream(min_chunk_size=1)


@contextmanager
def _told() -> Iterator[None]:
    """What the library raises is an EngineError."""
    try:
        yield
    except _ERRORS as error:
        text = told(str(error), os.environ) or type(error).__name__
        if "invalid path" in text:  # whoever may write there can spoil every listing with one
            text = f"an object whose name nobody can use is in the way, to be removed with other tools: {text}"
        raise EngineError(text) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # no class of it can be imported
            raise
        raise EngineError(f"the library gave up: {told(str(error), os.environ)}") from None


def _within(seconds: float, call: Callable[[], T]) -> T:
    """What a call returns; raises EngineError where it takes too long, or no thread is to be had for it."""
    try:
        return _waiting.submit(call).result(seconds)
    except TimeoutError:
        raise EngineError(f"nothing for {seconds:g} s") from None
    except RuntimeError as error:
        raise EngineError(str(error)) from None


def _refuse_fork() -> None:
    global _used_by  # noqa: PLW0603 - the library's threads are of the process, too
    if not _used_by:
        _used_by = os.getpid()
    if _used_by != os.getpid():
        raise NotHereError("it was used before this process was forked, and cannot be used in it")
