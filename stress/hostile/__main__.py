"""`python -m stress.hostile`: a Hub that lies, case by case, and where a token could show: what was measured, in tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby

from rich.console import Console
from rich.table import Table

from . import bodies, documents, heads, inward, listings
from .trial import Case, Seen, run_all

CASES: list[Case] = [*bodies.CASES, *heads.CASES, *documents.CASES, *listings.CASES]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stress.hostile", description=__doc__)
    parser.add_argument("--each", action="store_true", help="a line for each case, not for each group")
    parser.add_argument("--json", action="store_true", help="everything that was seen")
    parser.add_argument("words", nargs="*", help="only cases whose group or name has one of these words in it")
    return parser


def _table(seen: Iterable[Seen], *, each: bool) -> Table:
    table = Table(box=None)
    for name in (
        "what lies",
        "cases",
        "memory",
        "on disk beyond the promise",
        "seconds",
        "requests",
        "as it should be",
    ):
        table.add_column(name, justify="left" if name == "what lies" else "right")
    for group, some in groupby(seen, key=lambda one: f"{one.group}: {one.name}" if each else one.group):
        found = list(some)
        beyond = max(max(one.disk - one.promised, 0) for one in found)
        table.add_row(
            group,
            str(len(found)),
            f"{max(one.memory for one in found) / 2**20:.0f} MiB",
            f"{beyond / 1000:.0f} kB",
            f"{max(one.seconds for one in found):.1f}",
            str(max(one.requests for one in found)),
            str(sum(not one.faults for one in found)),
        )
    return table


def main() -> int:
    """Run what was asked for; 1 where anything was not as it should be."""
    given = _parser().parse_args()
    console = Console(stderr=given.json, width=120)
    wanted = [
        case for case in CASES if not given.words or any(word in f"{case.group} {case.name}" for word in given.words)
    ]
    seen = run_all(wanted)
    if not given.words or "inside" in given.words:
        why_not = inward.lacking()
        console.print(f"inside: left out: {why_not}" if why_not else "", end="\n" if why_not else "")
        seen += [] if why_not else inward.run_apart()
    console.print(_table(seen, each=given.each))
    for one in seen:
        for fault in one.faults:
            console.print(f"{one.group}: {one.name}: {fault}", highlight=False, markup=False)
    if given.json:
        print(json.dumps([asdict(one) for one in seen], indent=1))
    return int(any(one.faults for one in seen))


if __name__ == "__main__":
    sys.exit(main())
