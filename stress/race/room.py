"""How much a cache has on disk, told so that a file which moves while it is counted is never counted twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..budget import scan
from ..invariants import COUNTED, OWN

_Seen = dict[int, tuple[int, set[str]]]  # by inode: allocated bytes, names


def occupied(root: Path, is_own: Callable[[str, int], bool]) -> int:
    """Allocated bytes that certainly stood there at one instant: what two walks, one right after the other, both saw.

    Between the two walks everything that both saw under the same name was there at the same time, whatever came and
    went; so a sum over the budget is one that was really there.

    Args:
        is_own: Whether a file (its path below the root, its inode) is somebody's own, and is not counted here.
    """
    first, second = _walk(root, is_own), _walk(root, is_own)
    return sum(
        min(size, second[ino][0]) for ino, (size, names) in first.items() if ino in second and names & second[ino][1]
    )


def _walk(root: Path, is_own: Callable[[str, int], bool]) -> _Seen:
    found: _Seen = {}
    places = [f"{root}/{OWN}/{name}" for name in COUNTED]
    places += [entry.path for entry in scan(str(root)) if entry.name != OWN and entry.is_dir(follow_symlinks=False)]
    start = len(str(root)) + 1
    while places:
        for entry in scan(places.pop()):
            try:
                if entry.is_dir(follow_symlinks=False):
                    places.append(entry.path)
                elif not is_own(entry.path[start:], (status := entry.stat(follow_symlinks=False)).st_ino):
                    found.setdefault(status.st_ino, (status.st_blocks * 512, set()))[1].add(entry.path)
            except FileNotFoundError:
                continue
    return found
