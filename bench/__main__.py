"""`python -m bench [--rounds N] [--save] [CASE…]`: measure, print a table and how each ratio moved; JSON with --json.

Exits 1 when a ratio is over what is asked, or worse than before by more than the margin. `--save` makes the results those
of before, and writes the page and the picture of the docs.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from . import chart, herd, repos, results
from .budget import evicting, many_rows
from .cases import CASES, Row
from .large import large
from .verifying import verifying

CASES |= {"herd": herd.herd, "hits": herd.hits}
CASES |= repos.CASES
CASES |= {"rows": many_rows, "evicting": evicting, "large": large, "verify": verifying}

_PICTURE = results.HOME / "docs" / "images" / "bench.svg"


def main() -> int:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=7, help="runs of each program; the median counts")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--save", action="store_true", help="keep the results, and write the docs' page and picture")
    given = parser.parse_args()
    before, measured = results.read(), _measure(given.cases or list(CASES), given.rounds)
    failed = False
    for case, rows in measured.items():
        for row in rows:
            words, bad = results.judge(case, row, before)
            failed |= bad
            spread = "" if row.low is None else f" ({row.low:.3g} to {row.high:.3g})"
            sign = "!" if bad else " "
            print(f"{sign} {case}: {row.name} beside {row.peer}: {row.ratio:.3g}{spread}; {words}", file=sys.stderr)
    described = [results.as_json(row) for found in measured.values() for row in found]
    print(json.dumps(described, indent=2) if given.json else "\n".join(results.table(described)))
    if given.save:
        _save(measured)
    return 1 if failed else 0


def _measure(cases: list[str], rounds: int) -> dict[str, list[Row]]:
    measured = {}
    for name in cases:
        print(f"measuring {name} …", file=sys.stderr)
        measured[name] = CASES[name](rounds)
    return measured


def _save(measured: dict[str, list[Row]]) -> None:
    found = results.save(measured)
    results.write_page(found)
    rows = [row for rows in found["cases"].values() for row in rows]
    chart.write(_PICTURE, [_bar(row) for row in rows if row["asked"] is not None], _TITLE, _SUBTITLE)


_TITLE = "How long it takes, beside what people would otherwise use"
_SUBTITLE = "Our time divided by the peer's, medians of pairs in one run on one machine. To the left is faster."


def _bar(row: dict[str, Any]) -> chart.Bar:
    return chart.Bar(row["name"], row["peer"], row["ratio"], row["low"], row["high"], row["asked"])


if __name__ == "__main__":
    sys.exit(main())
