"""The note beside a write lock: what its holder is doing, for those who wait and for who resumes.

Concurrency:
    Written only under W, as a whole, by rename; read by anybody at any time. It carries what a resume needs, so that
    a download can be resumed without the index. Nothing is trusted on its word alone: the final hash decides.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from .. import disk, errors
from ..context import Context
from ..errors import ModelCacheError
from ..layout import Entry

# Failures that are the same for whoever asks the same endpoint. Not a refused token, nor a repo that is not to be seen:
# another process may have a better token.
_SHARED = (errors.IntegrityError, errors.CacheFullError, errors.DownloadError)
_OWN = (errors.AccessError, errors.NotFoundError, errors.LockTimeoutError)


@dataclass
class Note:
    """What the holder of a write lock tells.

    Attributes:
        attempt: Counts the downloads of this entry, so that a waiter knows which began while it waited.
        holder: Who writes, as pid@host; for display only, pids lie across pid namespaces.
        began: When this attempt began, seconds since the epoch.
        size: Promised size in bytes, None while it is not known.
        etag: Identifier that the partial's bytes belong to.
        error: How this attempt failed, or None.
        endpoint: Which Hub was asked: another one may well have the file.
    """

    attempt: int = 0
    holder: str = ""
    began: float = 0.0
    size: int | None = None
    etag: str = ""
    error: dict[str, Any] | None = None
    endpoint: str = ""


def read(ctx: Context, entry: Entry) -> Note:
    """The entry's note; an empty one if there is none or it makes no sense."""
    try:
        with open(ctx.places.note(entry.key), "rb") as file:
            found = json.loads(file.read(65536))
        note = Note(**{name: found[name] for name in Note.__dataclass_fields__})
        known = isinstance(note.attempt, int) and isinstance(note.etag, str) and isinstance(note.holder, str)
        return note if known and (note.size is None or isinstance(note.size, int)) else Note()
    except (OSError, ValueError, KeyError, TypeError):
        return Note()


def write(ctx: Context, entry: Entry, note: Note) -> None:
    """Publish the note; a note that cannot be written costs a resume, not the download."""
    try:
        disk.write_small(ctx.places.note(entry.key), json.dumps(asdict(note)).encode(), ctx.settings.file_mode)
    except OSError:
        return


def as_error(error: ModelCacheError) -> dict[str, Any] | None:
    """The part of a failure that those who waited share, or None if it is this process's own."""
    if not isinstance(error, _SHARED) or isinstance(error, _OWN):
        return None
    plain = {
        name: value for name, value in vars(error).items() if isinstance(value, (str, int, float, bool, type(None)))
    }
    return {"kind": type(error).__name__, "state": plain}


def to_error(recorded: dict[str, Any]) -> ModelCacheError:
    """The failure of the leader, to be raised by who waited for it."""
    kind = getattr(errors, str(recorded.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, ModelCacheError)):
        kind = errors.DownloadError
    state = recorded.get("state")
    state = dict(state) if isinstance(state, dict) else {}
    message = str(state.pop("message", "the download failed in another process"))
    return kind(message, hint=str(state.pop("hint", "")), **state)
