"""The note beside a write lock: what its holder is doing, for those who wait and for who resumes.

Concurrency:
    Written only under W, as a whole, by rename; read by anybody at any time. It carries what a resume needs, so that
    a download can be resumed without the index. Nothing is trusted on its word alone: the final hash decides.
"""

from __future__ import annotations

import os

from .. import disk, errors
from ..context import Context
from ..errors import ModelCacheError
from ..hosts import holder_name
from ..layout import is_key
from ..units import LARGEST, LONGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..layout import Entry
    from .parts import Range

_LIMIT = 65536  # bytes of a note; it has some hundred
_TEXT = 4096  # characters of a text in it
# Failures that are the same for whoever asks the same endpoint. Not a refused token, nor a repo that is not to be seen:
# another process may have a better token.
_SHARED = (errors.IntegrityError, errors.CacheFullError, errors.DownloadError)
_OWN = (errors.AccessError, errors.NotFoundError, errors.LockTimeoutError)


class Note:
    """What the holder of a write lock tells.

    Attributes:
        attempt: Counts the downloads of this entry, so that a waiter knows which began while it waited.
        holder: Who writes, as pid@host; for display only, pids lie across pid namespaces.
        began: When this attempt began, seconds since the epoch.
        size: Promised size in bytes, None while it is not known.
        etag: Identifier that the partial's bytes belong to; empty while these have gaps (`parts`): who knows nothing of
            parts then resumes nothing.
        error: How this attempt failed, or None.
        endpoint: Which Hub was asked: another one may well have the file.
        parts: Of a partial with gaps, the etag that its bytes belong to, and ranges of it that are there; else None.
        partial: Name of the partial where hosts have partials of their own; else empty.
    """

    def __init__(
        self,
        attempt: int = 0,
        holder: str = "",
        began: float = 0.0,
        size: int | None = None,
        etag: str = "",
        error: dict[str, Any] | None = None,
        endpoint: str = "",
        parts: dict[str, Any] | None = None,
        partial: str = "",
    ) -> None:
        self.attempt, self.holder, self.began = attempt, holder, began
        self.size, self.etag, self.error, self.endpoint, self.parts = size, etag, error, endpoint, parts
        self.partial = partial

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Note) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # it changes


def read(ctx: Context, entry: Entry) -> Note:
    """The entry's note; an empty one if there is none or it makes no sense: anybody may have written it."""
    try:
        data = disk.read_small(ctx.places.note(entry.key), _LIMIT)
        import json  # a herd that finds no note does not pay for it

        found = json.loads(data)
    except (OSError, ValueError, RecursionError):
        return Note()
    if not isinstance(found, dict):
        return Note()
    found.setdefault("partial", "")  # a download that an older version began has none of a host's own
    if not all(fits(found.get(name)) for name, fits in _FIELDS.items()):
        return Note()
    note = Note(**{name: found[name] for name in _FIELDS if name in found})
    note.holder = _printable(note.holder)
    return note


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < LONGEST * 10


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_partial(value: object) -> bool:
    return (
        isinstance(value, str)
        and (not value or is_key(value.partition(".")[0]))
        and value.isascii()
        and "/" not in value
    )


def _or_none(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


def _printable(text: str) -> str:
    """Text of another process made fit for one line of a terminal."""
    return "".join(character if character.isprintable() else " " for character in text[:_TEXT])


def _are_parts(value: object) -> bool:
    """Whether these are an etag, and ranges in order that neither touch nor overlap."""
    if not isinstance(value, dict) or not isinstance(value.get("etag"), str):
        return False
    ranges, last = value.get("ranges"), -1
    if not isinstance(ranges, list):
        return False
    for one in ranges:
        if not isinstance(one, list) or len(one) != 2 or not (_is_count(one[0]) and _is_count(one[1])):
            return False
        if not last < one[0] < one[1]:
            return False
        last = one[1]
    return True


def write(ctx: Context, entry: Entry, note: Note) -> bool:
    """Publish the note; one that cannot be written (False) costs a resume, not the download."""
    import json

    try:
        disk.write_small(ctx.places.note(entry.key), json.dumps(vars(note)).encode(), ctx.settings.file_mode)
    except OSError:
        return False
    return True


def kept(note: Note, size: int) -> list[Range]:
    """Which bytes of a partial of `size` bytes are there by the note: none where it does not fit the partial."""
    if note.parts is None:
        return [(0, size)] if note.etag and size else []
    ranges = [(start, end) for start, end in note.parts["ranges"]]
    return ranges if not ranges or ranges[-1][1] <= size else []


def belongs(note: Note, etag: str) -> bool:
    """Whether the partial's bytes are of this etag."""
    return (note.etag if note.parts is None else note.parts["etag"]) == etag


def describe(note: Note, etag: str, held: Sequence[Range]) -> None:
    """Let it say which ranges of the partial are there, as far as its size alone does not."""
    gaps = len(held) > 1 or bool(held and held[0][0])
    note.etag = "" if gaps else etag
    note.parts = {"etag": etag, "ranges": [list(one) for one in held]} if gaps else None


def expect_gaps(note: Note, etag: str, held: Sequence[Range]) -> None:
    """Let it say that nothing but these ranges is there, before a byte is written behind a gap."""
    note.etag, note.parts = "", {"etag": etag, "ranges": [list(one) for one in held]}


def place(ctx: Context, entry: Entry, note: Note) -> str:
    """The partial that the note is about: another host's has another name."""
    return f"{ctx.places.partials}{note.partial}" if note.partial else ctx.places.partial(entry.key)


def arrived(ctx: Context, entry: Entry, note: Note | None = None) -> int:
    """Bytes of the entry's partial that are there, for those who watch; the size of a partial with gaps says nothing."""
    note = note or read(ctx, entry)
    try:
        size = os.stat(place(ctx, entry, note), follow_symlinks=False).st_size
    except OSError:
        return 0
    return size if note.parts is None else sum(end - start for start, end in kept(note, size))


def begin(ctx: Context, entry: Entry) -> Note:
    """Say that a new attempt begins, with what the last one knew of its partial; the caller holds W."""
    last = read(ctx, entry)
    now = ctx.clock.time()
    endpoint = ctx.settings.endpoint
    note = Note(last.attempt + 1, holder_name(), now, last.size, last.etag, endpoint=endpoint, parts=last.parts)
    note.partial = f"{entry.key}{ctx.places.host}" if ctx.places.host else ""
    if note.partial != last.partial:
        note.etag, note.parts = "", None  # what is known of another host's partial is not known of this one's
    write(ctx, entry, note)
    return note


def as_error(error: ModelCacheError) -> dict[str, Any] | None:
    """The part of a failure that those who waited share, or None if it is this process's own."""
    if not isinstance(error, _SHARED) or isinstance(error, _OWN):
        return None
    plain = {
        name: value for name, value in vars(error).items() if isinstance(value, (str, int, float, bool, type(None)))
    }
    return {"kind": type(error).__name__, "state": plain}


def to_error(recorded: dict[str, Any]) -> ModelCacheError:
    """The failure of the leader, to be raised by who waited for it; only what such a failure can have is taken."""
    kind = getattr(errors, str(recorded.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, _SHARED) and not issubclass(kind, _OWN)):
        kind = errors.DownloadError
    found = recorded.get("state")
    state = found if isinstance(found, dict) else {}
    texts = {name: _printable(state[name]) for name in ("message", "hint") if isinstance(state.get(name), str)}
    facts = {
        name: _printable(value) if isinstance(value, str) else value
        for name, fits in _FACTS.items()
        if hasattr(kind, name) and (value := state.get(name)) is not None and fits(value)
    }
    message = texts.get("message") or "the download failed in another process"
    return kind(message, hint=texts.get("hint", ""), **facts)


_FIELDS: dict[str, Callable[[object], bool]] = {
    "attempt": _is_count,
    "holder": _is_text,
    "began": _is_time,
    "size": _or_none(_is_count),
    "etag": _is_text,
    "error": _or_none(lambda value: isinstance(value, dict)),
    "endpoint": _is_text,
    "parts": _or_none(_are_parts),
    "partial": _is_partial,
}
_FACTS: dict[str, Callable[[object], bool]] = {
    "status": _is_count,
    "url": _is_text,
    "request_id": _is_text,
    "transient": lambda value: isinstance(value, bool),
    "retry_after": _is_time,
    "unreachable": lambda value: isinstance(value, bool),
    "expected": lambda value: _is_count(value) or _is_text(value),
    "found": lambda value: _is_count(value) or _is_text(value),
    "needed": _is_count,
    "available": _is_count,
}
