"""What is done to the files of a race from outside: rot, edits, files placed by hand, an index that is lost.

Everything is written down before it is done, so that the oracle knows of it.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import BinaryIO

from ..invariants import OWN, Violation, files
from .excuses import Known
from .journal import Journal
from .world import KIB, STILL, digest

_AT_REST = 0.3  # seconds that a file has not been written to
_LONGEST = 10.0  # seconds that a reconcile of these few files takes
_FOREIGN = 5  # files that nobody may take for entries
_PLACED = 3  # files at a time that somebody places where they can be adopted


class Chaos:
    """Does harm to a root, by its own random numbers.

    Args:
        root: The cache's.
        known: What the oracle goes by.
        journal: Where it is written down.
        chance: Its random numbers.

    Attributes:
        foreign: By path: sha256 of somebody's own file that no reconcile adopts.
        mine: By path: (sha256, since when) of what was written by hand and stays until a reconcile.
        checks: How often one of them was looked at.
        counts: How often each kind of harm was done.
    """

    def __init__(self, root: Path, known: Known, journal: Journal, chance: random.Random) -> None:
        self._root, self._known, self._journal, self._chance = root, known, journal, chance
        self.foreign: dict[str, str] = {}
        self.mine: dict[str, tuple[str, float]] = {}
        self.checks = 0
        self.counts: dict[str, int] = {}
        self._number = 0
        self._suspects: list[tuple[float, Violation]] = []

    def begin(self) -> None:
        """Somebody's own files, under names that are no entries' (a backslash, no repo, a closing dot)."""
        names = ["notes.txt", "race/model-0/a\\b.txt", "race/model-1/draft.", "race/model-0/onnx/c\\d.bin", "own.bin"]
        for number, name in enumerate(names[:_FOREIGN]):
            data = f"somebody's own file {number}\n".encode() * 100
            self.foreign[name] = digest(data)
            self._known.placed.add(name)
            (self._root / name).parent.mkdir(parents=True, exist_ok=True)
            (self._root / name).write_bytes(data)

    def rot(self) -> None:
        """Flip one bit of a file at rest, in place; size, mtime and inode stay."""
        path = self._at_rest()
        file = None if path is None else self._opened(path)
        if path is None or file is None:
            return
        with file:
            before = os.fstat(file.fileno())
            data = bytearray(file.read())
            old = digest(data)
            if old not in self._known.legal[path]:
                return  # rotten already, or somebody's own by now, which no verify reads
            at = self._chance.randrange(len(data))
            data[at] ^= 1 << self._chance.randrange(8)
            names = [name for name, found in files(self._root).items() if found.st_ino == before.st_ino]
            self._harm("rot", path=path, names=names, was=old, now=digest(data))
            self._known.rotten[digest(data)] = self._known.rotten.get(old, old)
            for name in names or [path]:
                self._known.rotted[name].append(time.monotonic())
                self._known.damaged.add((name, before.st_ino))
            os.pwrite(file.fileno(), data[at : at + 1], at)
            os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))

    def _opened(self, path: str) -> BinaryIO | None:
        """The file, None if it was evicted since it was seen."""
        try:
            return open(self._root / path, "r+b")
        except FileNotFoundError:
            return None

    def edit(self) -> None:
        """Write into a file of the cache as an editor does: its mtime tells."""
        path = self._at_rest()
        file = None if path is None or path in self.mine else self._opened(path)
        if path is None or file is None:
            return
        with file:
            before = os.fstat(file.fileno())
            data = bytearray(file.read())
            if digest(data) not in self._known.legal.get(path, ()) or before.st_nlink > 1:
                return
            data[:8] = b"edited%02d" % (self._number % 100)
            self._number += 1
            now = digest(data)
            self._harm("edit", path=path, now=now)
            self._known.written[path].add(now)
            self._known.edited.add((path, before.st_ino))
            os.pwrite(file.fileno(), data[:8], 0)
            os.fsync(file.fileno())
            # Open all the while: nobody can have begun to take it away since, and now its mtime differs.
            if _inode(self._root / path) == before.st_ino:
                self.mine[path] = (now, time.monotonic())

    def place(self) -> None:
        """A file of somebody's own where an entry could be, and where none is."""
        standing = [path for path in self._known.placed - self.foreign.keys() if (self._root / path).exists()]
        if len(standing) >= _PLACED:
            return
        self._number += 1
        path = f"mine/own-{self._number}/file.bin"
        data = self._chance.randbytes(8 * KIB)
        self._harm("place", path=path, now=digest(data))
        self._known.placed.add(path)
        self._known.written[path].add(digest(data))
        (self._root / path).parent.mkdir(parents=True)
        (self._root / path).write_bytes(data)
        self.mine[path] = (digest(data), time.monotonic())

    def lose(self) -> None:
        """The index is deleted, emptied, damaged, or an older one is put back."""
        index, older = self._root / OWN / "index.db", self._root.parent / "older.db"
        how = self._chance.choice(["deleted", "emptied", "damaged", "put back"])
        self._harm("lose", how=how)
        self._known.losses.append(time.monotonic())
        if not index.exists():
            return
        if how == "deleted":
            index.unlink()
        elif how == "emptied":
            os.truncate(index, 0)
        elif how == "damaged":
            with index.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                for _ in range(20):
                    file.seek(self._chance.randrange(100, max(size, 200)))
                    file.write(self._chance.randbytes(16))
        elif older.exists():
            shutil.copyfile(older, index.with_suffix(".new"))
            os.replace(index.with_suffix(".new"), index)
        if index.exists() and how != "damaged":
            shutil.copyfile(index, older)

    def look(self) -> list[Violation]:
        """I7: what is somebody's own is as it was; what a reconcile may have made the cache's is not asked any more."""
        found, self._suspects = [seen for since, seen in self._suspects if not self._adopted(since)], []
        for path, sha in self.foreign.items():
            found += self._same(path, sha)
        for path, (sha, since) in list(self.mine.items()):
            broken = self._same(path, sha)
            if broken:
                # Judged at the next look: a reconcile that began before it will have been read by then.
                self._suspects += [(since, seen) for seen in broken]
            if broken or self._adopted(since):
                del self.mine[path]
        return found

    def _adopted(self, since: float) -> bool:
        """Whether a reconcile may have seen what was written then."""
        return any(when >= since - _LONGEST for when in self._known.reconciles) or bool(self._known.losses)

    def _same(self, path: str, sha: str) -> list[Violation]:
        self.checks += 1
        try:
            now = digest((self._root / path).read_bytes())
        except FileNotFoundError:
            return [Violation("I7", f"{path}, which is somebody's own, is gone")]
        return [] if now == sha else [Violation("I7", f"{path}, which is somebody's own, has other bytes: {now[:12]}")]

    def _at_rest(self) -> str | None:
        """A file of the cache that nobody wrote to lately."""
        now = time.time()
        there = files(self._root)
        settled = [
            path
            for path, found in sorted(there.items())
            if path in self._known.legal and not path.startswith(STILL) and now - found.st_mtime > _AT_REST
        ]
        return self._chance.choice([path for path in settled if path not in self.mine] or [None])

    def _harm(self, kind: str, **facts: object) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._journal.write(kind, **facts)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
