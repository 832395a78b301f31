"""`python -m stress`: race many processes on the same files, kill them, and judge every invariant by its name.

What the scenarios do and what the tables say is in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.status import Status

from .race.arena import Arena
from .race.report import as_dict, passed, progress, show
from .race.scenario import NAMES, named

_PLAIN = 10.0  # seconds between two lines of progress where there is no terminal


class _Teller:
    """Says how it goes: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = console.status("starting") if console.is_terminal else None
        self._said = time.monotonic()

    def __enter__(self) -> _Teller:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, arena: Arena) -> None:
        """Say it."""
        if self._status is not None:
            self._status.update(progress(arena))
        elif time.monotonic() - self._said > _PLAIN:
            self._said = time.monotonic()
            self._console.print(progress(arena), highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stress", description=__doc__)
    parser.add_argument("--scenario", choices=NAMES, default="mixed", help="(%(default)s)")
    parser.add_argument("--processes", type=int, help="(32; herd: 64)")
    parser.add_argument("--seconds", type=float, default=120.0, help="(%(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="all choices follow from it (%(default)d)")
    parser.add_argument(
        "--kill-rate", type=float, default=0.2, help="share of operations that are killed (%(default)g)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything that was seen")
    parser.add_argument("--picture", type=Path, metavar="PATH.svg", help="draw who did what when")
    parser.add_argument("--folder", type=Path, help="where the root is made (a temporary directory)")
    parser.add_argument("--keep", type=Path, help="copy root and journals here if anything is amiss")
    return parser


def _race(given: argparse.Namespace, console: Console) -> int:
    from .race.gantt import of_race

    scenario = named(
        given.scenario,
        seed=given.seed,
        processes=given.processes or 32,
        seconds=given.seconds,
        kill_rate=given.kill_rate,
    )
    with (
        tempfile.TemporaryDirectory(prefix="model-cache-race-", dir=given.folder) as folder,
        _Teller(console) as teller,
    ):
        arena = Arena(scenario, Path(folder), teller.tell)
        arena.run()
        if given.keep and not passed(arena.oracle):
            arena.keep(given.keep)
    show(arena, console)
    if given.json:
        given.json.write_text(json.dumps(as_dict(arena), indent=2) + "\n", encoding="utf-8")
    if given.picture:
        given.picture.write_text(of_race(arena), encoding="utf-8")
    return 0 if passed(arena.oracle) else 1


def main() -> int:
    """Race, and say what came of it: 0 if every promise was kept and looked at, else 1."""
    given = _parser().parse_args()
    console = Console()
    if sys.platform != "linux":
        console.print("the race needs Linux (prctl, /proc): skipped")
        return 0
    try:
        if given.scenario == "herd":
            from .race.herd import main as herd

            return herd(given, console)
        return _race(given, console)
    except KeyboardInterrupt:
        console.print("stopped; every process of the race is ended")
        return 130


if __name__ == "__main__":
    sys.exit(main())
