"""A whole repo, or what is selected of it, at one commit: its directory, once everything is there.

This module narrates it: what the repo consists of is read from its listing, or asked of the Hub once; what is missing is
fetched by `many`; the directory is handed out when nothing is.

Concurrency:
    Who asks the Hub holds the repo's lock meanwhile (`repo_lock`), and looks for a listing again under it: all
    processes that begin at once go on from one commit. While files of it are fetched the lock is shared, so no update comes
    in between; it is taken before any W.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from .. import disk, hit, listings, tiers
from ..context import Context
from ..errors import (
    CacheFullError,
    IndexUnavailableError,
    IntegrityError,
    InUseError,
    InvalidNameError,
    ModelCacheError,
    NotFoundError,
    OfflineMissError,
    SettingError,
)
from ..index import queries
from ..index.ledger import Ledger
from ..layout import Entry, Snapshot, is_commit
from ..listings import Listed, Listing
from ..preparing import prepare
from ..selection import select
from ..units import plural, shown
from .asking import ask, is_refuted, promise
from .many import WORKERS, Wanted, fetch_many
from .repo_lock import repo_lock
from .request import Outcome, Request
from .update import update_or_not

_ROUNDS = 3  # times that a repo is looked at again because somebody removed or moved it


@dataclass(frozen=True)
class Selection:
    """Which files of a repo: all, unless patterns say otherwise; see `selection.select`."""

    include: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None
    loose: bool = False

    def of(self, listing: Listing) -> list[Listed]:
        """The files of a listing that are meant."""
        chosen = set(select([file.path for file in listing.files], self.include, self.exclude, loose=self.loose))
        return [file for file in listing.files if file.path in chosen]


class Fetched(NamedTuple):
    """A repo that is there.

    Attributes:
        ctx: The root that it is in.
        commit: What it came from.
        entries, outcomes: Its selected files, and how each was had, in the order of their paths.
    """

    ctx: Context
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
    if not request.force and (below := _below(ctx, snapshot, selection)):
        return below
    for _ in range(_ROUNDS):
        if request.force:
            return _fetch_afresh(ctx, snapshot, selection, request, workers)
        _settle(ctx, snapshot, request)
        refuted: ModelCacheError | None = None
        with _at_one_commit(ctx, snapshot, selection, request) as listing:
            if listing is None:
                continue  # it was removed, or a file of it was moved alone, since
            if request.offline or ctx.settings.read_only:
                refuse_partial(ctx, snapshot, listing, selection, request)
            try:
                wanted = _wanted(snapshot, listing, selection)
                outcomes = _fetch(ctx, snapshot, wanted, request, workers)
            except (IntegrityError, NotFoundError, CacheFullError, InvalidNameError) as error:
                if request.offline or not is_refuted(ctx, snapshot, listing, request.deadline):
                    raise
                refuted = error
            now = listings.read(ctx, snapshot)
        if refuted is not None:
            request.progress.warning(f"{refuted}; the tier's listing of {snapshot} was wrong, and the Hub is asked")
            return _fetch_afresh(ctx, snapshot, selection, replace(request, force=True), workers)
        if now is not None and now.commit == listing.commit and not now.moving:
            return Fetched(ctx, listing.commit, [one.entry for one in wanted], outcomes)
    raise InUseError(
        f"{snapshot} was removed, or moved to another commit, whenever its files had come",
        hint=f"model-cache fetch {snapshot.repo}",
    )


def _below(ctx: Context, snapshot: Snapshot, selection: Selection) -> Fetched | None:
    """All that is selected, from a lower root that has all of it; None also where this root has it."""
    candidates = tiers.wholes(ctx, snapshot)
    if not candidates or _hits(ctx, snapshot, selection) is not None:
        return None
    for candidate in candidates:
        found = tiers.attempt(ctx, candidate, lambda below: _hits(below, snapshot, selection))
        if found is not None:
            return found
    return None


def _hits(ctx: Context, snapshot: Snapshot, selection: Selection) -> Fetched | None:
    listing = listings.read(ctx, snapshot)
    if listing is None or listing.moving:
        return None
    entries, outcomes = [_entry(snapshot, file) for file in selection.of(listing)], []
    for entry in entries:
        found = hit.find(ctx, entry)
        if found is None:
            return None
        outcomes.append(Outcome(found, "hit", 0))
    return Fetched(ctx, listing.commit, entries, outcomes)


def _fetch(ctx: Context, snapshot: Snapshot, wanted: list[Wanted], request: Request, workers: int) -> list[Outcome]:
    try:
        return fetch_many(ctx, wanted, request, workers=workers, whole=str(snapshot))
    except NotFoundError as error:
        if error.code == "RevisionNotFound" and not is_commit(snapshot.revision):
            error.hint = f"model-cache update {snapshot.repo} moves it to the current commit"
        raise


def _fetch_afresh(ctx: Context, snapshot: Snapshot, selection: Selection, request: Request, workers: int) -> Fetched:
    """All that is selected once more, from the current commit; what else is there of the repo moves to it as well."""
    _refuse_unlisted(ctx, snapshot, None, request)
    _meet(ctx, request)
    with repo_lock(ctx, snapshot, shared=False, deadline=request.deadline):
        before = listings.read(ctx, snapshot, certain=True)
        commit = snapshot.revision if is_commit(snapshot.revision) else None
        listing = ask(ctx, snapshot, commit, request.deadline, afresh=True)
        wanted = _wanted(snapshot, listing, selection)
        same = before is not None and before.commit == listing.commit and not before.moving
        _write(ctx, snapshot, Listing(listing.commit, listing.files, moving=not same))
        outcomes = _fetch(ctx, snapshot, wanted, request, workers)
        whole = same or not _others(ctx, snapshot, listing, wanted)
        if whole and not same:
            _write(ctx, snapshot, listing)
    if not whole:
        _go_on(ctx, snapshot, replace(request, force=False))
    return Fetched(ctx, listing.commit, [one.entry for one in wanted], outcomes)


def _others(ctx: Context, snapshot: Snapshot, listing: Listing, wanted: list[Wanted]) -> bool:
    """Whether files of the listing are there that were not fetched: they may be of another commit."""
    chosen = {one.entry.filename for one in wanted}
    for file in listing.files:
        if file.path in chosen:
            continue
        try:
            if os.path.lexists(snapshot.entry(file.path).path(ctx.root)):
                return True
        except InvalidNameError:
            continue  # no file of the cache has such a name
    return False


def _wanted(snapshot: Snapshot, listing: Listing, selection: Selection) -> list[Wanted]:
    chosen = selection.of(listing)
    for file in chosen:
        _entry(snapshot, file)  # a name that is refused costs no memory for those before it
    return [Wanted(_entry(snapshot, file), promise(listing, file)) for file in chosen]


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


def _settle(ctx: Context, snapshot: Snapshot, request: Request) -> None:
    """See to it that there is a listing, and that what it says is so."""
    listing = listings.read(ctx, snapshot)
    if listing is not None and not listing.moving:
        return
    if listing is None and not ctx.settings.read_only and _take_over(ctx, snapshot, request):
        return
    _refuse_unlisted(ctx, snapshot, listing, request)
    _meet(ctx, request)
    if listing is not None:
        _go_on(ctx, snapshot, request)
    with repo_lock(ctx, snapshot, shared=False, deadline=request.deadline):
        found = listings.read(ctx, snapshot)
        if found is None or found.moving:  # else another process asked meanwhile
            commit = snapshot.revision if is_commit(snapshot.revision) else _sibling_commit(ctx, snapshot)
            commit = commit or tiers.commit_below(ctx, snapshot)
            _write(ctx, snapshot, ask(ctx, snapshot, commit, request.deadline))


def _take_over(ctx: Context, snapshot: Snapshot, request: Request) -> bool:
    """Have a lower root's listing here too, so that what it has can be copied; not if the files here are of another commit."""
    found = tiers.listing_below(ctx, snapshot)
    if found is None or _sibling_commit(ctx, snapshot) not in (None, found.commit):
        return False
    prepare(ctx)
    with repo_lock(ctx, snapshot, shared=False, deadline=request.deadline):
        if listings.read(ctx, snapshot) is None:
            _write(ctx, snapshot, found)
    return True


@contextmanager
def _at_one_commit(
    ctx: Context, snapshot: Snapshot, selection: Selection, request: Request
) -> Iterator[Listing | None]:
    """The listing, which no update moves during the block; None if there is none by now.

    Where nothing is fetched, offline and with nothing to copy, nothing is locked; nor by who may only read the root, and has
    what is there as a whole.
    """
    if ctx.settings.read_only or (request.offline and not _copies(ctx, snapshot, selection)) or not _is_prepared(ctx):
        yield listings.read(ctx, snapshot)
        return
    with repo_lock(ctx, snapshot, shared=True, deadline=request.deadline):
        listing = listings.read(ctx, snapshot)
        yield None if listing is None or listing.moving else listing


def _is_prepared(ctx: Context) -> bool:
    """Whether the root can be written; what is missing in one that cannot is refused when it is to be fetched."""
    try:
        prepare(ctx)
    except OfflineMissError:
        return False
    return True


def _copies(ctx: Context, snapshot: Snapshot, selection: Selection) -> bool:
    """Whether a lower root may have something to be copied."""
    listing = listings.read(ctx, snapshot) if ctx.lower else None
    return listing is not None and any(not hit.exists(ctx, _entry(snapshot, file)) for file in selection.of(listing))


def _meet(ctx: Context, request: Request) -> None:
    ctx.settings.refresh()
    ctx.access.meet(request.progress)
    prepare(ctx)


def _write(ctx: Context, snapshot: Snapshot, listing: Listing) -> None:
    try:
        listings.write(ctx, snapshot, listing)
    except OSError as error:
        raise disk.storage_error(error, "cannot write", listings.place(ctx, snapshot)) from None


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
    missing = [file.path for file in chosen if not _can_be_had(ctx, snapshot, file)]
    if missing:
        why = "the network is switched off" if request.offline else "the root is read-only"
        raise OfflineMissError(
            f"{snapshot}: {len(chosen) - len(missing)} of {plural(len(chosen), 'file')} are in the cache, {missing[0]} is"
            f" not{'' if len(missing) == 1 else ' (among others)'}, and {why}",
            hint=f"model-cache fetch {snapshot.repo}, with the network, fetches the rest",
            incomplete=f"{ctx.root}/{snapshot.directory}",
        )


def _can_be_had(ctx: Context, snapshot: Snapshot, file: Listed) -> bool:
    """Whether a file is there, or can be copied from a lower root."""
    entry = _entry(snapshot, file)
    if hit.exists(ctx, entry):
        return True
    return not ctx.settings.read_only and tiers.holder_below(ctx, entry, file.size) is not None


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


def _sibling_commit(ctx: Context, snapshot: Snapshot) -> str | None:
    """The commit that files of this snapshot came from which were fetched one by one: the rest is to match them."""
    try:
        return Ledger(ctx.index).snapshot_commit(snapshot)
    except IndexUnavailableError:
        return None
