"""A state is put on a disk, looked at, and recovered from, in a process of its own that is given a bounded time."""

from __future__ import annotations

import json
import os
import select
import signal
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from model_cache import ModelCache
from model_cache.testing import LoopbackHub

from .. import invariants
from ..invariants import Violation
from ..operations import OPERATIONS, Operation
from ..site import LFS_THRESHOLD, WHOLE, Site
from .image import Image, put
from .mounts import mount_own

_LATER = 3 * 86400.0  # seconds, after which what nobody resumed is given up
_LIMIT = 60.0  # seconds for one state; it takes a tenth of one


class _Act(NamedTuple):
    """Something that is done once the power is back, and how many seconds later."""

    name: str
    do: Callable[[ModelCache], object]
    ahead: float = 0.0

    def on(self, site: Site) -> list[Violation]:
        """Do it; nothing is wrong with it unless it raises."""
        self.do(site.cache(ahead=self.ahead))
        return []


_REPAIR = _Act("verify --repair", lambda cache: cache.verify(repair=True))
_RECONCILE = _Act("reconcile", lambda cache: cache.reconcile())
_GC = _Act("gc", lambda cache: cache.gc())
_FETCH_REPO = _Act("fetch-repo", lambda cache: cache.fetch_repo(WHOLE))
_LAST = (_REPAIR, _RECONCILE, _Act("gc, three days later", _GC.do, _LATER))


def _next(operation: Operation) -> tuple[_Act, ...]:
    """What may come first."""
    fetch = _Act(f"fetch {' '.join(operation.about)}", lambda cache: cache.fetch(*operation.about))
    wholes = (_FETCH_REPO,) if operation.about[0] == WHOLE else ()
    return fetch, _GC, _REPAIR, _RECONCILE, *wholes


def examine(site: Site, operation: Operation, image: Image, turn: int) -> list[Violation]:
    """What is wrong with a state, or with what recovery makes of it.

    Args:
        image: The disk, as the power loss left it.
        turn: Which operation comes first: the turn-th, and again from the beginning.
    """
    receive, send = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(receive)
            found = _in_child(site, operation, image, turn)
            with open(send, "w", encoding="utf-8") as file:
                json.dump(found, file)
        finally:
            os._exit(0)
    os.close(send)
    with open(receive, "rb") as file:
        ready, _, _ = select.select([file], [], [], _LIMIT)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        said = file.read()
    os.waitpid(pid, 0)
    if not said:
        return [Violation("I10", "recovery crashed" if ready else f"recovery did not end within {_LIMIT:g} seconds")]
    return [Violation(*one) for one in json.loads(said)]


def _in_child(site: Site, operation: Operation, image: Image, turn: int) -> list[Violation]:
    top = site.root.parent
    mount_own(top)
    put(image, top)
    site.root.mkdir(exist_ok=True)  # the place is given, if the root's name was lost
    return _recover(site, operation, turn)


def _recover(site: Site, operation: Operation, turn: int) -> list[Violation]:
    found = _asked("at once", lambda: invariants.at_once(site.root, site.expected, site.cache(offline=True, lower=[])))
    site.expected.held.clear()  # no lease survives
    following = _next(operation)
    fetch, first = following[0], following[turn % len(following)]
    if not _has_index(site):
        first = fetch  # there is nothing to verify against, and it says so
    wholes = (_FETCH_REPO,) if operation.about[0] == WHOLE else ()
    site.expected.complete = frozenset([WHOLE] if wholes else [])
    for act in (first, fetch, *wholes, *_LAST):
        found += _asked(act.name, partial(act.on, site))
    return found + _asked("in the end", lambda: site.settled(_LATER))


def _has_index(site: Site) -> bool:
    index = site.state / "index.db"
    return index.exists() and index.stat().st_size > 0


@cache
def rehearse() -> None:
    """Recover once where nothing was lost, so that the processes which are forked find all modules imported.

    Raises:
        AssertionError: Something is wrong even so.
    """
    operation = OPERATIONS["repair"]
    with (
        tempfile.TemporaryDirectory(prefix="model-cache-power-", dir="/dev/shm") as folder,
        LoopbackHub(lfs_threshold=LFS_THRESHOLD) as hub,
        Site(Path(folder) / "root", hub) as site,
    ):
        for turn in range(len(_next(operation))):
            operation.prepare(site)
            found = _recover(site, operation, turn)
            assert not found, f"nothing was lost, and yet: {'; '.join(map(str, found))}"
            site.expected.rotten.clear()


def _asked(when: str, question: Callable[[], list[Violation]]) -> list[Violation]:
    """What it answers; I10 if it raises."""
    try:
        return [Violation(one.invariant, f"{when}: {one.seen}") for one in question()]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        return [Violation("I10", f"{when}: {error!r}")]
