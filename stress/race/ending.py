"""The last look: everybody was killed in the middle; the next operations recover, and nothing may be amiss.

Done in a process of its own, because the one that forks workers never opens the index.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_cache import ModelCache
from model_cache.errors import ModelCacheError

from ..hosts import GUEST, settings_of
from ..invariants import Expected, Violation, at_once, files, settled, sha256
from ..site import Later
from .children import fork
from .excuses import Known
from .room import occupied
from .scenario import Setting

if TYPE_CHECKING:
    from .arena import Arena

_LATER = 3 * 86400.0  # seconds: by then a partial that nobody works on has been given up
_AT_ONCE = ("I1", "I3", "I4", "I5", "I7", "I8", "I9")
_SETTLED = ("I1", "I4", "I5", "I6", "I7", "I10")


def end(arena: Arena) -> None:
    """Look at what the killed left, let it be recovered, look again; lose the index, and look once more."""
    said = arena.setting.journals / "ending.json"

    def act() -> None:
        ending = Ending(arena.setting, arena.known, arena.chaos.foreign)
        ending.run()
        said.write_text(json.dumps({"checks": ending.checks, "violations": ending.violations}), encoding="utf-8")

    _, status = os.waitpid(fork(act), 0)
    if status or not said.exists():
        arena.oracle.note("I10", f"the recovery at the end failed, see above (status {status})")
        return
    found = json.loads(said.read_text(encoding="utf-8"))
    arena.oracle.checks.update(found["checks"])
    arena.oracle.violations += [Violation(*one) for one in found["violations"]]


class Ending:
    """The looks at a root at rest, in their order.

    Args:
        setting: Where the race took place.
        known: What may stand there.
        foreign: Somebody's own files.

    Attributes:
        checks: How often each invariant was looked at.
        violations: What broke one.
    """

    def __init__(self, setting: Setting, known: Known, foreign: dict[str, str]) -> None:
        self._setting, self._known, self._foreign = setting, known, foreign
        self.checks: dict[str, int] = {}
        self.violations: list[Violation] = []

    def run(self) -> None:
        """All of them."""
        self._judge("as the killed left it", at_once(self._root, self._expected(), self._cache(offline=True)), _AT_ONCE)
        self._budget()
        self._take_back()
        self._recover()
        self._judge("after recovery", settled(self._root, self._expected(), self._cache(ahead=_LATER)), _SETTLED)
        self._budget()
        if self._setting.hosts:
            self._visit()
        self._lose_index()
        self._judge("after the index was lost", settled(self._root, self._expected(), self._cache()), _SETTLED)

    @property
    def _root(self) -> Path:
        return self._setting.root

    def _cache(self, *, ahead: float = 0.0, offline: bool = False) -> ModelCache:
        return ModelCache(
            self._root, endpoint=self._setting.endpoint, token=False, offline=offline, clock=Later(ahead),
            max_size=self._setting.budget, min_idle=0, touch_interval=0,
        )  # fmt: skip

    def _visit(self) -> None:
        """The other host, which knew of its own files alone, has looked at the root: its index speaks of all of them."""
        guest = ModelCache(
            self._root, endpoint=self._setting.endpoint, token=False, clock=Later(_LATER),
            max_size=self._setting.budget, min_idle=0, touch_interval=0, **settings_of(self._root, GUEST),  # type: ignore[arg-type]
        )  # fmt: skip
        guest.reconcile()
        self._judge("on the other host", settled(self._root, self._expected(), guest), _SETTLED)

    def _judge(self, when: str, found: list[Violation], looked_at: tuple[str, ...]) -> None:
        for invariant in looked_at:
            self.checks[invariant] = self.checks.get(invariant, 0) + 1
        self.violations += [Violation(one.invariant, f"{when}: {one.seen}") for one in found]

    def _expected(self) -> Expected:
        """What may stand there now, told by what was done on purpose."""
        there = files(self._root)
        rotten: dict[str, str] = {}
        paths = [*self._known.legal, *(path for path in there if self._known.allowed(path))]
        legal = {path: frozenset(self._known.allowed(path)) for path in paths}
        foreign = dict(self._foreign)
        for path in there:
            found = sha256(self._root / path)
            if self._known.rotten.get(found) in legal.get(path, ()):
                rotten[path] = found
            elif found in self._known.written.get(path, ()):
                foreign[path] = found
        counted = not self._known.losses and not self._setting.hosts
        return Expected(legal, optional=frozenset(legal), rotten=rotten, foreign=foreign, counted=counted)

    def _budget(self) -> None:
        found = occupied(self._root, self._known.is_own)
        over = [Violation("I4", f"{found} bytes are on disk, over the budget")] if found > self._setting.budget else []
        self._judge("at the end", over, ("I4",))

    def _take_back(self) -> None:
        """Whoever had own files under names that are no entries' moves them away: no row ever speaks of them."""
        for path in self._foreign:
            (self._root / path).unlink(missing_ok=True)
        self._foreign = {}

    def _recover(self) -> None:
        """What anybody would run: gc, verify --repair, reconcile; and verify finds every rotten byte (I6)."""
        try:
            self._cache().gc()
            rotten = set(self._expected().rotten)
            # Every file anew: a run that was killed would be gone on with, and what it read not be read again.
            report = self._cache().verify(repair=True, max_age=0)
            told = {one.row.path for one in report.corrupt}
            hidden = sorted(rotten - told)
            missed = [Violation("I6", f"verify did not find the damage of {', '.join(hidden)}")] if hidden else []
            wrong = [
                Violation("I6", f"verify calls {one.row.path} corrupt, which nobody damaged: {one.detail}")
                for one in report.corrupt
                if not self._known.may_be_corrupt(one.row.path, one.detail, float("inf"))
            ]
            failed = [Violation("I10", f"{row.path} was not mended: {error!r}") for row, error in report.errors]
            self._judge("verify --repair at the end", missed + wrong + failed, ("I6", "I10"))
            self._cache().reconcile()
            self._cache(ahead=_LATER).gc()
        except ModelCacheError as error:
            self._judge("the recovery at the end", [Violation("I10", repr(error))], ("I10",))

    def _lose_index(self) -> None:
        """I8: every file is a hit without the index, and a reconcile knows them all again."""
        whole = {path: found for path, found in files(self._root).items() if path in self._known.legal}
        reader, lost = self._cache(offline=True), []
        Path(reader._ctx.places.index).unlink(missing_ok=True)
        for path in whole:
            repo, name = "/".join(path.split("/")[:2]), "/".join(path.split("/")[2:])
            try:
                reader.fetch(repo, name)
            except ModelCacheError as error:
                lost.append(Violation("I8", f"{path}: {error!r}"))
        self._judge("without an index", lost, ("I8",) * max(len(whole), 1))
        try:
            self._cache().reconcile()
        except ModelCacheError as error:
            self._judge("without an index", [Violation("I8", repr(error))], ("I8",))
        gone = [Violation("I8", f"{path} went with the index") for path in whole if not (self._root / path).exists()]
        self._judge("without an index", gone, ("I8",))


def as_json(violations: list[Violation]) -> list[dict[str, Any]]:
    """Violations as JSON values."""
    return [{"invariant": one.invariant, "seen": one.seen} for one in violations]
