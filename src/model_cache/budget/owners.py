"""Whose the files of a root are: who fills one that a group shares, and who can do what this user may not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .. import stats
from ..context import Context
from ..index import quarantine
from ..index.rows import Row
from ..platforms.capabilities import user_name
from .eviction import Unit


class Share(NamedTuple):
    """What one user's files occupy; a file with several names is one.

    Attributes:
        uid: Of the owner of the files: who began their download.
        files: How many: model files, partials, and damaged ones in quarantine.
        bytes: Allocated for them.
    """

    uid: int
    files: int
    bytes: int

    @property
    def user(self) -> str:
        """The user's name, or `user` and the number where this machine knows none."""
        return user_name(self.uid)


def shares(ctx: Context, rows: Iterable[Row]) -> list[Share]:
    """What each user's files occupy, who has most first.

    Args:
        rows: All of the index that can be believed.
    """
    seen: set[tuple[int, int]] = set()
    summed: dict[int, tuple[int, int]] = {}
    for path in _paths(ctx, rows):
        try:
            found = os.stat(path, follow_symlinks=False)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            files, size = summed.get(found.st_uid, (0, 0))
            summed[found.st_uid] = files + 1, size + stats.allocated(found)
    return sorted((Share(uid, *sums) for uid, sums in summed.items()), key=lambda one: (-one.bytes, one.uid))


def _paths(ctx: Context, rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        if row.state in ("ready", "installing", "deleting"):
            yield f"{ctx.root}/{row.path}"
        if row.state != "ready" or row.next_state is not None:
            yield ctx.places.partial(row.key)
    for aside in quarantine.listed(ctx.index):
        yield ctx.places.quarantine + aside.name


def owners(ctx: Context, rows: Iterable[Row]) -> str:
    """The names of those whose files these are, such as `alice, bob`."""
    uids = set()
    for row in rows:
        try:
            uids.add(os.stat(f"{ctx.root}/{row.path}", follow_symlinks=False).st_uid)
        except OSError:
            continue  # it went meanwhile
    return ", ".join(sorted(map(user_name, uids))) or "another user"


def owners_of(ctx: Context, units: Iterable[Unit]) -> str:
    """The same of units."""
    return owners(ctx, [unit.rows[0] for unit in units])
