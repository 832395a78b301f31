"""The commands that look at a whole cache, with 100,000 files in it, beside `hf cache ls` and a bare walk."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_cache import ModelCache
from model_cache.index.rows import SEALED
from model_cache.layout import Entry
from model_cache.preparing import prepare

from .cases import Row, paired
from .timing import Sample, Series, in_turns, python, run

_REPOS, _FILES = 100, 1000
_COMMIT = "c" * 40
_USED = 1_700_000_000  # seconds since the epoch
_PER_SECOND = 20  # files that were downloaded, used and verified
_PEAK = 80  # MiB
_BIN = Path(sys.executable).parent

# What any program that looks at each file pays; the cache's own directory is not walked.
_WALK = """
import os, sys
for place, folders, files in os.walk(sys.argv[1]):
    if place == sys.argv[1]:
        folders.remove(".model-cache")
    for name in files:
        os.stat(f"{place}/{name}")
"""


def _names() -> Iterator[tuple[str, str, bytes]]:
    """(repo, filename, content) of each file."""
    for repo in range(_REPOS):
        for number in range(_FILES):
            yield f"owner-{repo:03}/name", f"onnx/file-{number:04}.bin", b"%d %d" % (repo, number)


def _fill(root: Path) -> None:
    """The files, their last uses, and their rows, written in one transaction as downloads would have left them."""
    ctx = ModelCache(root)._ctx
    prepare(ctx)
    rows = []
    for number, (repo, filename, content) in enumerate(_names()):
        entry = Entry(repo, filename)
        path, used = Path(entry.path(ctx.root)), Path(ctx.places.used + entry.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        used.touch()
        when = _USED + number / _PER_SECOND
        os.utime(used, (when, when))
        found, sha256 = path.stat(), hashlib.sha256(content).hexdigest()
        facts = (len(content), found.st_blocks * 512, sha256, sha256, _COMMIT, found.st_ino, found.st_mtime_ns)
        rows.append((entry.key, *entry.identity, entry.relative, *facts, when, when, when))
    with ctx.index.transaction("bench") as connection:
        connection.executemany(
            "INSERT INTO entries (key, repo_type, repo, revision, filename, path, state, size, charged, sha256, etag,"
            ' "commit", ino, mtime_ns, downloaded_at, last_used_at, verified_at, verdict)'
            " VALUES (?, ?, ?, ?, ?, ?, 'ready', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ok')",
            rows,
        )
        connection.execute(SEALED)


def _fill_theirs(cache: Path) -> None:
    """The same files as huggingface_hub lays them out: blobs, a snapshot of links to them, and a ref."""
    for repo, filename, content in _names():
        place = cache / f"models--{repo.replace('/', '--')}"
        link = place / "snapshots" / _COMMIT / filename
        if not link.parent.is_dir():
            for folder in (place / "blobs", place / "refs", link.parent):
                folder.mkdir(parents=True)
            (place / "refs" / "main").write_text(_COMMIT)
        blob = place / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link.symlink_to(os.path.relpath(blob, link.parent))


@contextmanager
def _filled() -> Iterator[tuple[str, str]]:
    """A root and a Hugging Face cache with the same files."""
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as folder:
        root, theirs = Path(folder) / "root", Path(folder) / "hub"
        # By another process: a program is charged with the memory of the one that started it, as it was then.
        subprocess.run([sys.executable, "-m", "bench.large", root, theirs], check=True)
        os.sync()
        yield str(root), str(theirs)


def large(rounds: int) -> list[Row]:
    """`ls`, `status` and `reconcile` over 100,000 files of 100 repos."""
    with _filled() as (root, theirs):

        def ours(*arguments: str) -> Sample:
            return run([str(_BIN / "model-cache"), "--root", root, *arguments, "--json", "-q"])

        quiet = {"HF_HOME": f"{theirs}-home", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
        listing, status, peer, walk = in_turns(
            rounds,
            lambda: ours("ls"),
            lambda: ours("status"),
            lambda: run([str(_BIN / "hf"), "cache", "ls", "--cache-dir", theirs, "--json"], quiet),
            lambda: python(_WALK, root),
        )
        rows = [
            _row("ls --json", listing, "hf cache ls --json", peer, 0.2, _PEAK),
            _row("status --json", status, "hf cache ls --json", peer, 0.2, _PEAK),
        ]
        if _exists("reconcile"):
            walk, again = in_turns(rounds, lambda: python(_WALK, root), lambda: ours("reconcile"))
            rows.append(_row("reconcile, nothing to do", again, "os.walk and os.stat", walk, 3.0))
        return [*rows, _row("hf cache ls --json (for comparison)", peer, "os.walk and os.stat", walk)]


def _exists(command: str) -> bool:
    return subprocess.run([_BIN / "model-cache", command, "--help"], check=False, capture_output=True).returncode == 0


def _row(
    name: str, ours: Series, peer: str, theirs: Series, asked: float | None = None, peak: int | None = None
) -> Row:
    of = "" if peak is None else f" (asked: {peak})"
    return paired(
        f"{name}, {_REPOS * _FILES:,} files", peer, ours, theirs, asked, f"peak memory {ours.peak:.1f} MiB{of}"
    )


if __name__ == "__main__":
    _fill(Path(sys.argv[1]))
    _fill_theirs(Path(sys.argv[2]))
