"""One host: its processes want one file, and one of them brings it, by the code that real hosts run.

Run as it stands in the package are: what is asked of whom and when (`download.sharing`), the records (`download.records`), and
what is done about an engine that fails (`fleet.fleet`, `fleet.gate`, `fleet.breaker`). In the place of the rest stand the few
lines here: a lock for the write lock, places in memory for the partial, nothing for index, budget and publishing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from model_cache.context import Context
from model_cache.download import records, sharing
from model_cache.download.notes import Note
from model_cache.download.partial import Partial
from model_cache.download.request import Request
from model_cache.errors import IntegrityError
from model_cache.fleet.fleet import Fleet
from model_cache.fleet.protocols import Alone
from model_cache.fleet.uploads import Uploads
from model_cache.hub.protocol import FileMeta
from model_cache.settings import KEYS

from .engines import Bucket, Flight
from .plan import WAYS
from .virtual import Line

if TYPE_CHECKING:
    from .memory import Bytes
    from .site import Site

_NOTICED = 11.0  # seconds until a database knows that a host is gone: asked after 5, and three times every 2


class Died(BaseException):
    """A process ends here, or its whole host (`off`).

    The code that it runs may catch it on its way; what that does then is undone by `Host`, or would be done by others.
    """

    def __init__(self, off: bool) -> None:
        self.off = off


class Host:
    """One host of a site.

    Attributes:
        received: Bytes that came to it, those that it lost again included.
        noticed_after: Seconds until others know that a process here is gone.
        done: When each of its processes had the file.
    """

    def __init__(self, site: Site, number: int) -> None:
        self._site = site
        self._random = Random(f"{site.plan.seed} {number}")
        self._line = Line(site.time)
        self._parts = Parts(self, site.right, site.file_descriptor)
        self._boot_number = 0
        self._number = number
        self._ctx = self._booted()
        self.is_whole = False
        self.received = 0
        self.noticed_after = 0.0
        self.sources: list[str] = []
        self.done: list[float] = []

    def _booted(self) -> Context:
        """What a process is handed, as far as it is used on the way."""
        plan, time = self._site.plan, self._site.time
        fleet = None
        if plan.way != WAYS[0]:
            flight = Flight(self._site.database, self) if plan.way == WAYS[2] else Alone()
            place = f"{self._site.scratch}/{self._number}-{self._boot_number}-"
            fleet = Fleet(Bucket(self._site.bucket, self), flight, place, 0o600, time, Uploads(self))
        self._boot_number += 1
        settings = SimpleNamespace(lock_timeout=KEYS["lock_timeout"][1], sends="token")
        found = SimpleNamespace(
            fleet=fleet, clock=time, settings=settings, root=self._site.root, step=_no_step, has_token=False
        )
        return cast(Context, found)

    @property
    def has_right_bytes(self) -> bool:
        """Whether all of the file is here, by where its bytes came from, whatever the code that ran thinks of them."""
        return self._parts.size == self._site.plan.size and self._parts.is_right

    def process(self) -> None:
        """One that wants the file, until it has it; as `download.miss` and `download.leading` narrate it."""
        plan, time = self._site.plan, self._site.time
        while not self.is_whole:
            try:
                with self._line.turn():
                    if not self.is_whole:
                        self._lead()
            except Died:
                time.sleep(plan.again)
        self.done.append(time.time())

    def _lead(self) -> None:
        try:
            self._bring()
        except Died as death:
            if not death.off:
                raise
            self._parts.restart()  # it was the whole host: nobody here goes on before it has booted
            self._site.time.sleep(self._site.plan.boot)
            self._ctx = self._booted()
            self.noticed_after = 0.0
            raise

    def _bring(self) -> None:
        site, ctx = self._site, self._ctx
        entry = site.entry
        meta = records.find(ctx, entry, entry.revision)
        if meta is None:
            site.hub.ask()
            meta = site.meta
        coming = sharing.Coming(ctx, entry, meta, cast(Partial, self._parts), Note(), Request(promise=meta))
        shared, _ = sharing.receive(coming, lambda: self._from_hub(meta))
        self.sources.append("tier" if shared else "hub")
        self._parts.check(meta, str(entry))
        self.is_whole = True

    def _from_hub(self, meta: FileMeta) -> int:
        begin = self._parts.size
        for chunk in self._site.hub.send(self, self._site.right, begin):
            self._parts.append(chunk, self._parts.size)
        self._parts.check(meta, "the file")
        return self._parts.size - begin

    @contextmanager
    def transfer(self, size: int) -> Iterator[int]:
        """How much of a transfer is to be done; the process dies after it where that is not all of it."""
        plan = self._site.plan
        dies = self._random.random() < plan.dies
        yield int(size * self._random.random()) if dies else size
        if dies:
            self._site.died += 1
            off = not self.is_whole and self._random.random() < plan.off
            self.noticed_after = _NOTICED if off else 0.0
            raise Died(off)

    def submit(self, call: Callable[[], None]) -> Future[None]:
        """Have a process do it by and by; see `model_cache.fleet.uploads.Doer`."""
        future: Future[None] = Future()

        def work() -> None:
            try:
                call()
            except Died:
                pass
            finally:
                future.set_result(None)

        self._site.time.start(work)
        return future


class Parts:
    """What a host has of the file, by where each part came from; the `Partial` of a download.

    Attributes:
        size: Bytes from its start on that are there.
        held: The same, as ranges.
    """

    def __init__(self, host: Host, right: Bytes, file_descriptor: int) -> None:
        self._host, self._right, self._fd = host, right, file_descriptor
        self.path = ""
        self.size = 0
        self.is_right = True

    @property
    def held(self) -> list[tuple[int, int]]:
        """What is there, in ranges."""
        return [(0, self.size)] if self.size else []

    def append(self, data: memoryview, offset: int) -> None:
        """Have bytes behind those that are there."""
        assert offset == self.size, "bytes come in their order"
        self.is_right = self.is_right and self._right.has(data, offset)
        self.size += len(data)
        self._host.received += len(data)

    def check(self, meta: FileMeta, name: str) -> None:
        """Raises IntegrityError unless all is there, and right."""
        if self.size != meta.size or not self.is_right:
            raise IntegrityError(f"{name}: other bytes than were promised")

    def restart(self) -> None:
        """Throw away what is there."""
        self.size, self.is_right = 0, True

    def reached(self, held: list[tuple[int, int]]) -> None:
        """Agree on what is there."""
        assert held == self.held, "what was appended is what is said to be there"

    def hash_up_to(self, end: int) -> None:
        """Nothing is hashed: where bytes came from is known."""

    def touch(self) -> None:
        """Nobody looks."""

    def fileno(self) -> int:
        """Of the file as every host has it in the end."""
        return self._fd


def _no_step(name: str) -> Any:
    """A place where a process could be killed; here they die during transfers."""
