"""Every state that can be reached, breadth first, so that the first violation found has the shortest way to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import environment, fleet, fleets
from .fleet import Fleet
from .invariants import Recovery, check
from .state import DEAD, State
from .steps import STEPS
from .turn import Config, Turn, Violated

AnyConfig = Config | Fleet
AnyState = State | fleet.State


class Moment(NamedTuple):
    """One step of a way: who did what, and the state it led to."""

    who: str
    did: str
    state: AnyState


class Explored(NamedTuple):
    """What an exploration came to.

    Attributes:
        config: What was explored.
        states, transitions, depth: How much; the depth is that of the last state.
        seconds: How long it took.
        violated: The invariant that does not hold, or None.
        way: How it came to that.
        steps: Every place of a program that was come through.
    """

    config: AnyConfig
    states: int
    transitions: int
    depth: int
    seconds: float
    violated: Violated | None
    way: list[Moment]
    steps: frozenset[str]


def initial(config: AnyConfig) -> Any:
    """The state in which an exploration begins."""
    return fleets.initial(config) if isinstance(config, Fleet) else environment.initial(config)


def successors(config: AnyConfig, state: Any) -> Iterator[tuple[int, str, Any, Violated | None]]:
    """Every next state: (who, at which step, state, what the step itself broke); who is -1 for what happens by itself."""
    return fleets.successors(config, state) if isinstance(config, Fleet) else _successors(config, state)


def _successors(config: Config, state: State) -> Iterator[tuple[int, str, State, Violated | None]]:
    for who, process in enumerate(state.processes):
        if process.at == DEAD.at:
            continue
        turn = Turn(config, state, who)
        also = STEPS[process.at].act(turn)
        if also is False:
            continue
        for one in (turn, *(also if isinstance(also, list) else ())):
            yield who, process.at, one.state(), one.broken
    for event, after in environment.happenings(config, state):
        yield -1, event, after, None


def _checks(config: AnyConfig) -> Callable[[Any], Violated | None]:
    """What is asked of each state."""
    if isinstance(config, Fleet):
        return fleets.Check(config)
    recovery = Recovery(config)
    return lambda state: check(config, state) or recovery.check(state)


def explore(config: AnyConfig, most: int = 5_000_000) -> Explored:
    """Go through all states, or up to the first violation; `most` bounds their number."""
    began = time.perf_counter()
    start = initial(config)
    came: dict[Any, tuple[Any, int, str] | None] = {start: None}
    amiss = _checks(config)
    frontier, depth, transitions = [start], 0, 0
    steps: set[str] = set()
    while frontier:
        depth += 1
        new: list[Any] = []
        for state in frontier:
            for who, at, after, broken in successors(config, state):
                transitions += 1
                if after in came and broken is None:
                    continue
                if who >= 0:
                    steps.add(at)
                came.setdefault(after, (state, who, at))
                violated = broken or amiss(after)
                if violated is not None:
                    way = _way(config, came, state, who, at, after)
                    seconds = time.perf_counter() - began
                    return Explored(config, len(came), transitions, depth, seconds, violated, way, frozenset(steps))
                new.append(after)
        if len(came) > most:
            raise OverflowError(f"{config.name}: more than {most} states")
        frontier = new
    seconds = time.perf_counter() - began
    return Explored(config, len(came), transitions, depth - 1, seconds, None, [], frozenset(steps))


def _way(
    config: AnyConfig, came: dict[Any, tuple[Any, int, str] | None], before: Any, who: int, at: str, after: Any
) -> list[Moment]:
    way = [Moment(_named(config, who), at, after)]
    state = before
    while (step := came[state]) is not None:
        earlier, who, at = step
        way.append(Moment(_named(config, who), at, state))
        state = earlier
    return [Moment("", "the beginning", state), *reversed(way)]


def _named(config: AnyConfig, who: int) -> str:
    return "" if who < 0 else f"{config.programs[who]} {who}"
