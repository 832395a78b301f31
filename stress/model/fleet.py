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
        asked: How many bodies the Hub has begun to send.
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
        again: Whether it reads what it found behind the lead.
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
    again: bool = False
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
        return self.config.mutant == name

    def go(self, at: str, **changes: object) -> None:
        """The step that comes next."""
        self.h = self.h._replace(at=at, **changes)  # type: ignore[arg-type]

    def end(self) -> None:
        """Its process is done."""
        self.h = Host(ENDED, served=self.h.served, refused=self.h.refused)

    def harm(self) -> Iterator[Turn]:
        """This same turn, if something may go wrong in it."""
        if self.w.faults:
            other = Turn(self.config, self._state, self._who)
            other.w = self.w._replace(faults=self.w.faults - 1)
            self.others.append(other)
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


def _step(at: str) -> Callable[[Callable[[Turn], bool | None]], Act]:
    def enter(act: Callable[[Turn], bool | None]) -> Act:
        def taken(turn: Turn) -> bool:
            return act(turn) is not False

        taken.__doc__ = act.__doc__
        STEPS[at] = taken
        return taken

    return enter


@_step("(begin)")
def _begin(t: Turn) -> None:
    """Take W; a partial that is whole is only to be verified."""
    whole = t.h.partial in (GOOD, BAD)
    t.go("verify:hash/hub" if whole else "tier:open")


def _look(t: Turn, without: Callable[[Turn], None]) -> None:
    """Ask the tier: it answers, fails, says that nothing is there, or will send other bytes."""
    if not t.h.tier:
        without(t)
        return
    for other in t.harm():
        other.h = other.h._replace(tier=False)
        without(other)
    for other in t.harm():
        without(other)
    for other in t.harm():
        other.go("tier:write", sends=BAD, found=t.w.version)
    if t.w.bucket in (GOOD, BAD):
        t.go("tier:write", sends=t.w.bucket, found=t.w.version)
    else:
        without(t)  # one of another size is reported, and as good as none


def _to_lead(t: Turn) -> None:
    t.go("(lead)", sends=NONE, found=0)


def _download(t: Turn) -> None:
    """From the Hub; and what comes is offered."""
    t.go("body:open", sends=NONE, found=0, again=False, offers=True)


def _without(t: Turn) -> None:
    """What comes after a look that was of no use, the first or the second."""
    (_download if t.h.again else _to_lead)(t)


@_step("tier:open")
def _first_look(t: Turn) -> None:
    """Look whether the tier has it."""
    _look(t, _to_lead)


@_step("tier:write")
def _write(t: Turn) -> None:
    """Write what the tier sends into the partial, which may have half of it."""
    for other in t.harm():
        other.h = other.h._replace(tier=False)
        if t.is_mutant("the error of an engine is one of the fetch"):
            other.let_go()
            other.end()
        else:
            _without(other)
    for other in t.harm():  # it ends too early
        other.h = other.h._replace(damaged=t.h.found)
        _without(other)
    t.write(t.h.sends)
    t.go("verify:hash/tier" if t.h.partial in (GOOD, BAD) else "tier:write")


@_step("verify:hash/tier")
def _verify(t: Turn) -> None:
    """Compare the hash of what the tier sent."""
    if t.h.partial == GOOD or t.is_mutant("what a tier sends is not hashed"):
        t.go("(publish)")
    else:
        t.h = t.h._replace(partial=NONE, damaged=t.h.found)
        _without(t)


@_step("(lead)")
def _lead(t: Turn) -> bool | None:
    """Wait until nobody leads; alone where nobody can say who does, and when patience ends."""
    if not (t.config.leads and t.h.tier and t.h.lead):
        _download(t)
        return None
    for other in t.harm():
        other.h = other.h._replace(lead=False)
        _download(other)
    if not t.take_lead():
        for other in t.harm():
            _download(other)
        return False
    if t.is_mutant("no look behind the lead"):
        _download(t)
    else:
        t.go("tier:open/again")
    return None


@_step("tier:open/again")
def _look_again(t: Turn) -> None:
    """Look again: who led before has put it there. What is still the damaged one is replaced, with the lead."""
    _look(t, _download)
    for turn in (t, *t.others):
        if turn.h.at != "tier:write":
            continue
        if turn.h.found == turn.h.damaged and not t.is_mutant("the damaged object is read again, without the lead"):
            _download(turn)
        else:
            turn.let_go()
            turn.go("tier:write", again=True)


@_step("body:open")
def _ask(t: Turn) -> None:
    """Ask the Hub for what is missing."""
    t.w = t.w._replace(asked=t.w.asked + 1)
    for other in t.harm() if t.config.hub else ():
        if not t.is_mutant("who fails keeps the lead"):
            other.let_go()
        other.h = other.h._replace(refused=True)
        other.end()
    t.go("body:write")


@_step("body:write")
def _receive(t: Turn) -> None:
    """Write what the Hub sends into the partial."""
    t.write(GOOD)
    t.go("verify:hash/hub" if t.h.partial in (GOOD, BAD) else "body:write")


@_step("verify:hash/hub")
def _verify_hub(t: Turn) -> None:
    """Compare the hash; a partial that began with wrong bytes comes again from its beginning."""
    if t.h.partial == GOOD:
        t.go("(publish)")
    else:
        t.go("body:open", partial=NONE)


@_step("(publish)")
def _publish(t: Turn) -> None:
    """Give the bytes their name; the fetch is over, and an upload goes on."""
    if t.h.partial != GOOD:
        t.broken = Violated("I1", "bytes are published that are not the promised ones")
    t.h = t.h._replace(served=True, partial=NONE)
    if not t.h.offers:
        t.end()
        return
    if t.is_mutant("the lead goes before the upload"):
        t.let_go()
    t.go("tier:offer")


@_step("tier:offer")
def _offer(t: Turn) -> None:
    """Put it there, whatever is; it may fail, or keep something else."""
    if not t.h.tier:
        t.go("(let go)")
        return
    for other in t.harm():
        other.go("(let go)", tier=False)
        if t.is_mutant("an upload that fails keeps the lead"):
            other.end()
    for other in t.harm():
        other.w = other.w._replace(bucket=BAD, version=t.w.version + 1)
        other.go("(let go)")
    if t.w.bucket == NONE or not t.is_mutant("an object that is there is not replaced"):
        t.w = t.w._replace(bucket=GOOD, version=t.w.version + 1)
    t.go("(let go)")


@_step("(let go)")
def _release(t: Turn) -> None:
    """Let the next one lead."""
    t.let_go()
    t.end()
