"""Writing a download into the index, and what becomes of it when the index cannot be written.

I8: with no budget an unusable index costs a warning, and the file is adopted later. Under a `max_size` nothing may be
downloaded that is not counted, so the miss fails and names the index.

I6, I7: nothing is replaced without its row (`required`), or the new file would look like somebody's edit of the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from .context import Context
from .errors import CacheFullError, IndexUnavailableError
from .hosts import holder_name
from .index.ledger import Installed, Ledger, Promise, Reservation
from .index.rows import Row
from .index.several import Carried, Several
from .layout import Entry
from .log import logger
from .progress import Progress

T = TypeVar("T")


class _Writer:
    """Writes into the index while it can be used, and afterwards nothing.

    Args:
        required: A file is about to be replaced: IndexUnavailableError where that cannot be written down before it is done.
    """

    def __init__(self, ctx: Context, name: str, progress: Progress, *, required: bool = False) -> None:
        self._ctx, self._name, self._progress, self._required = ctx, name, progress, required
        self._ledger: Ledger | None = Ledger(ctx.index)

    def _write(self, write: Callable[[Ledger], T], *, after: bool = False) -> T | None:
        """Write, or go on without; `after`: of what is done already, and is not undone for want of a row."""
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
                    f"{self._name}: nothing can be downloaded under a max_size while usage is unknown: {error}",
                    hint=error.hint,
                ) from None
            if self._required and not after:
                raise IndexUnavailableError(
                    f"{self._name} is not replaced while that cannot be written down: {error}", hint=error.hint
                ) from None
            self._warn(f"{error}; the download goes on without it")
            self._ledger = None
            return None

    def _warn(self, message: str) -> None:
        logger.warning(message)
        self._progress.warning(message)


class Recorder(_Writer):
    """The ledger of one download of one entry, or nothing where the index cannot be used."""

    def __init__(self, ctx: Context, entry: Entry, progress: Progress, *, required: bool = False) -> None:
        super().__init__(ctx, str(entry), progress, required=required)
        self._entry = entry

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
        self._write(lambda ledger: ledger.ready(self._entry, source=source, used=used), after=True)

    def adopted(self, file: Installed, etag: str, commit: str) -> None:
        """The promised bytes already stood at the path, placed there by somebody."""
        self._write(
            lambda ledger: ledger.rebound(self._entry, file, origin="adopted", etag=etag, commit=commit), after=True
        )

    def stopped(self, allocated: int, *, replacing: bool) -> None:
        """The download ended early."""
        self._write(lambda ledger: ledger.stopped(self._entry, allocated, replacing=replacing), after=True)

    def settled(self, found: str, allocated: int) -> None:
        """Recovery came to a finding, and a partial of so many bytes is there."""
        self._write(lambda ledger: ledger.settled(self._entry, found, allocated))


class SeveralRecorder(_Writer):
    """The ledger of a download of several entries, or nothing where the index cannot be used."""

    def __init__(self, ctx: Context, name: str, progress: Progress) -> None:
        super().__init__(ctx, name, progress)
        self._several = Several(ctx.index)

    def rows(self, entries: Sequence[Entry]) -> dict[str, Row]:
        """What the index knows of these, by key."""
        return self._write(lambda _: self._several.rows(entries)) or {}

    def known_bytes(self, hashes: Iterable[str]) -> set[str]:
        """Those of some hashes that ready entries were recorded with."""
        return self._write(lambda _: self._several.known_bytes(hashes)) or set()

    def admit(self, make_room: Callable[[], None]) -> None:
        """Downloads begin: reserve their room as one sum."""
        self._write(lambda _: make_room())

    def reserve(
        self, reservations: Sequence[Reservation], carried: Carried, limit: int | None
    ) -> tuple[list[Entry], int]:
        """Give single files their part of the sum; (those that have no room, bytes that are left of it)."""
        return self._write(lambda _: self._several.reserve(reservations, carried, limit)) or ([], 0)

    def carry(self, before: Carried, after: Entry | None) -> None:
        """Let another entry carry what is left of the sum."""
        self._write(lambda _: self._several.carry(before, after))

    def installing(self, files: Sequence[tuple[Entry, Installed]]) -> None:
        """The bytes of these are about to get their names."""
        self._write(lambda _: self._several.installing(files))

    def ready(self, files: Sequence[tuple[Entry, str]]) -> None:
        """The bytes of these have their names; how each came."""
        self._write(lambda _: self._several.ready(files))

    def stopped(self, left: Sequence[tuple[Entry, int]]) -> None:
        """The downloads of these ended early."""
        self._write(lambda _: self._several.stopped(left))
