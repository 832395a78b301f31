"""`python -m bench.fleet [--most N] [--save]`: a simulated fleet, as two tables.

`--save` writes them and the picture into the docs. Every run is decided by its plan and its seed, so the figures are the same
on every machine.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from bench.results import HOME
from model_cache.units import format_size

from . import figures, picture
from .figures import Run
from .picture import Line, Panel
from .plan import WAYS
from .site import Outcome

PAGE = HOME / "docs" / "explanation" / "fleet.md"
PICTURE = HOME / "docs" / "images" / "fleet.svg"
_MARKS = ("<!-- {} by `python -m bench.fleet --save` -->", "<!-- end of {} -->")
_STYLES = (
    ("#8c959f", "stroke-width='7' stroke-linecap='round' opacity='.6'"),
    ("#c2410c", "stroke-width='2' stroke-dasharray='6 4'"),
    ("#1a7f4b", "stroke-width='2.5'"),
)
_BYTES = [(10.0**power, format_size(10**power)) for power in range(9, 15)]
_TIMES = [(10.0, "10 s"), (60.0, "1 min"), (600.0, "10 min"), (3600.0, "1 h"), (36_000.0, "10 h"), (86_400.0, "a day")]


def main() -> None:
    """Run all, and show it."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--most", type=int, default=figures.HOSTS[-1], help="hosts of the largest run of the sweep")
    parser.add_argument("--save", action="store_true", help="write the docs' page and picture")
    given = parser.parse_args()
    gc.disable()  # a run makes no garbage to speak of, and looking for it takes a third of the time
    sweep = _told(figures.sweep(number for number in figures.HOSTS if number <= given.most))
    cases = _told(figures.cases(min(1000, given.most)))
    tables = {"sweep": figures.table(sweep), "cases": figures.table(cases)}
    print("\n\n".join("\n".join(lines) for lines in tables.values()))
    if given.save:
        page = PAGE.read_text()
        for name, lines in tables.items():
            page = put(page, name, lines)
        PAGE.write_text(page)
        PICTURE.write_text(drawn(sweep))


def put(page: str, name: str, lines: list[str]) -> str:
    """The page with a table between its two marks."""
    first, last = (mark.format(name) for mark in _MARKS)
    before, rest = page.split(first)
    return "\n".join([f"{before}{first}", "", *lines, "", f"{last}{rest.split(last)[1]}"])


def drawn(runs: Iterable[Run]) -> str:
    """The sweep as a picture."""
    found = list(runs)

    def lines(value: Callable[[Outcome], float]) -> list[Line]:
        points = {way: [(run.plan.hosts, value(run.outcome)) for run in found if run.plan.way == way] for way in WAYS}
        return [Line(way, *style, points[way]) for way, style in zip(WAYS, _STYLES, strict=True)]

    panels = [
        Panel("from the Hub", lines(lambda outcome: outcome.hub), _BYTES),
        Panel("to and from the bucket", lines(lambda outcome: outcome.bucket + outcome.offered), _BYTES),
        Panel("until the last process has it", lines(lambda outcome: outcome.last), _TIMES),
    ]
    title = f"A fleet that starts cold: one file of {format_size(found[0].plan.size)}, all hosts within a minute"
    subtitle = (
        "Simulated: the code that decides is the package's own; time and network are virtual. Both axes are logarithms."
    )
    return picture.draw(panels, title, subtitle)


def _told(runs: Iterator[Run]) -> list[Run]:
    found, began = [], time.monotonic()
    for run in runs:
        found.append(run)
        seconds, began = time.monotonic() - began, time.monotonic()
        things = f"{run.outcome.happened:,} things happened"
        print(f"{run.plan.hosts:,} hosts, {run.name}: {things} in {seconds:.1f} s", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
