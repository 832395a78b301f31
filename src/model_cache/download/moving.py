"""What an update means for a repo that is known as a whole: its listing moves with it, and what is new comes too.

Concurrency:
    The lock of the repo is held, and W of every file that is there of it. The new listing is written, as `moving`, before
    the first file is replaced, and as what is there after the last: whoever finds it moving goes on with the update, and
    hands out no directory of which a part is of another commit (I10). Files that are moved alone leave it `moving`.
"""

from __future__ import annotations

import os

from .. import disk, listings
from ..context import Context
from ..errors import InvalidNameError, NotFoundError
from ..hub.client import FileMeta
from ..layout import Entry, Snapshot
from ..listings import Listing
from .asking import ask, promise


class Move:
    """A snapshot's way to another commit.

    Args:
        whole: All that is there of it is moved, not only some files: then its listing, if it has one, moves too.

    Attributes:
        commit: Where to.
        target: What it consists of there; None where nobody ever asked for the whole.
    """

    def __init__(self, ctx: Context, snapshot: Snapshot, commit: str, *, whole: bool) -> None:
        self._ctx, self._snapshot, self.commit = ctx, snapshot, commit
        found = listings.read(ctx, snapshot, certain=True)
        self._before = found if whole else None
        # Files that are moved alone leave the others behind.
        self._loose = found if not whole and found is not None and found.commit != commit else None
        self.target: Listing | None = None
        if self._before is not None:
            same = self._before.commit == commit
            self.target = self._before if same else ask(ctx, snapshot, commit, None)

    def added(self) -> list[Entry]:
        """Files that are new at the commit; none where the repo was not all there before, as nobody wants all of it."""
        if self._before is None or self.target is None or self.target.commit == self._before.commit:
            return []
        root = self._ctx.root
        entries = [self._entry(file.path) for file in self._before.files]
        if not all(entry is not None and os.path.lexists(entry.path(root)) for entry in entries):
            return []
        new = [self._entry(file.path) for file in self.target.files if self._before.file(file.path) is None]
        return [entry for entry in new if entry is not None]

    def _entry(self, path: str) -> Entry | None:
        """The entry, None of a name that cannot stand for a path: whoever fetched the repo left that file out."""
        try:
            return self._snapshot.entry(path)
        except InvalidNameError:
            return None

    def meta(self, filename: str) -> FileMeta:
        """What a file has to be at the commit; raises NotFoundError if it is not there any more."""
        names = self._snapshot.repo_type, self._snapshot.repo
        if self.target is None:
            return self._ctx.hub.metadata(*names, self.commit, filename)
        file = self.target.file(filename)
        if file is None:
            raise NotFoundError(f"{self._snapshot} {filename} is not in commit {self.commit[:12]}")
        return promise(self.target, file)

    def begin(self) -> None:
        """The first file is about to be replaced."""
        if self._loose is not None:
            self._write(Listing(self._loose.commit, self._loose.files, moving=True))
        if self.target is not None and self.target is not self._before:
            self._write(Listing(self.target.commit, self.target.files, moving=True))

    def undo(self) -> None:
        """Nothing was replaced."""
        if self._loose is not None:
            self._write(self._loose)
        if self._before is not None and self.target is not self._before:
            self._write(self._before)

    def end(self) -> None:
        """Everything is in its place."""
        if self.target is not None and (self.target is not self._before or self.target.moving):
            self._write(Listing(self.target.commit, self.target.files))

    def _write(self, listing: Listing) -> None:
        try:
            listings.write(self._ctx, self._snapshot, listing)
        except OSError as error:
            raise disk.storage_error(error, "cannot write", listings.place(self._ctx, self._snapshot)) from None
