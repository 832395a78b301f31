"""A verify run that is killed every 0.2 seconds and started again until it is complete: is anything read twice?

Before each start the index says which results were committed since the first one; the started run logs every file
before it is read. A file in both is one that was hashed again although its result was there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from model_cache import ModelCache
from model_cache.progress import Progress

_FILES, _SIZE = 200, 8 << 20


class _Log(Progress):
    """Writes down each file that is about to be read, before it is."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def reading(self, path: str) -> None:
        os.write(self._fd, os.path.basename(path).encode() + b"\n")


def work(root: str, log: str) -> None:
    """One run, until it ends or is killed."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    report = ModelCache(root).verify(jobs=2, progress=_Log(fd))
    assert report.complete and report.exit_code() == 0, report


def main() -> int:
    """Make the files, kill and start until complete, print the counts; 1 if anything was read twice."""
    parser = argparse.ArgumentParser(prog="python -m stress.verifying", description=__doc__.splitlines()[0])
    parser.add_argument("--interval", type=float, default=0.2, help="seconds after which each run is killed")
    parser.add_argument("--files", type=int, default=_FILES)
    parser.add_argument("--size", type=int, default=_SIZE, help="bytes of each")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="model-cache-stress-") as name:
        cache = _filled(Path(name) / "cache", given.files, given.size)
        began, runs, twice, useful = time.time(), 0, 0, 0
        committed: set[str] = set()
        while True:
            log = Path(name) / f"log-{runs}"
            code = _run(str(cache.root), str(log), given.interval)
            runs += 1
            begun = log.read_text().split() if log.exists() else []
            twice += len(committed & set(begun))
            now = {row.filename for row in cache.entries() if (row.verified_at or 0) > began}
            useful += now > committed
            committed = now
            if code == 0:
                break
            assert code == -9, code
    print(f"{runs} runs, {useful} of them committed results, {len(committed)} of {given.files} files verified")
    print(f"{twice} files read again although their result was committed")
    return 0 if twice == 0 and len(committed) == given.files and runs > 1 else 1


def _filled(root: Path, files: int, size: int) -> ModelCache:
    folder = root / "owner" / "name"
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number:04}.bin").write_bytes(os.urandom(size))
    cache = ModelCache(root)
    assert len(cache.reconcile(rebuild=True).adopted) == files
    return cache


def _run(root: str, log: str, interval: float) -> int:
    """Start a run, and kill it when its time is up; its exit code."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen([sys.executable, "-m", "stress.verifying", "--work", root, log], env=environ)
    try:
        return process.wait(interval)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        sys.exit(main())
