"""What the Hub says of files before any is downloaded: for `local_dir` and `dry_run`, which ask it each time."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from .. import digest
from ..beneath import READ
from ..cache import ModelCache
from ..download.asking import ask
from ..layout import Entry, Snapshot, is_commit
from ..selection import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..selection import Patterns


@dataclass(frozen=True)
class Promised:
    """A file at the commit that its revision stands for now.

    Attributes:
        entry: Its names, with that commit as the revision.
        size: In bytes; None where the Hub does not say.
        sha256, git_sha1: The one hash that the Hub has of it.
    """

    entry: Entry
    size: int | None
    sha256: str | None
    git_sha1: str | None

    def is_at(self, path: str) -> bool:
        """Whether the file at a path has the promised bytes: all of them are read, if their number is right."""
        try:
            fd = os.open(path, READ)
        except OSError:
            return False
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or self.size not in (None, found.st_size):
                return False
            if self.sha256:
                return digest.sha256(fd)[0] == self.sha256
            return digest.git_sha1(fd, found.st_size) == self.git_sha1
        finally:
            os.close(fd)


def file(cache: ModelCache, entry: Entry) -> Promised:
    """What the Hub says of one file; raises NotFoundError, AccessError, DownloadError."""
    meta = cache._ctx.hub.metadata(entry.repo_type, entry.repo, entry.revision, entry.filename)
    at = Entry(entry.repo, entry.filename, meta.commit, entry.repo_type)
    return Promised(at, meta.size, meta.sha256, meta.git_sha1)


def repo(cache: ModelCache, snapshot: Snapshot, allow: Patterns, ignore: Patterns) -> list[Promised]:
    """What the Hub says of the files that the patterns leave; raises as `file`."""
    commit = snapshot.revision if is_commit(snapshot.revision) else None
    listing = ask(cache._ctx, snapshot, commit, None)
    at = Snapshot(snapshot.repo, listing.commit, snapshot.repo_type)
    chosen = set(select([one.path for one in listing.files], allow, ignore, loose=True))
    return [
        Promised(at.entry(one.path), one.size, one.sha256, one.git_sha1) for one in listing.files if one.path in chosen
    ]
