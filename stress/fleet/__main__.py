"""`python -m stress.fleet [--mib N] [--json] [--brief] [--only WORD]`: what a fleet promises, on real engines.

Four hosts are network namespaces with roots of their own. They reach a loopback hub, `rclone serve s3` and PostgreSQL over a
bridge. Exit 1 if a promise is not kept, 2 where none of this is to be had.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence

from . import crowds, leaders, once, outages
from .network import go_apart, lacking
from .rows import Row, table
from .site import Site, opened

_TRIALS: dict[str, Callable[[Site], Iterator[Row]]] = {
    "once": once.tried,
    "leaders": leaders.tried,
    "crowds": crowds.tried,
    "outages": outages.tried,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try it all, in a network of its own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if not options.apart:
        if why_not := lacking():
            print(f"not tried: {why_not}", file=sys.stderr)
            return 2
        go_apart("stress.fleet", [*given, "--apart"])
    rows = []
    with opened(options.mib << 20, options.place, brief=options.brief) as site:
        for name, tried in _TRIALS.items():
            if options.only in ("", name):
                for row in tried(site):
                    rows.append(row)
                    print(f"{name}: {row.what}: {row.measured}, asked {row.asked}", file=sys.stderr, flush=True)
    print(json.dumps([row._asdict() for row in rows]) if options.json else table(rows))
    return judged(rows, brief=options.brief)


def judged(rows: Sequence[Row], *, brief: bool) -> int:
    """The exit code."""
    return 0 if all(row.kept or (row.timed and brief) for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stress.fleet", description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="of the large file (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.add_argument("--brief", action="store_true", help="less is tried, and nothing fails for a time")
    parser.add_argument("--only", choices=("", *_TRIALS), default="", help="only these")
    parser.add_argument("--place", help="a directory for all of its files: eleven times the large one")
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
