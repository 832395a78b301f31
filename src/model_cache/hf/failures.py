"""The cache's errors as the exceptions of `huggingface_hub`, for code that catches those; loaded by who meets one alone."""

from __future__ import annotations

from functools import wraps

from ..errors import (
    AccessError,
    DownloadError,
    IntegrityError,
    InvalidNameError,
    ModelCacheError,
    NotFoundError,
    OfflineMissError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from huggingface_hub.errors import HfHubHTTPError

    P = ParamSpec("P")
    T = TypeVar("T")

_MISSING = {
    "RepoNotFound": "RepositoryNotFoundError",
    "RevisionNotFound": "RevisionNotFoundError",
    "EntryNotFound": "RemoteEntryNotFoundError",
}


def as_the_peer(call: Callable[P, T]) -> Callable[P, T]:
    """Have a function raise what `huggingface_hub` raises, caused by the cache's own error."""

    @wraps(call)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except ModelCacheError as error:
            other = translated(error)
            if other is None:
                raise
            raise other from error

    return called


def translated(error: ModelCacheError) -> Exception | None:
    """What `huggingface_hub` raises in the place of an error; None where it has no class for it, or is not installed."""
    try:
        from huggingface_hub import errors
    except ImportError:
        return None
    text = f"{error}\nhint: {error.hint}" if error.hint else str(error)
    if isinstance(error, InvalidNameError):
        return errors.HFValidationError(f"Invalid filename or repo: {text}")
    if isinstance(error, OfflineMissError):
        if error.incomplete:
            return errors.IncompleteSnapshotError(text, snapshot_path=error.incomplete)
        return errors.LocalEntryNotFoundError(text)
    if isinstance(error, IntegrityError):
        return OSError(text)  # a length or hash that differs is one there, too
    if not isinstance(error, DownloadError):
        return None
    name = _class_name(error)
    if name == "LocalEntryNotFoundError":
        return errors.LocalEntryNotFoundError(text)
    return _of_an_answer(getattr(errors, name), text, error)


def _class_name(error: DownloadError) -> str:
    """Whose fault it was decides; a Hub that cannot be reached is there a file that is not on this disk."""
    if isinstance(error, AccessError):
        if error.code == "GatedRepo":
            return "GatedRepoError"
        return "RepositoryNotFoundError" if error.status == 401 else "HfHubHTTPError"
    if isinstance(error, NotFoundError):
        return _MISSING.get(error.code, "RemoteEntryNotFoundError")
    return "LocalEntryNotFoundError"


def _of_an_answer(kind: type[HfHubHTTPError], text: str, error: DownloadError) -> Exception:
    """An exception that carries the answer it is about: status and address, as far as they are known."""
    from httpx2 import Request, Response  # what huggingface_hub itself speaks; nothing is sent

    headers = {"x-request-id": error.request_id} if error.request_id else {}
    request = Request("GET", error.url or "https://huggingface.co")
    return kind(text, response=Response(error.status or 404, headers=headers, request=request))
