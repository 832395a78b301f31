"""Which states a disk may be in after the power was lost, given what was done to it and what was fsynced.

The model, in the terms of `effects`:

- An fsync of a file makes what was done before to its bytes, size and times durable, and none of its names. An fsync of a
  directory makes the names in it durable; a rename between two directories is one transaction of the file system's
  journal, and durable with either.
- At a cut, some effects are outstanding: done, and not made durable. Those that a later one has wholly overwritten are
  counted as that one. Of the `outstanding` most recent ones every subset may be lost, the older ones being written.
- Besides: all may be lost; each may be the only one that is lost, and (but for SQLite's own writes) the only one that is
  not: the disk may have done the newest first.
- A write that is lost is lost with the size it brings; or its size survives, and reads as zeros; or it is torn: of a write
  over several blocks the first half survives.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from .effects import Effect, Names, Resize, Sync, Times, Write, apply, rename
from .image import Image, tree

ABSENT, ZEROS, TORN = "", "z", "t"
_BLOCK = 4096
_REMEMBERED = 32  # contents of one file
_STATE = re.compile(r"(\d+)(?:-((?:\d+[zt]?)(?:,\d+[zt]?)*))?")


class State(NamedTuple):
    """The power went after so many effects, and these were lost.

    Attributes:
        cut: Effects that were begun.
        lost: (number of an effect, from 1; how it was lost).
    """

    cut: int
    lost: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        lost = ",".join(f"{number}{how}" for number, how in self.lost)
        return f"{self.cut}-{lost}" if lost else str(self.cut)


def parse(text: str) -> State:
    """A state as `--at` names it; raises ValueError."""
    found = _STATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no state, such as 57 or 57-54,55z")
    lost = [(int(one.rstrip("zt")), one.lstrip("0123456789")) for one in (found[2] or "").split(",") if one]
    return State(int(found[1]), tuple(sorted(lost)))


class History:
    """What was durable, and what was done since.

    Args:
        base: The disk before; with the inodes (empty) of files that are made later.
        effects: What was done.
    """

    def __init__(self, base: Image, effects: list[Effect]) -> None:
        self.base, self.effects = base, effects
        self._changes: dict[int, list[int]] = {}
        self._renames: list[int] = []
        for number, effect in enumerate(effects, 1):
            if isinstance(effect.what, (Write, Resize, Times)):
                self._changes.setdefault(effect.what.ino, []).append(number)
            elif isinstance(effect.what, Names):
                self._renames.append(number)
        self._files: dict[tuple[object, ...], tuple[bytes, int]] = {}
        self._last: tuple[State | None, dict[int, tuple[tuple[int, str], ...]]] = None, {}
        self._written: dict[int, dict[int, tuple[bytes, int]]] = {}
        self._trees: dict[tuple[object, ...], dict[str, int]] = {}

    def what(self, number: int) -> Write | Resize | Times | Names | Sync:
        """An effect by its number, from 1."""
        return self.effects[number - 1].what

    def tree(self, state: State) -> dict[str, int]:
        """The inode of every path that can be reached."""
        kept = self._kept(state)
        found = self._trees.get(kept)
        if found is None:
            found = self._trees[kept] = tree(self.names(state), self.base.folders)
        return found

    def names(self, state: State) -> dict[tuple[int, str], int]:
        """The inode of every (directory, name)."""
        names = dict(self.base.names)
        for number in self._kept(state):
            what = self.what(number)
            assert isinstance(what, Names)
            rename(names, what)
        return names

    def _kept(self, state: State) -> tuple[int, ...]:
        lost = {number for number, _ in state.lost}
        return tuple(number for number in self._renames if number <= state.cut and number not in lost)

    def file(self, ino: int, state: State) -> tuple[bytes, int]:
        """(a file's bytes, its mtime in ns)."""
        return self._replay(ino, state.cut, self._lost_of(state).get(ino, ()))

    def digest(self, ino: int, state: State) -> tuple[bytes, int]:
        """(the hash of a file's bytes, its mtime in ns), remembered."""
        count = bisect_right(self._changes.get(ino, ()), state.cut)
        key = ino, count, self._lost_of(state).get(ino, ())
        found = self._files.get(key)
        if found is None:
            content, mtime = self.file(ino, state)
            found = self._files[key] = hashlib.blake2b(content, digest_size=16).digest(), mtime
        return found

    def _lost_of(self, state: State) -> dict[int, tuple[tuple[int, str], ...]]:
        """What was lost, by inode; asked of one state many times."""
        if self._last[0] is not state:
            found: dict[int, tuple[tuple[int, str], ...]] = {}
            for one in state.lost:
                ino = getattr(self.what(one[0]), "ino", 0)
                found[ino] = (*found.get(ino, ()), one)
            self._last = state, found
        return self._last[1]

    def _replay(self, ino: int, cut: int, lost: tuple[tuple[int, str], ...]) -> tuple[bytes, int]:
        numbers = self._changes.get(ino, [])
        whole = bisect_right(numbers, min((number for number, _ in lost), default=cut + 1) - 1)
        whole = min(whole, bisect_right(numbers, cut))
        content, mtime = self._as_written(ino, whole)
        ways = dict(lost)
        for number in numbers[whole : bisect_right(numbers, cut)]:
            how = ways.get(number, "+")
            if how != ABSENT:
                content, mtime = _survived(content, self.what(number), how)
        return content, mtime

    def _as_written(self, ino: int, count: int) -> tuple[bytes, int]:
        """A file after the first `count` of its changes; the last few answers are remembered."""
        known = self._written.setdefault(ino, {0: (self.base.contents[ino], self.base.mtimes[ino])})
        start = max(one for one in known if one <= count)
        content, mtime = known[start]
        for number in self._changes.get(ino, [])[start:count]:
            content, mtime = _survived(content, self.what(number), "+")
        known[count] = content, mtime
        if len(known) > _REMEMBERED:
            del known[sorted(known)[1]]  # not the first, from which all others can be had
        return content, mtime

    def image(self, state: State) -> Image:
        """The disk in a state."""
        image = Image(folders=self.base.folders, modes=self.base.modes, links=self.base.links)
        for path, ino in self.tree(state).items():
            folder, _, name = path.rpartition("/")
            image.names[self.tree(state)[folder] if folder else 1, name] = ino
            if ino not in self.base.folders:
                image.contents[ino], image.mtimes[ino] = self.file(ino, state)
        return image

    def outstanding(self, cut: int) -> list[int]:
        """What is not durable after so many effects."""
        pending: list[int] = []
        for number in range(1, cut + 1):
            pending = _after(self, pending, number)
        return pending


def _survived(content: bytes, what: object, how: str) -> tuple[bytes, int]:
    """(a file's bytes, its mtime) after a change of which all survived, or a part (`how`)."""
    assert isinstance(what, (Write, Resize, Times))
    if isinstance(what, Write) and how != "+":
        kept = what.data[: _middle(what)] if how == TORN else b""
        content = content.ljust(what.end, b"\0")
        return content[: what.offset] + kept + content[what.offset + len(kept) :], what.mtime
    return apply(content, what), what.mtime


def _middle(what: Write) -> int:
    """How much of a torn write survives: up to the boundary of blocks next to its middle; 0 if it has none inside."""
    boundary = (what.offset + what.end + _BLOCK) // 2 // _BLOCK * _BLOCK
    return boundary - what.offset if what.offset < boundary < what.end else 0


def _after(history: History, pending: list[int], number: int) -> list[int]:
    """What is outstanding once one more effect was begun."""
    what = history.what(number)
    if isinstance(what, Sync):
        return [one for one in pending if not _covers(what, history.what(one))]
    return [*pending, number]


def _covers(sync: Sync, what: object) -> bool:
    if isinstance(what, Names):
        return any(folder == sync.ino for folder, _, _ in what.changes)
    return isinstance(what, (Write, Resize, Times)) and what.ino == sync.ino


def _overwrites(later: object, earlier: object) -> bool:
    """Whether of an effect nothing is left once a later one was done."""
    if isinstance(later, Write) and isinstance(earlier, Write):
        return later.ino == earlier.ino and later.offset <= earlier.offset and earlier.end <= later.end
    return isinstance(earlier, Times) and isinstance(later, (Times, Write)) and later.ino == earlier.ino


def states(history: History, most: int, quiet: frozenset[int]) -> Iterator[State]:
    """Every state after every effect; some of them are the same disk.

    Args:
        most: So many of the most recent outstanding effects are lost in every combination.
        quiet: Inodes whose effects are not tried as the only one that survives.
    """
    pending: list[int] = []
    yield State(0, ())
    for number in range(1, len(history.effects) + 1):
        pending = _after(history, pending, number)
        what = history.what(number)
        if isinstance(what, Sync):
            continue  # what can be lost now could be lost before
        fresh = [
            one
            for at, one in enumerate(pending)
            if not any(_overwrites(history.what(later), history.what(one)) for later in pending[at + 1 :])
        ]
        for lost in dict.fromkeys(_losses(history, pending, fresh, most, quiet)):
            yield State(number, lost)


def _losses(
    history: History, pending: list[int], fresh: list[int], most: int, quiet: frozenset[int]
) -> Iterator[tuple[tuple[int, str], ...]]:
    window = fresh[max(0, len(fresh) - most) :]
    for count in range(len(window) + 1):
        for chosen in combinations(window, count):
            yield tuple((number, ABSENT) for number in chosen)
            if any(isinstance(history.what(number), Write) for number in chosen):
                yield tuple((one, ZEROS if isinstance(history.what(one), Write) else ABSENT) for one in chosen)
    yield tuple((number, ABSENT) for number in pending)
    for number in fresh:
        what = history.what(number)
        if getattr(what, "ino", 0) in quiet and number not in window:
            continue
        yield ((number, ABSENT),)
        if isinstance(what, Write):
            yield ((number, ZEROS),)
            if _middle(what):
                yield ((number, TORN),)
        if getattr(what, "ino", 0) not in quiet:
            yield tuple((other, ABSENT) for other in pending if other != number)


def words(history: History, state: State) -> str:
    """A state in words."""
    how = {ABSENT: "", ZEROS: " (its size survives, as zeros)", TORN: " (its first half survives)"}
    last = history.effects[state.cut - 1].words if state.cut else "nothing"
    lost = [f"{history.effects[number - 1].words}{how[way]}" for number, way in state.lost]
    return f"power lost after {last} ({state.cut} of {len(history.effects)}); lost: {'; '.join(lost) or 'nothing'}"
