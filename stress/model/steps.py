"""The table of steps: what a process at a place of its program does next, under the name that the code gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .turn import Turn

# A step changes its turn. It returns False if it has to wait, or other turns that were as possible as its own.
Act = Callable[[Turn], "bool | Iterable[Turn] | None"]


class Step(NamedTuple):
    """One atomic step.

    Attributes:
        at: Its place in the program. One that begins with a parenthesis has no name in the code.
        names: What the code passes to `ctx.step` or to a transaction for it, in this order.
        act: What it does.
    """

    at: str
    names: tuple[str, ...]
    act: Act

    @property
    def says(self) -> str:
        """What it does, in words."""
        return (self.act.__doc__ or "").split("\n")[0].rstrip(".")


STEPS: dict[str, Step] = {}


def step(at: str, *before: str) -> Callable[[Act], Act]:
    """Enter a function into the table.

    Args:
        at: The step's name; behind a slash, which of several that have it.
        before: Further names that the code passes on the way to this one.
    """

    def enter(act: Act) -> Act:
        name = at.partition("/")[0]
        assert at not in STEPS, at
        STEPS[at] = Step(at, before if name.startswith("(") else (*before, name), act)
        return act

    return enter
