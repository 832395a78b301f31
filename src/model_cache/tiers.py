"""Which root answers: the one that is written, else the first of the lower ones, which are only read, that has the file.

A lower root is a root like any other, seen through a `Context` that is read-only: a hit there is a hit as `hit` knows
it, with its lease and its damage marks. What cannot be had from it, be it that it is not mounted, not readable or odd, is
not there; it is said once.

Concurrency:
    I3, I9. Nothing is made, changed or touched in a lower root. A lease on a file there is held as on any other; that it is
    in use is told to its evictor by that lease alone, which is kept for `min_idle`.
"""

from __future__ import annotations

import os

from . import hit
from .errors import IndexUnavailableError, ModelCacheError, SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from .context import Context
    from .layout import Entry, Snapshot
    from .listings import Listing

    T = TypeVar("T")


# Decisions


def may_answer(own: Listing | None, below: Listing | None) -> bool:
    """Whether a lower root's directory can be handed out as the whole of a repo, as far as the listings go.

    Where this root knows the repo's commit, only at that one: else the same call would go back and forth between two.
    """
    if below is None or below.moving:
        return False
    return own is None or (not own.moving and own.commit == below.commit)


def deciding(reasons: Iterable[str]) -> str:
    """Of the reasons why a file does not stand in each root, from the top: that of the root which would hand it out.

    Args:
        reasons: Empty where it stands there. What is `missing` or `damaged` is looked for further down.
    """
    first = ""
    for number, reason in enumerate(reasons):
        if reason not in ("missing", "damaged"):
            return reason
        first = first if number else reason
    return first


# Effects


def find(ctx: Context, entry: Entry) -> hit.Found | None:
    """Hand out the entry's file from the root that has it; raises as `hit.find` does, of this root alone."""
    return hit.find(ctx, entry) or _first(ctx, lambda below: hit.find(below, entry))


def open_leased(ctx: Context, entry: Entry) -> tuple[Context, int] | None:
    """The root that has the file, and a descriptor of it with a shared lease; raises as `hit.find` does."""
    fd = hit.open_leased(ctx, entry)
    return (ctx, fd) if fd is not None else open_below(ctx, entry)


def open_below(ctx: Context, entry: Entry, size: int | None = None) -> tuple[Context, int] | None:
    """The same of the lower roots alone; with a `size`, of a file of so many bytes."""

    def look(below: Context) -> tuple[Context, int] | None:
        if not _has_size(below, entry, size):
            return None
        fd = hit.open_leased(below, entry)
        return None if fd is None else (below, fd)

    return _first(ctx, look)


def holder(ctx: Context, entry: Entry) -> Context | None:
    """The root that would hand the file out; opens and touches nothing. Raises as `hit.exists` does, of this root alone."""
    return ctx if hit.exists(ctx, entry) else holder_below(ctx, entry)


def holder_below(ctx: Context, entry: Entry, size: int | None = None) -> Context | None:
    """The same of the lower roots alone; with a `size`, of a file of so many bytes."""
    return _first(ctx, lambda below: below if hit.exists(below, entry) and _has_size(below, entry, size) else None)


def directory_below(ctx: Context, directory: str) -> Context | None:
    """The first lower root that has a directory of this relative path."""
    return _first(ctx, lambda below: below if os.path.isdir(f"{below.root}/{directory}") else None)


def wholes(ctx: Context, snapshot: Snapshot) -> list[Context]:
    """The lower roots that the whole of a repo may be handed out from, if it is complete there."""
    if not ctx.lower:
        return []
    from . import listings

    own = listings.read(ctx, snapshot)
    return [below for below in ctx.lower if may_answer(own, listings.read(below, snapshot))]


def listing_below(ctx: Context, snapshot: Snapshot) -> Listing | None:
    """What the first lower root that knows it says the repo consists of."""
    from . import listings

    for below in ctx.lower:
        found = listings.read(below, snapshot)
        if may_answer(None, found):
            return found
    return None


def commit_below(ctx: Context, snapshot: Snapshot) -> str | None:
    """The commit that the files of a repo in a lower root came from: what is fetched beside them is to match them."""
    listing = listing_below(ctx, snapshot)
    if listing is not None or not ctx.lower:
        return None if listing is None else listing.commit
    from .index.ledger import Ledger  # who asks is about to ask the Hub

    for below in ctx.lower:
        try:
            commit = Ledger(below.index).snapshot_commit(snapshot)
        except IndexUnavailableError:
            continue
        if commit is not None:
            return commit
    return None


def _has_size(below: Context, entry: Entry, size: int | None) -> bool:
    try:
        return size is None or os.stat(entry.path(below.root)).st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False


def attempt(ctx: Context, below: Context, look: Callable[[Context], T]) -> T | None:
    """What a lower root says; None where it cannot be asked, which is said once."""
    try:
        found = look(below)
    except SettingError:
        raise  # what was asked for cannot be meant
    except (ModelCacheError, OSError) as error:
        _tell(ctx, below, f"cannot be used, and is passed over: {error}")
        return None
    if found is None and below.root not in ctx.told and not os.path.isdir(below.root):
        _tell(ctx, below, "is not there, and is passed over")
    return found


def _first(ctx: Context, look: Callable[[Context], T | None]) -> T | None:
    for below in ctx.lower:
        found = attempt(ctx, below, look)
        if found is not None:
            return found
    return None


def _tell(ctx: Context, below: Context, what: str) -> None:
    if below.root not in ctx.told:
        from .log import logger

        ctx.told.add(below.root)
        logger.warning("the lower root %s (from %s) %s", below.root, below.settings.root_source, what)
