"""When an engine that failed is asked again: at once, then ever more rarely, and by one who tries it for all; pure."""

from __future__ import annotations

from typing import NamedTuple

_FIRST = 30.0  # seconds after the first failure
_LONGEST = 600.0
_TRIAL = 15.0  # seconds that one has to try it before another does: longer than a hung engine takes to fail


class State(NamedTuple):
    """How often in a row an engine failed, and until when (seconds since the epoch) it is left alone."""

    failures: int = 0
    until: float = 0.0


def may_try(state: State, now: float) -> bool:
    """Whether it may be asked; yes also where the clock was turned back behind anything that was ever noted."""
    return not now < state.until <= now + _LONGEST


def tried(state: State, now: float) -> State:
    """One tries it after a pause; the others go on without it until that is over."""
    return State(state.failures, now + _TRIAL)


def failed(state: State, now: float) -> State:
    """It failed, once more or for the first time."""
    return State(state.failures + 1, now + min(_FIRST * 2.0 ** min(state.failures, 10), _LONGEST))
