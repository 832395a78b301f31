"""Whether the files of a lock file stand at their paths, for a readiness probe: names, sizes, damage marks.

No byte is read, and neither SQL nor HTTP code is loaded: what the bytes are is the business of `sync` and `verify --lock`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .. import damage, disk, hit, tiers
from ..context import Context
from ..platforms import at
from .format import Locked


class Lacking(NamedTuple):
    """A file that does not stand there, and why: `missing`, `damaged`, or its size."""

    file: Locked
    reason: str


def lacking(ctx: Context, files: Iterable[Locked]) -> list[Lacking]:
    """Those that do not stand at their path with their size, or are known to be damaged, here and in the lower roots.

    Raises:
        StorageError: It cannot be told, because a directory may not be searched or the disk fails.
    """
    probe, below = _Probe(ctx), [(lower, _Probe(lower)) for lower in ctx.lower]

    def reasons(file: Locked) -> Iterator[str]:
        yield probe.reason(file)
        for lower, other in below:
            found = tiers.attempt(ctx, lower, lambda _: other.reason(file))  # noqa: B023 - called before the next one
            yield "missing" if found is None else found

    return [Lacking(file, reason) for file in files if (reason := tiers.deciding(reasons(file)))]


class _Probe:
    """What many files share is looked at once."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._marked = damage.marked(ctx)
        self._plain: dict[str, bool] = {}  # by directory: whether no symlink is on the way to it

    def reason(self, file: Locked) -> str:
        """Why a file is lacking; empty if it is not."""
        entry = file.entry
        path = entry.path(self._ctx.root)
        try:
            found = os.stat(path, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or not self._is_plain(entry.relative.rpartition("/")[0]):
                if not hit.exists(self._ctx, entry):
                    return "missing"
                found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        except OSError as error:
            raise disk.storage_error(error, "cannot look at", path) from None
        if found.st_size != file.size:
            return f"expected {file.size} bytes, found {found.st_size}"
        if self._marked and entry.key in self._marked and not hit.exists(self._ctx, entry):
            return "damaged"
        return ""

    def _is_plain(self, directory: str) -> bool:
        found = self._plain.get(directory)
        if found is None:
            real = at.real_path(f"{self._ctx.root}/{directory}")
            found = self._plain[directory] = real == f"{self._ctx.real_root.rstrip('/')}/{directory}"
        return found
