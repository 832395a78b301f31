"""A cache on disk for model files from the Hugging Face Hub, shared by many processes.

    import model_cache
    path = model_cache.fetch("openai-community/gpt2", "config.json")

The functions here use one default `ModelCache`, made from `configure` and the environment; a program that wants
several roots, or settings of its own, makes `ModelCache` objects.

Importing this package loads no HTTP, SQL or command-line code.
"""

from __future__ import annotations

import os

from .cache import ModelCache
from .errors import (
    AccessError,
    CacheFullError,
    DownloadError,
    DownloadInProgressError,
    FileTooLargeError,
    IndexUnavailableError,
    IntegrityError,
    InUseError,
    InvalidNameError,
    LockFileError,
    LockTimeoutError,
    ModelCacheError,
    NotFoundError,
    OfflineMissError,
    SettingError,
    StorageError,
)
from .settings import VARIABLES
from .version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from .aio import AsyncModelCache

__all__ = [
    "AccessError",
    "AsyncModelCache",
    "CacheFullError",
    "DownloadError",
    "DownloadInProgressError",
    "FileTooLargeError",
    "InUseError",
    "IndexUnavailableError",
    "IntegrityError",
    "InvalidNameError",
    "LockFileError",
    "LockTimeoutError",
    "ModelCache",
    "ModelCacheError",
    "NotFoundError",
    "OfflineMissError",
    "SettingError",
    "StorageError",
    "cache_root",
    "configure",
    "fetch",
    "fetch_repo",
    "is_cached",
    "path",
]


def __getattr__(name: str) -> object:
    # Importing this package loads no asyncio.
    if name != "AsyncModelCache":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .aio import AsyncModelCache

    return AsyncModelCache


_configured: dict[str, Any] = {}
# The default cache and the environment it was made in; replaced as one object, so threads see either whole.
_default: tuple[list[str | None], ModelCache] | None = None


def configure(**settings: Any) -> None:
    """Set what the functions of this module use, before the environment: `root=`, `max_size=`, any argument of ModelCache.

    Each call replaces what an earlier one set; without arguments the environment alone counts again.

    Raises:
        SettingError: A value cannot be used; then nothing changed.
    """
    global _configured, _default  # noqa: PLW0603 - the one place that sets the module's defaults
    cache = ModelCache(**settings)
    _configured = settings
    _default = (_environment(), cache)


def _environment() -> list[str | None]:
    get = os.environ.get
    return [get(name) for name in VARIABLES]


def _cache() -> ModelCache:
    """The default cache, made anew when the environment changed since."""
    global _default  # noqa: PLW0603 - as above
    now = _environment()
    if _default is None or _default[0] != now:
        _default = (now, ModelCache(**_configured))
    return _default[1]


def cache_root() -> Path:
    """The root, made if absent.

    `configure(root=…)` > `MODEL_CACHE_DIR` > `CACHE_DIRECTORY` (systemd) > the user's cache directory.

    Raises:
        SettingError: No root can be found.
        StorageError: It cannot be made.
    """
    cache = _cache()
    if not cache.root.is_dir():
        from .preparing import prepare

        prepare(cache._ctx)
    return cache.root


def path(repo: str, filename: str, **names: str) -> Path:
    """Where a file is or would be; touches nothing. See `ModelCache.path`."""
    return _cache().path(repo, filename, **names)


def is_cached(repo: str, filename: str, **names: str) -> bool:
    """Whether a file is there; no network. See `ModelCache.is_cached`."""
    return _cache().is_cached(repo, filename, **names)


def fetch(repo: str, filename: str, **options: Any) -> Path:
    """The absolute path of a file, downloaded on a miss. See `ModelCache.fetch`.

    Raises:
        ModelCacheError: One of its subclasses; there is always a path or an exception.
    """
    return _cache().fetch(repo, filename, **options)


def fetch_repo(repo: str, **options: Any) -> Path:
    """The directory of a repo once all of it is there, from one commit. See `ModelCache.fetch_repo`.

    Raises:
        ModelCacheError: One of its subclasses.
    """
    return _cache().fetch_repo(repo, **options)
