"""One operation: prepared, recorded, and recovered from every state that a power loss may leave of it."""

from __future__ import annotations

import copy
import fnmatch
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from model_cache.testing import LoopbackHub
from model_cache.units import parse_size

from ..invariants import OWN, Violation, path_of
from ..operations import OPERATIONS, Operation
from ..site import HELD, LFS_THRESHOLD, NAMES, Site
from . import image
from .calls import record
from .classes import Classes
from .effects import Effect, Names, Sync
from .following import Follower
from .mounts import mount_own, unmount
from .recovering import examine, rehearse
from .states import History, State, states, words

_SQLITE = "index."  # its files, by how their names begin; the lock beside them is ours


class Broken(NamedTuple):
    """A promise that a state broke.

    Attributes:
        state: Which, as `--at` takes it.
        words: The same for people.
        violation: What was broken.
    """

    state: str
    words: str
    violation: Violation


class Lost(NamedTuple):
    """What came of an operation.

    Attributes:
        operation: Its name.
        calls: System calls that were recorded.
        effects: Changes and fsyncs among them.
        cuts: Places where the power went.
        states: States that were enumerated.
        distinct: Those that are not the same to whoever recovers; each was recovered from, unless fewer were asked for.
        recoveries: Pairs of index and journal that SQLite recovered.
        broken: What is wrong.
        seconds: How long it took.
    """

    operation: str
    calls: int
    effects: int
    cuts: int
    states: int
    distinct: int
    recoveries: int
    broken: list[Broken]
    seconds: float


class Bench:
    """An operation that was done once, with everything it did to the disk.

    Args:
        operation: Which.
        site: The root it was done on, as it was left.
        without: Patterns of paths (below the root) whose fsyncs are not counted: what would be if they were forgotten.
    """

    def __init__(self, operation: Operation, site: Site, without: tuple[str, ...] = ()) -> None:
        self.operation, self.site = operation, site
        settings: dict[str, Any] = dict(operation.settings)
        top = site.root.parent
        next_ino = _next_ino(top)
        before = image.take(top)
        base = copy.deepcopy(before)
        cache = site.cache(ahead=operation.ahead, host=operation.host, **settings)
        self._state = os.path.relpath(cache._ctx.places.state, top)
        calls = record(lambda: operation.act(cache))
        device = top.stat().st_dev
        follower = Follower(before, str(top), (os.major(device), os.minor(device)), next_ino)
        follower.follow(calls)
        follower.settle(image.take(top))
        for ino, mtime in follower.born.items():
            base.contents[ino], base.mtimes[ino] = b"", mtime
        base.folders, base.modes = follower.image.folders, follower.image.modes
        self.calls = len(calls)
        self.history = History(base, _forgetful(follower.effects, without))

    def lose(self, most: int, limit: int | None = None, every: int = 1) -> Lost:
        """Recover from every state; or from every `every`-th distinct one, of the first `limit` of them."""
        began = time.monotonic()
        history, count, distinct, seen, broken = self.history, 0, 0, set[object]([None]), list[Broken]()
        with tempfile.TemporaryDirectory(prefix="model-cache-index-", dir="/dev/shm") as scratch:
            classes = Classes(history, Path(scratch), self._state)
            for state in states(history, most, self._quiet()):
                if distinct == limit:
                    break
                count += 1
                kinds = classes.of(state)
                if not seen.issuperset(kinds):
                    seen.update(kinds)
                    distinct += 1
                    broken += [] if distinct % every else self.examine(state)
        broken += self._returned()
        cuts = sum(not isinstance(effect.what, Sync) for effect in history.effects) + 1
        facts = (len(history.effects), cuts, count, distinct, classes.recoveries)
        return Lost(self.operation.name, self.calls, *facts, broken, time.monotonic() - began)

    def examine(self, state: State) -> list[Broken]:
        """What is wrong after one state."""
        # Which operation comes first must be the same when a state is replayed.
        found = examine(self.site, self.operation, self.history.image(state), state.cut + len(state.lost))
        return [Broken(str(state), words(self.history, state), one) for one in found]

    def _quiet(self) -> frozenset[int]:
        """Inodes of the files that SQLite writes, under whatever name."""
        found = set()
        for number in range(len(self.history.effects) + 1):
            for path, ino in self.history.tree(State(number, ())).items():
                name = path.rpartition("/")[2]
                if name.startswith(_SQLITE) and name != "index.lock":
                    found.add(ino)
        return frozenset(found)

    def _returned(self) -> Iterator[Broken]:
        """I10: when an operation has returned, everything it did outside of the cache's own directory is durable.

        But for directories that became empty, which may come back, and for the tag that backup programs look for.
        """
        history, end = self.history, len(self.history.effects)
        paths = {ino: path for path, ino in history.tree(State(end, ())).items()} | {image.TOP: ""}
        for number in history.outstanding(end):
            what, said = history.what(number), history.effects[number - 1].words
            before = history.names(State(number - 1, ()))
            if isinstance(what, Names):
                late = [
                    f"{paths[folder]}/{name}"
                    for folder, name, ino in what.changes
                    if folder in paths and (ino or before.get((folder, name)) not in history.base.folders)
                ]
            else:
                late = [paths[what.ino]] if what.ino in paths else []
            if any(not path.startswith((f"root/{OWN}/", "root/CACHEDIR.TAG")) for path in late):
                yield Broken(str(end), f"the operation returned: {said}", Violation("I10", "it is not durable"))


def _forgetful(effects: list[Effect], without: tuple[str, ...]) -> list[Effect]:
    """The effects without fsyncs of what the patterns name."""

    def is_forgotten(effect: Effect) -> bool:
        path = effect.words.partition(" ")[2].removeprefix("root/")
        return isinstance(effect.what, Sync) and any(fnmatch.fnmatchcase(path, pattern) for pattern in without)

    return [effect for effect in effects if not is_forgotten(effect)]


def _next_ino(top: Path) -> int:
    """The number that the next inode gets: that of one which is made to see it, and the next one."""
    probe = top / "probe"
    probe.touch()
    found = probe.stat().st_ino + 1
    probe.unlink()
    return found


@contextmanager
def bench(name: str, without: tuple[str, ...] = ()) -> Iterator[Bench]:
    """Prepare an operation on a file system of its own, and record it."""
    operation = OPERATIONS[name]
    rehearse()
    with tempfile.TemporaryDirectory(prefix="model-cache-power-", dir="/dev/shm") as folder:
        top = Path(folder)
        mount_own(top)
        try:
            with LoopbackHub(lfs_threshold=LFS_THRESHOLD) as hub, Site(top / "root", hub) as site:
                operation.prepare(site)
                limit = operation.settings.get("max_size")
                site.expected.budget = None if limit is None else parse_size(str(limit), "max_size")
                if (site.root / path_of(HELD, NAMES[0])).exists():
                    site.hold()
                yield Bench(operation, site, without)
        finally:
            unmount(top)
