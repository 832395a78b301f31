"""Each invariant broken on purpose, in a copy of the source: do the proofs notice?

`python -m stress.mutations` copies the repository's `src`, `stress` and `tests` to a scratch directory, changes a few
words of one module, and runs the proof that is named beside the mutation. It must fail, and its output must name the
invariant. The same proofs are run once on the copy as it is: there they must pass.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

_HOME = Path(__file__).resolve().parent.parent
_LIMIT = 600.0  # seconds for one proof
_SWEEP = ("-m", "stress.sweep", "kill", "--points", "named", "--operation")


class Mutation(NamedTuple):
    """One change of the source.

    Attributes:
        invariant: What it breaks.
        what: The same in words.
        module: The file, below `src/model_cache`.
        old: Text that stands there exactly once.
        new: Text that takes its place.
        proof: Arguments of the interpreter: what must notice.
    """

    invariant: str
    what: str
    module: str
    old: str
    new: str
    proof: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "I1",
        "bytes get their name before they are durable",
        "download/partial.py",
        "            os.fsync(self._fd)\n",
        "            os.fstat(self._fd)\n",
        ("-m", "stress.power", "--operation", "fetch"),
    ),
    Mutation(
        "I1",
        "what a tier sends is published as it comes",
        "download/sharing.py",
        "        partial.check(coming.meta, str(coming.entry))\n",
        "        _ = coming.meta\n",
        (*_SWEEP, "tier-replace"),
    ),
    Mutation(
        "I2",
        "who waits for the write lock goes on without it",
        "write_lock.py",
        "        while not (self._stand_in(needless if waited else None) and self._take()):\n",
        "        while self._stand_in(None) and not self._take():\n",
        ("-m", "stress", "--scenario", "herd"),
    ),
    Mutation(
        "I3",
        "an evictor asks nobody whether a file is in use",
        "budget/eviction.py",
        "    if not rules.used:\n",
        "    if rules.used:\n",
        (*_SWEEP, "gc"),
    ),
    Mutation(
        "I4",
        "what is not ready yet does not count against the budget",
        "index/room.py",
        '"SELECT CAST(total(bytes) AS INTEGER) FROM totals")',
        "\"SELECT CAST(total(bytes) AS INTEGER) FROM totals WHERE state = 'ready'\")",
        (*_SWEEP, "reclaim"),
    ),
    Mutation(
        "I5",
        "an eviction drops the rows first, and the files afterwards",
        "budget/eviction.py",
        "        _unname(ctx, taken, result)\n",
        "        room.gone([row for victim in taken for row in victim.unit.rows], [], rules.reason, None)\n"
        "        _unname(ctx, taken, result)\n",
        (*_SWEEP, "gc"),
    ),
    Mutation(
        "I6",
        "the row of a file that was replaced keeps the hash of the old one",
        "index/ledger.py",
        "charged = next_charged, sha256 = next_sha256,",
        "charged = next_charged,",
        (*_SWEEP, "replace"),
    ),
    Mutation(
        "I7",
        "a file that somebody edited is evicted",
        "budget/eviction.py",
        "    if stats.identity(found) != row.identity or not _is_known(ctx, victim.unit.rows):\n",
        "    if not _is_known(ctx, victim.unit.rows):\n",
        ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/test_properties.py"),
    ),
    Mutation(
        "I8",
        "a file that the index does not know is no hit",
        "hit.py",
        "    fd, found = opened\n    try:\n        if not touch(ctx, entry):\n",
        "    fd, found = opened\n"
        "    from .index import queries\n\n"
        "    if not queries.keys(ctx.index, entry.key):\n"
        "        locks.release(fd)\n"
        "        return None\n"
        "    try:\n        if not touch(ctx, entry):\n",
        (*_SWEEP, "census"),
    ),
    Mutation(
        "I9",
        "a hit writes its last use into the index",
        "hit.py",
        "        disk.touch(used)\n        return True\n",
        "        disk.touch(used)\n"
        "        from .index.room import Room\n\n"
        "        Room(ctx.index).note_gc(0)\n"
        "        return True\n",
        (*_SWEEP, "pin"),
    ),
    Mutation(
        "I10",
        "what a dead process left of an entry is not settled",
        "recovery.py",
        "    finding = None if row is None else decide(row, there)\n",
        "    finding = None\n",
        (*_SWEEP, "fetch"),
    ),
)


def copy(scratch: Path) -> None:
    """Copy what the proofs need."""
    for name in ("src", "stress", "tests", "docs"):
        shutil.copytree(_HOME / name, scratch / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_HOME / "pyproject.toml", scratch)


def mutate(scratch: Path, mutation: Mutation) -> None:
    """Change the copy; raises LookupError where the text does not stand exactly once."""
    path = scratch / "src" / "model_cache" / mutation.module
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise LookupError(
            f"{mutation.invariant}: {mutation.module} has {text.count(mutation.old)} times {mutation.old!r}"
        )
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def prove(scratch: Path, proof: tuple[str, ...]) -> tuple[int, str]:
    """Run a proof on the copy: (its exit status, what it said)."""
    environ = os.environ | {"PYTHONPATH": f"{scratch / 'src'}{os.pathsep}{scratch}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *proof],
        cwd=scratch,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    return done.returncode, done.stdout


def is_caught(mutation: Mutation, status: int, said: str) -> bool:
    """Whether a proof failed, and for the right reason: it names the invariant."""
    return status == 1 and re.search(rf"\b{mutation.invariant}\b", said) is not None


def _run(mutations: list[Mutation], *, verbose: bool) -> int:
    failed = 0
    with tempfile.TemporaryDirectory(prefix="model-cache-mutations-") as folder:
        whole = Path(folder) / "whole"
        copy(whole)
        for proof in dict.fromkeys(mutation.proof for mutation in mutations):
            status, said = prove(whole, proof)
            if status:
                print(f"{' '.join(proof)} fails on the source as it is:\n{said}")
                return 1
        for number, mutation in enumerate(mutations):
            began = time.monotonic()
            scratch = Path(folder) / str(number)
            copy(scratch)
            mutate(scratch, mutation)
            status, said = prove(scratch, mutation.proof)
            caught = is_caught(mutation, status, said)
            failed += not caught
            verdict = "caught by" if caught else "SURVIVES "
            print(
                f"{mutation.invariant:4} {mutation.what:66} {verdict} {' '.join(mutation.proof)}"
                f" ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
            if verbose or not caught:
                print(said)
    print(f"{len(mutations) - failed} of {len(mutations)} mutations caught")
    return 1 if failed else 0


def main() -> int:
    """Run the proofs; 1 if a mutation survives."""
    parser = argparse.ArgumentParser(prog="python -m stress.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="INVARIANT", help="such as I4")
    parser.add_argument("--verbose", action="store_true", help="also print what each proof said")
    given = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if not given.only or mutation.invariant in given.only]
    return _run(chosen, verbose=given.verbose)


if __name__ == "__main__":
    sys.exit(main())
