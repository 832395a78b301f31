"""What can be done by its name: the operations that are killed, and those that come afterwards."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from model_cache import ModelCache, ModelCacheError, OfflineMissError

from ..hosts import settings_of
from ..operations import OPERATIONS, Operation
from ..site import NAMES, REPO, WHOLE, Later


class Act(NamedTuple):
    """Something that is done with a cache.

    Attributes:
        do: What is done.
        settings: Of the cache.
        ahead: Seconds that its clock is ahead.
        legal: Errors that it may raise, with nothing wrong: there is nothing to do.
        takes: Whether files may be gone afterwards.
        host: Which of the hosts that share the root does it.
    """

    do: Callable[[ModelCache], object]
    settings: Mapping[str, object] = {}
    ahead: float = 0.0
    legal: tuple[type[ModelCacheError], ...] = ()
    takes: bool = False
    host: str = ""

    def perform(self, root: Path, endpoint: str, step: Callable[[str], None] | None = None) -> None:
        """Do it in this very process, with a cache of its own to which nothing is too recent to go."""
        policy: dict[str, Any] = {"min_idle": 0, "touch_interval": 0, **settings_of(root, self.host), **self.settings}
        self.do(ModelCache(root, endpoint=endpoint, token=False, clock=Later(self.ahead), step=step, **policy))


_NEXT = {
    "fetch": None,  # of the file that the operation is about
    "again": None,  # the operation itself
    "hit": Act(lambda cache: cache.fetch(REPO, NAMES[1])),
    "gc": Act(lambda cache: cache.gc()),
    "repair": Act(lambda cache: cache.verify(repair=True)),
    "reconcile": Act(lambda cache: cache.reconcile()),
    "update": Act(lambda cache: cache.update(REPO), legal=(OfflineMissError,)),
    "rm": Act(lambda cache: cache.remove(REPO), legal=(OfflineMissError,), takes=True),
}
NEXT = tuple(_NEXT)
_NEXT_OF_WHOLES = {
    "fetch-repo": Act(lambda cache: cache.fetch_repo(WHOLE)),
    "fetch-part": Act(lambda cache: cache.fetch_repo(WHOLE, include="*.bin", workers=1)),
    "update-repo": Act(lambda cache: cache.update(WHOLE), legal=(OfflineMissError,)),
    "rm-repo": Act(lambda cache: cache.remove(WHOLE), legal=(OfflineMissError,)),
}


def act(operation: str, then: str = "") -> Act:
    """An operation, or what is done after it."""
    killed = OPERATIONS[operation]
    if then == "fetch":
        return Act(lambda cache: cache.fetch(*killed.about))
    if then in ("", "again"):
        # What is removed or collected already is not there a second time.
        nothing_left = (OfflineMissError,) if then and _removes(killed) else ()
        return Act(killed.act, killed.settings, killed.ahead, nothing_left, host=killed.host)
    found = (_NEXT | _NEXT_OF_WHOLES)[then]
    assert found is not None
    return found


def _removes(operation: Operation) -> bool:
    return operation.name == "rm"


def after(operation: str, point: str) -> str:
    """Which of them comes next: spread over the points, and the same whenever a point is replayed."""
    names = (*NEXT, *_NEXT_OF_WHOLES) if OPERATIONS[operation].about[0] == WHOLE else NEXT
    return names[zlib.crc32(f"{operation} {point}".encode()) % len(names)]
