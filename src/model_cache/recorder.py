"""Writing a download into the index, and what becomes of it when the index cannot be written.

I8: with no budget an unusable index costs a warning, and the file is adopted later. Under a `max_size` nothing may be
downloaded that is not counted, so the miss fails and names the index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .context import Context, holder_name
from .errors import CacheFullError, IndexUnavailableError
from .index.ledger import Installed, Ledger, Promise
from .index.rows import Row
from .layout import Entry
from .log import logger
from .progress import Progress

T = TypeVar("T")


class Recorder:
    """The ledger of one download of one entry, or nothing where the index cannot be used."""

    def __init__(self, ctx: Context, entry: Entry, progress: Progress) -> None:
        self._ctx, self._entry, self._progress = ctx, entry, progress
        self._ledger: Ledger | None = Ledger(ctx.index)

    def _write(self, write: Callable[[Ledger], T]) -> T | None:
        if self._ledger is None:
            return None
        try:
            try:
                return write(self._ledger)
            except IndexUnavailableError:
                if self._ledger.mend():
                    self._warn(
                        f"the index of {self._ctx.root} was damaged and was set aside; its newest backup has its place, or a"
                        " new one is begun. No model file is lost; model-cache reconcile enters what is not known now"
                    )
                return write(self._ledger)
        except IndexUnavailableError as error:
            if self._ctx.settings.max_size is not None:
                raise CacheFullError(
                    f"{self._entry}: nothing can be downloaded under a max_size while usage is unknown: {error}",
                    hint=error.hint,
                ) from None
            self._warn(f"{error}; the download goes on without it")
            self._ledger = None
            return None

    def _warn(self, message: str) -> None:
        logger.warning(message)
        self._progress.warning(message)

    @property
    def is_recording(self) -> bool:
        """Whether the index was told of everything so far."""
        return self._ledger is not None

    def row(self) -> Row | None:
        """What the index knows of the entry."""
        return self._write(lambda ledger: ledger.row(self._entry))

    def same_bytes(self, sha256: str | None, etag: str) -> list[Row]:
        """Entries that were recorded with these bytes."""
        return self._write(lambda ledger: ledger.same_bytes(sha256, etag)) or []

    def reserved(self, promise: Promise) -> None:
        """A name is about to be made that needs no room."""
        holder = holder_name()
        self._write(lambda ledger: ledger.reserve(self._entry, promise, 0, holder, replacing=False))

    def sibling_commit(self) -> str | None:
        """The commit that the other files of this repo came from."""
        return self._write(lambda ledger: ledger.sibling_commit(self._entry))

    def admit(self, make_room: Callable[[], None]) -> None:
        """A download begins: reserve its room."""
        self._write(lambda _: make_room())

    def installing(self, file: Installed, *, replacing: bool) -> None:
        """The bytes are about to get their name."""
        self._write(lambda ledger: ledger.installing(self._entry, file, replacing=replacing))

    def ready(self, source: str, *, used: bool = True) -> None:
        """The bytes have their name."""
        self._write(lambda ledger: ledger.ready(self._entry, source=source, used=used))

    def adopted(self, file: Installed, etag: str, commit: str) -> None:
        """The promised bytes already stood at the path, placed there by somebody."""
        self._write(lambda ledger: ledger.rebound(self._entry, file, origin="adopted", etag=etag, commit=commit))

    def stopped(self, allocated: int, *, replacing: bool) -> None:
        """The download ended early."""
        self._write(lambda ledger: ledger.stopped(self._entry, allocated, replacing=replacing))

    def settled(self, found: str, allocated: int) -> None:
        """Recovery came to a finding, and a partial of so many bytes is there."""
        self._write(lambda ledger: ledger.settled(self._entry, found, allocated))
