"""One operation on its bench: killed or failed at a point, and then everything that has to be right afterwards.

The order of the questions: did the process end as it may; what it left, with nothing recovered (`at_once`); one operation
comes next, then the file is fetched (I2), then verify, reconcile and a gc three days later; what there is in the end (`settled`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from model_cache import ModelCacheError, StorageError
from model_cache.download import notes
from model_cache.download.miss import fetch
from model_cache.download.request import Request
from model_cache.index import state
from model_cache.layout import Entry
from model_cache.preparing import prepare
from model_cache.testing import LoopbackHub
from model_cache.units import parse_size

from .. import invariants
from ..invariants import Violation
from ..operations import OPERATIONS
from ..operations.shared import SHELF
from ..site import LFS_THRESHOLD, WHOLE, Site
from .acts import Act, act, after
from .doomed import Outcome, Zygote
from .points import Point
from .twin import twin

_LATER = 3 * 86400.0  # seconds, after which what nobody resumed is given up
_BLOCK = 4096  # bytes that a resumed download may fetch again
_MAY_FAIL = (
    "openat",
    "flock",
)  # a file that cannot be opened and leased cannot be handed out; nothing else keeps a hit


class Bench:
    """Where one operation is tried: a hub, a site that is prepared for it, and room for its copies.

    Args:
        folder: Its own, on a file system in memory.
    """

    def __init__(self, operation: str, folder: Path, zygote: Zygote) -> None:
        self.operation = OPERATIONS[operation]
        self._folder, self._zygote = folder, zygote
        self._open = ExitStack()
        self._number = 0
        self._seen: set[object] = set()

    def __enter__(self) -> Bench:
        self.hub = self._open.enter_context(LoopbackHub(lfs_threshold=LFS_THRESHOLD))
        self._first = Site(self._folder / "first", self.hub)
        self.operation.prepare(self._first)
        limit = self.operation.settings.get("max_size")
        self._first.expected.budget = None if limit is None else parse_size(str(limit), "max_size")
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def rehearse(self) -> Outcome:
        """Do it as it is meant to be, twice: the second time nothing is imported any more.

        Raises:
            AssertionError: It fails, or something is wrong afterwards, with nobody killed.
        """
        with self._site() as site:
            first = self._run(site, rehearsal=True)
        self._zygote.know(first.modules)
        with self._site() as site:
            outcome = self._run(site, watched=True)
            assert outcome.ending == "done", f"{self.operation.name} {outcome.ending}: {outcome.said}"
            found = self._examine(site, "repair")
            assert not found, f"{self.operation.name}, unharmed: {'; '.join(map(str, found))}"
        return outcome

    def kill(self, point: Point, *, again: Point | None = None, check: bool = True) -> tuple[Outcome, list[Violation]]:
        """Kill it at a point, and (`again`) what comes next at another; check unless this very state was checked."""
        then = after(self.operation.name, str(point))
        with self._site() as site:
            outcome = self._run(site, point)
            if outcome.ending in ("done", "refused"):
                return outcome, []
            if outcome.ending != "killed":
                return outcome, [Violation("I10", f"{outcome.ending}: {outcome.said}")]
            if not check or self._is_known(outcome, "kill"):
                return outcome, []
            if again is None:
                return outcome, self._examine(site, then)
            found = self._at_once(site)
            self._allow(site, then)
            if not act(self.operation.name, then).settings:
                site.expected.budget = None  # who has none keeps to none
            second = self._run(site, again, then=then)
            outcome.hit += f", then {then} before {second.hit or 'nothing'}"
            if second.ending != "killed" or found:
                return second, found
            return outcome, self._examine(site, "repair")

    def fail(self, point: Point, *, every: bool = False) -> tuple[Outcome, list[Violation]]:
        """Fail a call of it; checked unless it ended just as it did when the same call, or another of the index, failed."""
        with self._site() as site:
            outcome = self._run(site, point)
            if not outcome.hit:
                return outcome, []
            found = list(self._ending(outcome, point))
            call = outcome.call
            assert call is not None
            where = "index" if call.on_index else point.place
            if not found and not every and self._is_known(outcome, where):
                return outcome, []
            found += self._lost(site, outcome)
            then = after(self.operation.name, str(point))
            failed_index = any(one.on_index and one.name == call.name for one in outcome.calls)
            if point.on and failed_index and self.operation.settings.get("max_size") is None:
                site.expected.counted = False  # I8: a download goes on without an index that cannot be written
            if (call.name, point.error) == ("flock", "ENOLCK") and (point.on or call.path == self._lock()):
                # As where there is no flock: an entry has one row, and this download has a partial of its own beside that
                # of a predecessor, of which nobody knows whether it is dead, and which nothing was charged for. In the end
                # (`settled`) all is counted.
                site.expected.counted, site.expected.budget = False, None
            if any(site.own.glob("**/index.db.damaged-*")):
                # It is made anew from the files: who asks anything else of it is told so.
                then, site.expected.counted = "reconcile", False
                index = self._first.cache(host=self.operation.host)._ctx.places.index
                if not point.on and not state.is_empty(index):
                    found.append(Violation("I8", "a good index was set aside for one call that failed"))
            return outcome, found + self._examine(site, then)

    def _lock(self) -> str:
        """W of the file that it is about, below the root."""
        repo, filename = self.operation.about
        return f"{invariants.OWN}/locks/{Entry(repo, filename, 'main', 'model').key}.lock"

    def _is_known(self, outcome: Outcome, where: object) -> bool:
        """Whether a process has left these changes before, in this order, by way of these steps, with this ending."""
        key = hash((where, outcome.ending, outcome.error, tuple(outcome.steps), tuple(map(str, outcome.let_go))))
        known = outcome.call is not None and key in self._seen
        self._seen.add(key)
        return known

    def _site(self) -> Site:
        self._number += 1
        site = twin(self._first, self._folder / str(self._number))
        if site.expected.held is not None and (site.root / invariants.path_of("sweep/held", "a.bin")).exists():
            site.hold()
        self.hub.reset()
        return site

    def _run(self, site: Site, point: Point | None = None, **how: bool | str) -> Outcome:
        return self._zygote.run(self.operation.name, site.root, self.hub.url, point, **how)  # type: ignore[arg-type]

    def _ending(self, outcome: Outcome, point: Point) -> Iterator[Violation]:
        """Whether a process that had a call fail ended as it may."""
        call = outcome.call
        if outcome.ending not in ("done", "refused"):
            yield Violation("family", f"{outcome.ending}: {outcome.said}")
        # `filelock` keeps W for as long as it cannot be unlocked.
        locked = call is not None and (call.unlocks or (call.name == "flock" and point.on))
        if outcome.kept and not locked:
            yield Violation("I10", f"{', '.join(outcome.kept)} stays open in a process that lives on: {outcome.said}")
        if outcome.ending == "refused" and self.operation.name == "hit":
            path = invariants.path_of(*self.operation.about)
            if call is not None and (call.name not in _MAY_FAIL or call.path != path):
                yield Violation("I9", f"a hit failed: {outcome.said}")

    def _lost(self, site: Site, outcome: Outcome) -> Iterator[Violation]:
        """Bytes that could not be made durable are not used: the partial is gone, and nothing of it is resumed."""
        call = outcome.call
        if call is None or call.name not in ("fsync", "fdatasync") or not call.path.startswith(".model-cache/partial/"):
            return
        path = site.root / call.path
        if path.exists() and path.stat().st_size:
            yield Violation("I1", f"{call.path} still has {path.stat().st_size} bytes after its fsync failed")
            return
        repo, filename = self.operation.about
        if not site.path(filename, repo).exists():
            yield from self._fetch(site)
            size, sent = site.path(filename, repo).stat().st_size, self.hub.body_bytes(filename, repo)
            if sent < size and not site.cache()._ctx.lower:  # from a lower root they are copied again
                yield Violation("I1", f"{sent} of {size} bytes came again after the fsync of all of them failed")

    def _examine(self, site: Site, then: str) -> list[Violation]:
        """All questions that are asked of a root after its process is gone."""
        found = self._at_once(site)
        self._allow(site, then)
        what = act(self.operation.name, then)
        if then == "repair" and state.is_empty(str(site.state / "index.db")):
            what = what._replace(legal=(StorageError,))  # there is no index yet: nothing to verify
        found += _attempt(then, what, site)
        found += self._fetch(site)
        if self.operation.about[0] == WHOLE:
            found += _attempt("fetch-repo", Act(lambda cache: cache.fetch_repo(WHOLE)), site)
            site.expected.complete = frozenset([WHOLE])
        for name, last in _LAST.items():
            found += _attempt(name, last, site)
        site.let_go()
        try:
            found += site.settled(_LATER)
        except ModelCacheError as error:
            found.append(Violation("I10", f"in the end: {error!r}"))
        return found

    def _at_once(self, site: Site) -> list[Violation]:
        try:
            found = invariants.at_once(site.root, site.expected, site.cache(offline=True, lower=[]))
            return [*found, *invariants.shelved(site.root / SHELF, site.expected)]
        except ModelCacheError as error:
            return [Violation("I8", f"at once: {error!r}")]

    def _allow(self, site: Site, then: str) -> None:
        if act(self.operation.name, then).takes:
            site.allow("a.bin", "b.bin", "sub/c.bin")

    def _fetch(self, site: Site) -> list[Violation]:
        """I2: the file that it was about comes with at most one body, and no byte that is here already comes again."""
        repo, filename = self.operation.about
        cache = site.cache()
        prepare(cache._ctx)  # a host calls its partials after itself
        entry = Entry(repo, filename, "main", "model")
        partial = Path(cache._ctx.places.partial(entry.key))
        # Bytes of which nothing says what they belong to are not resumed: a note that cannot be written costs that.
        left = partial.read_bytes() if partial.exists() else b""
        kept = notes.kept(notes.read(cache._ctx, entry), len(left)) if partial.exists() else []
        self.hub.settle()  # what the process that is gone had asked for is none of what comes now
        bodies, sent = self.hub.body_gets(filename, repo), self.hub.body_bytes(filename, repo)
        found = _attempt("fetch", Act(lambda cache: fetch(cache._ctx, entry, Request())), site)
        bodies, sent = self.hub.body_gets(filename, repo) - bodies, self.hub.body_bytes(filename, repo) - sent
        whole = site.path(filename, repo).read_bytes() if not found else b""
        size, here = len(whole), sum(end - start for start, end in kept)
        if site.expected.spoilt and any(left[start:end] != whole[start:end] for start, end in kept):
            here -= size  # a tier that lied began the partial: the rest comes, does not fit to it, and then all comes
        if bodies > max(len(kept) + 1, 1):  # one for each gap, which for most is one for the rest
            found.append(Violation("I2", f"{filename} came with {bodies} bodies"))
        if bodies and sent > size - here + _BLOCK:
            found.append(Violation("I2", f"{sent} bytes of {filename} came, and {here} of {size} were here"))
        return found


_LAST = {
    "reconcile": Act(lambda cache: cache.reconcile()),  # first: verify reads nothing of what an evictor left half done
    "verify --repair": Act(lambda cache: cache.verify(repair=True)),
    "gc, three days later": Act(lambda cache: cache.gc(), ahead=_LATER),
}


def _attempt(name: str, what: Act, site: Site) -> list[Violation]:
    """I10: what comes next succeeds, or has nothing to do."""
    settings: dict[str, Any] = dict(what.settings)
    try:
        what.do(site.cache(ahead=what.ahead, host=what.host, **settings))
    except what.legal:
        return []
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        return [Violation("I10", f"{name} afterwards: {error!r}")]
    return []
