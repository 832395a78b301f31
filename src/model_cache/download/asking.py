"""What the Hub says that a repo consists of, and what it thereby promises of each file.

Concurrency:
    Each repo (at a revision) has a lock, taken before any W. Who asks what it consists of, or moves it to another commit,
    holds it alone; who fetches files of the commit that its listing names shares it meanwhile. Else a file of the old
    commit could be published after an update had moved all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import locks
from ..context import Context
from ..errors import DownloadError, IntegrityError, LockTimeoutError, quoted
from ..hub.client import FileMeta, TreeItem
from ..layout import Snapshot
from ..listings import Listed, Listing

_MOST = 200_000  # files of one repo; some 60 MB while they are looked at


def promise(listing: Listing, file: Listed) -> FileMeta:
    """What a file of a listing has to be."""
    return FileMeta(listing.commit, file.etag, file.size, file.sha256, file.git_sha1)


def ask(ctx: Context, snapshot: Snapshot, commit: str | None, deadline: float | None) -> Listing:
    """What the repo consists of, at a commit or at the one that its revision stands for now.

    Raises:
        NotFoundError, AccessError, DownloadError: The Hub does not say.
        IntegrityError: It says of a file no hash that could be verified.
    """
    hub, names = ctx.hub, (snapshot.repo_type, snapshot.repo)
    commit = commit or hub.commit(*names, snapshot.revision, deadline=deadline)
    files: dict[str, Listed] = {}
    for item in hub.tree(*names, commit, deadline=deadline):
        if len(files) >= _MOST:
            raise DownloadError(f"{snapshot}: the Hub lists more than {_MOST} files")
        files[item.path] = _checked(ctx, snapshot, item)
    return Listing(commit, files.values())


def _checked(ctx: Context, snapshot: Snapshot, item: TreeItem) -> Listed:
    if item.sha256 is None and item.git_sha1 is None:
        raise IntegrityError(
            f"{snapshot} {item.path}: {ctx.settings.endpoint} listed neither a sha256 nor a git-sha1, so nothing could be"
            " verified",
            hint="a mirror must pass on `oid` and `lfs.oid`",
        )
    return Listed(*item)


@contextmanager
def repo_lock(ctx: Context, snapshot: Snapshot, *, shared: bool, deadline: float | None = None) -> Iterator[None]:
    """Hold the lock of a repo for the block; see the head of this module.

    Raises:
        LockTimeoutError: Others held it for too long.
    """
    path = ctx.places.lock(snapshot.key)
    last = ctx.clock.monotonic() + ctx.settings.lock_timeout
    last = last if deadline is None else min(last, deadline)
    while (fd := locks.try_write(path, ctx.settings.file_mode, shared=shared)) is None:
        if ctx.clock.monotonic() >= last:
            raise LockTimeoutError(
                f"{snapshot}: another process has been {'updating' if shared else 'fetching or updating'} it, or asking"
                f" what belongs to it, for more than {ctx.settings.lock_timeout:g} seconds",
                hint=f"fuser -v {quoted(path)}",
            )
        ctx.clock.sleep(locks.POLL)
    try:
        yield
    finally:
        locks.release(fd)
