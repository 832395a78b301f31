"""The lock of a repo at a revision: whoever fetches files of its commit shares it, whoever moves it holds it alone.

Concurrency:
    Taken before any W. Who asks the Hub what a repo consists of, or moves it to another commit, holds it alone. Else a file
    of the old commit could be published after an update had moved all the others, and the directory would be handed out as
    a whole. The kernel drops it at death. It loads nothing: who only waits for another comes here too.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext

from .. import locks
from ..errors import LockTimeoutError, quoted
from ..layout import Snapshot
from ..volumes import is_shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ..context import Context
    from ..layout import Entry
    from .asked import Asked


@contextmanager
def repo_lock(ctx: Context, snapshot: Snapshot, *, shared: bool, deadline: float | None = None) -> Iterator[None]:
    """Hold the lock of a repo for the block.

    Raises:
        LockTimeoutError: Others held it for too long.
    """
    path, patience = ctx.places.lock(snapshot.key), ctx.settings.lock_timeout
    began = ctx.clock.monotonic()
    last = began + patience
    last = last if deadline is None else min(last, deadline)
    while (fd := locks.try_write(path, ctx.settings.file_mode, shared=shared)) is None:
        if ctx.clock.monotonic() >= last:
            if shared and ctx.clock.monotonic() >= began + patience and is_shared(ctx.mount):
                break  # its holder may be a host that is gone for good; each file is still the promised one
            doing = "updating it" if shared else "fetching or updating it"
            raise LockTimeoutError(
                f"{snapshot}: another process has been {doing}, or asking what belongs to it, for more than {patience:g}"
                " seconds",
                hint=f"fuser -v {quoted(path)}",
            )
        ctx.clock.sleep(locks.POLL)
    hold = None if fd is None else locks.Hold(fd)
    try:
        yield
    finally:
        if hold is not None:
            hold.release()


def at_its_commit(ctx: Context, entry: Entry, asked: Asked) -> AbstractContextManager[None]:
    """Keep a repo at its commit while one file of it comes, where there is a listing that says which.

    Who forces the file moves it alone, and whoever promised what it is holds the lock already.
    """
    snapshot = Snapshot(entry.repo, entry.revision, entry.repo_type)
    if asked.force or asked.promise is not None or not os.path.exists(ctx.places.listing(snapshot.key)):
        return nullcontext()
    return repo_lock(ctx, snapshot, shared=True, deadline=asked.deadline)
