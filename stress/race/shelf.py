"""The tier of a race: a folder that some of its processes fetch through; objects in it are damaged on purpose."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from model_cache.fleet import objects

from .journal import Journal
from .oracle import Oracle
from .world import digest


class Shelf:
    """Plants damage in a tier, and says in the end what the tier holds.

    Args:
        place: The folder.
        journal: Where each damage is written down before it is done.
        chance: Its random numbers.

    Attributes:
        planted: The sha256 of all bytes that were put under a name which promises others.
    """

    def __init__(self, place: Path, journal: Journal, chance: random.Random) -> None:
        self.place, self._journal, self._chance = place, journal, chance
        self.planted: set[str] = set()

    def plant(self) -> None:
        """Give one object another byte, or cut it short."""
        whole = self._objects()
        if not whole:
            return
        path, _ = self._chance.choice(whole)
        try:
            data = bytearray(path.read_bytes())
        except FileNotFoundError:
            return  # it was dropped since it was seen
        if not data:
            return
        if self._chance.random() < 0.5:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        else:
            del data[self._chance.randrange(len(data)) :]
        self.planted.add(digest(data))
        self._journal.write("plant", object=path.name, now=digest(data))
        # Put there by one rename, as a store does: nobody reads half of the one and half of the other.
        aside = self.place.parent / "planted"
        aside.write_bytes(data)
        os.replace(aside, path)

    def judge(self, oracle: Oracle) -> None:
        """I1: every object has the bytes that its name says, unless others were planted."""
        for path, (kind, promised) in self._objects():
            data = path.read_bytes()
            wrong = _named(kind, data) != promised and digest(data) not in self.planted
            oracle.note("I1", f"{path.name} in the tier has other bytes than its name says" if wrong else "")

    def _objects(self) -> list[tuple[Path, tuple[str, str]]]:
        """What is there, with the hash that its name promises."""
        found: list[tuple[Path, tuple[str, str]]] = []
        for path in sorted(self.place.rglob("*")):
            promised = objects.promised(str(path.relative_to(self.place)))
            if promised is not None and path.is_file():
                found.append((path, promised))
        return found


def _named(kind: str, data: bytes) -> str:
    """The hash of this kind, as it stands in the name of an object: Git's has a header."""
    if kind == "sha256":
        return digest(data)
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
