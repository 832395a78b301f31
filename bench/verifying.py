"""`verify` beside `openssl dgst` over the same files with as many processes, its memory, and its rate."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_cache import ModelCache

from .cases import Row, paired
from .timing import Sample, in_turns, run, series

_FILES, _SIZE = 64, 64 << 20  # 4 GiB
_RATE = 400_000_000  # bytes per second
_PROCESSES = os.cpu_count() or 1


@contextmanager
def filled() -> Iterator[Path]:
    """A root with 4 GiB in 64 files that were adopted, all of it in the page cache."""
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as name:
        root = Path(name) / "cache"
        folder = root / "owner" / "name"
        folder.mkdir(parents=True)
        for number in range(_FILES):
            block = os.urandom(1 << 20)
            with (folder / f"model-{number:02}.bin").open("wb") as file:
                for _ in range(_SIZE >> 20):
                    file.write(block)
        run(["sync"])
        cache = ModelCache(root)
        cache.reconcile()
        assert cache.usage().files == _FILES
        yield root


def _verify(root: Path, *options: str) -> Sample:
    return run([sys.executable, "-m", "model_cache", "--root", str(root), "verify", "-q", *options])


def _openssl(files: list[str]) -> Sample:
    """The files shared out among as many processes, as `xargs -P` does it."""
    shares = [files[number::_PROCESSES] for number in range(_PROCESSES)]
    started = time.perf_counter()
    running = [subprocess.Popen(["openssl", "dgst", "-sha256", *share], stdout=subprocess.DEVNULL) for share in shares]
    codes = [process.wait() for process in running]
    assert not any(codes), codes
    return Sample(time.perf_counter() - started, 0.0, 0.0)


def verifying(rounds: int) -> list[Row]:
    """Throughput (as a share of openssl's, so the ratio of times is at most 1 / 0.9), memory, and a held rate."""
    with filled() as root:
        files = sorted(str(path) for path in (root / "owner" / "name").iterdir())
        ours, theirs = in_turns(rounds, lambda: _verify(root, "--jobs", str(_PROCESSES)), lambda: _openssl(files))
        total = _FILES * _SIZE
        paced = series([_verify(root, "--rate", str(_RATE)).seconds for _ in range(max(rounds // 3, 1))])
    memory = (
        f"{ours.peak:.0f} MiB, asked 60; {total / ours.median / 1e9:.2f} GB/s; from {ours.low:.2f} to {ours.high:.2f} s"
    )
    share = (total / paced.median) / _RATE
    return [
        paired(f"verify 4 GiB, {_PROCESSES} jobs", "openssl dgst -sha256", ours, theirs, 1 / 0.9, memory),
        Row(
            "verify 4 GiB, --rate 400MB",
            "4 GiB at 400 MB/s",
            paced.median,
            total / _RATE,
            1.1,
            f"{share:.3f} of the rate",
        ),
    ]
