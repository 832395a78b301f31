"""Is a recorded sequence of step names a way through the model's programs?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from . import fleet
from .explore import AnyConfig, initial, successors
from .fleet import Fleet
from .names import LEFT_OUT
from .state import DEAD
from .steps import STEPS

# A state, and the names that were passed on the way to it; of several in a row that are the same, one.
Way = tuple[Any, tuple[str, ...]]


def refused(config: AnyConfig, recorded: Sequence[str]) -> str | None:
    """Why the model's processes cannot have done these steps, one after the other, and ended; None: they can.

    Steps that the model leaves out are passed over. A body comes in as many pieces as it may, so one name several times in
    a row is one.
    """
    wanted = tuple(name for name, _ in groupby(name for name in recorded if name not in LEFT_OUT))
    start: Way = (initial(config), ())
    seen, frontier, furthest = {start}, [start], 0
    while frontier:
        way = frontier.pop()
        for after in _onward(config, way):
            if after in seen or wanted[: len(after[1])] != after[1]:
                continue
            if after[1] == wanted and all(process.at == DEAD.at for process in after[0].processes):
                return None
            seen.add(after)
            frontier.append(after)
            furthest = max(furthest, len(after[1]))
    behind = ", ".join(wanted[max(furthest - 3, 0) : furthest])
    return f"behind {behind} the model does not do {' '.join(wanted[furthest : furthest + 1]) or 'the end'}"


def before_death(recorded: Sequence[str]) -> list[str]:
    """What a process had done that was killed when it passed the last of these names: that step it did not do."""
    points = {name for step in STEPS.values() for name in step.names[:-1]}  # with these nothing is done yet
    done = list(recorded[:-1])
    while done and done[-1] in points:
        done.pop()
    return done


def _names(config: AnyConfig, at: str) -> tuple[str, ...]:
    return fleet.names(at) if isinstance(config, Fleet) else STEPS[at].names


def _onward(config: AnyConfig, way: Way) -> Iterator[Way]:
    state, names = way
    for who, at, after, _ in successors(config, state):
        if who < 0:
            yield after, names  # what happens by itself has no name
        elif not (passed := _names(config, at)) or not any(process.at != DEAD.at for process in state.processes[:who]):
            yield after, tuple(name for name, _ in groupby((*names, *passed)))
