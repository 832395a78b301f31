"""What must hold in every state, each invariant by its name; and what recovery must come to from every one of them (I10)."""

from __future__ import annotations

from collections.abc import Iterator

from . import evicting, publishing, reading, recovering, replacing, several, staging, verifying, writing  # noqa: F401 - they fill the table of steps
from .environment import USER, beginning, user_came
from .state import (
    ASIDE,
    BESIDE,
    DEAD,
    NOTHING,
    OWN,
    PATH,
    PLACES,
    ROT,
    TRASH,
    WHOLE,
    Process,
    State,
    World,
)
from .steps import STEPS
from .turn import Config, Turn, Violated

_BODY = ("body:open", "body:write", "verify:hash")
_LONGEST = 200  # steps within which a program that runs alone ends


def check(config: Config, state: State) -> Violated | None:
    """The first invariant that does not hold, or None."""
    return next(_broken(config, state), None)


def _broken(config: Config, state: State) -> Iterator[Violated]:
    world = state.world
    user = user_came(config, world)
    yield from _whole(config, state)
    for entry in range(config.entries):
        loading = sum(p.at in _BODY and p.entry == entry for p in state.processes)
        if loading > 1:
            yield Violated("I2", f"{loading} processes download entry {entry}")
        if world.received[entry] > 2:
            yield Violated("I2", f"bytes of entry {entry} that were here came over the network again")
        if world.fresh[entry] and world.names[entry] == NOTHING:
            yield Violated("I3", f"entry {entry} was taken away just after it was published")
    for process in state.processes:
        if process.promise and not user and (seen := _promise(config, state, process)):
            yield Violated("I3", seen)
    yield from _ledger(config, state, user=user)
    yield from _not_ours(state)


def _whole(config: Config, state: State) -> Iterator[Violated]:
    """I1: whatever stands at a path is whole."""
    world = state.world
    for entry in range(config.entries):
        ino = world.names[entry]
        if ino != NOTHING and world.files[ino].bytes not in (*WHOLE, OWN, ROT):
            yield Violated("I1", f"the path of entry {entry} leads to bytes {world.files[ino].bytes!r}")
    inos = world.names[: config.entries]
    if config.whole and world.listing in WHOLE and NOTHING not in inos:
        found = [world.files[ino].bytes for ino in inos]
        if any(content in WHOLE and content != world.listing for content in found):
            yield Violated("I1", f"the repo is handed out at {world.listing}, and its files are {', '.join(found)}")


def _promise(config: Config, state: State, process: Process) -> str:
    """I3: why a promise to a process is broken, or nothing."""
    world, entry = state.world, process.entry
    ino, promised = world.names[entry], process.promised
    if promised is None:
        return ""
    if process.promise == "handed":
        return f"the path of entry {entry} was handed out just now, and is gone" if ino == NOTHING else ""
    if process.promise == "open" and not config.open_test:
        return ""  # such a file system does not tell who has a file open
    same = ino == promised[0] or (ino != NOTHING and world.files[promised[0]].bytes in (world.files[ino].bytes, ROT))
    return "" if same else f"the file of entry {entry} is {process.promise}, and its path has lost it"


def _ledger(config: Config, state: State, *, user: bool) -> Iterator[Violated]:
    """I5, I6, I4: files and rows."""
    world = state.world
    there = set()
    for at, ino in enumerate(world.names):
        if ino == NOTHING or world.files[ino].edits or at in world.returned:
            continue
        there.add(ino)
        place, entry = PLACES[at // config.entries], at % config.entries
        row = world.aside[entry] if place == ASIDE else world.rows[entry]
        if row is None and world.files[ino].size:
            yield Violated("I5", f"{place}/{entry} has a file, and no row")
    yield from _rows(state, user=user)
    disk = sum(world.files[ino].size for ino in there)
    counted = sum(row.charged + row.next_charged for row in world.rows if row is not None)
    counted += sum(row.charged for row in world.aside if row is not None)
    if disk > counted:
        yield Violated("I4", f"{disk} halves are on disk, {counted} are counted")
    if config.budget is not None and counted > config.budget:
        yield Violated("I4", f"{counted} halves are counted, the budget is {config.budget}")


def _rows(state: State, *, user: bool) -> Iterator[Violated]:
    """I5: a ready row has its file, unless a person took it; I6: it accuses nobody."""
    world = state.world
    for entry, row in enumerate(world.rows):
        if row is None or row.ident is None:
            continue
        if row.verdict == "corrupt" and world.files[row.ident[0]].bytes != ROT:
            yield Violated("I6", f"the row of entry {entry} says corrupt, and its file has not rotted")
        if row.state != "ready" or row.next_state in ("downloading", "installing") or user:
            continue
        ino = world.names[entry]
        if ino == NOTHING:
            yield Violated("I5", f"entry {entry} is ready, and has no file")
        elif (ino, world.files[ino].edits) != row.ident:
            yield Violated("I5", f"entry {entry} is ready, and its row tells of another file")


def _not_ours(state: State) -> Iterator[Violated]:
    """I7: somebody's own file has a name, and at rest it is the one they gave it."""
    world = state.world
    for ino, file in enumerate(world.files):
        if file.bytes == OWN and ino not in world.names:
            yield Violated("I7", "a file of somebody's own is gone")


class Recovery:
    """I10: from every state, were everybody to die in it, the next operations settle what is left.

    First `gc` alone: it must end with rows and files in agreement. Then, alone as well, a `fetch` of each entry, which must
    hand out a whole file; and an eviction of everything idle, which must be able to. States that were come through once
    are not gone through again.
    """

    def __init__(self, config: Config) -> None:
        self._config = config._replace(budget=None, events=frozenset(), crashes=0, losses=0)
        self._events = config.events
        self._seen: set[State] = set()

    def check(self, state: State) -> Violated | None:
        """What does not recover, or None."""
        user = bool((self._events - state.world.events) & USER)
        never = (False,) * self._config.entries
        world = state.world._replace(
            durable=state.world.names,
            pending=(),
            recent=never,
            rows=tuple(row and row._replace(used=False) for row in state.world.rows),
            received=(0,) * self._config.entries,
            fresh=never,
            crashes=0,
            losses=0,
            events=frozenset(),
        )
        end, broken = self._run(world, "settle")
        if end is None:
            return broken
        broken = next(self._unsettled(end, user=user), None)
        for entry in range(self._config.entries):
            broken = broken or self._fetch(end.world, entry)
        return broken or (None if user else self._evict(end.world))

    def _fetch(self, world: World, entry: int) -> Violated | None:
        end, broken = self._run(world, f"fetch:{entry}")
        if end is not None and (end.world.names[entry] == NOTHING or end.processes[0].promise != "handed"):
            return Violated("I10", f"after recovery the next fetch of entry {entry} does not hand out a file")
        return broken

    def _evict(self, world: World) -> Violated | None:
        end, broken = self._run(world, "evict")
        rows = () if end is None else end.world.rows
        waiting = {row.ident for row in rows if row is not None and row.next_state == "partial"}
        for entry, row in enumerate(rows):
            # Beside a partial it stays until that goes; a damaged one with a name in quarantine until it is mended.
            if row is not None and row.state == "ready" and row.ident not in waiting and world.aside[entry] is None:
                return Violated("I10", f"after recovery entry {entry}, that nobody uses, cannot be evicted")
        return broken

    def _run(self, world: World, program: str) -> tuple[State | None, Violated | None]:
        """Let one program run to its end by itself, unless that was done; checks nothing but that it goes on."""
        state = State(world, (beginning(self._config, program),))
        if state in self._seen:
            return None, None
        self._seen.add(state)
        for _ in range(_LONGEST):
            process = state.processes[0]
            if process.at == DEAD.at:
                return state, None
            turn = Turn(self._config, state, 0)
            if STEPS[process.at].act(turn) is False:
                return None, Violated("I10", f"recovery hangs at {process.at}")
            state = turn.state()
        return None, Violated("I10", "recovery does not come to an end")

    def _unsettled(self, state: State, *, user: bool) -> Iterator[Violated]:
        world = state.world
        amiss = (*_ledger(self._config, state, user=user), *_whole(self._config, state), *_not_ours(state))
        for violated in amiss:
            yield violated._replace(seen=f"after recovery {violated.seen}")
        for entry, row in enumerate(world.rows):
            if row is not None and (row.state not in ("ready", "partial") or row.next_state not in ("", "partial")):
                yield Violated(
                    "I10", f"after recovery the row of entry {entry} still says {row.state} {row.next_state}"
                )
        for at, ino in enumerate(world.names):
            place = PLACES[at // self._config.entries]
            if ino != NOTHING and world.files[ino].bytes == OWN and place not in (PATH, BESIDE, ASIDE):
                yield Violated("I7", f"after recovery a file of somebody's own is in {place}")
            elif ino != NOTHING and place == TRASH:
                yield Violated("I10", "after recovery there is something in the trash")
