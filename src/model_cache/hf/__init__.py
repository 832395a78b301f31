"""`hf_hub_download` and `snapshot_download` as `huggingface_hub` 2.x has them, answered by this cache.

    from model_cache.hf import hf_hub_download, snapshot_download

Nothing of `huggingface_hub` is changed, and it need not be installed; where it is, its exceptions are raised. What each
argument does here is in docs/reference/drop-in.md. Importing this package, and a hit, load neither it nor HTTP.
"""

from __future__ import annotations

import os

from ..layout import Entry, Snapshot
from ..platforms import at
from .arguments import ETAG_TIMEOUT, chosen, offline, patterns_of, refuse_headers, revision_of
from .failures import as_the_peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["hf_hub_download", "snapshot_download"]


@as_the_peer
def hf_hub_download(
    repo_id: str,
    filename: str,
    *,
    subfolder: str | None = None,
    repo_type: str | None = None,
    revision: str | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_dir: str | os.PathLike[str] | None = None,
    user_agent: Mapping[str, Any] | str | None = None,
    force_download: bool = False,
    etag_timeout: float = ETAG_TIMEOUT,
    token: bool | str | None = None,
    local_files_only: bool = False,
    headers: Mapping[str, str] | None = None,
    endpoint: str | None = None,
    tqdm_class: type[Any] | None = None,
    dry_run: bool = False,
) -> Any:  # text; of a dry run a DryRunFileInfo
    """The absolute path of a file, downloaded on a miss.

    Args:
        repo_id: `name` or `owner/name`.
        filename: Path inside the repo.
        subfolder: A directory in the repo that `filename` is in.
        repo_type: `model` (also None), `dataset`, `space` or `kernel`.
        revision: Branch, tag or commit; None: `main`.
        library_name, library_version, user_agent, tqdm_class: Taken and not used: no byte depends on them.
        cache_dir: Root of the cache for this call, in this project's layout.
        etag_timeout: Seconds to wait for what the Hub says of a file; `HF_HUB_ETAG_TIMEOUT` beats it.
        force_download: Download again even if the file is there.
        token: A token; True: one must be found; False: none is sent.
        local_files_only: Never ask the network.
        endpoint: Address of the Hub.
        local_dir: Where the file is copied to, as the Hub has it now; the Hub is asked each time.
        dry_run: Say what would be done instead, as a `DryRunFileInfo`.
        headers: Cannot be honoured.

    Raises:
        ValueError: A name or value that cannot be used, or an argument that cannot be honoured.
        Exception: What `huggingface_hub` raises for it, where that is installed; else a `ModelCacheError`.
    """
    refuse_headers(headers)
    cache = chosen(cache_dir, endpoint, token, etag_timeout)
    off = offline(cache, force=force_download, local_files_only=local_files_only)
    filename = f"{subfolder}/{filename}" if subfolder else filename
    at, kind = revision_of(revision), repo_type or "model"
    if not dry_run and local_dir is None:
        return str(cache.fetch(repo_id, filename, revision=at, repo_type=kind, force=force_download, offline=off))
    entry, place = Entry(repo_id, filename, at, kind), _absolute(local_dir)
    if dry_run:
        from .dry_run import of_file

        return of_file(cache, entry, place, force=force_download, offline=off)
    from .local import place_file

    return place_file(cache, entry, place or "", force=force_download, offline=off)


@as_the_peer
def snapshot_download(
    repo_id: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_dir: str | os.PathLike[str] | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    user_agent: Mapping[str, Any] | str | None = None,
    etag_timeout: float = ETAG_TIMEOUT,
    force_download: bool = False,
    token: bool | str | None = None,
    local_files_only: bool = False,
    allow_patterns: Sequence[str] | str | None = None,
    ignore_patterns: Sequence[str] | str | None = None,
    max_workers: int = 8,
    tqdm_class: type[Any] | None = None,
    headers: Mapping[str, str] | None = None,
    endpoint: str | None = None,
    dry_run: bool = False,
) -> Any:  # text; of a dry run a list of DryRunFileInfo
    """The directory of a repo, once all of it (or of what the patterns leave) is there.

    Args:
        allow_patterns: Only files that one of them matches; one that matches nothing is no error.
        ignore_patterns: What is left out.
        max_workers: Files at a time, 1 to 64.

    The other arguments, and the errors, are those of `hf_hub_download`.
    """
    refuse_headers(headers)
    cache = chosen(cache_dir, endpoint, token, etag_timeout)
    off = offline(cache, force=force_download, local_files_only=local_files_only)
    at, kind = revision_of(revision), repo_type or "model"
    allow, ignore = patterns_of(allow_patterns), patterns_of(ignore_patterns)
    given: dict[str, Any] = {"force": force_download, "offline": off}
    if not dry_run and local_dir is None:
        workers: dict[str, Any] = {"workers": max_workers, "progress": None, "loose": True}
        return str(cache._fetch_repo(repo_id, at, kind, allow, ignore, **given, **workers))
    snapshot, place = Snapshot(repo_id, at, kind), _absolute(local_dir)
    if dry_run:
        from .dry_run import of_repo

        return of_repo(cache, snapshot, place, allow, ignore, **given)
    from .local import place_repo

    return place_repo(cache, snapshot, place or "", allow, ignore, **given, workers=max_workers)


def _absolute(local_dir: str | os.PathLike[str] | None) -> str | None:
    return None if local_dir is None else at.real_path(local_dir)
