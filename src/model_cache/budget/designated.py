"""Who may take files away from a root that several hosts share; the policy key `evictor` names the one that may.

On a shared volume no host sees who has a file open on another. One of them evicts, removes and replaces, so that there is one
place to look at, one index that knows what went, and one clock that says what is old.
"""

from __future__ import annotations

import os

from .. import locks
from ..context import Context
from ..errors import StorageError, quoted
from ..platforms.capabilities import FLOCK, REPLACE_OPEN, host_name


def is_designated(ctx: Context) -> bool:
    """Whether this host may take files away: the named one, in full or up to the first dot, or any where none is named."""
    evictor, host = ctx.settings.evictor, host_name().lower()
    return evictor is None or evictor.lower() in (host, host.partition(".")[0])


def refuse_to_take(ctx: Context) -> None:
    """Nothing is taken away by other hosts than the designated one, or where locks do not exclude.

    Raises:
        StorageError: This is another host; or this system or file system has no flock.
    """
    if not is_designated(ctx):
        evictor = ctx.settings.evictor or ""
        raise StorageError(
            f"in {ctx.root} only the host {quoted(evictor)} removes and replaces files (evictor, from"
            f" {ctx.settings.sources['evictor']}), and this is {host_name()}",
            hint=f"do it there: ssh {quoted(evictor)}",
            path=ctx.root,
        )
    if (error := unsafe(ctx)) is not None:
        raise error


def unsafe(ctx: Context) -> StorageError | None:
    """Why nothing can be taken away here by anybody; None where it can: locks exclude, and an open file can lose its name."""
    if not (FLOCK and REPLACE_OPEN):
        what = "has no file locks" if not FLOCK else "neither removes nor replaces a file that is open"
        return StorageError(
            f"this system {what}, so nothing can be removed from {ctx.root} safely",
            hint="while no program uses them, delete the files themselves, then: model-cache reconcile",
            path=ctx.root,
        )
    fd = locks.open_own(ctx.places.evictor_lock, ctx.settings.file_mode)
    try:
        if not locks.flock_works(fd):
            return StorageError(
                f"the file system of {ctx.root} has no file locks, so nothing can be removed safely",
                hint="keep the cache on a local file system: MODEL_CACHE_DIR",
                path=ctx.root,
            )
    finally:
        os.close(fd)
    return None
