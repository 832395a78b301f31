"""What several commands say of entries: their names, and who uses them."""

from __future__ import annotations

import os
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..layout import DEFAULT_REVISION, Entry, repo_directory
from ..units import plural
from . import output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..budget.eviction import Spared
    from ..context import Context
    from ..errors import LockTimeoutError
    from ..index import Row
    from ..users import File
    from .command import Run

# Beside the states of `users`, which can say by whom.
_MEANING = {
    "busy": "being downloaded or replaced",
    "changed": "changed by somebody since it was downloaded",
    "linked": "under another name too, so that nothing would be freed",
    "refused": "its directory is another user's, or it may not be changed",
}

_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def abbreviated(text: str) -> str:
    """The text with each sha256 cut for people; --json has them whole."""
    return _HASH.sub(r"\1…", text)


def directory(row: Row) -> str:
    """The repo as its directory below the root is called, the revision as it was given."""
    prefix = "" if row.repo_type == "model" else f"{row.repo_type}s/"
    return f"{prefix}{row.repo}" + ("" if row.revision == DEFAULT_REVISION else f"@{row.revision}")


def named(ctx: Context, row: Row) -> dict[str, Any]:
    """The names, path and size of an entry, for JSON."""
    names: dict[str, Any] = {name: getattr(row, name) for name in ("repo", "repo_type", "revision", "filename")}
    return names | {"path": f"{ctx.root}/{row.path}", "size": row.size}


def last_use(ctx: Context, row: Row) -> float:
    """When an entry was last used, in seconds since the epoch; the row has a lower bound of it."""
    try:
        used = os.stat(ctx.places.used + row.key).st_mtime
    except OSError:
        used = 0.0
    return max(used, row.last_used_at)


def check_names(repo: str, files: tuple[str, ...], revision: str, repo_type: str) -> None:
    """Refuse names that cannot stand for a path, before anything is looked at; raises InvalidNameError."""
    repo_directory(repo, revision, repo_type)
    for name in files:
        Entry(repo, name, revision, repo_type)


def checked(run: Run, repo: str, files: tuple[str, ...], revision: str, repo_type: str) -> Context:
    """The root, ready to be written, for a command on entries by name.

    Raises:
        InvalidNameError: A name cannot stand for a path.
        OfflineMissError: The root has nothing of this cache's, so no such entry; it is left as it is.
    """
    check_names(repo, files, revision, repo_type)
    ctx = run.existing()
    if not os.path.isdir(ctx.places.own):
        from ..operations import rows_of

        with closing(ctx.index):
            rows_of(ctx, repo, files, revision, repo_type)
    return run.prepared()


def skipped(run: Run, error: LockTimeoutError, *, skip: bool) -> int:
    """End a run that another one is in the way of.

    Raises:
        LockTimeoutError: It was not asked to give way.
    """
    if not skip:
        raise error
    if run.json:
        output.write_json({"skipped": True, "reason": str(error)})
    run.note(f"skipped: {error}")
    return 0


class Holders:
    """Who uses which of some entries: one look at all processes, taken when it is made.

    Attributes:
        unseen: Processes that may not be looked into; None where this system does not tell.
    """

    def __init__(self, ctx: Context, rows: Iterable[Row]) -> None:
        from ..users import survey

        self._files = {row.id: file for row in rows if (file := _file(f"{ctx.root}/{row.path}")) is not None}
        self._users, self.unseen = survey(frozenset(self._files.values()))

    def of(self, row: Row, *hows: str) -> list[str]:
        """Such as `leased by pid 12 (python)`, one per process; of some kinds of use, or of all."""
        file = self._files.get(row.id)
        users = [] if file is None else self._users.get(file, [])
        return [str(user) for user in users if not hows or user.how in hows]

    def note(self, run: Run) -> None:
        """Say what could not be seen."""
        if self.unseen is None:
            run.note("who uses a file cannot be told on this system")
        elif self.unseen:
            whose = "it" if self.unseen == 1 else "them"
            run.note(f"{plural(self.unseen, 'process')} could not be looked into: of {whose} only leases are seen")


class Reasons:
    """Why entries were spared, with the processes where they can be told."""

    def __init__(self, ctx: Context, spared: list[Spared]) -> None:
        self._ctx = ctx
        self._holders = Holders(ctx, [one.row for one in spared if one.reason in ("leased", "open")])

    def users(self, spared: Spared) -> list[str]:
        """The processes that the entry was spared for."""
        hows = {"leased": ("leased",), "open": ("leased", "open", "mapped")}.get(spared.reason)
        return self._holders.of(spared.row, *hows) if hows else []

    def text(self, spared: Spared) -> str:
        """The reason, for people."""
        if spared.reason == "untested":
            from ..budget.owners import owners

            return f"only {owners(self._ctx, [spared.row])} or root can test whether a program has it open"
        return ", ".join(self.users(spared)) or _MEANING.get(spared.reason, spared.reason)


def _file(path: str) -> File | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino
