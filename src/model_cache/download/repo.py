"""A whole repo, or what is selected of it, at one commit: its directory, once everything is there.

This module narrates it: what the repo consists of is read from its listing, or asked of the Hub once; what is missing is
fetched by `many`; the directory is handed out when nothing is.

Concurrency:
    Who asks the Hub holds the snapshot's lock meanwhile, and looks for a listing again under it: all processes that begin at
    once go on from one commit. It is let go before any file is locked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from .. import disk, hit, listings, locks
from ..context import Context
from ..errors import (
    IndexUnavailableError,
    InUseError,
    InvalidNameError,
    LockTimeoutError,
    NotFoundError,
    OfflineMissError,
    SettingError,
    quoted,
)
from ..index import queries
from ..index.ledger import Ledger
from ..layout import Entry, Snapshot, is_commit
from ..listings import Listed, Listing
from ..selection import select
from ..units import plural, shown
from .asking import ask, promise
from .many import WORKERS, Wanted, fetch_many
from .request import Outcome, Request
from .update import update_or_not

_ASKING = 300.0  # seconds to wait for another process that asks the Hub, whose own patience is bounded


@dataclass(frozen=True)
class Selection:
    """Which files of a repo: all, unless patterns say otherwise; see `selection.select`."""

    include: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None

    def of(self, listing: Listing) -> list[Listed]:
        """The files of a listing that are meant."""
        chosen = set(select([file.path for file in listing.files], self.include, self.exclude))
        return [file for file in listing.files if file.path in chosen]


class Fetched(NamedTuple):
    """A repo that is there.

    Attributes:
        commit: What it came from.
        entries, outcomes: Its selected files, and how each was had, in the order of their paths.
    """

    commit: str
    entries: list[Entry]
    outcomes: list[Outcome]


def fetch_repo(
    ctx: Context, snapshot: Snapshot, selection: Selection, request: Request, *, workers: int = WORKERS
) -> Fetched:
    """Fetch what is selected and missing.

    Raises:
        OfflineMissError: Not all of it is there, or nobody knows what all of it is, and nothing may be downloaded.
        SettingError: A pattern of `include` fits no file.
        InvalidNameError: A selected file has a name that cannot stand for a path.
        ModelCacheError: As `many.fetch_many`.
    """
    listing = None if request.force else listings.read(ctx, snapshot)
    if listing is None or listing.moving:
        _refuse_unlisted(ctx, snapshot, listing, request)
        ctx.settings.refresh()
        ctx.meet_hub(request.progress)
        ctx.prepare()
        if listing is not None:
            _go_on(ctx, snapshot, request)
        listing = _listed(ctx, snapshot, request)
    elif request.offline or ctx.settings.read_only:
        refuse_partial(ctx, snapshot, listing, selection, request)
    wanted = [Wanted(_entry(snapshot, file), promise(listing, file)) for file in selection.of(listing)]
    try:
        outcomes = fetch_many(ctx, wanted, request, workers=workers, whole=str(snapshot))
    except NotFoundError as error:
        if error.code == "RevisionNotFound" and not is_commit(snapshot.revision):
            error.hint = f"model-cache update {snapshot.repo} moves it to the current commit"
        raise
    return Fetched(listing.commit, [one.entry for one in wanted], outcomes)


def check_workers(workers: int) -> int:
    """How many files are received at a time; raises SettingError where that is no number from 1 to 64."""
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 64:
        raise SettingError(f"workers: expected a whole number from 1 to 64, found {shown(workers)}")
    return workers


def _entry(snapshot: Snapshot, file: Listed) -> Entry:
    try:
        return snapshot.entry(file.path)
    except InvalidNameError as error:
        error.hint = "model-cache fetch --exclude leaves it out"
        raise


def _refuse_unlisted(ctx: Context, snapshot: Snapshot, listing: Listing | None, request: Request) -> None:
    if not request.offline and not ctx.settings.read_only:
        return
    why = "the network is switched off" if request.offline else "the root is read-only"
    what = (
        "what belongs to it was never asked" if listing is None else "an update of it was interrupted, and is to go on"
    )
    raise OfflineMissError(
        f"{snapshot} is not known to be in the cache as a whole: {what}, and {why}",
        hint=f"model-cache fetch {snapshot.repo}, with the network",
    )


def refuse_partial(ctx: Context, snapshot: Snapshot, listing: Listing, selection: Selection, request: Request) -> None:
    """Refuse to hand out a directory of which a part is missing, where nothing can be downloaded; says how much is there.

    Raises:
        OfflineMissError: Not all that is selected is there.
    """
    chosen = selection.of(listing)
    missing = [file.path for file in chosen if not hit.exists(ctx, _entry(snapshot, file))]
    if missing:
        why = "the network is switched off" if request.offline else "the root is read-only"
        raise OfflineMissError(
            f"{snapshot}: {len(chosen) - len(missing)} of {plural(len(chosen), 'file')} are in the cache, {missing[0]} is"
            f" not{'' if len(missing) == 1 else ' (among others)'}, and {why}",
            hint=f"model-cache fetch {snapshot.repo}, with the network, fetches the rest",
        )


def _go_on(ctx: Context, snapshot: Snapshot, request: Request) -> None:
    """An update was interrupted between two files: it goes on, so that all are of one commit.

    Raises:
        InUseError: A file of it is in use now.
    """
    rows = [row for row in queries.of_snapshot(ctx.index, snapshot) if row.state == "ready" and row.origin != "placed"]
    report = update_or_not(ctx, rows, request) if rows else None
    if report is not None and report.in_use:
        raise InUseError(
            f"{snapshot} is between two commits: an update of it was interrupted, and cannot go on while"
            f" {report.in_use[0].filename} is in use",
            hint="model-cache ls --in-use says by whom",
        )


def _listed(ctx: Context, snapshot: Snapshot, request: Request) -> Listing:
    """The listing, asked of the Hub by one process at a time."""
    with _asking(ctx, snapshot):
        found = None if request.force else listings.read(ctx, snapshot)
        if found is not None and not found.moving:
            return found  # another process asked meanwhile
        commit = snapshot.revision if is_commit(snapshot.revision) else None
        if commit is None and not request.force:
            commit = _sibling_commit(ctx, snapshot)
        listing = ask(ctx, snapshot, commit, request.deadline)
        try:
            listings.write(ctx, snapshot, listing)
        except OSError as error:
            raise disk.storage_error(error, "cannot write", listings.place(ctx, snapshot)) from None
        return listing


@contextmanager
def _asking(ctx: Context, snapshot: Snapshot) -> Iterator[None]:
    path = ctx.places.lock(snapshot.key)
    last = ctx.clock.monotonic() + _ASKING
    while (fd := locks.try_write(path, ctx.settings.file_mode)) is None:
        if ctx.clock.monotonic() >= last:
            raise LockTimeoutError(
                f"{snapshot}: another process has asked the Hub what belongs to it for more than {_ASKING:g} seconds",
                hint=f"fuser -v {quoted(path)}",
            )
        ctx.clock.sleep(locks.POLL)
    try:
        yield
    finally:
        locks.release(fd)


def _sibling_commit(ctx: Context, snapshot: Snapshot) -> str | None:
    """The commit that files of this snapshot came from which were fetched one by one: the rest is to match them."""
    try:
        return Ledger(ctx.index).snapshot_commit(snapshot)
    except IndexUnavailableError:
        return None
