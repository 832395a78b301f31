"""What a treemap shows: repos and their files, the small ones as one; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..units import plural
from .facts import Facts, File

MANY, OTHER = "many", "other"  # several small ones; what no ready file has
_LEAST = 0.0015  # share of all below which a part is not shown alone


class Tile(NamedTuple):
    """A part of a group: a file, unless `kind` says otherwise. `used` is 0 for never; of several, half of their bytes were used
    later than that.
    """

    name: str
    size: int
    used: float
    kind: str = ""
    marks: tuple[str, ...] = ()

    @property
    def is_damaged(self) -> bool:
        """Whether it is one file, known to be damaged."""
        return not self.kind and "damaged" in self.marks


class Group(NamedTuple):
    """A repo, or several small ones."""

    name: str
    size: int
    tiles: list[Tile]


class Repo(NamedTuple):
    """The sum of a repo at a revision."""

    name: str
    files: int
    size: int
    used: float


def repos(files: Sequence[File]) -> list[Repo]:
    """Sums by repo, the largest first."""
    found: dict[str, list[File]] = {}
    for file in files:
        found.setdefault(file.repo, []).append(file)
    sums = [
        Repo(name, len(of), sum(one.charged for one in of), max(one.used for one in of)) for name, of in found.items()
    ]
    return sorted(sums, key=lambda repo: (-repo.size, repo.name))


def groups(facts: Facts, most: int) -> list[Group]:
    """What occupies room, the largest first; at most so many groups and so many tiles in each."""
    least = _LEAST * sum(file.charged for file in facts.files)
    by_repo: dict[str, list[File]] = {}
    for file in facts.files:
        if file.charged > 0 and file.state == "ready":
            by_repo.setdefault(file.repo, []).append(file)
    made = [_group(name, files, least, most) for name, files in by_repo.items()]
    made = sorted((group for group in made if group.size), key=lambda group: (-group.size, group.name))
    shown = [group for number, group in enumerate(made) if group.size >= least and number < most]
    rest = [group for group in made if group not in shown]
    if rest:
        size = sum(group.size for group in rest)
        of_rest = [(tile.used, tile.size) for group in rest for tile in group.tiles]
        shown.append(Group(plural(len(rest), "small repo"), size, [Tile("", size, _typical(of_rest), MANY)]))
    others = [Tile(name, size, 0.0, OTHER) for name, size in facts.others.items() if size > 0]
    if others:
        shown.append(Group("under way or set aside", sum(tile.size for tile in others), others))
    return sorted(shown, key=lambda group: -group.size)


def _group(name: str, files: list[File], least: float, most: int) -> Group:
    files = sorted(files, key=lambda file: (-file.charged, file.name))
    shown = [file for number, file in enumerate(files) if file.charged >= least and number < most]
    rest = files[len(shown) :]
    tiles = [Tile(file.name, file.charged, file.used, marks=_marks(file)) for file in shown]
    if len(rest) == 1:
        tiles.append(Tile(rest[0].name, rest[0].charged, rest[0].used, marks=_marks(rest[0])))
    elif rest:
        used = _typical([(file.used, file.charged) for file in rest])
        marks = tuple(sorted({mark for file in rest for mark in _marks(file)}))
        label = plural(len(rest), "file") if not shown else plural(len(rest), "smaller file")
        tiles.append(Tile(label, sum(f.charged for f in rest), used, MANY, marks))
    return Group(name, sum(tile.size for tile in tiles), sorted(tiles, key=lambda tile: -tile.size))


def _typical(uses: list[tuple[float, int]]) -> float:
    """The last use that half of the bytes are older than: of (last use, bytes)."""
    half, passed = sum(size for _, size in uses) / 2, 0
    for used, size in sorted(uses):
        passed += size
        if passed >= half:
            return used
    return 0.0


def _marks(file: File) -> tuple[str, ...]:
    damaged = ("damaged",) if file.verdict in ("corrupt", "unreadable", "changed") else ()
    return (*damaged, *(("pinned",) if file.keeps == "pinned" else ()))
