"""`python -m bench [--rounds N] [CASE…]`: measure and print a table; JSON with --json."""

from __future__ import annotations

import argparse
import json
import sys

from .budget import evicting, many_rows
from .cases import CASES, Row
from .large import large
from .transfer import fast_link, ranges
from .verifying import verifying

CASES |= {"rows": many_rows, "evicting": evicting, "large": large, "verify": verifying}
CASES |= {"ranges": ranges, "fast-link": fast_link}


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=7, help="runs of each program; the median counts")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.cases or CASES:
        print(f"measuring {name} …", file=sys.stderr)
        rows += CASES[name](given.rounds)
    if given.json:
        print(json.dumps([{**row._asdict(), "ratio": row.ratio} for row in rows], indent=2))
        return
    for line in table(rows):
        print(line)


def table(rows: list[Row]) -> list[str]:
    """The rows as Markdown: the ratio is what counts, the times are those of this machine."""
    lines = ["| what | ours | beside | its time | ratio | asked | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        asked = "" if row.asked is None else f"≤ {row.asked:g}"
        times = f"{_time(row.ours)} | {row.peer} | {_time(row.theirs)}"
        lines.append(f"| {row.name} | {times} | {row.ratio:.2f} × | {asked} | {row.note} |")
    return lines


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            break
    return f"{seconds / size:.3g} {unit}"


if __name__ == "__main__":
    main()
