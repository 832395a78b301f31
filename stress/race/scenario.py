"""What a race does, how often, with how much room: the scenarios, and the choices that follow from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .world import File, World

MIN_IDLE, TOUCH_INTERVAL = 0.6, 0.15
LOCK_TIMEOUT = 30.0  # seconds
PROMISE = MIN_IDLE - TOUCH_INTERVAL  # seconds that a path which was handed out stays, whatever the budget (I3)
_WINDOW, _SHIFT = 8, 12  # files that are wanted at a time; operations until others are
_THINK = 0.3  # seconds between two operations of one process, on average

# How often each operation comes up, relative to the others.
_MIXED: Mapping[str, int] = {
    "fetch": 30, "hit": 10, "lease": 10, "open": 8, "mapped": 8, "handout": 12, "brief": 4, "force": 2, "gc": 6,
    "rm": 4, "pin": 2, "unpin": 4, "update": 4, "verify": 5, "repair": 4, "reconcile": 3, "look": 4, "repo": 2, "sync": 3,
    "below": 4, "import": 3,
}  # fmt: skip
# Names of faults and how often the hub plays each; those that leave the bytes alone come first.
FAULTS: Mapping[str, int] = {
    "cut": 6, "reset": 4, "hangup": 3, "slow": 4, "latency": 3, "status": 4, "expired": 2, "range_ignored": 2,
    "stall": 1, "flip": 3, "other_bytes": 2, "wrong_length": 2, "no_length": 2, "html": 1, "compressed": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """What is raced, by how many, for how long.

    Attributes:
        name, seed, processes, seconds: As on the command line.
        kill_rate: The share of operations whose process is killed.
        weights: How often each operation comes up.
        room: The budget, as a share of what all files would take.
        moves, faults, stops, rot, edits, losses, plants: Seconds between two of them on average; 0: never. With plants there is a
            tier, whose objects are damaged.
        hosts: Every other process is another host, with a state directory of its own; it may take nothing away.
    """

    name: str = "mixed"
    seed: int = 1
    processes: int = 32
    seconds: float = 120.0
    kill_rate: float = 0.2
    weights: Mapping[str, int] = field(default_factory=lambda: dict(_MIXED))
    room: float = 0.5
    moves: float = 5.0
    faults: float = 0.25
    stops: float = 0.7
    rot: float = 2.5
    edits: float = 6.0
    losses: float = 0.0
    plants: float = 0.0
    hosts: bool = False

    def as_json(self) -> dict[str, Any]:
        """Everything, for a report."""
        return asdict(self)

    @property
    def command(self) -> str:
        """What replays these choices."""
        return (
            f"python -m stress --scenario {self.name} --seed {self.seed} --processes {self.processes}"
            f" --seconds {self.seconds:g} --kill-rate {self.kill_rate:g}"
        )

    def world(self) -> World:
        """The files it is about."""
        return World(self.seed)


def named(name: str, **options: Any) -> Scenario:
    """A scenario by its name, one of `NAMES` but `herd`; the README says what each is."""
    if name == "index-lost":
        # No rot: what nobody verified before the index was lost is adopted as it is found, and that is documented.
        options |= {"rot": 0.0, "losses": 4.0, "weights": {**_MIXED, "reconcile": 6, "rebuild": 2}}
    elif name == "calm":
        options |= {"kill_rate": 0.0, "faults": 0.0, "stops": 0.0, "rot": 0.0, "edits": 0.0}
    elif name == "repos":
        options |= {"weights": {**_MIXED, "repo": 5, "sync": 5}}
    elif name == "tier":
        options |= {"plants": 0.5}
    elif name == "hosts":
        # No host knows of every file before it reconciles: what is over the budget, rowless or rotten is told in the end.
        weights = {**_MIXED, "reconcile": 6, "look": 0}
        options |= {"hosts": True, "room": 4.0, "rot": 0.0, "edits": 0.0, "weights": weights}
    elif name == "eviction":
        options |= {"room": 0.25, "weights": {**_MIXED, "gc": 15, "handout": 25, "verify": 1, "repair": 1}}
    elif name != "mixed":
        raise ValueError(f"scenario {name!r}: expected one of {', '.join(NAMES)}")
    return Scenario(name=name, **options)


NAMES = ("mixed", "index-lost", "eviction", "repos", "calm", "tier", "hosts", "herd")


class Setting(NamedTuple):
    """Where a race takes place: given to every process of it.

    Attributes:
        root: Of the cache.
        journals: The folder of the journals.
        endpoint: Of the hub.
        budget: `max_size`, in bytes.
        shelf: The folder that is a tier to every other process; None: there is no tier.
        hosts: Whether every other process is another host.
    """

    root: Path
    journals: Path
    endpoint: str
    budget: int
    shelf: Path | None = None
    hosts: bool = False


class Doom(NamedTuple):
    """How an operation's process is killed.

    Attributes:
        signal: `SIGKILL` or `SIGTERM`.
        step: Before the step of this number; 0: by the clock.
        after: Seconds after the operation began, if by the clock.
    """

    signal: str
    step: int
    after: float


class Choice(NamedTuple):
    """One operation of one process.

    Attributes:
        kind: Which.
        file: What it is about.
        seconds: How long a file is held, or a path kept before it is opened.
        share: A number from 0 to 1 that the operation makes of what it needs.
        doom: How it is cut short, None where it is not.
        think: Seconds until the next one.
    """

    kind: str
    file: File
    seconds: float
    share: float
    doom: Doom | None
    think: float


def choices(scenario: Scenario, world: World, slot: int, life: int) -> Iterator[Choice]:
    """Without end: what the process in this slot does in this life of it. The same seed, the same choices."""
    chance = random.Random(f"{scenario.seed}/worker/{slot}/{life}")
    kinds, weights = zip(*sorted(scenario.weights.items()), strict=True)
    files, number = world.moving, life * 3
    while True:
        number += 1
        # A window that moves over the files: what it has left is soon idle, evicted, and wanted again later.
        first = number // _SHIFT * 4 + slot // 8 * 8
        file = files[(first + chance.randrange(_WINDOW)) % len(files)]
        kind = chance.choices(kinds, weights)[0]
        seconds = chance.uniform(0.0, PROMISE - 0.05) if kind == "handout" else chance.expovariate(2.0)
        doom = _doom(chance) if chance.random() < scenario.kill_rate else None
        yield Choice(kind, file, min(seconds, 2.0), chance.random(), doom, chance.expovariate(1 / _THINK))


def _doom(chance: random.Random) -> Doom:
    signal = "SIGTERM" if chance.random() < 0.1 else "SIGKILL"
    if chance.random() < 0.5:
        return Doom(signal, chance.randint(1, 30), 0.0)
    return Doom(signal, 0, math.exp(chance.uniform(math.log(0.0005), math.log(0.5))))
