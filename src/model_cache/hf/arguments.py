"""What the arguments of the namesakes mean here: which cache, which revision, whether the network may be asked."""

from __future__ import annotations

import os

from .. import _cache, _configured
from ..cache import ModelCache
from ..errors import SettingError
from ..layout import DEFAULT_REVISION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..selection import Patterns

ETAG_TIMEOUT = 10.0  # seconds; the default of `huggingface_hub`, and of the cache
_FOREIGN = ("models--", "datasets--", "spaces--", "kernels--")


def refuse_headers(headers: object) -> None:
    """Refuse what cannot be honoured, rather than ask otherwise than was meant."""
    if headers:
        raise SettingError(
            "headers: model_cache.hf cannot honour it",
            hint="the cache sends none but its own; a token is the argument token",
        )


def chosen(
    cache_dir: str | os.PathLike[str] | None, endpoint: str | None, token: bool | str | None, etag_timeout: float
) -> ModelCache:
    """The default cache, or one of this call's own settings."""
    given: dict[str, Any] = {"root": cache_dir, "endpoint": endpoint, "token": token}
    if etag_timeout != ETAG_TIMEOUT and "HF_HUB_ETAG_TIMEOUT" not in os.environ:
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
    except (OSError, ValueError):
        return  # not there yet; what else is wrong with it the cache says
    if any(name.startswith(_FOREIGN) for name in names):
        raise SettingError(
            f"cache_dir: expected the root of a model-cache, {os.fspath(cache_dir)} is a Hugging Face cache",
            hint="leave cache_dir out, or name another directory",
        )


def offline(cache: ModelCache, *, force: bool, local_files_only: bool) -> bool:
    """Whether the network may not be asked."""
    off = local_files_only or cache._ctx.settings.offline
    if force and off:
        raise SettingError("force_download: expected a network to download from, and it is switched off")
    return off


def revision_of(revision: str | None) -> str:
    """A revision as text; one that `huggingface_hub` resolved before says which commit it is."""
    return str(getattr(revision, "resolved", None) or revision or DEFAULT_REVISION)


def patterns_of(given: Sequence[str] | str | None) -> Patterns:
    """Patterns as the cache takes them."""
    return given if given is None or isinstance(given, str) else list(given)
