"""What the file system refuses, in the family's own errors."""

from __future__ import annotations

import errno

from ..errors import CacheFullError, StorageError

_FULL = frozenset([errno.ENOSPC, errno.EDQUOT])


def storage_error(error: OSError, what: str, path: str) -> StorageError | CacheFullError:
    """The family's own error for a refusal of the file system."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return CacheFullError(
            f"{what} {path}: {reason}", hint="free some space on that file system, or set MODEL_CACHE_DIR to another"
        )
    return StorageError(f"{what} {path}: {reason}", path=path, errno=error.errno or 0)


def is_full(error: OSError) -> bool:
    """Whether the file system or a quota has no room left."""
    return error.errno in _FULL
