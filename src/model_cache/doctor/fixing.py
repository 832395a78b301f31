"""Modes and groups of what the cache made, all of it; looked at, and repaired where that is asked for and allowed.

What the cache made: everything in `.model-cache/` but the policy, whose mode somebody may have chosen; the files that the
index has a download of; and the directories in which there is nothing else. The root itself, and what somebody placed, is
left alone.

Concurrency:
    Beside everything: only modes and groups change, each of the file that was looked at, by a descriptor of it, never
    through a symlink. A file with a name that is none of the cache's is left alone: who may plant a hard link here, and
    write the index, could have root open a file of the system to a group; and what `import-hf --link` shares with another
    cache has the mode that it has there.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from .. import beneath, disk, modes, stats, walk
from ..context import Context
from ..errors import IndexUnavailableError
from ..index import queries
from ..index.rows import Row
from ..layout import OWN
from ..platforms import at, opened
from ..platforms.at import Directory
from ..platforms.capabilities import PLACE, user_name

_POLICY = f"{OWN}/config.toml"


class Amiss(NamedTuple):
    """A file or directory whose mode or group is wrong.

    Attributes:
        path: Absolute.
        why: What is wrong with it.
        before, after: Permission bits as they are, and as they are to be.
        owner: Whose it is: they or root can repair it.
        elsewhere: Whether the file has a name that is none of the cache's, and so is nobody's to repair here.
    """

    path: str
    why: str
    before: int
    after: int
    owner: str
    elsewhere: bool


@dataclass
class Modes:
    """What was found amiss; of it, what was repaired and what could not be."""

    amiss: list[Amiss] = field(default_factory=list)
    fixed: list[Amiss] = field(default_factory=list)

    @property
    def left(self) -> list[Amiss]:
        """What could not be repaired, or was only looked at."""
        return [one for one in self.amiss if one not in self.fixed]


def judge(found: os.stat_result, sharing: str, group: int) -> str:
    """What is wrong with something of the cache's own in a root of this group; empty if nothing is. Pure."""
    directory = stat.S_ISDIR(found.st_mode)
    if why := modes.wrong(stat.S_IMODE(found.st_mode), sharing, directory=directory):
        return why
    return "it belongs to another group than the root" if sharing == "group" and found.st_gid != group else ""


class _Recorded:
    """The files that the cache made, by their paths in the root; none where the index cannot be read."""

    def __init__(self, ctx: Context) -> None:
        self._root = ctx.real_root
        self.identities: dict[str, tuple[int | None, ...]] = {}
        self._paths: dict[tuple[int | None, ...], list[str]] = {}
        try:
            rows = queries.entries(ctx.index)
        except IndexUnavailableError:
            return
        for row in filter(_made, rows):
            self.identities[row.path] = row.identity
            self._paths.setdefault(row.identity, []).append(row.path)

    def has_all_names(self, found: os.stat_result) -> bool:
        """Whether every name of a file is one that is recorded of it, and is there."""
        if found.st_nlink == 1:
            return True
        paths = self._paths.get(stats.identity(found), [])
        return sum(self._is_at(path, found) for path in paths) >= found.st_nlink

    def _is_at(self, path: str, found: os.stat_result) -> bool:
        try:
            parent, name = beneath.open_entry_parent(self._root, path)
        except OSError:
            return False
        try:
            return os.path.samestat(at.status(name, parent), found)
        except OSError:
            return False
        finally:
            at.close(parent)


def look(ctx: Context, *, fix: bool = False) -> Modes:
    """Look at all that the cache made, and repair it.

    Raises:
        StorageError: The root cannot be looked at.
    """
    result = Modes()
    try:
        _walk(ctx, result, os.stat(ctx.root).st_gid, fix=fix)
    except OSError as error:
        raise disk.storage_error(error, "cannot look into", ctx.root) from None
    result.amiss.sort()  # by their paths
    return result


def _walk(ctx: Context, result: Modes, group: int, *, fix: bool) -> None:
    recorded = _Recorded(ctx)
    ours: set[str] = set()  # directories, relative to the root, in which everything is the cache's own
    for relative in reversed(walk.directories(ctx.real_root)):  # what is in a directory before the directory
        below = f"{relative}/" if relative else ""
        try:
            fd = beneath.open_entry_directory(ctx.real_root, below)
        except OSError:
            continue  # gone, or closed: that is seen from above
        try:
            alone, names = True, os.listdir(fd)
            for name in names:
                path = f"{below}{name}"
                mine = path.partition("/")[0] == OWN or path in ours or path in recorded.identities
                alone = alone and mine
                if mine and path != _POLICY:
                    _one(ctx, result, (fd, name, path), recorded, group, fix=fix)
        finally:
            at.close(fd)
        if relative and alone and relative.partition("/")[0] != OWN and names:
            ours.add(relative)


def _one(
    ctx: Context,
    result: Modes,
    place: tuple[Directory, str, str],
    recorded: _Recorded,
    group: int,
    *,
    fix: bool,
) -> None:
    """Judge one file or directory by a descriptor, and repair that very one."""
    parent, name, path = place
    try:
        fd = at.open_file(name, PLACE, parent=parent)
    except OSError:
        return  # gone, or nothing that has a mode of ours
    try:
        found = os.fstat(fd)
        if not _is_ours(found, recorded.identities.get(path)) or not (why := judge(found, ctx.settings.sharing, group)):
            return
        right = modes.right(ctx.settings.sharing, directory=stat.S_ISDIR(found.st_mode))
        before, owner = stat.S_IMODE(found.st_mode), user_name(found.st_uid)
        elsewhere = not stat.S_ISDIR(found.st_mode) and not recorded.has_all_names(found)
        amiss = Amiss(f"{ctx.root}/{path}", why, before, right, owner, elsewhere)
        result.amiss.append(amiss)
        if fix and not elsewhere:
            ctx.step("fix:mode")
            if opened.repair(fd, right, group if ctx.settings.sharing == "group" else found.st_gid):
                result.fixed.append(amiss)
    finally:
        os.close(fd)


def _is_ours(found: os.stat_result, recorded: tuple[int | None, ...] | None) -> bool:
    if recorded is not None:
        return stat.S_ISREG(found.st_mode) and stats.identity(found) == recorded
    return stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)


def _made(row: Row) -> bool:
    return (
        row.state == "ready" and row.origin not in ("placed", "adopted") and row.is_sealed and row.entry() is not None
    )
