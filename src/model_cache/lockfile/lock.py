"""The whole of `lock`: look at what may be overwritten, find the files, add them to what is there, write it down."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..context import Context
from ..download.request import Request
from ..errors import LockFileError, SettingError
from . import files as lockfiles
from .format import Locked, check_paths
from .making import Asked, from_cache, from_hub


@dataclass
class Target:
    """Where the lock file goes.

    Attributes:
        path: Of the file; None: it is only returned.
        add: Keep what is in the file of other repos and revisions.
        force: Overwrite a file that is no lock file.
    """

    path: str | os.PathLike[str] | None = None
    add: bool = False
    force: bool = False


def lock(
    ctx: Context,
    asked: Asked,
    request: Request,
    target: Target,
    *,
    cached: bool = False,
    used_within: float | None = None,
    workers: int = 8,
) -> list[Locked]:
    """Find the files and their bytes, and write them down; returns all that the file has then.

    Args:
        cached: Take what is in the cache; the Hub is not asked.
        used_within: Of what is in the cache only what was used in the last so many seconds.
        workers: Files that are fetched at the same time.

    Raises:
        SettingError, InvalidNameError: It cannot be meant so.
        LockFileError: The file is no lock file, or two entries
            would share a path.
        ModelCacheError: As `from_hub` and `from_cache`.
    """
    asked.check()
    if used_within is not None and not cached:
        raise SettingError("used_within: expected together with from_cache: the Hub does not know what was used")
    before = _before(target)
    found = from_cache(ctx, asked, used_within) if cached else from_hub(ctx, asked, request, workers=workers)
    new = {_revision(file) for file in found}
    together = [file for file in before if _revision(file) not in new] + found
    together.sort(key=lambda file: (file.table, file.entry.filename))
    check_paths([file.entry for file in together], os.fsdecode(target.path or "-"))
    if target.path is not None:
        lockfiles.write(ctx, target.path, together, force=target.force)
    return together


def _before(target: Target) -> list[Locked]:
    """What is in the file already and stays; refuses a file that is none of ours before anything is asked or fetched."""
    if target.path is None:
        if target.add:
            raise SettingError("add: expected the path of a lock file to add to")
        return []
    lockfiles.check_target(target.path, force=target.force)
    if not target.add:
        return []
    try:
        return lockfiles.read(target.path)
    except LockFileError:
        if os.path.exists(target.path):
            raise
        return []  # the first of them


def _revision(file: Locked) -> tuple[str, str, str]:
    return file.table[:3]
