"""`status --require` beside `model-cache path`: what a readiness probe costs beyond the start of the command."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from model_cache.layout import Entry
from model_cache.lockfile.format import Locked, dump

from .cases import REPO, Row
from .timing import Sample, in_turns, run

_LIMIT = 0.005  # seconds beyond the start of the command


def _filled(folder: Path, files: int) -> Path:
    """A root in which so many files stand, and the lock file that names them."""
    locked = []
    for number in range(files):
        entry = Entry(REPO, f"part-{number % 7}/file-{number:04}.bin")
        path = folder / "cache" / entry.relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
        locked.append(Locked(entry, "0" * 40, 2, "0" * 64, "0" * 40))
    (folder / f"{files}.lock").write_text(dump(locked))
    return folder / f"{files}.lock"


def _cpu(arguments: list[str], root: Path) -> Sample:
    """CPU seconds of one run, in the place of wall-clock ones: a probe waits for nothing, and a busy machine for much."""
    command = str(Path(sys.executable).parent / "model-cache")
    found = run([command, "--root", str(root), *arguments], {"HOME": os.devnull})
    return found._replace(seconds=found.cpu)


def probing(rounds: int) -> list[Row]:
    """A lock file of 14 files, and one of 200."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as name:
        root = Path(name) / "cache"
        for files in (14, 200):
            lockfile = str(_filled(Path(name), files))
            # A median of a few runs of 50 ms says nothing of a difference of 2: five times as many.
            ours, path = in_turns(
                rounds * 5,
                lambda lockfile=lockfile: _cpu(["status", "-q", "--require", lockfile], root),  # type: ignore[misc]
                lambda: _cpu(["path", REPO, "x"], root),
            )
            over = f"{(ours.median - path.median) * 1e3:.1f} ms over it, of CPU"
            what = f"status --require, {files} files"
            rows.append(Row(what, "model-cache path + 5 ms", ours.median, path.median + _LIMIT, 1.0, over))
    return rows
