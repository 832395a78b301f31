"""`dry_run`: what a call would bring, as the Hub says; nothing is downloaded, and nothing is made."""

from __future__ import annotations

from dataclasses import dataclass

from .. import tiers
from ..cache import ModelCache
from ..errors import OfflineMissError
from ..layout import Entry, Snapshot
from ..surface import in_family
from . import promised
from .local import is_current
from .promised import Promised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..selection import Patterns


@dataclass
class DryRunFileInfo:
    """One file of a dry run, where `huggingface_hub` is not installed, whose class of this name has the same fields.

    Attributes:
        commit_hash: The commit that the revision stands for now.
        file_size: In bytes; None where the Hub does not say.
        filename: In the repo.
        local_path: What the call would return, of a repo: where the file would be.
        is_cached: Whether the bytes are on this machine: there, or in the cache.
        will_download: Whether the call would download it.
    """

    commit_hash: str
    file_size: int | None
    filename: str
    local_path: str
    is_cached: bool
    will_download: bool


@in_family
def of_file(cache: ModelCache, entry: Entry, local_dir: str | None, *, force: bool, offline: bool) -> DryRunFileInfo:
    """What `hf_hub_download` would do; raises OfflineMissError where the Hub may not be asked, and as `promised.file`."""
    _refuse_offline(offline)
    return _info(cache, promised.file(cache, entry), entry, local_dir, force=force)


@in_family
def of_repo(
    cache: ModelCache,
    snapshot: Snapshot,
    local_dir: str | None,
    allow: Patterns,
    ignore: Patterns,
    *,
    force: bool,
    offline: bool,
) -> list[DryRunFileInfo]:
    """What `snapshot_download` would do, file by file; raises as `of_file`."""
    _refuse_offline(offline)
    return [
        _info(cache, one, snapshot.entry(one.entry.filename), local_dir, force=force)
        for one in promised.repo(cache, snapshot, allow, ignore)
    ]


def _refuse_offline(offline: bool) -> None:
    if offline:
        raise OfflineMissError(
            "a dry run asks the Hub, and the network is switched off", hint="ModelCache.is_cached says what is there"
        )


def _info(cache: ModelCache, want: Promised, entry: Entry, local_dir: str | None, *, force: bool) -> DryRunFileInfo:
    # With a local_dir the bytes would be of the commit; else what is there at the revision is returned as it is.
    cached = tiers.holder(cache._ctx, entry if local_dir is None else want.entry) is not None
    if local_dir is None:
        path = entry.path(cache._ctx.root)
    else:
        path = f"{local_dir}/{entry.filename}"
        cached = cached or is_current(cache, want, local_dir)
    return _class()(want.entry.revision, want.size, entry.filename, path, cached, force or not cached)


def _class() -> type[DryRunFileInfo]:
    try:
        from huggingface_hub import DryRunFileInfo as Theirs
    except ImportError:
        return DryRunFileInfo
    return Theirs  # type: ignore[return-value]  # the same fields, in the same order
