"""Hosts that share a tier and a lead, as `download/sharing.py` and `fleet/` have it: one object, and what each host does next.

Of a host there is one process at a time (it has W), its partial, and its gates. A tier can fail at every question, and lie:
say that nothing is there, send other bytes, end too early, keep something else than it was given. A lead can fail, and be
forgotten by its server. Of whoever dies the server finds out some time later; another process of that host goes on from its
partial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from .turn import Violated

# Bytes: right or wrong ones, all of them or the first half; of an object also one of another size.
GOOD, BAD, ODD, NONE = "G", "B", "odd", ""
_HALF = {GOOD: "g", BAD: "b"}
FREE, LOST = -1, -2  # who leads: nobody; somebody who is dead, which the server does not know yet
ENDED = "(ended)"


class Fleet(NamedTuple):
    """A small fleet to explore.

    Attributes:
        name: What it is called in the table.
        hosts: How many want the object, all at once.
        bucket: What is in the tier under its name in the beginning.
        crashes: How many processes may be killed, each at any step.
        faults: How often an engine may fail or lie.
        hub: Whether one of these may be the Hub's.
        leads: Whether there is somebody who can say who leads.
        mutant: The name of the mutant, or nothing.
    """

    name: str
    hosts: int = 3
    bucket: str = NONE
    crashes: int = 0
    faults: int = 0
    hub: bool = False
    leads: bool = True
    mutant: str = ""

    def is_mutant(self, name: str) -> bool:
        """Whether this switch of the protocol is off."""
        return self.mutant == name

    @property
    def programs(self) -> tuple[str, ...]:
        """What each process is, for traces."""
        return ("host",) * self.hosts


class World(NamedTuple):
    """What is not of one host alone.

    Attributes:
        bucket: What is in the tier under the object's name.
        version: Of that; another one each time that it is written.
        leader: Which host leads, by the word of the server.
        asked: How many downloads from the Hub were begun.
        crashes, faults: How many may still come.
    """

    bucket: str
    version: int = 1
    leader: int = FREE
    asked: int = 0
    crashes: int = 0
    faults: int = 0


class Host(NamedTuple):
    """One host.

    Attributes:
        at: The step that its process does next.
        partial: What its partial has.
        sends: What the object that it reads will send, and `found` that object's version.
        damaged: The version of the object that it found to have other bytes.
        turns: How often it has had its turn to lead, or to find what who led has put there.
        leads: Whether it believes that it leads.
        tier, lead: Whether its gates are open.
        offers: Whether what it publishes came by a download that is offered.
        served: Whether its file is published; `refused`, whether the Hub failed it.
    """

    at: str = "(begin)"
    partial: str = NONE
    sends: str = NONE
    found: int = 0
    damaged: int = 0
    turns: int = 0
    leads: bool = False
    tier: bool = True
    lead: bool = True
    offers: bool = False
    served: bool = False
    refused: bool = False


class State(NamedTuple):
    """The world, and every host."""

    world: World
    processes: tuple[Host, ...]


class Turn:
    """One host's turn: a copy of a state that its step may change.

    Attributes:
        h: The host.
        broken: What the step did that may never be done.
    """

    def __init__(self, config: Fleet, state: State, who: int) -> None:
        self.config, self._state, self._who = config, state, who
        self.w, self.h = state.world, state.processes[who]
        self.broken: Violated | None = None
        self.others: list[Turn] = []

    def state(self) -> State:
        """What has become of the state."""
        hosts = self._state.processes
        return State(self.w, (*hosts[: self._who], self.h, *hosts[self._who + 1 :]))

    def is_mutant(self, name: str) -> bool:
        """Whether this switch of the protocol is off."""
        return self.config.is_mutant(name)

    def go(self, at: str, **changes: object) -> None:
        """The step that comes next."""
        self.h = self.h._replace(at=at, **changes)  # type: ignore[arg-type]

    def end(self) -> None:
        """Its process is done."""
        self.h = Host(ENDED, served=self.h.served, refused=self.h.refused)

    def also(self) -> Turn:
        """This same turn, in which something else happens."""
        other = Turn(self.config, self._state, self._who)
        self.others.append(other)
        return other

    def harm(self) -> Iterator[Turn]:
        """This same turn, if something may go wrong in it."""
        if self.w.faults:
            other = self.also()
            other.w = self.w._replace(faults=self.w.faults - 1)
            yield other

    def take_lead(self) -> bool:
        """Lead, unless somebody does."""
        if self.w.leader != FREE:
            return False
        self.w, self.h = self.w._replace(leader=self._who), self.h._replace(leads=True)
        return True

    def let_go(self) -> None:
        """Let the lead go, which the server may have taken away already."""
        if self.w.leader == self._who:
            self.w = self.w._replace(leader=FREE)
        self.h = self.h._replace(leads=False)

    def write(self, content: str) -> None:
        """Half of what is missing comes, or with half of it there the rest."""
        h = self.h
        if not h.partial:
            self.h = h._replace(partial=_HALF[content])
        else:
            self.h = h._replace(partial=GOOD if (h.partial, content) == (_HALF[GOOD], GOOD) else BAD)


Act = Callable[[Turn], bool]  # False: it has to wait
STEPS: dict[str, Act] = {}


def names(at: str) -> tuple[str, ...]:
    """What the code passes to `ctx.step` there."""
    return () if at.startswith("(") else (at.partition("/")[0],)


def says(at: str) -> str:
    """What a step does, in words."""
    return (STEPS[at].__doc__ or "").split("\n")[0].rstrip(".")


def step(at: str) -> Callable[[Callable[[Turn], bool | None]], Act]:
    """Enter a function into the table; one that returns False has to wait."""

    def enter(act: Callable[[Turn], bool | None]) -> Act:
        def taken(turn: Turn) -> bool:
            return act(turn) is not False

        taken.__doc__ = act.__doc__
        STEPS[at] = taken
        return taken

    return enter
