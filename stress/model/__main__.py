"""`python -m stress.model`: explore every world, and every mutant until it is caught; exit 1 if something is wrong.

`--trace NAME` prints how a mutant, or one of the things that are taken for granted, breaks which invariant, step by step.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

from .explore import Explored, explore
from .mutants import GAPS, MUTANTS, WORLDS, Mutant
from .tracing import told


def caught(mutant: Mutant) -> Explored:
    """The exploration in which a mutant is caught, or the last one that it survived."""
    found = None
    for config in mutant.configs():
        found = explore(config)
        if found.violated is not None:
            break
    assert found is not None, "a mutant names a world"
    return found


def is_caught(mutant: Mutant, found: Explored) -> bool:
    """Whether an invariant that the switch is there for has failed."""
    return found.violated is not None and found.violated.invariant in mutant.invariants


def _worlds(out: TextIO) -> Iterator[dict[str, Any]]:
    print(f"{'world':26} {'states':>8} {'transitions':>11} {'depth':>5} {'seconds':>7}  violations", file=out)
    for name, config in WORLDS.items():
        found = explore(config)
        line = f"{name:26} {found.states:8} {found.transitions:11} {found.depth:5} {found.seconds:7.1f}"
        print(f"{line}  {'0' if found.violated is None else found.violated}", file=out)
        if found.violated is not None:
            print("\n".join(told(found)), file=out)
        yield {
            "world": name,
            "programs": config.programs,
            "states": found.states,
            "transitions": found.transitions,
            "depth": found.depth,
            "seconds": round(found.seconds, 2),
            "violated": found.violated and str(found.violated),
        }


def _mutants(out: TextIO) -> Iterator[dict[str, Any]]:
    print(f"\n{'mutant':54} {'caught by':9} {'states':>7} {'steps':>5}  in", file=out)
    for mutant in MUTANTS:
        found = caught(mutant)
        by = found.violated.invariant if found.violated else "-"
        says = by if is_caught(mutant, found) else f"{by} WRONG" if found.violated else "SURVIVES"
        length = len(found.way) - 1 if found.way else 0
        print(f"{mutant.name:54} {says:9} {found.states:7} {length:5}  {found.config.name}", file=out)
        yield {
            "mutant": mutant.name,
            "caught": is_caught(mutant, found),
            "violated": found.violated and str(found.violated),
            "world": found.config.name,
            "states": found.states,
            "steps": length,
            "seconds": round(found.seconds, 2),
        }


def _gaps(out: TextIO) -> Iterator[dict[str, Any]]:
    print("\ntaken for granted; where it is not so:", file=out)
    for gap in GAPS:
        found = explore(gap.config)
        print(f"  {gap.says}\n    else {found.violated or 'nothing comes of it'}", file=out)
        yield {"gap": gap.name, "says": gap.says, "else": found.violated and str(found.violated)}


def _trace(name: str) -> int:
    for mutant in MUTANTS:
        if mutant.name == name:
            print("\n".join(told(caught(mutant))))
            return 0
    for gap in GAPS:
        if gap.name == name:
            print("\n".join(told(explore(gap.config))))
            return 0
    known = "\n  ".join([*(mutant.name for mutant in MUTANTS), *(gap.name for gap in GAPS)])
    print(f"error: no mutant is called {name!r}; there are\n  {known}", file=sys.stderr)
    return 2


def main() -> int:
    """Explore, print the tables, and say whether all is as it must be."""
    parser = argparse.ArgumentParser(prog="python -m stress.model", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trace", metavar="NAME", help="how this mutant breaks an invariant, step by step")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, the tables on stderr")
    given = parser.parse_args()
    if given.trace:
        return _trace(given.trace)
    began = time.perf_counter()
    out = sys.stderr if given.json else sys.stdout
    report = {"worlds": list(_worlds(out)), "mutants": list(_mutants(out)), "gaps": list(_gaps(out))}
    states = sum(one["states"] for kind in ("worlds", "mutants") for one in report[kind])
    violations = sum(world["violated"] is not None for world in report["worlds"])
    surviving = [mutant["mutant"] for mutant in report["mutants"] if not mutant["caught"]]
    seconds = time.perf_counter() - began
    words = f"{states} states in {seconds:.0f} s: {violations} violations,"
    print(f"\n{words} {len(MUTANTS) - len(surviving)} of {len(MUTANTS)} mutants caught", file=out)
    if given.json:
        json.dump({"states": states, "seconds": round(seconds, 1)} | report, sys.stdout, indent=2)
        print()
    return 1 if violations or surviving else 0


if __name__ == "__main__":
    sys.exit(main())
