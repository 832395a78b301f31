"""Mutate the modules that decide, run their fast tests on each mutant, and compare who survived with `survivors.toml`.

Exits with 1 where a mutant survives that is not listed, a listed one does not, or fewer than nine in ten die in a part.
"""

import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent.parent
MADE = HOME / "mutants"
LEAST = 0.9  # of the mutants of each part
MUTMUT = str(Path(sys.executable).parent / "mutmut")
ALIVE = (0, 33)  # what mutmut writes down of a mutant: the tests passed, or none reaches it


def changed(mutant: str) -> str:
    """The lines that a mutant has in place of the source's, as one."""
    shown = subprocess.run([MUTMUT, "show", mutant], cwd=HOME, check=True, capture_output=True, text=True).stdout
    lines = [line[1:].strip() for line in shown.splitlines() if line.startswith("+") and not line.startswith("+++")]
    return " ".join(lines)


def outcomes() -> dict[str, dict[str, int | None]]:
    """What became of each mutant, by module."""
    found = {}
    for meta in sorted(MADE.rglob("*.py.meta")):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            found[str(meta.relative_to(MADE / "src" / "model_cache")).removesuffix(".meta")] = codes
    return found


def main() -> int:
    """Run, print a line for each module, and say what is not as listed."""
    shutil.rmtree(MADE, ignore_errors=True)  # it keeps what became of mutants, also after the tests have changed
    (HOME / "build").mkdir(exist_ok=True)
    with (HOME / "build" / "mutants.txt").open("w") as log:
        subprocess.run([MUTMUT, "run", *sys.argv[1:]], cwd=HOME, stdout=log, stderr=log, check=True)
    listed = Counter()
    for group in tomllib.loads((HOME / "tests" / "mutants" / "survivors.toml").read_text())["survivor"]:
        listed.update((group["module"], line) for line in group["mutants"])
    alive, made, killed = Counter(), Counter(), Counter()
    for module, codes in outcomes().items():
        survived = [mutant for mutant, code in codes.items() if code is None or code in ALIVE]
        alive.update((module, changed(mutant)) for mutant in survived)
        part = module.partition("/")[0]  # what decides about the budget is two modules
        made[part] += len(codes)
        killed[part] += len(codes) - len(survived)
    for part, count in made.items():
        print(f"{part:12} {count:4} mutants {killed[part]:4} killed {killed[part] / count:6.1%}")
    few = [part for part, count in made.items() if killed[part] < LEAST * count]
    for title, lines in (
        ("survives, and is not listed", alive - listed),
        ("is listed, and does not survive", listed - alive),
    ):
        for module, line in lines:
            print(f"{title}: {module}: {line}")
    return 1 if alive != listed or few or not alive else 0


if __name__ == "__main__":
    sys.exit(main())
