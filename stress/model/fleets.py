"""What happens to a fleet, what must hold of it, and the small fleets and mutants that are explored.

I1: what is published has the promised bytes. I2: one host downloads from the Hub, and one more at most for each process that
died and each time that an engine failed or lied. I10: left alone, whatever state it is in, every host finishes, and nobody leads.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import sharing  # noqa: F401 - it fills the table of steps
from .fleet import BAD, ENDED, FREE, GOOD, LOST, NONE, ODD, STEPS, Fleet, Host, State, Turn, World
from .state import put
from .turn import Violated

FLEETS = (
    Fleet("fleet, cold"),
    Fleet("fleet, killed", crashes=2),
    Fleet("fleet, engines fail", faults=1),
    Fleet("fleet, killed, fail", hosts=2, crashes=1, faults=2),
    Fleet("fleet, Hub fails", hosts=2, faults=1, hub=True),
    Fleet("fleet, damaged", bucket=BAD),
    Fleet("fleet, damaged, fail", hosts=2, bucket=BAD, crashes=1, faults=1),
    Fleet("fleet, other size", bucket=ODD, crashes=1),
    Fleet("fleet, warm", hosts=2, bucket=GOOD, crashes=1, faults=1),
    Fleet("fleet, nobody leads", hosts=2, crashes=1, faults=1, leads=False),
)


def initial(config: Fleet) -> State:
    """All hosts want the object."""
    world = World(config.bucket, crashes=config.crashes, faults=config.faults)
    return State(world, (Host(),) * config.hosts)


def successors(config: Fleet, state: State) -> Iterator[tuple[int, str, State, Violated | None]]:
    """As `explore.successors`: who, at which step, the next state, what the step broke."""
    for who, host in enumerate(state.processes):
        if host.at == ENDED:
            continue
        turn = Turn(config, state, who)
        for one in (turn, *turn.others) if STEPS[host.at](turn) else turn.others:
            yield who, host.at, one.state(), one.broken
    for event, after in _happenings(config, state):
        yield -1, event, after, None


def _happenings(config: Fleet, state: State) -> Iterator[tuple[str, State]]:
    world, hosts = state
    yield from _found_out(config, state)
    if world.leader >= 0 and world.faults:
        yield "the server forgets", State(world._replace(leader=FREE, faults=world.faults - 1), hosts)
    for who, host in enumerate(hosts):
        if host.at == ENDED:
            continue
        if not (host.tier and host.lead):
            yield "time passes", State(world, put(hosts, who, host._replace(tier=True, lead=True)))
        if world.crashes and host.at != "(begin)":
            left = world._replace(crashes=world.crashes - 1, leader=LOST if world.leader == who else world.leader)
            anew = Host(partial=host.partial, tier=host.tier, lead=host.lead)
            yield "kill", State(left, put(hosts, who, Host(ENDED, served=True) if host.served else anew))


def _found_out(config: Fleet, state: State) -> Iterator[tuple[str, State]]:
    if state.world.leader == LOST and not config.is_mutant("nobody finds out that a leader is dead"):
        yield "the server finds out", State(state.world._replace(leader=FREE), state.processes)


def left_alone(config: Fleet, state: State) -> Iterator[State]:
    """What comes next where nobody dies, fails, lies or loses patience any more."""
    for who, host in enumerate(state.processes):
        if host.at != ENDED:
            turn = Turn(config, state._replace(world=state.world._replace(faults=0)), who)
            for one in (turn, *turn.others) if STEPS[host.at](turn) else turn.others:
                yield one.state()
    yield from (after for _, after in _found_out(config, state))


class Check:
    """What must hold of every state; those that were left alone once are not again."""

    def __init__(self, config: Fleet) -> None:
        self._config = config
        self._settled: set[State] = set()

    def __call__(self, state: State) -> Violated | None:
        """What does not hold, or None."""
        config, world = self._config, state.world
        harm = config.crashes - world.crashes + config.faults - world.faults
        most = harm + (config.bucket != GOOD)
        if config.leads and world.asked > most:
            return Violated("I2", f"{world.asked} downloads from the Hub, after {harm} failures")
        return self._finishes(state._replace(world=world._replace(faults=0, crashes=0, asked=0)), [])

    def _finishes(self, state: State, way: list[State]) -> Violated | None:
        if state in self._settled:
            return None
        if state in way:
            return Violated("I10", "the hosts go on for ever")
        onward = list(left_alone(self._config, state))
        broken = None if onward else self._ended(state)
        for after in onward:
            again = after._replace(world=after.world._replace(asked=0))
            broken = broken or self._finishes(again, [*way, state])
        self._settled.add(state)
        return broken

    @staticmethod
    def _ended(state: State) -> Violated | None:
        for who, host in enumerate(state.processes):
            if host.at != ENDED:
                return Violated("I10", f"host {who} waits for ever at {host.at}")
            if not (host.served or host.refused):
                return Violated("I10", f"host {who} has no file, and the Hub did not refuse it")
        return None if state.world.leader == FREE else Violated("I10", "somebody leads for ever")


def shown(world: World) -> Iterator[str]:
    """A world in words, for traces."""
    there = {NONE: "nothing", GOOD: "the object", BAD: "an object with other bytes", ODD: "an object of another size"}
    yield f"the tier: {there[world.bucket]}, version {world.version}"
    leaders = {FREE: "nobody", LOST: "somebody who is dead"}
    yield f"the lead: {leaders.get(world.leader, f'host {world.leader}')}"
    yield f"the Hub: {world.asked} downloads"
