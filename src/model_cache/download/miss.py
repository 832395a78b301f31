"""A file is wanted: hand it out, or download it once for everybody who asks.

This module narrates the whole job; everything it calls is one step of it.
"""

from __future__ import annotations

import os

from .. import disk, hit, recovery
from ..budget import admission, limits
from ..context import Context, holder_name
from ..errors import IntegrityError, ModelCacheError, NotFoundError, OfflineMissError, StorageError
from ..hub.client import FileMeta
from ..index import Row
from ..index.ledger import Promise
from ..index.room import Claim
from ..layout import Entry
from ..locks import WriteLock
from ..log import logger
from ..recorder import Recorder
from . import body, linking, notes, publish
from .notes import Note
from .partial import Partial
from .request import Outcome, Request
from .waiting import write_lock


def fetch(ctx: Context, entry: Entry, request: Request) -> Outcome:
    """The entry's file, downloaded if it is missing (or `force`d).

    Concurrency:
        I2: of all callers in all processes one holds W and downloads; the others leave its queue with a hit, share its
        failure, or take over when it dies.
    """
    force = request.force
    while True:
        if not force and (found := hit.find(ctx, entry)):
            return Outcome(found, "hit", 0)
        _refuse_offline(ctx, entry, request)
        ctx.settings.refresh()
        ctx.prepare()
        with write_lock(ctx, entry, request) as lock:
            if lock is not None:
                return _lead(ctx, entry, lock, request)
        force = False  # somebody published while this caller waited, which is as fresh as it asked for


def _lead(ctx: Context, entry: Entry, lock: WriteLock, request: Request) -> Outcome:
    """Under W: look again, settle what was left, then download."""
    disk.refresh_directory(os.path.dirname(entry.path(ctx.root)))
    recorder = Recorder(ctx, entry, request.progress)
    row = recovery.recover(ctx, entry, recorder)
    found = hit.find(ctx, entry)
    if found and not request.force:
        return Outcome(found, "hit", 0)
    if found and not _is_ours(found, row):
        whose = "was not made by this cache" if row is None else "is not as it was downloaded: somebody changed it,"
        raise StorageError(
            f"{found.text} {whose} and is not replaced",
            path=found.text,
            hint=f"move it away: mv {found.text} {found.text}.mine",
        )
    note = notes.read(ctx, entry)
    note = Note(
        note.attempt + 1,
        holder_name(),
        ctx.clock.time(),
        note.size,
        note.etag,
        endpoint=ctx.settings.endpoint,
    )
    notes.write(ctx, entry, note)
    try:
        source, received = _download(ctx, entry, lock, request, recorder, note, replacing=found is not None)
    except ModelCacheError as error:
        note.error = notes.as_error(error)
        notes.write(ctx, entry, note)
        raise
    handed_out = hit.find(ctx, entry)
    if handed_out is None:
        raise StorageError(f"{entry.path(ctx.root)} vanished while it was being handed out", path=entry.path(ctx.root))
    return Outcome(handed_out, source, received)


def _is_ours(found: hit.Found, row: Row | None) -> bool:
    """Whether a file is the one that the index recorded: nobody's own may be replaced (I7)."""
    if row is None or row.state != "ready":
        return False
    return (found.ino, found.size, found.mtime_ns) == (row.ino, row.size, row.mtime_ns)


def _download(
    ctx: Context, entry: Entry, lock: WriteLock, request: Request, recorder: Recorder, note: Note, *, replacing: bool
) -> tuple[str, int]:
    """Ask the Hub, make room, receive, verify, publish; returns how and how many bytes came."""
    meta = _metadata(ctx, entry, request, recorder)
    source = None if request.force else linking.find_source(ctx, entry, meta, recorder)
    try:
        if source is not None and _link(ctx, entry, lock, meta, source, recorder):
            return "link", 0
        return _transfer(ctx, entry, lock, request, recorder, note, meta, source, replacing=replacing)
    finally:
        if source is not None:
            source.close()


def _link(
    ctx: Context, entry: Entry, lock: WriteLock, meta: FileMeta, source: linking.Source, recorder: Recorder
) -> bool:
    disk.remove(ctx.places.partial(entry.key))  # what an earlier attempt left is not needed, and would not be counted
    recorder.reserved(Promise(meta.size, meta.sha256, meta.etag, meta.commit))
    return linking.link(ctx, entry, lock, source, recorder)


def _transfer(
    ctx: Context,
    entry: Entry,
    lock: WriteLock,
    request: Request,
    recorder: Recorder,
    note: Note,
    meta: FileMeta,
    source: linking.Source | None,
    *,
    replacing: bool,
) -> tuple[str, int]:
    """Make room, fill the partial (from the network, or a copy of the source), verify, publish."""
    claim = _claim(ctx, entry, meta, replacing=replacing)
    recorder.admit(lambda: admission.admit(ctx, claim, request.deadline, request.progress))
    partial = Partial(ctx, entry, lock)
    try:
        if note.etag != meta.etag or (meta.size is not None and partial.size > meta.size):
            partial.restart()
        note.size, note.etag = meta.size, meta.etag
        notes.write(ctx, entry, note)
        way = "link" if source is not None else "resume" if partial.size else "download"
        if source is not None:
            partial.restart()
            partial.copy(source.fd)
        received = _receive_verified(ctx, entry, meta, partial, note, request)
        if replacing:
            row = recorder.row()
            if row is None:
                raise StorageError(f"{entry}: the index forgot the file that was to be replaced")
            publish.replace(ctx, entry, lock, partial, recorder, row, way)
        else:
            publish.publish(ctx, entry, lock, partial, recorder, meta, way)
        return way, received
    except BaseException as error:
        if not partial.published:  # else the row says `installing`, which recovery settles
            _stop(ctx, entry, partial, recorder, error, replacing=replacing)
        raise
    finally:
        partial.close()


def _claim(ctx: Context, entry: Entry, meta: FileMeta, *, replacing: bool) -> Claim:
    limit = limits.ceiling(ctx)
    wanted = admission.reservation(meta.size, limit, entry)
    promise = Promise(meta.size, meta.sha256, meta.etag, meta.commit)
    return Claim(entry, promise, holder_name(), replacing, wanted, limit)


def _receive_verified(
    ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request
) -> int:
    """Receive and compare with the promise; once more from zero if it differs, for it may be the prefix that was bad."""
    received = body.receive(ctx, entry, meta, partial, note, request)
    ctx.step("verify:hash")
    try:
        partial.check(meta, str(entry))
    except IntegrityError as error:
        message = f"{error}; downloading once more from the start"
        logger.warning(message)
        request.progress.warning(message)
        partial.restart()
        received += body.receive(ctx, entry, meta, partial, note, request)
        partial.check(meta, str(entry))
    return received


def _stop(
    ctx: Context, entry: Entry, partial: Partial, recorder: Recorder, error: BaseException, *, replacing: bool
) -> None:
    """Leave what the next caller can resume: nothing of wrong, lost or unwanted bytes, everything else."""
    wanted = partial.sealed or not isinstance(error, ModelCacheError) or _resumable(error)
    left = partial.left() if wanted else 0
    if not left:
        ctx.step("stop:unlink-partial")
        disk.remove(partial.path)
    try:
        recorder.stopped(left, replacing=replacing)
    except ModelCacheError as second:
        logger.warning("%s: %s", entry, second)  # the first error is what the caller must see


def _resumable(error: ModelCacheError) -> bool:
    from ..errors import CacheFullError, DownloadError, InUseError, LockTimeoutError

    if isinstance(error, CacheFullError):
        return False  # a partial that fills the disk helps nobody
    return isinstance(error, (DownloadError, InUseError, LockTimeoutError))


def _metadata(ctx: Context, entry: Entry, request: Request, recorder: Recorder) -> FileMeta:
    """What the Hub promises of the file, from the commit that the repo's other files came from if it has it."""
    meta = None
    sibling = None if request.force else recorder.sibling_commit()
    if sibling is not None:
        try:
            meta = ctx.hub.metadata(entry.repo_type, entry.repo, sibling, entry.filename)
        except NotFoundError:
            message = (
                f"{entry} is not in commit {sibling[:12]}, which the other files of this repo came from; taking the"
                " current one, which they may not match (fetch them again with --force to move them too)"
            )
            logger.warning(message)
            request.progress.warning(message)
    if meta is None:
        meta = ctx.hub.metadata(entry.repo_type, entry.repo, entry.revision, entry.filename)
    if meta.sha256 is None and meta.git_sha1 is None:
        raise IntegrityError(
            f"{entry}: {ctx.settings.endpoint} promised neither a sha256 nor a git-sha1, so nothing could be verified",
            hint="a mirror must pass on the headers ETag and X-Linked-Etag",
        )
    return meta


def _refuse_offline(ctx: Context, entry: Entry, request: Request) -> None:
    path = entry.path(ctx.root)
    if request.offline:
        raise OfflineMissError(
            f"{entry} is not in the cache ({path}), and the network is switched off",
            hint=f"place the file at that path, or unset {_offline_source(ctx)}",
        )
    if ctx.settings.read_only:
        raise ctx.read_only_miss("MODEL_CACHE_READ_ONLY is set")


def _offline_source(ctx: Context) -> str:
    source = ctx.settings.sources["offline"]
    return source if source.isupper() else "offline"
