"""`python -m bench.peers [--save] [TRIAL…]`: try each thing with each tool, and say where the README says something else.

`--save` keeps the outcomes in `outcomes.json`, and writes the README's table out of them. Exits 1 where an outcome is not the
one that is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import words
from .tools import HOME, TOOLS
from .trials import TRIALS, run

KEPT = Path(__file__).with_name("outcomes.json")
README = HOME / "README.md"


def read() -> dict[str, Any]:
    """What was seen before: `versions` of the tools, and `outcomes` by trial and tool."""
    found: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return found


def main() -> int:
    """Try, tell, and keep it if that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    parser.add_argument("--save", action="store_true", help="keep the outcomes, and write the README's table")
    given = parser.parse_args()
    kept = read() if KEPT.exists() else {"versions": {}, "outcomes": {}}
    seen: dict[str, dict[str, str]] = {}
    for trial in given.trials or TRIALS:
        seen[trial] = {}
        for tool in TOOLS:
            with tempfile.TemporaryDirectory(prefix="model-cache-peers-") as folder:
                seen[trial][tool.name] = run(trial, tool, Path(folder))
            was = kept["outcomes"].get(trial, {}).get(tool.name, "new")
            moved = "" if was == seen[trial][tool.name] else f"  (was: {was})"
            print(f"{trial:12} {tool.name:16} {seen[trial][tool.name]}{moved}", flush=True)
    differ = any(kept["outcomes"].get(trial) != found for trial, found in seen.items())
    if given.save:
        kept = {
            "versions": {tool.name: tool.version for tool in TOOLS[1:]},
            "outcomes": {trial: {**kept["outcomes"], **seen}[trial] for trial in TRIALS},
        }
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        README.write_text(with_table(README.read_text(encoding="utf-8"), kept), encoding="utf-8")
        return 0
    return 1 if differ else 0


def with_table(text: str, kept: dict[str, Any]) -> str:
    """The README with the table of these outcomes, and the versions that they are of."""
    head, _, rest = text.partition(words.BEGIN)
    _, mark, tail = rest.partition(words.END)
    assert mark, "the README has no place for the table"
    return head + words.table(kept["outcomes"]) + tail


if __name__ == "__main__":
    sys.exit(main())
