"""Several files are wanted, and known for what they have to be: each is handed out, or downloaded once.

This module narrates the job: lease what is there, fetch together what can be taken (`flight`), fetch alone what has a way of
its own, wait for what others are at, and look again until everything is there.

Concurrency:
    I2, I3, I4. W of what is missing is only tried, so two that want the same files share the work, and neither waits for the
    other with locks in hand. Whoever got none waits for one file, as a single fetch does. What is there is leased until all
    of it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from .. import hit
from ..context import Context
from ..errors import StorageError
from ..hub.client import FileMeta
from ..layout import Entry
from ..preparing import prepare
from ..units import plural
from ..volumes import is_shared
from . import miss
from .crew import Crew
from .flight import Flight
from .leases import Leases
from .request import Outcome, Request, Slots
from .tally import Cancelled, Tally
from .waiting import write_lock

WORKERS = 8  # files at a time, unless the caller says another number
_ROUNDS = 3  # times that a file is fetched which is gone again whenever all is looked at


class Wanted(NamedTuple):
    """A file that is to be there, and what it has to be."""

    entry: Entry
    meta: FileMeta


def fetch_many(
    ctx: Context, wanted: Sequence[Wanted], request: Request, *, workers: int = WORKERS, whole: str = ""
) -> list[Outcome]:
    """The files, in the order in which they were asked for.

    Args:
        wanted: Different entries.
        workers: How many are received at a time; 1 starts no thread.
        whole: What they are together, for messages.

    Raises:
        ModelCacheError: As `miss.fetch` for the first file that could not be had; what was complete by then is published,
            and what had arrived of others is kept.
    """
    with Leases() as leases:
        return _Many(ctx, wanted, request, workers, whole or plural(len(wanted), "file"), leases).run()


class _Alone:
    """A file that is fetched as a single one."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None


class _Many:
    """One such job."""

    def __init__(
        self, ctx: Context, wanted: Sequence[Wanted], request: Request, workers: int, whole: str, leases: Leases
    ) -> None:
        self._ctx, self._workers, self._whole, self._leases = ctx, workers, whole, leases
        # All files share the connections that one large file could have.
        self._request = request if request.slots else replace(request, slots=Slots(ctx.settings.connections))
        self._wanted = {one.entry: one.meta for one in wanted}
        assert len(self._wanted) == len(wanted), "each file is wanted once"
        self._outcomes: dict[Entry, Outcome] = {}

    def run(self) -> list[Outcome]:
        """Fetch, and look again until nothing is missing."""
        missing = list(self._wanted) if self._request.force else self._look(list(self._wanted))
        if missing:
            self._prepare(missing)
            with self._tally(missing) as tally:
                for _ in range(_ROUNDS):
                    self._fetch(missing, tally)
                    missing = [] if self._leases.all_kept else self._look(list(self._wanted))
                    if not missing:
                        break
                else:
                    path = missing[0].path(self._ctx.root)
                    raise StorageError(f"{path} was gone again whenever {self._whole} were there", path=path)
        return [self._outcomes[entry] for entry in self._wanted]

    def _look(self, entries: list[Entry]) -> list[Entry]:
        """Hand out and lease what is there; returns what is not."""
        missing = []
        for entry in entries:
            held = hit.hold(self._ctx, entry)
            if held is None:
                missing.append(entry)
                continue
            found, fd = held
            self._leases.add(fd, found.size)
            before = self._outcomes.get(entry)
            came = ("hit", 0) if before is None else (before.source, before.downloaded)
            self._outcomes[entry] = Outcome(found, *came)
        return missing

    def _prepare(self, missing: list[Entry]) -> None:
        for entry in missing:
            miss.refuse_offline(self._ctx, entry, replace(self._request, promise=self._wanted[entry]))
        self._ctx.settings.refresh()
        self._ctx.access.meet(self._request.progress)
        prepare(self._ctx, missing[0])

    def _tally(self, missing: list[Entry]) -> Tally:
        total = sum(meta.size or 0 for meta in self._wanted.values())
        left = sum(self._wanted[entry].size or 0 for entry in missing)
        return Tally(self._whole, total, total - left, self._request.progress)

    def _fetch(self, missing: list[Entry], tally: Tally) -> None:
        """Fetch until each of these has been handed out once."""
        while missing:
            alone = missing
            if not self._request.force:
                flight = Flight(self._ctx, self._of(missing), self._request, tally, self._leases, self._whole)
                flight.run(self._workers)
                self._outcomes |= flight.outcomes
                alone = flight.alone if flight.excludes else missing
                if not alone and not flight.outcomes and is_shared(self._ctx.mount):
                    alone = missing[
                        :1
                    ]  # waits as a single fetch does, and goes alone where the holder is gone for good
                elif not alone and not flight.outcomes:
                    self._wait(missing[0])
            self._fetch_alone(alone, tally)
            missing = self._look([entry for entry in missing if entry not in self._outcomes])

    def _of(self, entries: list[Entry]) -> dict[Entry, FileMeta]:
        return {entry: self._wanted[entry] for entry in entries}

    def _wait(self, entry: Entry) -> None:
        """Others are at all that is missing: wait until one of it is there, or nobody is at it any more."""
        with write_lock(self._ctx, entry, self._request):
            pass

    def _fetch_alone(self, entries: list[Entry], tally: Tally) -> None:
        """Fetch each as a single file, several at a time.

        Raises:
            ModelCacheError: The first failure, when all have ended.
        """

        def fetch(one: _Alone) -> None:
            try:
                if tally.cancelled:
                    raise Cancelled
                meta = self._wanted[one.entry]
                part = tally.part(str(one.entry), meta.size or 0)
                one.outcome = miss.fetch(self._ctx, one.entry, replace(self._request, promise=meta, progress=part))
            except BaseException as error:  # noqa: BLE001 - told in the thread that waits for it
                one.error = error

        first: BaseException | None = None
        with Crew(fetch, self._workers, self._ctx.index.close) as crew:
            try:
                for entry in sorted(entries, key=lambda entry: self._wanted[entry].size or 0):
                    one = _Alone(entry)
                    crew.give(one, large=False)
                    if one.error is not None:
                        break  # it was done in this very thread: an interrupt is not to wait for others
                while crew.pending:
                    for one in crew.collect():
                        if one.outcome is not None:
                            self._outcomes[one.entry] = one.outcome
                        elif first is None:
                            first, tally.cancelled = one.error, True
            except BaseException:
                tally.cancelled = True
                crew.withdraw()
                raise
        if first is not None:
            raise first
