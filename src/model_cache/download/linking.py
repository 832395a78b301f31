"""The same bytes under another name: linked instead of downloaded, after they were hashed again. From a lower root: copied.

Concurrency:
    The source is leased (shared) from before it is hashed until the new name is durable, so nobody evicts or replaces
    it meanwhile. The new row says `installing` with the source's inode before the link is made: a crash on either side
    is told apart by the inode at the path. Names of one inode count once, are recent together and go together.
"""

from __future__ import annotations

import os

from .. import digest, disk, hit, locks, stats, tiers
from ..context import Context
from ..errors import ModelCacheError
from ..hub.client import FileMeta
from ..index.ledger import Installed
from ..layout import Entry
from ..log import logger
from ..platforms import at
from ..recorder import Recorder
from ..write_lock import WriteLock


class Source:
    """A leased file that holds the promised bytes.

    Attributes:
        sha256: Of its bytes, where they were hashed just now; empty of a file in a lower root. That one is never linked:
            a further name would be a change there, keep its evictor from it, and show what is written to it here.
        charged: Bytes that a further name of it is to be charged: of a file that no entry has a name of, all that it occupies.
    """

    def __init__(self, path: str, fd: int, sha256: str = "", *, charged: int = 0) -> None:
        self.path, self.fd, self.sha256, self.charged = path, fd, sha256, charged

    def close(self) -> None:
        """Let the source go."""
        locks.release(self.fd)


def find_source(ctx: Context, entry: Entry, meta: FileMeta, recorder: Recorder) -> Source | None:
    """Another entry with the promised bytes, hashed just now, or None; a damaged one is passed over with a warning."""
    for row in recorder.same_bytes(meta.sha256, meta.etag):
        other = row.entry()
        if other is None or other == entry:
            continue
        try:
            fd = hit.open_leased(ctx, other)
        except ModelCacheError:
            continue
        if fd is None:
            continue
        sha256 = None
        try:
            ctx.step("link:hash")
            sha256 = _sha256_of_promised(fd, meta)
            if sha256 is not None:
                return Source(other.path(ctx.root), fd, sha256)
            logger.warning("%s has other bytes than were recorded; %s is downloaded instead", other, entry)
        except OSError as error:
            logger.warning("%s cannot be read (%s); %s is downloaded instead", other, error.strerror, entry)
        finally:
            if sha256 is None:
                locks.release(fd)
    return None


def _sha256_of_promised(fd: int, meta: FileMeta) -> str | None:
    """Of an open file, if its bytes are the promised ones."""
    sha256, size = digest.sha256(fd)
    same = sha256 == meta.sha256 if meta.sha256 else digest.git_sha1(fd, size) == meta.git_sha1
    return sha256 if same else None


def find_below(ctx: Context, entry: Entry, meta: FileMeta) -> Source | None:
    """The entry's file in a lower root, if it has the promised size; the copy that is made of it is hashed."""
    opened = None if meta.size is None else tiers.open_below(ctx, entry, meta.size)
    return None if opened is None else Source(entry.path(opened[0].root), opened[1])


def link(ctx: Context, entry: Entry, lock: WriteLock, source: Source, recorder: Recorder) -> bool:
    """Give the source's bytes a second name; False where the file system cannot, or something stands there.

    The row is reserved (with what the source says) and the parent directory can be made; the caller goes on to a copy or a
    download.
    """
    assert lock.held, "linking is done under W"
    found = os.fstat(source.fd)
    hit.touch(ctx, entry)
    recorder.installing(
        Installed(stats.inode(found), found.st_mtime_ns, found.st_size, source.charged, source.sha256), replacing=False
    )
    directory = disk.open_parent(ctx.root, entry.relative, ctx.settings.directory_mode)
    try:
        ctx.step("link:link")
        if not disk.link(source.fd, source.path, entry.filename.rpartition("/")[2], directory):
            return False
        ctx.step("link:fsync-directory")
        disk.sync(directory)
    finally:
        at.close(directory)
    recorder.ready("link")
    return True
