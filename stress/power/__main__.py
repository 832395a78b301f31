"""`python -m stress.power`: lose the power at every system call of every operation, in every way that is legal.

What is legal, and what the columns say, is in the README of `stress`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from ..operations import OPERATIONS
from .following import Unexplained
from .losing import Bench, Broken, Lost, bench
from .mounts import go_private
from .states import parse

_COLUMNS = ("calls", "effects", "cuts", "states", "distinct", "recoveries")
T = TypeVar("T")

# `fix` changes modes alone, which an image does not lose: there is one state after it.
SWEPT = [name for name in OPERATIONS if name != "fix"]
_RECORDINGS = 6  # of an operation with threads
_SHOWN = 5  # violations of one operation


def _lose(name: str, most: int, limit: int | None, every: int, without: tuple[str, ...]) -> Lost:
    return _recorded(name, without, lambda one: one.lose(most, limit, every))


def _replay(name: str, state: str, without: tuple[str, ...]) -> list[Broken]:
    return _recorded(name, without, lambda one: one.examine(parse(state)))


def _recorded(name: str, without: tuple[str, ...], do: Callable[[Bench], T]) -> T:
    """Do it with a recording that can be followed.

    Of threads strace can write a call down behind one of another thread that used what it made: then once more, from the
    beginning.

    Raises:
        Unexplained: None of several recordings could be.
    """
    for _ in range(_RECORDINGS - 1):
        try:
            with bench(name, without) as one:
                return do(one)
        except Unexplained:
            continue
    with bench(name, without) as one:
        return do(one)


def _all(names: list[str], given: argparse.Namespace) -> Iterator[Lost]:
    """Lose the power of each, several at a time; in the order in which they end."""
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("fork")) as pool:
        what = (given.outstanding, given.limit, given.every, tuple(given.without_fsync))
        futures = [pool.submit(_lose, name, *what) for name in names]
        for future in as_completed(futures):
            yield future.result()


def _say(name: str, broken: list[Broken], options: str) -> None:
    for one in broken[:_SHOWN]:
        print(f"  {one.violation}\n    {name}: {one.words}", flush=True)
        print(f"    python -m stress.power{options} --at {name}:{one.state}", flush=True)
    if len(broken) > _SHOWN:
        print(f"  and {len(broken) - _SHOWN} more of {name}", flush=True)


def _row(name: str, values: list[object], broken: object, seconds: object) -> str:
    return f"{name:15}" + "".join(f"{value:>11}" for value in values) + f"{broken:>11}{seconds:>9}"


def as_json(all_lost: list[Lost]) -> list[dict[str, Any]]:
    """All of it as JSON values."""
    return [
        one._asdict()
        | {"broken": [{"state": b.state, "words": b.words, "violation": list(b.violation)} for b in one.broken]}
        for one in all_lost
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stress.power", description=__doc__.splitlines()[0])
    parser.add_argument("--operation", nargs="+", choices=OPERATIONS, default=SWEPT, metavar="NAME")
    parser.add_argument(
        "--outstanding", type=int, default=4, metavar="N", help="lost in every combination (%(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="operations at a time (%(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="recover from the first N distinct states of each only")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="recover from every N-th distinct state only")
    parser.add_argument("--at", metavar="OPERATION:STATE", help="recover from this state alone")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything that was seen")
    parser.add_argument(
        "--without-fsync",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="as if what is fsynced at these paths below the root were not: to see that it is noticed",
    )
    return parser


def main() -> int:
    """Lose it, and print what came of it: 0 if every promise was kept, else 1."""
    given = _parser().parse_args()
    try:
        if sys.platform != "linux" or not shutil.which("strace"):
            raise OSError("needs Linux, and strace")
        go_private()
    except OSError as error:
        print(
            f"skipped: {error} (it records system calls, and mounts a file system in memory, as root or in a user namespace)"
        )
        return 0
    patterns = given.without_fsync
    options = f" --without-fsync {' '.join(map(repr, patterns))}" if patterns else ""
    if given.at:
        name, _, state = given.at.partition(":")
        broken = _replay(name, state, tuple(patterns))
        _say(name, broken, options)
        print(f"{len(broken)} violations")
        return 1 if broken else 0
    began, every = time.monotonic(), []
    print(_row("operation", list(_COLUMNS), "violations", "seconds"), flush=True)
    for lost in _all(given.operation, given):
        every.append(lost)
        values = [getattr(lost, column) for column in _COLUMNS]
        print(_row(lost.operation, values, len(lost.broken), f"{lost.seconds:.1f}"), flush=True)
        _say(lost.operation, lost.broken, options)
    sums = [sum(getattr(lost, column) for lost in every) for column in _COLUMNS]
    violations = sum(len(lost.broken) for lost in every)
    print(_row(f"all {len(every)}", list(sums), violations, f"{time.monotonic() - began:.1f}"))
    if given.json:
        given.json.write_text(json.dumps(as_json(every), indent=2) + "\n", encoding="utf-8")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
