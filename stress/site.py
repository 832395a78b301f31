"""A root with a few files, somebody's own file, a lease, and a hub that may have moved on: where sweeps do an operation."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from model_cache import ModelCache, OfflineMissError
from model_cache.clock import Clock
from model_cache.lease import Lease
from model_cache.stats import identity_at
from model_cache.testing import LoopbackHub

from . import hosts, invariants
from .invariants import OWN, Expected, Violation, path_of

Contents = dict[str, bytes]

REPO, TWIN, HELD, OTHER = "sweep/model", "sweep/twin", "sweep/held", "sweep/other"
NAMES = ("a.bin", "b.bin", "sub/c.bin")
NEW = "new.bin"
WHOLE = "sweep/whole"  # a repo that is fetched, or updated, as a whole
LARGEST, THERE, ADDED = "model.bin", "config.json", "added.json"
SIZE = 60_000  # bytes of each file; the largest are served from the second host, by their sha256
LFS_THRESHOLD = 30_000
FOREIGN, FOREIGN_BYTES = "some/body/own.bin", b"somebody's own bytes"
_OLD, _MOVED = 0, 100
# Of each file of the whole repo, at its two commits: (number of its content, bytes). One has the bytes of a file that is
# in the cache under another name; at the second commit one is different, one is new, and one is gone.
_FIRST = {
    LARGEST: (200, SIZE + 1000),
    THERE: (201, 3000),
    "twin.bin": (_OLD, SIZE),
    "sub/a.json": (203, 5000),
    "b.txt": (204, 900),
}
_SECOND = {**_FIRST, "sub/a.json": (303, 6000), ADDED: (305, 2000)}
del _SECOND["b.txt"]


class Later(Clock):
    """A clock that is ahead by `ahead` seconds, and whose waits pass at once."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def time(self) -> float:
        """Wall-clock seconds, so much later."""
        return super().time() + self.ahead

    def monotonic(self) -> float:
        """Seconds, so much later."""
        return super().monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.ahead += seconds


def content(number: int, size: int = SIZE) -> bytes:
    """Bytes of their own for each number, in which shifts and cuts show."""
    block = hashlib.shake_256(number.to_bytes(4, "big")).digest(4096)
    return (block * (size // len(block) + 1))[:size]


def digest(data: bytes) -> str:
    """The sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def rot(path: Path, offset: int = 1234) -> str:
    """Flip one bit in place, size and mtime staying what they were; the sha256 of what is there now."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return digest(path.read_bytes())


class Site:
    """A root that an operation is done on, and what may stand in it afterwards.

    Args:
        root: Where it is made.
        hub: A running hub, whose repos are made anew for each site.

    Attributes:
        expected: What may stand below the root.
    """

    def __init__(self, root: Path, hub: LoopbackHub) -> None:
        self.root, self.hub, self.own = root, hub, root / OWN
        self.expected = Expected({})
        self._lease: Lease | None = None
        self._fill()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def state(self) -> Path:
        """Where the index is."""
        return Path(self.cache()._ctx.places.state)

    def cache(
        self, *, ahead: float = 0.0, step: Callable[[str], None] | None = None, host: str = "", **settings: object
    ) -> ModelCache:
        """A cache on this root as another process, or one of another host, makes it, to which nothing is too recent to go."""
        policy: dict[str, object] = {"min_idle": 0, "touch_interval": 0} | hosts.settings_of(self.root, host) | settings
        return ModelCache(self.root, endpoint=self.hub.url, token=False, clock=Later(ahead), step=step, **policy)  # type: ignore[arg-type]

    def settled(self, ahead: float) -> list[Violation]:
        """What is still wrong after recovery, so many seconds later; to another host once it has looked at the files."""
        found = invariants.settled(self.root, self.expected, self.cache(ahead=ahead))
        if hosts.are_several(self.root):
            guest = self.cache(ahead=ahead, host=hosts.GUEST)
            guest.reconcile()
            found += invariants.settled(self.root, self.expected, guest)
        return found

    def path(self, name: str = NAMES[0], repo: str = REPO) -> Path:
        """Where a file is or would be."""
        return self.root / path_of(repo, name)

    def bytes(self, name: str) -> bytes:
        """What the hub has under a name of the repo now."""
        return content(self._offset + (*NAMES, NEW).index(name))

    def hold(self) -> None:
        """Take a lease on a file of its own until `let_go`."""
        try:
            self._lease = self.cache(offline=True).lease(HELD, NAMES[0])
        except OfflineMissError as error:
            raise RuntimeError(f"I8: a file that stands there is no hit: {error}") from None
        path = path_of(HELD, NAMES[0])
        self.expected.held[path] = identity_at(str(self.root / path)) or (None, None, None)

    def let_go(self) -> None:
        """Give the lease back."""
        lease, self._lease = self._lease, None
        self.expected.held.clear()
        if lease is not None:
            lease.release()

    def move(self) -> None:
        """Let the hub have other bytes under the same names, in a new commit."""
        self._serve(_MOVED)

    def move_whole(self) -> None:
        """Let the whole repo be at its second commit."""
        self._add_whole(_SECOND)

    def forget_commit(self) -> None:
        """Let the hub have other bytes, and know nothing of the commit that the files came from."""
        self.move()
        repo = self.hub.store.find("model", REPO)
        assert repo is not None
        kept = repo.refs["main"]
        repo.commits = {kept: repo.commits[kept]}

    def rot(self, name: str = NAMES[0]) -> None:
        """Damage a file."""
        self.expected.rotten[path_of(REPO, name)] = rot(self.path(name))

    def allow(self, *names: str, repo: str = REPO) -> None:
        """These may be gone, or not have come yet."""
        self.expected.optional |= {path_of(repo, name) for name in names}

    def _fill(self) -> None:
        self._serve(_OLD)
        cache = self.cache()
        for name in NAMES:
            cache.fetch(REPO, name)
        cache.fetch(HELD, NAMES[0])
        self.allow(NEW)
        self.allow(NAMES[0], repo=TWIN)
        self.allow(NAMES[0], repo=OTHER)
        self.allow(*_FIRST, *_SECOND, repo=WHOLE)
        own = self.root / FOREIGN
        own.parent.mkdir(parents=True)
        own.write_bytes(FOREIGN_BYTES)
        self.expected.foreign[FOREIGN] = digest(FOREIGN_BYTES)

    def _serve(self, offset: int) -> None:
        self._offset = offset
        self._add(REPO, {name: offset + number for number, name in enumerate((*NAMES, NEW))})
        # A twin has the same bytes under another name; the held file never changes.
        self._add(TWIN, {NAMES[0]: _OLD})
        self._add(HELD, {NAMES[0]: 50})
        self._add(OTHER, {NAMES[0]: 60})
        self._add_whole(_FIRST)

    def _add_whole(self, of: dict[str, tuple[int, int]]) -> None:
        files = {name: content(*number) for name, number in of.items()}
        self._publish(WHOLE, files)
        commit = {path_of(WHOLE, name): digest(data) for name, data in files.items()}
        commits = self.expected.commits.setdefault(WHOLE, [])
        if commit not in commits:
            commits.append(commit)

    def _add(self, repo: str, numbers: dict[str, int]) -> None:
        self._publish(
            repo,
            {name: content(number, SIZE if name != NAMES[2] else SIZE // 3) for name, number in numbers.items()},
        )

    def _publish(self, repo: str, files: Contents) -> None:
        self.hub.add_repo(repo, files)
        for name, data in files.items():
            path = path_of(repo, name)
            self.expected.legal[path] = self.expected.legal.get(path, frozenset()) | {digest(data)}
