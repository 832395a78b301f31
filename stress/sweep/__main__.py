"""`python -m stress.sweep kill` and `python -m stress.sweep fault`: exit 1 if anything was broken."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from ..operations import OPERATIONS
from . import seccomp
from .acts import after
from .points import parse
from .sweep import Found, Result, Worker, sweep


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress.sweep", description=__doc__)
    parser.add_argument("sweep", choices=["kill", "fault"])
    parser.add_argument("--operation", nargs="+", choices=list(OPERATIONS), metavar="NAME", default=list(OPERATIONS))
    parser.add_argument(
        "--at", metavar="SPEC", help="one point: step:7, call:12, call:12:EIO, step:7,step:2 for a pair"
    )
    parser.add_argument(
        "--points",
        choices=["named", "calls", "all", "brief"],
        default="calls",
        help="kill: named steps; and before each call that changes something; all: before locks and reads too."
        " fault: all has every error in every place, brief one in every place, in turns",
    )
    parser.add_argument("--jobs", type=int, default=2, help="worker processes (2)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the pairs of kills, and of which calls those of --one-in are (0)"
    )
    parser.add_argument("--one-in", type=int, default=1, metavar="N", help="of the system calls one in so many (1)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was found")
    parser.add_argument("--list", action="store_true", help="only list the operations")
    return parser.parse_args()


def _kinds(given: argparse.Namespace) -> list[str]:
    if given.sweep == "fault":
        return [{"all": "every", "brief": "brief"}.get(given.points, "fault")]
    kills = {
        "named": ["named"],
        "brief": ["named"],
        "calls": ["named", "calls", "pairs"],
        "all": ["named", "all", "pairs"],
    }
    return kills[given.points]


def _replay(given: argparse.Namespace) -> int:
    first, _, second = given.at.partition(",")
    (operation,) = given.operation
    with Worker() as worker:
        outcome, found = worker.replay(operation, parse(first), again=parse(second) if second else None)
    print(f"{operation} {given.at}: {outcome.ending} at {outcome.hit or 'no point: it completes'}; {outcome.said}")
    print(f"then {after(operation, first)}")
    for violation in found:
        print(f"  {violation}")
    return 1 if found else 0


def _say(sweep: str, found: Found) -> None:
    print(f"{found.operation} at {found.spec} ({found.hit})\n  {found.violation}")
    print(f"  python -m stress.sweep {sweep} --operation {found.operation} --at {found.spec}", flush=True)


def _table(results: list[Result], kinds: list[str]) -> str:
    lines = [f"{'operation':15}" + "".join(f"{kind:>8}" for kind in kinds) + f"{'violations':>12}{'seconds':>9}"]
    for name in dict.fromkeys(result.piece.operation for result in results):
        mine = [result for result in results if result.piece.operation == name]
        points = [sum(result.points for result in mine if result.piece.what == kind) for kind in kinds]
        found, seconds = sum(len(result.found) for result in mine), sum(result.seconds for result in mine)
        lines.append(f"{name:15}" + "".join(f"{count:8}" for count in points) + f"{found:12}{seconds:9.1f}")
    return "\n".join(lines)


def main() -> int:
    """Sweep, print the table; 1 if anything was broken, 2 where it cannot be done."""
    given = _arguments()
    if given.list:
        print("\n".join(OPERATIONS))
        return 0
    kinds = _kinds(given)
    if (reason := seccomp.missing()) and given.points != "named":
        print(f"{reason}; the named steps can be swept: python -m stress.sweep kill --points named")
        return 2
    if given.at:
        return _replay(given)
    began, results = time.monotonic(), []
    for result in sweep(given.operation, kinds, given.jobs, given.seed, given.one_in):
        results.append(result)
        what, name, first, last, *_ = result.piece
        print(f"{name} {what} {first}-{last or ''}: {result.points} points, {result.seconds:.0f} s", file=sys.stderr)
        for found in result.found:
            _say(given.sweep, found)
    results.sort(key=lambda result: list(OPERATIONS).index(result.piece.operation))
    broken = [found for result in results for found in result.found]
    points, violations = sum(one.points for one in results), len(broken)
    print(_table(results, kinds))
    for found in broken:  # once more: of a log often only the end is left
        _say(given.sweep, found)
    print(f"{points} points, {violations} violations, {time.monotonic() - began:.0f} s")
    if given.json:
        said = [one._asdict() | {"violation": str(one.violation)} for one in broken]
        given.json.write_text(json.dumps({"points": points, "violations": said}, indent=1), encoding="utf-8")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
