"""Making a root, and the cache's own directories below it, where they are missing; what is said where that cannot be.

Concurrency:
    No lock: each directory is made by whoever comes first, and found by the others.
"""

from __future__ import annotations

import errno
import os

from . import disk, hosts, modes, trust
from .context import Context
from .errors import CacheFullError, OfflineMissError, StorageError, quoted
from .layout import Entry
from .platforms.space import is_read_only

# The cache's own directories; `.model-cache/` itself comes first.
_DIRECTORIES = ("locks", "used", "damaged", "listings", "partial", "trash", "quarantine")


def prepare(ctx: Context, entry: Entry | None = None) -> None:
    """Make the root and the cache's own directories where they are missing.

    Args:
        entry: What it is done for, for messages.

    Raises:
        OfflineMissError: The root is read-only, by setting or by the file system.
        CacheFullError: There is no room for a directory.
        StorageError: Something else stands in the way.
    """
    if ctx.settings.read_only:
        raise read_only_miss(ctx, "MODEL_CACHE_READ_ONLY is set", entry)
    trust.refuse(ctx.root)
    own, mode = ctx.places.own, ctx.settings.directory_mode
    path = ctx.root
    try:
        if not disk.is_directory(own) or modes.is_closed(own, mode):
            os.makedirs(os.path.dirname(ctx.root), exist_ok=True)
            modes.make_directory(ctx.root, mode)
            path = own
            modes.make_directory(own, mode)
            disk.tag(ctx.root, ctx.settings.file_mode)
        for path in (*(f"{own}/{name}" for name in _DIRECTORIES), ctx.places.state, ctx.places.backups):
            if not disk.is_directory(path) or modes.is_closed(path, mode):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                modes.make_directory(path, mode)
        if ctx.settings.state_dir is not None and not ctx.places.host:
            ctx.places.host = "." + hosts.identity(ctx.places.state, ctx.settings.file_mode)
        if not os.access(own, os.W_OK):
            found = errno.EROFS if is_read_only(own) else errno.EACCES
            raise OSError(found, os.strerror(found), own)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and os.path.isdir(ctx.root):
            raise read_only_miss(ctx, os.strerror(error.errno), entry) from None
        raise cannot_make(ctx, error, path) from None


def read_only_miss(ctx: Context, reason: str, entry: Entry | None = None) -> OfflineMissError:
    """The error for a miss in a root that cannot be written."""
    what = "it is not known to be in the cache as a whole" if entry is None else f"{entry} is not in the cache"
    where = "the file by hand" if entry is None else f"the file at {quoted(entry.path(ctx.root))}"
    return OfflineMissError(
        f"{what}, and nothing can be downloaded into {ctx.root} ({reason})",
        hint=f"place {where}, or set MODEL_CACHE_DIR to a directory you may write",
        reason=reason,
    )


def cannot_make(ctx: Context, error: OSError, path: str) -> StorageError | CacheFullError:
    """The error for a directory that cannot be made."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    source, hint = ctx.settings.root_source, "set MODEL_CACHE_DIR to a directory you may write"
    if path == ctx.root or not os.path.isdir(ctx.root):
        message, hint = (
            f"cannot make the root {ctx.root} (from {source}): {reason}",
            "name a directory you may write",
        )
    else:
        message = f"cannot make {path} for the root {ctx.root} (from {source}): {reason}"
    if disk.is_full(error):
        return CacheFullError(message, hint="free some space there, or set MODEL_CACHE_DIR to another file system")
    return StorageError(message, hint=hint, path=path, errno=error.errno or 0)
