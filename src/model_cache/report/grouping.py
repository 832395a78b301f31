"""What a treemap shows: repos and their files, the small ones as one; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..units import plural
from .facts import Facts, File

_LEAST = 0.0015  # share of all below which a part is not shown alone


class Tile(NamedTuple):
    """A part of a group: a file, or several small ones. `used`: 0 for never, None where it has no sense."""

    name: str
    size: int
    used: float | None
    marks: tuple[str, ...] = ()


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
        used = max((tile.used or 0 for group in rest for tile in group.tiles), default=0.0)
        shown.append(Group(plural(len(rest), "small repo"), size, [Tile("", size, used)]))
    others = [Tile(name, size, None) for name, size in facts.others.items() if size > 0]
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
        marks = tuple(sorted({mark for file in rest for mark in _marks(file)}))
        label = plural(len(rest), "file") if not shown else plural(len(rest), "smaller file")
        tiles.append(Tile(label, sum(f.charged for f in rest), max(f.used for f in rest), marks))
    return Group(name, sum(tile.size for tile in tiles), sorted(tiles, key=lambda tile: -tile.size))


def _marks(file: File) -> tuple[str, ...]:
    damaged = ("damaged",) if file.verdict in ("corrupt", "unreadable", "changed") else ()
    return (*damaged, *(("pinned",) if file.keeps == "pinned" else ()))
