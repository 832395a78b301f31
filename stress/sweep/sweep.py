"""All points of all operations, in pieces that worker processes take one by one."""

from __future__ import annotations

import logging
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..invariants import Violation
from .doomed import Outcome, Zygote
from .points import Point, faults
from .trial import Bench

_PIECE = 300  # system calls of one piece: what is put right once per piece is then a small part of it
_PAIRS = 7  # of each operation
_DRAWS = 40  # tries for so many pairs: many a second point is behind the end
_SECONDS = 12  # named steps of what comes next among which the second kill is drawn
_FULL = ("ENOSPC", "EDQUOT")
_SWITCH = 0.0005  # seconds: the hub's threads and the one that decides calls take turns


class Piece(NamedTuple):
    """Part of one sweep of one operation.

    Attributes:
        what: `named`, `calls`, `all`, `pairs`; `brief` (every call fails once, the errors taking turns), `fault`, or `every`
            (with every error in every place).
        first: The first point, from 1.
        last: The last one; 0 for however many there are.
        one_in: Of the system calls, one in so many; which, `seed` says.
    """

    what: str
    operation: str
    first: int = 1
    last: int = 0
    seed: int = 0
    one_in: int = 1


class Found(NamedTuple):
    """A violation, and where."""

    operation: str
    spec: str
    hit: str
    violation: Violation


@dataclass
class Result:
    """What came of a piece.

    Attributes:
        points: How many places it was killed or failed at.
    """

    piece: Piece
    points: int = 0
    found: list[Found] = field(default_factory=list)
    seconds: float = 0.0


def scratch() -> Path:
    """A directory for roots: in memory where there is one, for what is proven here is not the disk."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="model-cache-sweep-", dir=memory if memory.is_dir() else None))


class Worker:
    """Does pieces, one after the other, with one process that forks."""

    def __init__(self) -> None:
        sys.setswitchinterval(_SWITCH)
        logging.getLogger("model_cache").addHandler(logging.NullHandler())
        self.folder = scratch()
        self.zygote = Zygote()

    def __enter__(self) -> Worker:
        self.zygote.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.zygote.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def do(self, piece: Piece) -> Result:
        """One piece."""
        began = time.monotonic()
        result = Result(piece)
        with Bench(piece.operation, self.folder / piece.operation, self.zygote) as bench:
            for spec, outcome, violations in _SWEEPS[piece.what](bench, piece, bench.rehearse()):
                result.points += 1
                result.found += [Found(piece.operation, spec, outcome.hit, one) for one in violations]
        result.seconds = time.monotonic() - began
        return result

    def replay(self, operation: str, point: Point, *, again: Point | None = None) -> tuple[Outcome, list[Violation]]:
        """One point."""
        with Bench(operation, self.folder / operation, self.zygote) as bench:
            bench.rehearse()
            return bench.fail(point, every=True) if point.error else bench.kill(point, again=again)

    def count(self, operation: str) -> int:
        """How many system calls an operation makes on something below the root."""
        with Bench(operation, self.folder / operation, self.zygote) as bench:
            return len(bench.rehearse().calls)


_Tried = Iterator[tuple[str, Outcome, list[Violation]]]


def _numbers(piece: Piece) -> Iterator[int]:
    number = piece.first
    while not piece.last or number <= piece.last:
        yield number
        number += 1


def _left_out(piece: Piece, number: int, whole: Outcome) -> bool:
    """Whether a call is none of the one in so many; those beyond what was rehearsed never are left out."""
    return number <= len(whole.calls) and (number + piece.seed) % piece.one_in != 0


def _named(bench: Bench, piece: Piece, _whole: Outcome) -> _Tried:
    for number in _numbers(piece):
        point = Point("step", number)
        outcome, found = bench.kill(point)
        if not outcome.hit and not found:
            return
        yield str(point), outcome, found


def _calls(bench: Bench, piece: Piece, whole: Outcome) -> _Tried:
    """A kill before a call that changes nothing leaves what the kill before the next one that does leaves."""
    for number in _numbers(piece):
        known = whole.calls[number - 1] if number <= len(whole.calls) else None
        if _left_out(piece, number, whole) or (piece.what == "calls" and known is not None and not known.changes):
            continue
        point = Point("call", number)
        outcome, found = bench.kill(point)
        if not outcome.hit and not found:
            return
        yield str(point), outcome, found


def _pairs(bench: Bench, piece: Piece, whole: Outcome) -> _Tried:
    """Killed, and killed again while the next operation recovers: drawn from a seed."""
    draw = random.Random(f"{piece.seed} {piece.operation}")
    count = 0
    for _ in range(_DRAWS):
        if count == _PAIRS or not whole.steps:
            return
        first = Point("step", draw.randint(1, len(whole.steps)))
        second = Point("step", draw.randint(1, _SECONDS))
        outcome, found = bench.kill(first, again=second)
        if outcome.ending == "killed" or found:
            count += 1
            yield f"{first},{second}", outcome, found


def _faults(bench: Bench, piece: Piece, whole: Outcome) -> _Tried:
    for number in _numbers(piece):
        if _left_out(piece, number, whole):
            continue
        call = whole.calls[number - 1] if number <= len(whole.calls) else whole.calls[-1]
        ways = faults(call.name)
        if piece.what == "brief":
            ways = [ways[number // piece.one_in % len(ways)]]
        elif piece.what == "fault":
            # SQLite has one answer to all of them; of the errors that last, one does for the others.
            lasting = [way for way in ways if way[1]]
            # A full disk and a full quota are one thing to the code (`disk.is_full`): they take turns.
            other = _FULL[number % len(_FULL)]
            ways = (
                [ways[number % len(ways)]] if call.on_index else [way for way in ways if not way[1] and way[0] != other]
            )
            ways += [lasting[number % len(lasting)]] if not call.on_index and lasting else []
        hit = False
        for error, on in ways:
            point = Point("call", number, error, on)
            outcome, found = bench.fail(point, every=piece.what == "every")
            if outcome.hit or found:
                hit = True
                yield str(point), outcome, found
        if not hit and number > len(whole.calls):
            return


_SWEEPS = {
    "named": _named,
    "calls": _calls,
    "all": _calls,
    "pairs": _pairs,
    "brief": _faults,
    "fault": _faults,
    "every": _faults,
}

_worker: Worker | None = None  # of this process


def _begin() -> None:
    global _worker  # noqa: PLW0603 - one for all pieces that this process does
    _worker = Worker()
    _worker.__enter__()
    multiprocessing.util.Finalize(None, _worker.__exit__, exitpriority=10)


def _do(piece: Piece) -> Result:
    assert _worker is not None
    return _worker.do(piece)


def _count(operation: str) -> tuple[str, int]:
    assert _worker is not None
    return operation, _worker.count(operation)


def sweep(operations: list[str], kinds: list[str], jobs: int, seed: int = 0, one_in: int = 1) -> Iterator[Result]:
    """Sweep operations in so many processes; results as they come.

    Args:
        kinds: As `Piece.what`.
        one_in: Of the system calls, one in so many.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin) as pool:
        pieces = [Piece(kind, name, seed=seed) for name in operations for kind in kinds if kind in ("named", "pairs")]
        for kind in kinds:
            if kind not in ("named", "pairs"):
                for name, calls in pool.map(_count, operations):
                    starts = list(range(1, calls + 1, _PIECE))
                    lasts = [first - 1 for first in starts[1:]] + [0]
                    pieces += [Piece(kind, name, *both, seed, one_in) for both in zip(starts, lasts, strict=True)]
        for done in as_completed([pool.submit(_do, piece) for piece in pieces]):
            yield done.result()
