"""Every state that can be reached, breadth first, so that the first violation found has the shortest way to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from .environment import happenings, initial
from .invariants import Recovery, check
from .state import DEAD, State
from .steps import STEPS
from .turn import Config, Turn, Violated


class Moment(NamedTuple):
    """One step of a way: who did what, and the state it led to."""

    who: str
    did: str
    state: State


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

    config: Config
    states: int
    transitions: int
    depth: int
    seconds: float
    violated: Violated | None
    way: list[Moment]
    steps: frozenset[str]


def successors(config: Config, state: State) -> Iterator[tuple[int, str, State, Violated | None]]:
    """Every next state: (who, at which step, state, what the step itself broke); who is -1 for what happens by itself."""
    for who, process in enumerate(state.processes):
        if process.at == DEAD.at:
            continue
        turn = Turn(config, state, who)
        also = STEPS[process.at].act(turn)
        if also is False:
            continue
        for one in (turn, *(also if isinstance(also, list) else ())):
            yield who, process.at, one.state(), one.broken
    for event, after in happenings(config, state):
        yield -1, event, after, None


def explore(config: Config, most: int = 5_000_000) -> Explored:
    """Go through all states, or up to the first violation; `most` bounds their number."""
    began = time.perf_counter()
    start = initial(config)
    came: dict[State, tuple[State, int, str] | None] = {start: None}
    recovery = Recovery(config)
    frontier, depth, transitions = [start], 0, 0
    steps: set[str] = set()
    while frontier:
        depth += 1
        new: list[State] = []
        for state in frontier:
            for who, at, after, broken in successors(config, state):
                transitions += 1
                if after in came and broken is None:
                    continue
                if who >= 0:
                    steps.add(at)
                came.setdefault(after, (state, who, at))
                violated = broken or check(config, after) or recovery.check(after)
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
    config: Config, came: dict[State, tuple[State, int, str] | None], before: State, who: int, at: str, after: State
) -> list[Moment]:
    way = [Moment(_named(config, who), at, after)]
    state = before
    while (step := came[state]) is not None:
        earlier, who, at = step
        way.append(Moment(_named(config, who), at, state))
        state = earlier
    return [Moment("", "the beginning", state), *reversed(way)]


def _named(config: Config, who: int) -> str:
    return "" if who < 0 else f"{config.programs[who]} {who}"
