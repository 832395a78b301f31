"""What a verify run came to; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import ModelCacheError
from ..index.quarantine import Aside
from ..index.rows import Row


class Trouble(NamedTuple):
    """A file that something is wrong with, and why where there is more to say."""

    row: Row
    detail: str = ""


@dataclass
class VerifyReport:
    """What a run read, and what it found.

    Attributes:
        checked, checked_bytes: Files that were judged by this run; bytes that it hashed, second readings included.
        ok, rebound: How many are as recorded; of how many only inode or mtime differ, which is recorded now.
        corrupt, unreadable: Recorded bytes that rotted, or that the disk does not give; found now, or known and not mended.
        changed: Edited by somebody; `reconcile` accepts them.
        missing: Recorded, and not there.
        untracked: Paths below the root of files that were never hashed here.
        quarantined: Damaged files that are in quarantine: those of `repaired`, and those whose place nothing has taken.
        repaired: Of `corrupt` and `unreadable`: those that have the recorded bytes again.
        remaining: Files that were due and not judged: a limit came first, or they did not hold still.
        complete: Nothing remains.
        seconds: How long it took.
        errors: Damaged files that could not be mended, and why.
        resumed: Seconds since the epoch at which the run began that this one went on with, or None.
    """

    checked: int = 0
    checked_bytes: int = 0
    ok: int = 0
    rebound: int = 0
    corrupt: list[Trouble] = field(default_factory=list)
    changed: list[Trouble] = field(default_factory=list)
    missing: list[Trouble] = field(default_factory=list)
    unreadable: list[Trouble] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    quarantined: list[Aside] = field(default_factory=list)
    repaired: list[Row] = field(default_factory=list)
    remaining: int = 0
    complete: bool = True
    seconds: float = 0.0
    errors: list[tuple[Row, ModelCacheError]] = field(default_factory=list)
    resumed: float | None = None

    @property
    def damaged(self) -> list[Trouble]:
        """What is wrong and was not mended."""
        mended = {row.key for row in self.repaired}
        return [one for one in (*self.corrupt, *self.unreadable, *self.changed) if one.row.key not in mended]

    def exit_code(self, *, strict: bool = False) -> int:
        """0: all is as recorded. 3: damage remains (`strict`: or files are missing or untracked). 4: all was mended."""
        if self.damaged or any(not aside.mended for aside in self.quarantined):
            return 3
        if strict and (self.missing or self.untracked):
            return 3
        return 4 if self.repaired else 0
