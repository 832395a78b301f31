"""One process leads: it downloads the file for everybody who asks. Loads HTTP and SQL, which who waits does without.

This module narrates the whole job; everything it calls is one step of it.
"""

from __future__ import annotations

import os

from .. import disk, hit, listings, recovery, stats, tiers
from ..budget.designated import refuse_to_take
from ..context import Context
from ..errors import (
    AccessError,
    CacheFullError,
    DownloadError,
    IntegrityError,
    ModelCacheError,
    NotFoundError,
    OfflineMissError,
    StorageError,
    quoted,
)
from ..hub.client import FileMeta
from ..index import Row
from ..index.ledger import Promise
from ..layout import Entry, Snapshot
from ..listings import Listing
from ..log import logger
from ..recorder import Recorder
from ..write_lock import WriteLock
from . import linking, mending, notes, place, publish, staging
from .asking import promise
from .replacing import Replacement, replace
from .request import Outcome, Request
from .staging import Job
from .waiting import out_of_time


def lead(ctx: Context, entry: Entry, lock: WriteLock, request: Request) -> Outcome:
    """Under W: look again, settle what was left, then download."""
    assert lock.held, "who leads holds W"
    disk.refresh_parent(ctx.root, entry.relative)
    if ctx.folds:
        hit.refuse_clash(ctx, entry)
    replaces = (request.force and os.path.lexists(entry.path(ctx.root))) or mending.damaged(ctx, entry) is not None
    recorder = Recorder(ctx, entry, request.progress, required=replaces)
    row = recovery.recover(ctx, entry, recorder)
    found = hit.find(ctx, entry)
    if found and (not request.force or (request.exact and _is_promised(found, row, request.promise))):
        return Outcome(found, "hit", 0)
    if found and not _is_ours(found, row):
        whose = (
            "is not known to the index (it was not made by this cache, or the index was lost)"
            if row is None or row.origin == "placed"
            else "is not as it was downloaded: somebody changed it,"
        )
        raise StorageError(
            f"{found.text} {whose} and is not replaced",
            path=found.text,
            hint=f"move it away: mv {quoted(found.text)} {quoted(f'{found.text}.mine')}",
        )
    if found:
        refuse_to_take(ctx)
    note = notes.begin(ctx, entry)
    job = Job(entry, lock, request, recorder, note)
    try:
        source, received = _mend(ctx, job, row, found) or _download(ctx, job, row if found else None)
    except ModelCacheError as error:
        note.error = notes.as_error(error)
        notes.write(ctx, entry, note)
        if isinstance(error, (NotFoundError, AccessError)):
            place.forget(ctx, entry, lock, recorder)
        raise
    handed_out = hit.find(ctx, entry)
    if handed_out is None:
        raise StorageError(f"{entry.path(ctx.root)} vanished while it was being handed out", path=entry.path(ctx.root))
    return Outcome(handed_out, source, received)


def _mend(ctx: Context, job: Job, row: Row | None, found: hit.Found | None) -> tuple[str, int] | None:
    """Of a file that is known to be damaged: its recorded bytes again, or None with its path free."""
    bad = mending.damaged(ctx, job.entry)
    if bad is not None:
        return mending.mend(ctx, job, row, bad)
    path = job.entry.path(ctx.root)
    if found is None and row is not None and row.state == "ready" and stats.identity_at(path) == row.identity:
        # Its mark kept it from being a hit, and is not there or cannot be read now: the path is not free.
        raise StorageError(
            f"{path} was damaged, and what is known of the damage cannot be read",
            path=path,
            hint="ask again, or model-cache verify --repair",
        )
    return None


def _is_ours(found: hit.Found, row: Row | None) -> bool:
    """Whether a file is the one that the index recorded: nobody's own may be replaced (I7)."""
    if row is None or row.state != "ready" or row.origin == "placed":
        return False
    return (found.ino, found.size, found.mtime_ns) == row.identity


def _is_promised(found: hit.Found, row: Row | None, promise: FileMeta | None) -> bool:
    """Whether the index knows this very file to have the promised bytes: somebody put them there meanwhile."""
    if row is None or promise is None or not _is_ours(found, row) or not row.is_sealed:
        return False
    return promise.sha256 is not None and row.sha256 == promise.sha256


def _download(ctx: Context, job: Job, row: Row | None) -> tuple[str, int]:
    """Ask the Hub, find the bytes here or receive them, publish; returns how they came and how many over the network.

    Args:
        row: The file that is to be replaced, None where the path is free.
    """
    meta = _metadata(ctx, job)
    if row is None:
        place.check(ctx, job.entry)
    try:
        return _bring(ctx, job, meta, row)
    except (IntegrityError, CacheFullError) as error:
        if not job.recorded or (isinstance(error, CacheFullError) and not _is_refuted(ctx, job, meta)):
            raise
        _distrust(ctx, job, meta, error)
    return _bring(ctx, job, _metadata(ctx, job), row)


def _is_refuted(ctx: Context, job: Job, meta: FileMeta) -> bool:
    """Whether the Hub promises other bytes than a record of the tier, which there is no room for; no, if it does not say."""
    job.distrusted = True
    try:
        now = _metadata(ctx, job)
    except ModelCacheError:
        return False
    return (now.size, now.sha256, now.git_sha1) != (meta.size, meta.sha256, meta.git_sha1)


def _bring(ctx: Context, job: Job, meta: FileMeta, row: Row | None) -> tuple[str, int]:
    """What was promised, from wherever it can be had."""
    source = None if job.request.force else _source(ctx, job, meta)
    try:
        if source is not None and source.sha256 and _link(ctx, job, meta, source):
            return "link", 0
        return _transfer(ctx, job, meta, source, row)
    finally:
        if source is not None:
            source.close()


def _source(ctx: Context, job: Job, meta: FileMeta) -> linking.Source | None:
    """Where the bytes can be had without the network.

    Raises:
        OfflineMissError: Nowhere any more, and the network is switched off.
    """
    source = linking.find_source(ctx, job.entry, meta, job.recorder)
    if source is None and job.request.source is not None:
        source = job.request.source()
    source = source or linking.find_below(ctx, job.entry, meta)
    if source is None and job.request.offline:
        raise OfflineMissError(
            f"{job.entry} is not in the cache ({job.entry.path(ctx.root)}) nor in a lower root any more, and the network is"
            " switched off",
            hint="ask again with the network",
        )
    return source


def _link(ctx: Context, job: Job, meta: FileMeta, source: linking.Source) -> bool:
    # What an earlier attempt left is not needed, and would not be counted.
    if os.path.lexists(ctx.places.partial(job.entry.key)):
        disk.remove_durably(ctx.places.partial(job.entry.key))
    if source.charged:
        staging.reserve(ctx, job, meta, replacing=False)
    else:
        job.recorder.reserved(Promise(meta.size, meta.sha256, meta.etag, meta.commit))
    return linking.link(ctx, job.entry, job.lock, source, job.recorder)


def _transfer(
    ctx: Context, job: Job, meta: FileMeta, source: linking.Source | None, row: Row | None
) -> tuple[str, int]:
    """Fill a partial and publish it, in the place of the file that `row` describes if there is one."""
    with staging.stage(ctx, job, meta, source, replacing=row is not None) as staged:
        if row is not None:
            _loosen(ctx, job.entry, meta)
            replace(ctx, [Replacement(job.entry, row, staged.partial, job.recorder)], staged.way)
        else:
            publish.publish(ctx, job.entry, job.lock, staged.partial, job.recorder, meta, staged.way)
        return staged.way, staged.received


def _loosen(ctx: Context, entry: Entry, meta: FileMeta) -> None:
    """A file alone gets other bytes than its repo's listing says: the repo is not whole before the rest has moved too."""
    snapshot = Snapshot(entry.repo, entry.revision, entry.repo_type)
    listing = listings.read(ctx, snapshot, certain=True)
    file = None if listing is None else listing.file(entry.filename)
    if listing is None or listing.moving or file is None or file.etag == (meta.sha256 or meta.git_sha1):
        return
    try:
        listings.write(ctx, snapshot, Listing(listing.commit, listing.files, moving=True))
    except OSError as error:
        raise disk.storage_error(error, "cannot write", listings.place(ctx, snapshot)) from None


def _distrust(ctx: Context, job: Job, meta: FileMeta, error: ModelCacheError) -> None:
    """A record of the tier may have promised other bytes than the Hub has: the Hub is asked from now on."""
    from . import records

    message = f"{error}; the tier's record of it is dropped, and the Hub is asked"
    logger.warning(message)
    job.request.progress.warning(message)
    records.drop(ctx, job.entry, meta.commit)
    records.drop_listing(ctx, Snapshot(job.entry.repo, job.entry.revision, job.entry.repo_type), meta.commit)
    job.distrusted = True


def _metadata(ctx: Context, job: Job) -> FileMeta:
    """What the Hub promises of the file, from the commit that the repo's other files came from if it has it.

    Where the whole repo was asked for before, its listing says so, and the Hub is not asked again.
    """
    entry, request, recorder = job.entry, job.request, job.recorder
    if request.promise is not None:
        return request.promise
    snapshot = Snapshot(entry.repo, entry.revision, entry.repo_type)
    listing = None if request.force else listings.read(ctx, snapshot)
    if listing is not None and not listing.moving and not job.distrusted:
        file = listing.file(entry.filename)
        if file is not None:
            job.recorded = ctx.settings.tier is not None  # which may have said so
            return promise(listing, file)
    meta = None
    sibling = None
    if not request.force:
        sibling = listing.commit if listing is not None else recorder.sibling_commit()
        sibling = sibling or tiers.commit_below(ctx, snapshot)
    if sibling is not None:
        try:
            meta = _ask(ctx, job, sibling)
        except NotFoundError:
            meta = _ask(ctx, job, entry.revision)  # where that has it neither, there is nothing to be warned of
            message = (
                f"{entry} is not in commit {sibling[:12]}, which the other files of this repo came from; taking the"
                " current one, which they may not match (fetch them again with --force to move them too)"
            )
            logger.warning(message)
            request.progress.warning(message)
    if meta is None:
        meta = _ask(ctx, job, entry.revision)
    if meta.sha256 is None and meta.git_sha1 is None:
        raise IntegrityError(
            f"{entry}: {ctx.settings.endpoint} promised neither a sha256 nor a git-sha1, so nothing could be verified",
            hint="a mirror must pass on the headers ETag and X-Linked-Etag",
        )
    return meta


def _ask(ctx: Context, job: Job, revision: str) -> FileMeta:
    entry, request = job.entry, job.request
    if ctx.settings.tier is not None and not request.force and not job.distrusted:
        from . import records

        if (known := records.find(ctx, entry, revision)) is not None:
            job.recorded = True
            return known
    job.recorded = False
    try:
        return ctx.hub.metadata(entry.repo_type, entry.repo, revision, entry.filename, deadline=request.deadline)
    except DownloadError as error:
        if error.transient and request.deadline is not None and ctx.clock.monotonic() >= request.deadline:
            raise out_of_time(ctx, entry) from None
        raise
