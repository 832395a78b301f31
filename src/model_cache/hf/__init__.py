"""`hf_hub_download` and `snapshot_download` as `huggingface_hub` 2.x has them, answered by this cache.

    from model_cache.hf import hf_hub_download, snapshot_download

Nothing of `huggingface_hub` is changed, and it need not be installed; where it is, its exceptions are raised. What each
argument does here is in docs/reference/drop-in.md. Importing this package, and a hit, load neither it nor HTTP.
"""

from __future__ import annotations

import os

from .. import _cache, _configured
from ..cache import ModelCache
from ..errors import SettingError
from ..layout import DEFAULT_REVISION
from .failures import as_the_peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..selection import Patterns

__all__ = ["hf_hub_download", "snapshot_download"]

_ETAG_TIMEOUT = 10.0  # seconds; the default of `huggingface_hub`, and of the cache
_FOREIGN = ("models--", "datasets--", "spaces--")


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
    etag_timeout: float = _ETAG_TIMEOUT,
    token: bool | str | None = None,
    local_files_only: bool = False,
    headers: Mapping[str, str] | None = None,
    endpoint: str | None = None,
    tqdm_class: type[Any] | None = None,
    dry_run: bool = False,
) -> str:
    """The absolute path of a file, downloaded on a miss.

    Args:
        repo_id: `name` or `owner/name`.
        filename: Path inside the repo.
        subfolder: A directory in the repo that `filename` is in.
        repo_type: `model` (also None), `dataset` or `space`.
        revision: Branch, tag or commit; None: `main`.
        library_name, library_version, user_agent, tqdm_class: Taken and not used: no byte depends on them.
        cache_dir: Root of the cache for this call, in this project's layout.
        etag_timeout: Seconds to wait for what the Hub says of a file; `HF_HUB_ETAG_TIMEOUT` beats it.
        force_download: Download again even if the file is there.
        token: A token; True: one must be found; False: none is sent.
        local_files_only: Never ask the network.
        endpoint: Address of the Hub.
        local_dir, headers, dry_run: Cannot be honoured.

    Raises:
        ValueError: A name or value that cannot be used, or an argument that cannot be honoured.
        Exception: What `huggingface_hub` raises for it, where that is installed; else a `ModelCacheError`.
    """
    _refuse(local_dir=local_dir, headers=headers, dry_run=dry_run)
    cache = _chosen(cache_dir, endpoint, token, etag_timeout)
    offline = _offline(cache, force=force_download, local_files_only=local_files_only)
    found = cache.fetch(
        repo_id,
        f"{subfolder}/{filename}" if subfolder else filename,
        revision=_revision(revision),
        repo_type=repo_type or "model",
        force=force_download,
        offline=offline,
    )
    return str(found)


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
    etag_timeout: float = _ETAG_TIMEOUT,
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
) -> str:
    """The directory of a repo, once all of it (or of what the patterns leave) is there.

    Args:
        allow_patterns: Only files that one of them matches; one that matches nothing is no error.
        ignore_patterns: What is left out.
        max_workers: Files at a time, 1 to 64.

    The other arguments, and the errors, are those of `hf_hub_download`.
    """
    _refuse(local_dir=local_dir, headers=headers, dry_run=dry_run)
    cache = _chosen(cache_dir, endpoint, token, etag_timeout)
    offline = _offline(cache, force=force_download, local_files_only=local_files_only)
    found = cache._fetch_repo(
        repo_id,
        _revision(revision),
        repo_type or "model",
        _patterns(allow_patterns),
        _patterns(ignore_patterns),
        force=force_download,
        offline=offline,
        workers=max_workers,
        progress=None,
        loose=True,
    )
    return str(found)


def _refuse(**arguments: object) -> None:
    """Refuse what cannot be honoured, rather than return other files than were meant."""
    why = {
        "local_dir": "what the cache returns is a directory of plain files already; copy it where it is wanted",
        "headers": "the cache sends none but its own; a token is the argument token",
        "dry_run": "model-cache cached, or ModelCache.is_cached, says what is there",
    }
    for name, value in arguments.items():
        if value:
            raise SettingError(f"{name}: model_cache.hf cannot honour it, found {value!r}", hint=why[name])


def _chosen(
    cache_dir: str | os.PathLike[str] | None, endpoint: str | None, token: bool | str | None, etag_timeout: float
) -> ModelCache:
    """The default cache, or one of this call's own settings."""
    given: dict[str, Any] = {"root": cache_dir, "endpoint": endpoint, "token": token}
    if etag_timeout != _ETAG_TIMEOUT and "HF_HUB_ETAG_TIMEOUT" not in os.environ:
        given["etag_timeout"] = etag_timeout
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return _cache()
    if cache_dir is not None:
        _refuse_foreign(cache_dir)
    return ModelCache(**(_configured | given))


def _refuse_foreign(cache_dir: str | os.PathLike[str]) -> None:
    """Two layouts in one directory would be two caches that neither client could account for."""
    try:
        names = os.listdir(cache_dir)
    except OSError:
        return  # not there yet; what else is wrong with it the cache says
    if any(name.startswith(_FOREIGN) for name in names):
        raise SettingError(
            f"cache_dir: expected the root of a model-cache, {os.fspath(cache_dir)} is a Hugging Face cache",
            hint="leave cache_dir out, or name another directory",
        )


def _offline(cache: ModelCache, *, force: bool, local_files_only: bool) -> bool:
    offline = local_files_only or cache._ctx.settings.offline
    if force and offline:
        raise SettingError("force_download: expected a network to download from, and it is switched off")
    return offline


def _revision(revision: str | None) -> str:
    """A revision as text; one that `huggingface_hub` resolved before says which commit it is."""
    return str(getattr(revision, "resolved", None) or revision or DEFAULT_REVISION)


def _patterns(given: Sequence[str] | str | None) -> Patterns:
    return given if given is None or isinstance(given, str) else list(given)
