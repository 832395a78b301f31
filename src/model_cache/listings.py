"""What a repo consists of at its commit: asked of the Hub once, and kept beside the cache as a small file.

A listing makes three things known without network: which commit all further files come from, what each of them has to
be, and whether the repo is there as a whole. It is no record of what is on disk: only the paths say that.

Concurrency:
    I10. Written as a whole by rename, durable before a file that it names is downloaded. Whoever asks the Hub for one
    holds the snapshot's own lock, so that all processes that begin at once go on from one commit.
"""

from __future__ import annotations

import errno
import json

from . import disk, stats
from .layout import Snapshot, is_commit, is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .context import Context

_VERSION = 1
LIMIT = 64 << 20  # bytes; a thousand files have some 150 kB
_LARGEST = 2**63 - 1


class Listed:
    """One file of a listing: its path in the repo, its size in bytes, and the one hash that the Hub's listing has of it."""

    __slots__ = ("git_sha1", "path", "sha256", "size")

    def __init__(self, path: str, size: int, sha256: str | None, git_sha1: str | None) -> None:
        self.path, self.size, self.sha256, self.git_sha1 = path, size, sha256, git_sha1

    @property
    def etag(self) -> str:
        """The Hub's identifier of the bytes."""
        return self.sha256 or self.git_sha1 or ""


class Listing:
    """A repo at a commit.

    Attributes:
        commit: 40 hex digits.
        files: In the order of their paths.
        moving: Files of it may be of another commit: an update was under way when this was written, or one file alone
            was moved.
    """

    __slots__ = ("_by_path", "commit", "files", "moving")

    def __init__(self, commit: str, files: Iterable[Listed], *, moving: bool = False) -> None:
        self.commit, self.moving = commit, moving
        self.files: Sequence[Listed] = sorted(files, key=lambda file: file.path)
        self._by_path: dict[str, Listed] | None = None

    def file(self, path: str) -> Listed | None:
        """The file of this path."""
        if self._by_path is None:
            self._by_path = {file.path: file for file in self.files}
        return self._by_path.get(path)


def place(ctx: Context, snapshot: Snapshot) -> str:
    """Where a snapshot's listing is."""
    return ctx.places.listing(snapshot.key)


def read(ctx: Context, snapshot: Snapshot, *, certain: bool = False) -> Listing | None:
    """The listing; None if there is none, or it makes no sense: anybody may have written it.

    Args:
        certain: For whoever is to move files of it: what cannot be read now is an error, not no listing. Else one that was
            not seen would go on to promise what has been moved.

    Raises:
        StorageError: It is there, and cannot be read.
    """
    try:
        found = _loaded(disk.read_small(place(ctx, snapshot), LIMIT))
    except OSError as error:
        if certain and error.errno != errno.ENOENT:
            raise disk.storage_error(error, "cannot read", place(ctx, snapshot)) from None
        return None
    return _parse(found, snapshot)


def _loaded(text: bytes) -> Any:
    """The document; None if it is none. The text, which can be large, does not stay beside it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parse(found: Any, snapshot: Snapshot) -> Listing | None:
    try:
        names = (found["repo_type"], found["repo"], found["revision"])
        if found["version"] != _VERSION or names != (snapshot.repo_type, snapshot.repo, snapshot.revision):
            return None
        if not is_commit(found["commit"]) or not isinstance(found["moving"], bool):
            return None
        rows, files = found["files"], []
        while rows:
            files.append(listed(*rows.pop()))  # each row goes as its file comes
        return Listing(found["commit"], files, moving=found["moving"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def listed(path: object, size: object, sha256: object, git_sha1: object) -> Listed:
    """A file as a listing has it; raises ValueError. Its name is checked where it becomes an entry's."""
    if not isinstance(path, str) or not path or type(size) is not int or not 0 <= size <= _LARGEST:
        raise ValueError(path)
    kinds = (is_sha256(sha256) and git_sha1 is None, is_commit(git_sha1) and sha256 is None)
    if True not in kinds:
        raise ValueError(path)
    return Listed(path, size, *(value if isinstance(value, str) else None for value in (sha256, git_sha1)))


def write(ctx: Context, snapshot: Snapshot, listing: Listing) -> None:
    """Keep the listing, durably.

    Raises:
        OSError: It cannot be written.
    """
    document = {
        "version": _VERSION,
        "repo_type": snapshot.repo_type,
        "repo": snapshot.repo,
        "revision": snapshot.revision,
        "commit": listing.commit,
        "moving": listing.moving,
        "files": [],
    }
    ctx.step("listing:write")
    path = place(ctx, snapshot)
    disk.write_small(path, _text(document, listing.files), ctx.settings.file_mode, durable=True)


def _text(document: dict[str, object], files: Iterable[Listed]) -> bytes:
    """The document with its files, made piece by piece: as a whole, a large one would take many times its size."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    text = bytearray(encode(document).encode().removesuffix(b"]}"))
    for number, file in enumerate(files):
        row = encode([file.path, file.size, file.sha256, file.git_sha1])
        text += f",{row}".encode() if number else row.encode()
    text += b"]}"
    return bytes(text)


def identity(ctx: Context, snapshot: Snapshot) -> stats.Identity | None:
    """Which file the listing is: another one whenever it was written since."""
    return stats.identity_at(place(ctx, snapshot))


def forget(ctx: Context, snapshot: Snapshot) -> None:
    """Nothing of it is there any more: who wants it next gets what is current then."""
    disk.remove(place(ctx, snapshot))


def keys(ctx: Context) -> list[str]:
    """The keys of the snapshots that have a listing."""
    try:
        with disk.scan(ctx.places.listings) as found:
            names = [entry.name for entry in found]
    except OSError:
        return []
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]
