"""The way to one engine: closed for all processes of a root while the engine is known to fail.

What is known is a small file beside the index, and not a row of it: a look costs one failed `open` while all is well, needs no
SQL, no lock and no schema, and an index that is damaged or read-only does not open a way that is closed. Losing the file
costs one more time-out.

Concurrency:
    Read by anybody, replaced as a whole; a write that is overtaken by another costs a time-out more or less.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .. import disk
from ..log import logger
from . import breaker
from .breaker import State

if TYPE_CHECKING:
    from ..clock import Clock

_LIMIT = 1024  # bytes of the file


class Gate:
    """The way to one engine.

    Args:
        path: Where it is remembered that the engine fails.
        name: What the engine is to messages.
        instead: What is done without it, for messages.
    """

    def __init__(self, path: str, mode: int, clock: Clock, name: str, instead: str) -> None:
        self._path, self._mode, self._clock, self._name, self._instead = path, mode, clock, name, instead
        self._failing = False

    def is_open(self) -> bool:
        """Whether the engine may be asked; where it failed and may be tried again, the caller is the one who does."""
        state, now = self._read(), self._clock.time()
        self._failing = state.failures > 0
        if not breaker.may_try(state, now):
            return False
        if self._failing:
            self._write(breaker.tried(state, now))
        return True

    @property
    def is_closed(self) -> bool:
        """Whether the engine is left alone now; asking this is not yet trying it."""
        return not breaker.may_try(self._read(), self._clock.time())

    @property
    def left_alone(self) -> tuple[int, float]:
        """How often in a row the engine failed, and for how many seconds more it is not asked."""
        state, now = self._read(), self._clock.time()
        return state.failures, 0.0 if breaker.may_try(state, now) else state.until - now

    def failed(self, error: Exception) -> str:
        """It did not answer as it should: nobody asks it for a while. Returns what there is to say of it."""
        state = breaker.failed(self._read(), self._clock.time())
        self._failing = True
        self._write(state)
        seconds = round(state.until - self._clock.time())
        message = f"{self._name}: {error}; {self._instead}, and it is asked again in {seconds} s"
        logger.warning(message)
        return message

    def worked(self) -> None:
        """It answered."""
        if self._failing:
            self._failing = False
            disk.remove(self._path)
            logger.info("%s answers again", self._name)

    def _read(self) -> State:
        try:
            found = json.loads(disk.read_small(self._path, _LIMIT))
            return State(int(found["failures"]), float(found["until"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return State()

    def _write(self, state: State) -> None:
        try:
            disk.write_small(self._path, json.dumps(state._asdict()).encode(), self._mode)
        except OSError as error:
            logger.warning("%s: what is known of it cannot be written (%s)", self._name, error.strerror)
