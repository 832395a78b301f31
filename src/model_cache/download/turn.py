"""A host's turn: it leads, or somebody has put the object there meanwhile, or nobody can say who leads and it goes alone.

A database that is started anew is asked again for some seconds, and one that has no session left for as long as a wait may
take. Who waits, with a session or without, looks into the tier now and then: so it need not have its turn to find the object,
and it notices by itself, while all others do, that the tier has failed and nothing is to be waited for.

Concurrency:
    W of the entry is held on this host. Who looks with the lead is alone in the fleet with that; who looks without it may be
    one of many, and only reads.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..fleet.protocols import FullError, LostError, NoLead
from ..log import logger

if TYPE_CHECKING:
    from ..clock import Clock
    from ..fleet.fleet import Blob, Fleet, Lead
    from .sharing import Coming

_PATIENCE = 4 << 20  # bytes: for each of so many of a file a wait may be a second longer
_BACK = 8.0  # seconds that a database which went away in a wait has to be there again
_SOON, _LONGEST = 1.0, 16.0  # seconds between two questions, to the tier or a full database: at first, and at last
_SLICE = 1.0  # seconds of a pause after which who waits on this host is shown that something moves


def taken(fleet: Fleet, coming: Coming, name: str, look: Callable[[], Blob | None]) -> tuple[Lead, Blob | None]:
    """Wait for the lead of an object, and look for it: with the lead where that is to be had.

    Args:
        look: What the tier has by now, if this host can use it.
    """
    clock, patience = coming.ctx.clock, _Patience(fleet, coming, look)
    absence, pause = Absence(), _SOON
    while True:
        asked = clock.monotonic()
        try:
            lead = fleet.lead(name, patience, returns=absence.lasts)
        except FullError:
            pause = min(pause * 2, _LONGEST)
        except LostError as error:
            pause = _SOON
            if absence.is_too_long(asked, clock.monotonic()):
                fleet.gave_up_lead(error)
                return NoLead(), look()
        else:
            return lead, look() if lead.held else patience.found
        patience.look_soon()
        if not _paused(clock, pause, patience):
            return NoLead(), patience.found


class Absence:
    """How long a database is away; pure. One that was waited at for longer than that was back, and may go away once more.

    Attributes:
        lasts: Whether it went away at all.
    """

    def __init__(self) -> None:
        self.lasts, self._until = False, 0.0

    def is_too_long(self, asked: float, lost: float) -> bool:
        """Whether what was asked and lost at these times (seconds) is not waited for any longer."""
        if not self.lasts or lost - asked > _BACK:
            self.lasts, self._until = True, lost + _BACK
        return lost >= self._until


def _paused(clock: Clock, longest: float, goes_on: Callable[[], bool]) -> bool:
    """Let some time pass, another for each host, and look whether the wait goes on."""
    left = longest * (1.0 + random.random()) / 2  # noqa: S311 # nosec B311 # spreads hosts out; no secret depends on it
    while left > 0 and goes_on():
        clock.sleep(min(left, _SLICE))
        left -= _SLICE
    return goes_on()


class _Patience:
    """Says how long a wait for another host goes on, and looks into the tier; those who wait on this host see something move.

    Attributes:
        found: What was in the tier, and ended the wait.
    """

    def __init__(self, fleet: Fleet, coming: Coming, look: Callable[[], Blob | None]) -> None:
        self._fleet, self._coming, self._look = fleet, coming, look
        self._began = coming.ctx.clock.monotonic()
        self._longest = coming.ctx.settings.lock_timeout + (coming.meta.size or 0) / _PATIENCE
        self._every = _SOON
        self._look_at = self._began + _SOON
        self.found: Blob | None = None

    def __call__(self) -> bool:
        coming = self._coming
        now = coming.ctx.clock.monotonic()
        if coming.request.deadline is not None and now >= coming.request.deadline:
            return False
        if now - self._began >= self._longest:
            logger.warning("%s: another host has led for %d s; going alone", coming.entry, now - self._began)
            return False
        if now > self._began:
            coming.partial.touch()
            name, size = str(coming.entry), coming.partial.size
            coming.request.progress.waiting(name, "another host", size, coming.meta.size, now - self._began)
        return now < self._look_at or self._goes_on(now)

    def look_soon(self) -> None:
        """Look the next time: something happened."""
        self._look_at = self._began

    def _goes_on(self, now: float) -> bool:
        """Look; whether there is still something to wait for."""
        self._every = min(self._every * 2, _LONGEST)
        self._look_at = now + self._every
        self.found = self._look()
        return self.found is None and not self._fleet.has_no_tier
