"""One file of several: received in whatever thread is free, and then complete, verified, durable, and without a name."""

from __future__ import annotations

from dataclasses import replace

from ..budget.limits import blocks
from ..context import Context
from ..errors import ModelCacheError
from ..hub.client import FileMeta
from ..index.ledger import Installed, Promise, Reservation
from ..layout import Entry
from ..write_lock import TakenLock
from . import notes, publish, staging
from .notes import Note
from .partial import Partial
from .request import Request
from .tally import Cancelled, Tally

_SMALL = 1 << 20  # bytes; a smaller file is there before anybody could read a note of it, and is not worth resuming


class Item:
    """A file whose W is held.

    Attributes:
        charged: Bytes that it may come to occupy.
        begun: Its row says `downloading`.
        published: It has its name.
        partial: Its bytes, once they are begun.
        file: They are complete, verified and durable.
        way, received: How they came, and bytes over the network.
        error: What ended it.
    """

    def __init__(self, entry: Entry, meta: FileMeta, lock: TakenLock) -> None:
        self.entry, self.meta, self.lock = entry, meta, lock
        self.size = meta.size or 0
        self.charged = blocks(self.size)
        self.begun = self.published = False
        self.partial: Partial | None = None
        self.file: Installed | None = None
        self.way, self.received = "download", 0
        self.error: BaseException | None = None

    @property
    def promise(self) -> Promise:
        """What the Hub promised."""
        return Promise(self.meta.size, self.meta.sha256, self.meta.etag, self.meta.commit)

    def reservation(self, holder: str) -> Reservation:
        """What its row is to say."""
        return Reservation(self.entry, self.promise, self.charged, holder, replacing=False)


def bring(ctx: Context, item: Item, request: Request, tally: Tally) -> None:
    """Receive, verify, make durable; whatever ends it early is kept in the item, and its partial is left as it is.

    Concurrency:
        Called in any thread; the item is this thread's until it returns.
    """
    note: Note | None = None
    try:
        if tally.cancelled:
            raise Cancelled
        item.partial = partial = Partial(ctx, item.entry, item.lock)
        note = _begin(ctx, item, partial)
        item.way = "resume" if partial.held else "download"
        asked = replace(request, progress=tally.part(str(item.entry), item.size))
        came, item.received = staging.receive_verified(ctx, item.entry, item.meta, partial, note, asked)
        item.way = came or item.way
        item.file = publish.seal(ctx, item.entry, partial)
    except BaseException as error:  # noqa: BLE001 - told in the thread that waits for it
        item.error = error
        if note is not None and isinstance(error, ModelCacheError):
            # Who waits for this one file alone raises the same, instead of trying once more.
            note.error = notes.as_error(error)
            notes.write(ctx, item.entry, note)


def _begin(ctx: Context, item: Item, partial: Partial) -> Note:
    """Keep what an earlier process left if it is of the same bytes, and tell those who wait."""
    last = notes.read(ctx, item.entry) if partial.size else Note()
    if partial.size and notes.belongs(last, item.meta.etag):
        partial.hold(notes.kept(last, partial.size), item.size)
    elif partial.size:
        partial.restart()
    if item.size <= _SMALL:
        return Note(last.attempt + 1, size=item.size, etag=item.meta.etag, endpoint=ctx.settings.endpoint)
    note = notes.begin(ctx, item.entry)
    note.size = item.size
    notes.describe(note, item.meta.etag, partial.held)
    notes.write(ctx, item.entry, note)
    return note
