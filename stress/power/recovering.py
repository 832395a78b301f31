"""A state is put on a disk, looked at, and recovered from, in a process of its own that is given a bounded time."""

from __future__ import annotations

import json
import os
import select
import signal
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from model_cache import ModelCache
from model_cache.testing import LoopbackHub

from .. import invariants
from ..invariants import Violation
from ..operations import OPERATIONS, Operation
from ..site import LFS_THRESHOLD, Site
from .image import Image, put
from .mounts import mount_own

_LATER = 3 * 86400.0  # seconds, after which what nobody resumed is given up
_LIMIT = 60.0  # seconds for one state; it takes a tenth of one

Act = tuple[str, float, Callable[[ModelCache], object]]
_REPAIR: Act = ("verify --repair", 0.0, lambda cache: cache.verify(repair=True))
_RECONCILE: Act = ("reconcile", 0.0, lambda cache: cache.reconcile())
_LAST: tuple[Act, ...] = (_REPAIR, _RECONCILE, ("gc, three days later", _LATER, lambda cache: cache.gc()))


def _next(operation: Operation) -> tuple[Act, ...]:
    """What may come first after the power is back."""
    fetch: Act = (f"fetch {' '.join(operation.about)}", 0.0, lambda cache: cache.fetch(*operation.about))
    return fetch, ("gc", 0.0, lambda cache: cache.gc()), _REPAIR, _RECONCILE


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
    found = _asked("at once", lambda: invariants.at_once(site.root, site.expected, site.cache(offline=True)))
    site.expected.held.clear()  # no lease survives
    following = _next(operation)
    for name, ahead, do in (following[turn % len(following)], *_LAST):
        found += _asked(name, lambda ahead=ahead, do=do: [do(site.cache(ahead=ahead))] and [])  # type: ignore[misc]
    last = site.cache(ahead=_LATER)
    return found + _asked("in the end", lambda: invariants.settled(site.root, site.expected, last))


@cache
def rehearse() -> None:
    """Recover once where nothing was lost, so that the processes which are forked find all modules imported.

    Raises:
        AssertionError: Something is wrong even so.
    """
    operation = OPERATIONS["repair"]
    with tempfile.TemporaryDirectory(prefix="model-cache-power-", dir="/dev/shm") as folder:
        with LoopbackHub(lfs_threshold=LFS_THRESHOLD) as hub, Site(Path(folder) / "root", hub) as site:
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

