"""Bytes that are complete and verified, and have no name yet.

Everything that makes files (a miss, a replacement, an update of several) stages its bytes here first, and leaves here
what the next caller can resume when it does not come to a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..budget import admission, limits
from ..context import Context
from ..errors import CacheFullError, DownloadError, IntegrityError, InUseError, LockTimeoutError, ModelCacheError
from ..hosts import holder_name
from ..hub.client import FileMeta
from ..index.ledger import Promise
from ..index.room import Claim
from ..layout import Entry
from ..log import logger
from ..recorder import Recorder
from ..write_lock import WriteLock
from . import body, linking, notes
from .notes import Note
from .partial import Partial
from .request import Request


@dataclass
class Job:
    """The work on one entry, whose W (`lock`) is held: what was asked, and where it is written down.

    Attributes:
        recorded: What the file has to be was read in the tier, not asked of the Hub.
        distrusted: And it was wrong.
    """

    entry: Entry
    lock: WriteLock
    request: Request
    recorder: Recorder
    note: Note
    recorded: bool = False
    distrusted: bool = False


@dataclass
class Staged:
    """Verified bytes in a partial; how they came (`download`, `resume`, `tier`, `link`, `copy`), how many over the network."""

    partial: Partial
    way: str
    received: int


@contextmanager
def stage(
    ctx: Context, job: Job, meta: FileMeta, source: linking.Source | None, *, replacing: bool
) -> Iterator[Staged]:
    """Make room, fill the partial (from the network, or a copy of the source), verify; the block gives it its name.

    Whatever ends the block early leaves the partial for the next caller, unless its bytes are wrong, lost or unwanted.
    """
    entry = job.entry
    claim = reserve(ctx, job, meta, replacing=replacing)
    partial = Partial(ctx, entry, job.lock)
    try:
        if source is None and notes.belongs(job.note, meta.etag):
            partial.hold(notes.kept(job.note, partial.size), meta.size)
        else:
            partial.restart()
        job.note.size = meta.size
        notes.describe(job.note, meta.etag, partial.held)
        notes.write(ctx, entry, job.note)
        way = "resume" if partial.held else "download"
        if source is not None:
            way = "link" if source.sha256 else "copy"
            ctx.step("copy:write")
            partial.copy(source.fd)
        partial.limit = claim.wanted if meta.size is None and claim.limit is not None else None
        came, received = receive_verified(ctx, entry, meta, partial, job.note, job.request)
        yield Staged(partial, came or ("download" if source is not None and received else way), received)
    except BaseException as error:
        if not partial.published:  # else the row says `installing`, which recovery settles
            _stop(ctx, job, partial, error, replacing=replacing)
        raise
    finally:
        partial.close()


def reserve(ctx: Context, job: Job, meta: FileMeta, *, replacing: bool) -> Claim:
    """Make room for all of an entry's bytes; what was reserved."""
    limit = limits.ceiling(ctx)
    wanted = admission.reservation(ctx, meta.size, limit, job.entry)
    promise = Promise(meta.size, meta.sha256, meta.etag, meta.commit)
    claim = Claim(job.entry, promise, holder_name(), replacing, wanted, limit)
    job.recorder.admit(lambda: admission.admit(ctx, claim, job.request.deadline, job.request.progress))
    return claim


def receive_verified(
    ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request
) -> tuple[str, int]:
    """Have the promised bytes in the partial, from the tier if other hosts share one and it has them, else from the Hub.

    Returns:
        `tier` if that is where what was missing came from, else nothing; and the bytes that came over the network.
    """
    if ctx.settings.tier is None:
        return "", _from_hub(ctx, entry, meta, partial, note, request)
    from . import sharing

    coming = sharing.Coming(ctx, entry, meta, partial, note, request)
    shared, received = sharing.receive(coming, lambda: _from_hub(ctx, entry, meta, partial, note, request))
    return "tier" if shared else "", received


def _from_hub(ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request) -> int:
    """Receive and compare with the promise; once more from zero if it differs, for it may be the prefix that was bad."""
    received = body.receive(ctx, entry, meta, partial, note, request)
    ctx.step("verify:hash")
    try:
        partial.check(meta, str(entry))
    except IntegrityError as error:
        if request.offline:
            raise
        message = f"{error}; downloading once more from the start"
        logger.warning(message)
        request.progress.warning(message)
        partial.restart()
        received += body.receive(ctx, entry, meta, partial, note, replace(request, anew=True))
        partial.check(meta, str(entry))
    return received


def _stop(ctx: Context, job: Job, partial: Partial, error: BaseException, *, replacing: bool) -> None:
    """Leave what the next caller can resume: nothing of wrong, lost or unwanted bytes, everything else."""
    left = partial.left() if is_wanted(partial, error) else 0
    try:
        if not left:
            ctx.step("stop:unlink-partial")
            partial.remove_durably()
        job.recorder.stopped(left, replacing=replacing)
    except (ModelCacheError, OSError) as second:
        logger.warning("%s: %s", job.entry, second)  # the first error is what the caller must see


def is_wanted(partial: Partial, error: BaseException) -> bool:
    """Whether the bytes of a download that this ended are worth keeping."""
    return partial.sealed or not isinstance(error, ModelCacheError) or _resumable(error)


def _resumable(error: ModelCacheError) -> bool:
    if isinstance(error, CacheFullError):
        return False  # a partial that fills the disk helps nobody
    return isinstance(error, (DownloadError, InUseError, LockTimeoutError))
