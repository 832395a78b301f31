"""How often and when a question with a small answer is asked again: bounded, because locks may be held meanwhile."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, TypeVar

from ..errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock

logger = logging.getLogger("model_cache.hub")
_T = TypeVar("_T")

PATIENCE = 60.0  # seconds for one question with all its repetitions
_LONGEST_WAIT = 30.0  # seconds between two attempts, whatever the server asks
_UNREACHABLE_RETRIES = 2  # no route or no DNS seldom mends itself within seconds


def repeat(ask: Callable[[], _T], clock: Clock, retries: int, deadline: float | None = None) -> _T:
    """Ask until there is an answer, a refusal that stands, or no repetition left; raises the last DownloadError.

    Args:
        ask: One attempt.
        clock: Tells time and waits.
        retries: Repetitions at most.
        deadline: By the monotonic clock: no wait goes beyond it.
    """
    started = clock.monotonic()
    attempt = 0
    while True:
        try:
            return ask()
        except DownloadError as error:
            elapsed = clock.monotonic() - started
            jitter = random.random()  # noqa: S311 # nosec B311 # spreads clients out; no secret depends on it
            allowed = min(retries, _UNREACHABLE_RETRIES) if error.unreachable else retries
            again = error.transient and attempt < allowed
            wait = next_wait(attempt, elapsed, error.retry_after, jitter) if again else None
            if wait is not None and deadline is not None and clock.monotonic() + wait >= deadline:
                wait = None
            if wait is None:
                if attempt:
                    error.message += f"; gave up after {attempt + 1} attempts"
                raise
            logger.debug("waiting %.1f s before attempt %d: %s", wait, attempt + 2, error.message)
        attempt += 1
        clock.sleep(wait)


def next_wait(attempt: int, elapsed: float, asked: float | None, jitter: float) -> float | None:
    """Seconds to wait before the next attempt, or None if none is worth while.

    Args:
        attempt: Attempts that failed before this one.
        elapsed: Seconds since the first began.
        asked: What the server asked for, in seconds.
        jitter: 0 to 1, so that many clients do not come back in one instant.
    """
    if asked is not None and asked > PATIENCE - elapsed:
        return None  # it would refuse again
    wait = 0.5 * 2.0**attempt * (0.5 + jitter / 2)
    if asked is not None:
        wait = max(wait, asked + jitter)
    wait = min(wait, _LONGEST_WAIT)
    return None if elapsed + wait > PATIENCE else wait
