"""Several files are received side by side, and published in groups, by whoever got their write locks.

The steps of each file are those of a single download, in the same order, and a crash leaves of each what it leaves of one.
What differs is how many share a transaction and the fsync of a directory: whatever is complete when the last group has been
published makes the next one, so that small files come many at a time, and large ones alone.

Concurrency:
    I2, I4, I5. W of every item is held from before its row is begun until it is published, or given up. Threads receive;
    this thread alone writes the index, gives names, and lets locks go.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

from .. import disk, hit, locks, recovery, stats, tiers
from ..budget import admission, limits
from ..context import Context
from ..errors import ModelCacheError
from ..hosts import holder_name
from ..hub.client import FileMeta
from ..index.room import Claim
from ..index.rows import Row
from ..index.several import Carried
from ..layout import Entry
from ..log import logger
from ..recorder import Recorder, SeveralRecorder
from ..write_lock import TakenLock
from .crew import Crew
from .group import publish_group
from .item import Item, bring
from .leases import Leases
from .request import Outcome, Request
from .staging import is_wanted
from .tally import Cancelled, Tally

_LARGE = 8 << 20  # bytes; from here on a file goes into the lane of the large ones
_SCOUTS = 2  # files at first: the answer to a small one tells where the Hub serves the others (`hub.shortcut`)
_WINDOW = 64  # files that are received, or complete and not published, at a time
_TAKEN = 256  # write locks at a time
_SHARE = 4  # of the descriptors that this process can spare, one in so many is for write locks


class Flight:
    """The files of one job that this process could take.

    Args:
        wanted: What is missing.
        whole: What the files are together, for messages.

    Attributes:
        outcomes: What was fetched.
        alone: What takes the way of a single file: it can be linked, or something stands in its way.
        excludes: False where the file system's locks exclude nobody; then nothing was done.
    """

    def __init__(
        self, ctx: Context, wanted: dict[Entry, FileMeta], request: Request, tally: Tally, leases: Leases, whole: str
    ) -> None:
        self._ctx, self._request, self._tally, self._leases, self._whole = ctx, request, tally, leases, whole
        self._recorder = SeveralRecorder(ctx, whole, request.progress)
        self._later = deque(sorted(wanted.items(), key=lambda one: one[1].size or 0))
        self._rows: dict[str, Row] = {}
        self._known: set[str] = set()
        self._items: list[Item] = []
        self._holder = holder_name()
        self._carried: Carried | None = None
        self.outcomes: dict[Entry, Outcome] = {}
        self.alone: list[Entry] = []
        self.excludes = True

    def run(self, workers: int) -> None:
        """Fetch what can be taken.

        Raises:
            ModelCacheError: The first failure; what was complete by then is published.
        """
        try:
            self._take_largest()
            items = self._take()
            if items:
                self._admit(items)
                with Crew(self._bring, workers, self._ctx.index.close) as crew:
                    self._fly(crew, [item for item in items if item.begun])
        finally:
            self._give_up()

    # Taking

    def _take_largest(self) -> None:
        """Begin with the largest file, which carries the room of all: it is under way the longest."""
        self._later.rotate(1)

    def _take(self) -> list[Item]:
        """W of what is free and missing, as many as may be held."""
        most = max(min(_TAKEN, stats.spare_descriptors() // _SHARE), 2)  # so that a carrier can have an heir
        taken: list[Item] = []
        places: dict[str, str] = {}  # of each directory, a path in it
        while self._later and self.excludes and len(self._items) < most:
            entry, meta = self._later.popleft()
            fd = locks.try_write(self._ctx.places.lock(entry.key), self._ctx.settings.file_mode)
            if fd is None:
                continue  # somebody else is at it
            item = Item(entry, meta, TakenLock(fd))
            self._items.append(item)
            taken.append(item)
            self.excludes = item.lock.excludes
            places.setdefault(os.path.dirname(entry.relative), entry.relative)
        for place in places.values():
            disk.refresh_parent(self._ctx.root, place)
        self._learn(taken)
        return [item for item in taken if self._settle(item)] if self.excludes else []

    def _learn(self, items: Sequence[Item]) -> None:
        """What the index knows of these, and of their bytes under other names."""
        self._rows |= self._recorder.rows([item.entry for item in items])
        self._known |= self._recorder.known_bytes(item.meta.sha256 or item.meta.etag for item in items)

    def _settle(self, item: Item) -> bool:
        """Under W: look again, and settle what a dead predecessor left; False for what is not simply missing."""
        ctx, entry = self._ctx, item.entry
        if ctx.folds:
            hit.refuse_clash(ctx, entry)
        row = self._rows.get(entry.key)
        if row is not None and (row.state != "ready" or row.next_state is not None):
            row = recovery.recover(ctx, entry, Recorder(ctx, entry, self._request.progress))
        if row is not None and row.state == "partial":
            self._rows[entry.key] = row
        else:
            self._rows.pop(entry.key, None)
        same = item.meta.sha256 or item.meta.etag
        size, alone = item.meta.size, same in self._known or item.meta.size is None
        if alone or os.path.lexists(entry.path(ctx.root)) or tiers.holder_below(ctx, entry, size) is not None:
            self.alone.append(entry)
            self._let_go(item)
            return False
        self._known.add(same)  # another file of these with the same bytes is linked to this one
        return True

    # Room

    def _admit(self, items: list[Item]) -> None:
        """Reserve what all of it will occupy, those that are not taken yet included, in the row of the first."""
        ctx, carrier = self._ctx, items[0]
        others = sum(max(item.charged - self._charged(item.entry), 0) for item in items[1:])
        others += sum(limits.blocks(meta.size or 0) for _, meta in self._later)
        others = min(others, limits.MOST)
        wanted, limit = carrier.charged + others, limits.ceiling(ctx)
        claim = Claim(carrier.entry, carrier.promise, self._holder, False, wanted, limit, self._whole)
        carrier.begun = True
        self._recorder.admit(lambda: admission.admit(ctx, claim, self._request.deadline, self._request.progress))
        self._carried = Carried(carrier.entry, others)
        self._begin(items[1:])

    def _charged(self, entry: Entry) -> int:
        row = self._rows.get(entry.key)
        return 0 if row is None else row.charged

    def _begin(self, items: Sequence[Item]) -> None:
        """Give these their part of the room; where that is not enough, a file takes the way of a single one."""
        if not items:
            return
        assert self._carried is not None, "room was made"
        limit = limits.ceiling(self._ctx)
        refused, spare = self._recorder.reserve([one.reservation(self._holder) for one in items], self._carried, limit)
        self._carried = self._carried._replace(spare=spare)
        for item in items:
            item.begun = item.entry not in refused
            if not item.begun:
                self.alone.append(item.entry)
                self._let_go(item)

    # Receiving and publishing

    def _bring(self, item: Item) -> None:
        bring(self._ctx, item, self._request, self._tally)

    def _fly(self, crew: Crew[Item], ready: list[Item]) -> None:
        """Keep the crew busy, and publish whatever is complete, until all is done or one has failed."""
        waiting, complete, window = deque(ready), list[Item](), _SCOUTS
        try:
            while waiting or crew.pending or complete:
                while waiting and crew.pending < window:
                    item = waiting.popleft()
                    crew.give(item, large=item.size >= _LARGE)
                    if item.error is not None:
                        break  # it was done in this very thread: an interrupt, or a full disk, is not to wait for others
                if crew.pending:
                    complete += crew.collect()
                    window = _WINDOW
                failed = next((item.error for item in complete if item.error is not None), None)
                complete = self._publish([item for item in complete if item.error is None])
                if failed is not None:
                    raise failed
                if self._later:
                    more = self._take()
                    self._begin(more)
                    waiting.extend(item for item in more if item.begun)
        except BaseException:
            self._tally.cancelled = True
            crew.withdraw()
            raise

    def _publish(self, items: list[Item]) -> list[Item]:
        """Publish, and lease what is published; returns what is to be published later, because it carries the room."""
        later = self._pass_on(items)
        publish_group(self._ctx, [item for item in items if item not in later], self._recorder, self._tally)
        for item in items:
            if item.published:
                self._hand_out(item)
            elif item.error is not None:
                raise item.error
        return later

    def _pass_on(self, items: list[Item]) -> list[Item]:
        """Before the row of the carrier says what it alone occupies, another one carries what is left.

        Returns:
            The carrier, where it has to wait for another to be begun.
        """
        carried = self._carried
        carrier = next((item for item in items if carried is not None and item.entry == carried.entry), None)
        if carried is None or carrier is None or not carried.spare:
            return []
        heir = next((item for item in self._items if item.begun and not item.published and item not in items), None)
        if heir is None and self._later:
            return [carrier]
        self._recorder.carry(carried, None if heir is None else heir.entry)
        self._carried = None if heir is None else Carried(heir.entry, carried.spare)
        return []

    def _hand_out(self, item: Item) -> None:
        """Lease the file before its lock is let go, so that nobody takes it away until all are there."""
        ctx, partial = self._ctx, item.partial
        assert partial is not None, "it was published"
        fd = partial.give_away()
        if fd < 0:  # it was closed so that it could lose its name
            fd = disk.open_entry(ctx.root, item.entry.relative)
        try:
            found = os.fstat(fd)
            leased = locks.try_shared(fd)
            if leased and stats.identity_at(item.entry.path(ctx.root)) == stats.identity(found):
                handed_out = hit.recognised(ctx, item.entry, found)
                self.outcomes[item.entry] = Outcome(handed_out, item.way, item.received)
                given, fd = fd, -1  # first: what is interrupted here is not closed twice
                self._leases.add(given, found.st_size)
        finally:
            if fd >= 0:
                locks.release(fd)
        self._let_go(item)

    # The end

    def _let_go(self, item: Item) -> None:
        try:
            if item.partial is not None:
                item.partial.close()
        finally:
            item.lock.release()
            self._items.remove(item)

    def _give_up(self) -> None:
        """What was not published leaves what can be resumed, and nothing of wrong or unwanted bytes."""
        try:
            ended = [item for item in self._items if item.begun and not item.published]
            # What may have its name already says `installing`, which recovery settles.
            left = [self._leave(item) for item in ended if item.partial is None or not item.partial.published]
            if told := [one for one in left if one is not None]:
                self._recorder.stopped(told)
        except ModelCacheError as second:
            logger.warning("%s: %s", self._whole, second)  # the first error is what the caller must see
        finally:
            with ExitStack() as each:  # though one cannot be let go, or an interrupt comes, the others are
                for item in self._items:
                    each.callback(self._let_go, item)

    def _leave(self, item: Item) -> tuple[Entry, int] | None:
        """Bytes of the partial that stays, 0 where none does; None where that cannot be had, and recovery settles it."""
        try:
            if item.partial is None:
                return item.entry, recovery.allocated(self._ctx.places.partial(item.entry.key))
            left = item.partial.left() if is_wanted(item.partial, item.error or Cancelled()) else 0
            if not left:
                self._ctx.step("stop:unlink-partial")
                item.partial.remove_durably()
        except (ModelCacheError, OSError) as second:
            logger.warning("%s: %s", item.entry, second)  # the other items are left as they must be all the same
            return None
        return item.entry, left
