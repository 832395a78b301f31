"""A damaged file is given its recorded bytes again, and what was damaged is moved aside.

The order: the Hub still has the recorded bytes → they are staged, verified → the damaged file gets a second name in
quarantine → the new bytes take its place by rename → the mark goes. Running programs keep the old inode mapped.

Where the Hub has other bytes by now, the damaged file moves into quarantine alone, unless somebody uses it, and its path
is free. Where old and new bytes do not fit together, the damaged ones are dropped instead of kept.

Concurrency:
    W is held. I7: only the very file that was recorded and found to be damaged is moved or dropped; a file that somebody
    put in its place is left alone. Identical bytes may replace a file that is in use; taking a path away may not.
"""

from __future__ import annotations

import os

from .. import damage, disk, stats
from ..context import Context
from ..errors import CacheFullError, IntegrityError, NotFoundError, StorageError, quoted
from ..hub.client import FileMeta
from ..index import Row, quarantine
from ..index.quarantine import Damaged
from ..layout import Entry, is_commit
from ..log import logger
from ..platforms import at
from ..platforms.at import Directory
from . import linking, place, publish, staging
from .asked import Asked
from .replacing import Replacement, changed, claimed, replace
from .staging import Job, Staged

# What the Hub says for sure; a repo that is not to be seen may be one that this token may not read, and a 404 without a
# word can be a proxy's.
_GONE = frozenset(["EntryNotFound", "RevisionNotFound"])


def damaged(ctx: Context, entry: Entry) -> Damaged | None:
    """What is known of the file at the entry's path, if it is marked as damaged."""
    mark = damage.read(ctx, entry.key)
    if mark is None or disk.leads_out(ctx.root, entry.relative):
        return None
    try:
        found = os.stat(entry.path(ctx.root), follow_symlinks=False)
        if not mark.fits(found):
            fd = disk.open_entry(ctx.root, entry.relative)
            try:
                found = os.fstat(fd)
                if not damage.is_marked(ctx, entry.key, found, fd):
                    return None
            finally:
                os.close(fd)
    except OSError:
        return None
    return Damaged(entry, *stats.identity(found), mark.sha256, mark.commit, stats.allocated(found))


def refuse_offline(ctx: Context, entry: Entry, request: Asked) -> None:
    """Refuse to do anything about a damaged file where nothing can be downloaded.

    Raises:
        IntegrityError: The entry's file is marked as damaged.
    """
    if (request.offline or ctx.settings.read_only) and damaged(ctx, entry) is not None:
        raise IntegrityError(
            f"{entry.path(ctx.root)} is damaged (verify found other bytes than were recorded), and nothing can be"
            " downloaded now",
            hint="model-cache verify --repair, with the network and where the root may be written",
        )


def mend(ctx: Context, job: Job, row: Row | None, bad: Damaged) -> tuple[str, int] | None:
    """Give the entry its recorded bytes again; returns how they came, and how many over the network.

    Args:
        row: What the index knows of the entry, after recovery.

    Returns:
        None where they cannot be had: the damaged file is in quarantine, and its path is free.

    Raises:
        DownloadError, StorageError, CacheFullError: The damaged file stays where it is.
        InUseError: It cannot be mended, and is in use.
    """
    # A row from an older index tells of this file by its place only: what was recorded of it is in the mark.
    known = (row.identity, row.sha256) if row is not None and row.state == "ready" else None
    ours = known == (bad.identity, bad.sha256)
    meta = _recorded(ctx, job, row) if row is not None and ours else None
    if row is None or meta is None:
        if not bad.commit:
            raise _placed(ctx, bad)
        _move_aside(ctx, job, bad)
        return None
    job.request.progress.warning(f"{job.entry} is damaged; its recorded bytes are fetched again")
    # Bytes of another entry are as good, once they were hashed; a damaged one is passed over.
    source = linking.find_source(ctx, job.entry, meta, job.recorder)
    try:
        return _replace(ctx, job, row, bad, meta, source)
    finally:
        if source is not None:
            source.close()


def _recorded(ctx: Context, job: Job, row: Row) -> FileMeta | None:
    """What the Hub promises at the recorded commit, or None if these are other bytes than were recorded.

    Of a file that was adopted no commit is known: the revision may have the same bytes, as their hash will tell.
    """
    revision = row.commit or row.revision
    if row.commit and not is_commit(row.commit):
        return None
    try:
        meta = ctx.hub.metadata(row.repo_type, row.repo, revision, row.filename, deadline=job.request.deadline)
    except NotFoundError as error:
        if error.code not in _GONE:
            raise
        return None
    if meta.sha256:
        return meta if meta.sha256 == row.sha256 else None
    return meta if meta.git_sha1 and row.etag in (meta.etag, None) else None


def _placed(ctx: Context, bad: Damaged) -> StorageError:
    path = bad.entry.path(ctx.root)
    return StorageError(
        f"{path} is damaged, and was placed by hand: the Hub has no file with its recorded hash, and it is not replaced",
        path=path,
        hint=f"move it away: mv {quoted(path)} {quoted(f'{path}.damaged')}",
    )


def _replace(
    ctx: Context, job: Job, row: Row, bad: Damaged, meta: FileMeta, source: linking.Source | None
) -> tuple[str, int]:
    try:
        with staging.stage(ctx, job, meta, source, replacing=True) as staged:
            _check(ctx, job, bad, staged)
            if bad.commit:
                _link_aside(ctx, bad)  # what somebody placed does not enter quarantine
            replace(ctx, [Replacement(job.entry, row, staged.partial, job.recorder, same=True)], "repair")
            damage.forget(ctx, job.entry.key)
            return staged.way, staged.received
    except CacheFullError as error:
        if not error.needed:
            raise  # it is not room that is missing
        message = f"{error}; the damaged bytes of {job.entry} are dropped to make room, not kept in quarantine"
        logger.warning(message)
        job.request.progress.warning(message)
    _drop(ctx, job, bad)
    # The row stays: until the bytes have come again every run says that they are missing.
    with staging.stage(ctx, job, meta, source, replacing=True) as staged:
        _check(ctx, job, bad, staged)
        publish.publish(ctx, job.entry, job.lock, staged.partial, job.recorder, meta, staged.way)
        damage.forget(ctx, job.entry.key)
        return staged.way, staged.received


def _check(ctx: Context, job: Job, bad: Damaged, staged: Staged) -> None:
    """git-sha1 is weak; the bytes have the sha256 that was recorded when they first came."""
    found = staged.partial.sha256
    if found == bad.sha256:
        return
    if not bad.commit:
        raise _placed(ctx, bad)
    raise IntegrityError(
        f"{job.entry}: expected the recorded sha256 {bad.sha256}, received bytes with {found}",
        expected=bad.sha256,
        found=found,
    )


def _enter(ctx: Context, bad: Damaged) -> str:
    """The damaged file's name in quarantine, which it need not have yet."""
    for known in quarantine.of(ctx.index, bad.entry):
        if known.identity == bad.identity:
            return known.name  # of a repair that did not come to its end
    name = f"{bad.entry.key}-{int(ctx.clock.time())}-{os.urandom(2).hex()}"
    quarantine.enter(ctx.index, bad, name)
    return name


def _link(ctx: Context, bad: Damaged, name: str) -> bool:
    """Give the damaged file its second name, durably; False where this file system has no second names."""
    ctx.step("quarantine:link")
    directory = disk.open_parent(ctx.places.quarantine.rstrip("/"), name, ctx.settings.directory_mode)
    try:
        linked = os.path.lexists(ctx.places.quarantine + name) or _link_file(ctx, bad, name, directory)
        disk.sync(directory)
        return linked
    finally:
        at.close(directory)


def _link_file(ctx: Context, bad: Damaged, name: str, directory: Directory) -> bool:
    """Give the damaged file a name in an open directory; False if another file is at its path, or there are no links."""
    try:
        fd = disk.open_entry(ctx.root, bad.entry.relative)
    except OSError:
        return False
    try:
        if stats.inode(os.fstat(fd)) != bad.ino:
            return False
        return disk.link(fd, bad.entry.path(ctx.root), name, directory)
    finally:
        os.close(fd)


def _link_aside(ctx: Context, bad: Damaged) -> None:
    """A name in quarantine beside the one at the path, where there can be one."""
    name = _enter(ctx, bad)
    if not _link(ctx, bad, name):
        quarantine.gone(ctx.index, [name])


def _move_aside(ctx: Context, job: Job, bad: Damaged) -> None:
    """Leave the damaged file its name in quarantine alone.

    Raises:
        InUseError: A running program has it leased or open.
        StorageError: Somebody put another file there.
    """
    path = bad.entry.path(ctx.root)
    name, kept = _enter(ctx, bad), False
    try:
        with claimed(ctx, bad.entry, bad.identity):
            disk.discard(ctx.places.quarantine + name, bad.identity)  # of a repair that did not come to its end
            ctx.step("quarantine:move")
            kept = disk.take(ctx.root, bad.entry.relative, ctx.places.quarantine + name, bad.identity)
            disk.fsync_directory(ctx.places.quarantine)
            disk.fsync_parent(ctx.root, bad.entry.relative)
    finally:
        if not kept:
            quarantine.gone(ctx.index, [name])
    if not kept:
        raise changed(path)
    quarantine.alone(ctx.index, bad, name)
    damage.forget(ctx, bad.entry.key)
    message = (
        f"{bad.entry} was damaged, and the Hub has other bytes than were recorded; the damaged file is in quarantine"
    )
    logger.warning(message)
    job.request.progress.warning(message)


def _drop(ctx: Context, job: Job, bad: Damaged) -> None:
    """Let the damaged bytes go, from the path and from quarantine; they are coming again.

    Raises:
        InUseError: A running program has them leased or open, and would keep their room.
    """
    for known in quarantine.of(ctx.index, bad.entry):
        if known.identity == bad.identity:
            disk.remove_durably(ctx.places.quarantine + known.name)
            quarantine.gone(ctx.index, [known.name])
    trash = ctx.places.trash + f"{bad.entry.key}.damaged"
    with claimed(ctx, bad.entry, bad.identity):
        ctx.step("quarantine:drop")
        if disk.take(ctx.root, bad.entry.relative, trash, bad.identity):
            disk.fsync_parent(ctx.root, bad.entry.relative)
    disk.remove_durably(trash)
    quarantine.dropped(ctx.index, bad)
    place.check(ctx, job.entry)
