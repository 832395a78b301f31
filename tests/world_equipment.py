"""What a root should hold, kept as dictionaries beside a real one: the oracle of the property tests.

The oracle knows what the world did (the Hub, a person, a rotting disk) and what each operation promises. It reads the
root's files, never the cache's answers, except where two outcomes are both right: then it asserts that one of them came
about, and remembers which.
"""

import os
from dataclasses import dataclass

from support import Later

from model_cache import ModelCache
from model_cache.stats import allocated, identity
from model_cache.testing.repos import Content

SIZE = 5_000  # bytes of each file: two blocks, so that a byte more or less changes nothing that counts
LFS_THRESHOLD = 5_001  # some contents have a byte more, and are promised by their sha256
FILES = ("a.bin", "sub/b.json")
Name = tuple[str, str]


@dataclass(frozen=True)
class Known:
    """What the index should know of a file: the bytes it was recorded with, their commit, and the very file."""

    data: bytes
    commit: str | None
    identity: tuple[int, int, int]


@dataclass(frozen=True)
class Mark:
    """What verify found damaged: the very file, its bytes, and what had been recorded."""

    identity: tuple[int, int, int]
    found: bytes
    data: bytes
    commit: str | None


def content(number):
    """Bytes of their own for each number; every third is a large file to the Hub."""
    return (f"content {number} ".encode() * SIZE)[: SIZE + (number % 3 == 0)]


class World:
    """A real root, its hub, and what should be there.

    Attributes:
        there: Bytes at each path where something stands.
        rows: What the index should know; nothing of files that somebody placed and nobody adopted.
        pins, marks: Of files by name.
        ever_pinned: What was pinned once, which a backup of the index may remember.
        commits: Of each repo, contents by commit; the last one is current.
        counted: Whether the index knows of every file it made: not after it was lost, until all were looked at.
    """

    def __init__(self, hub, root, repos, **settings):
        self.hub, self.root, self.clock = hub, root, Later()
        self.names = [(repo, file) for repo in repos for file in FILES]
        self.cache = ModelCache(
            root, endpoint=hub.url, token=False, clock=self.clock, **{"min_idle": 0, "touch_interval": 0, **settings}
        )
        self.there, self.rows, self.marks = {}, {}, {}
        self.pins, self.leases, self.counted = set(), {}, True
        self.ever_pinned = set()
        self.commits = {repo: {} for repo in repos}

    # The world's own acts

    def publish(self, repo, numbers):
        """The Hub moves to a new commit."""
        files = {file: content(number) for file, number in zip(FILES, numbers, strict=True)}
        commit = self.hub.add_repo(repo, files)
        self.commits[repo].pop(commit, None)
        self.commits[repo][commit] = files

    def place(self, name, data):
        """Somebody puts a file at an entry's path."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.there[name] = data

    def overwrite(self, name, data, *, quietly):
        """The bytes of a file change in place, under all of its names; quietly: as a disk rots, times stay as they were."""
        path, before = self.path(name), self.status(name)
        others = [other for other in self.there if self.status(other).st_ino == before.st_ino]
        with path.open("r+b") as file:
            file.write(data)
            file.truncate()
        now = before.st_mtime_ns if quietly else before.st_mtime_ns + 1_000_000_000
        os.utime(path, ns=(before.st_atime_ns, now))
        self.there |= dict.fromkeys(others, data)

    def restore(self, name):
        """The same bytes in another inode, as a backup brings them back."""
        path = self.path(name)
        copy = path.with_name(f"{path.name}.copy")
        copy.write_bytes(self.there[name])
        os.replace(copy, path)

    def delete(self, name):
        """Somebody removes a file."""
        self.path(name).unlink()
        del self.there[name]

    def lose_index(self):
        """Index and backup are gone."""
        self.cache._ctx.index.close()
        for path in [*(self.root / ".model-cache").glob("index.db*"), *(self.root / ".model-cache/backup").glob("*")]:
            path.unlink()
        self.rows, self.pins, self.counted = {}, set(), False

    # What is there

    def path(self, name):
        """Where a file is or would be."""
        return self.root.joinpath(*name)

    def status(self, name):
        """What the file system says."""
        return self.path(name).stat()

    def identity(self, name):
        """Inode, size, mtime; None where nothing is."""
        return identity(self.status(name)) if name in self.there else None

    def read(self, name):
        """The bytes at a path, or None."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    # What should follow

    def is_damaged(self, name):
        """Whether these bytes were found damaged before, in this file or in one of which it is a copy."""
        mark = self.marks.get(name)
        return bool(
            mark and name in self.there and (self.identity(name) == mark.identity or self.there[name] == mark.found)
        )

    def stands(self, name):
        """Whether the very file that was recorded is there."""
        return name in self.rows and self.rows[name].identity == self.identity(name)

    def is_held(self, name):
        """Whether a lease is held on the very file that is there."""
        held = [os.fstat(lease.fileno()).st_ino for leases in self.leases.values() for lease in leases]
        return name in self.there and self.status(name).st_ino in held

    def names_of(self, name):
        """All names that the index has for the file that is there."""
        ino = self.status(name).st_ino
        return [other for other in self.there if other in self.rows and self.status(other).st_ino == ino]

    def may_go(self, name):
        """Whether an eviction may take a file away; the row of one that is not there may go as well."""
        if name not in self.there:
            return name not in self.pins
        if not self.stands(name) or self.is_held(name):
            return False
        names = self.names_of(name)
        alone = self.status(name).st_nlink == len(names)
        return alone and not any(other in self.pins or not self.stands(other) for other in names)

    def removable(self):
        """All that an eviction may take away now."""
        return {name for name in self.rows if self.may_go(name)}

    def verdict(self, name):
        """What verify must say of a recorded file."""
        row = self.rows[name]
        if name not in self.there:
            return "missing"
        if self.there[name] == row.data:
            return "ok" if self.stands(name) else "rebound"
        if self.stands(name):
            return "corrupt"
        mark = self.marks.get(name)
        return "corrupt" if mark and mark.found == self.there[name] else "changed"

    def sources(self, name, *, head=False):
        """{commit: bytes} of what a download may bring: from the commits of the repo's other files, else the current one."""
        repo, file = name
        others = {row.commit for (one, other), row in self.rows.items() if one == repo and other != file and row.commit}
        commits = others if others and not head else {list(self.commits[repo])[-1]}
        return {commit: self.commits[repo][commit][file] for commit in commits}

    # What did follow

    def record(self, name, legal):
        """The file at a path was made by the cache: its bytes must be those of one of the commits ({commit: bytes})."""
        data, row = self.read(name), self.row(name)
        assert row.commit in legal and data == legal[row.commit], f"{name} is at {row.commit}, expected {[*legal]}"
        self.there[name] = data
        self.rows[name] = Known(data, row.commit, self.identity(name))

    def row(self, name):
        """The row that the index has of an entry."""
        (row,) = [row for row in self.cache.entries(name[0]) if row.filename == name[1]]
        return row

    def note_gone(self, removable):
        """Take note of what an operation evicted; returns the names, which must be of what might go."""
        left = {row.path for row in self.cache.entries()}
        gone = {name for name in self.rows if "/".join(name) not in left}
        assert gone <= removable, f"{gone - removable} had to stay"
        for name in gone:
            assert self.read(name) is None, f"{name} has no row, and is there"
            self.forget(name)
        return gone

    def forget(self, name):
        """Nothing is there of an entry any more."""
        for known in (self.there, self.rows):
            known.pop(name, None)
        self.pins.discard(name)

    def on_disk(self):
        """Allocated bytes of every file the index has a row of, and of what is on its way, each inode once."""
        paths = [self.root / row.path for row in self.cache.entries()]
        paths += [
            path
            for part in ("partial", "trash", "quarantine")
            for path in (self.root / ".model-cache" / part).glob("*")
        ]
        return sum({path.stat().st_ino: allocated(path.stat()) for path in paths if path.exists()}.values())


def promise(data):
    """The sha256 that the Hub promises of a large file, None of a small one."""
    return Content(data).sha256 if len(data) >= LFS_THRESHOLD else None
