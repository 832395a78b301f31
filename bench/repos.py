"""Whole repos: many small files and a few large ones, beside `snapshot_download` and `curl -Z`; what a second revision costs."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model_cache.testing import HubProcess

from .cases import Row, paired
from .timing import Sample, in_turns, python, run

REPO = "owner/whole"
_SMALL, _LARGE, _LARGE_SIZE = 200, 4, 64 << 20
_AGAIN, _AGAIN_SIZE = 10, 64 << 20  # files of the repo with two revisions
_LATENCY = 0.020  # seconds before each answer
_BIN = Path(sys.executable).parent

_SNAPSHOT = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], cache_dir=sys.argv[2], revision=sys.argv[3])
"""
_FETCH = """
import sys
from model_cache import ModelCache
ModelCache(sys.argv[2], endpoint=sys.argv[4], token=False).fetch_repo(sys.argv[1], revision=sys.argv[3])
"""


def _write(folder: Path, large: int) -> None:
    """Small files of 1 to 20 KB, as configurations and vocabularies are, in two levels, and the weights."""
    folder.mkdir(parents=True)
    for number in range(_SMALL):
        place = folder / f"part-{number % 10}" / f"file-{number:03}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(os.urandom(1000 + number * 95))
    for number in range(large):
        _write_large(folder / f"model-{number}.bin", _LARGE_SIZE)


def _write_large(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))


@contextmanager
def _served(large: int) -> Iterator[tuple[Path, HubProcess]]:
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as name:
        folder = Path(name)
        models = folder / "hub" / "models" / REPO
        _write(models, large)
        with HubProcess(folder / "hub") as hub:
            addresses = [f"{hub.url}/{REPO}/resolve/main/{path.relative_to(models)}" for path in _files(models)]
            (folder / "urls").write_text("".join(f'url = "{address}"\nremote-name\n' for address in addresses))
            (folder / "plain").mkdir()
            # The hub hashes what it serves once, at the first request; nobody's run should pay for that.
            _curl(folder, "plain")
            yield folder, hub


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _curl(folder: Path, place: str) -> Sample:
    # Neither hash nor fsync: what the network and the disk cache alone take.
    options = ["-Z", "-sfL", "--no-progress-meter", "--output-dir", str(folder / place)]
    return run(["curl", *options, "-K", str(folder / "urls")])


def _hf(place: Path, hub: HubProcess, revision: str = "main") -> Sample:
    environ = {"HF_ENDPOINT": hub.url, "HF_HOME": f"{place}-home", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return python(_SNAPSHOT, REPO, str(place), revision, environ=environ)


def _ours(place: Path, hub: HubProcess) -> Sample:
    return run([str(_BIN / "model-cache"), "--root", str(place), "fetch", REPO, "-q"], {"HF_ENDPOINT": hub.url})


def _anew(folder: Path, place: str, measure: Callable[[], Sample]) -> Callable[[], Sample]:
    def once() -> Sample:
        shutil.rmtree(folder / place, ignore_errors=True)
        (folder / place).mkdir()
        os.sync()
        return measure()

    return once


def repos(rounds: int) -> list[Row]:
    """A cold repo of 200 small files and 4 of 64 MiB, at once and with 20 ms before each answer."""
    name = f"cold repo, {_SMALL} small files and {_LARGE} of 64 MiB"
    rows = []
    with _served(_LARGE) as (folder, hub):
        for latency, words, beside_hf, beside_curl in (
            (0.0, "", 0.5, None),
            (_LATENCY, ", 20 ms before each answer", None, 1.0),
        ):
            hub.traffic(latency=latency)
            ours, theirs, curl = in_turns(
                max(rounds // 2, 3),
                _anew(folder, "ours", lambda: _ours(folder / "ours", hub)),
                _anew(folder, "hf", lambda: _hf(folder / "hf", hub)),
                _anew(folder, "curl", lambda: _curl(folder, "curl")),
            )
            _check(folder)
            note, command = f"peak memory {ours.peak:.0f} MiB", f"model-cache fetch {REPO} -q"
            rows += [
                paired(name + words, "hf snapshot_download", ours, theirs, beside_hf, note, command),
                paired(name + words, "curl -Z", ours, curl, beside_curl, note, command),
            ]
    return rows


def _check(folder: Path) -> None:
    """What was measured is worth nothing if it is not all there."""
    source = folder / "hub" / "models" / REPO
    for path in _files(source):
        assert (folder / "ours" / REPO / path.relative_to(source)).stat().st_size == path.stat().st_size, path


def requests(_rounds: int) -> list[Row]:
    """How many requests a repo of 200 small files takes: counts, not seconds."""
    with _served(0) as (folder, hub):
        counts, redirects = [], []
        for place, measure in (("ours", _ours), ("hf", _hf)):
            hub.reset()
            measure(folder / place, hub)
            statuses = [one["status"] for one in hub.stats()["requests"]]
            redirects.append(sum(300 <= status < 400 for status in statuses))
            counts.append(len(statuses) - redirects[-1])
        _check(folder)
    ours, theirs = counts
    note = f"and {redirects[0]} of ours, {redirects[1]} of theirs were answered by a redirect, which is not counted"
    name = f"requests for a repo of {_SMALL} small files"
    return [
        Row(name, "one per file, the commit and the tree", ours, _SMALL + 2, 1.0, note, unit=""),
        Row(name, "hf snapshot_download", ours, theirs, None, note, unit=""),
    ]


def revisions(_rounds: int) -> list[Row]:
    """A second revision of 10 files of 64 MiB of which 9 are the same: bodies that come, and inodes that are new."""
    from model_cache.testing import LoopbackHub

    blocks = [os.urandom(_AGAIN_SIZE) for _ in range(_AGAIN + 1)]
    names = [f"model-{number}.bin" for number in range(_AGAIN)]
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as folder, LoopbackHub() as hub:
        first = hub.add_repo(REPO, dict(zip(names, blocks, strict=False)))
        second = hub.add_repo(REPO, dict(zip(names, [*blocks[: _AGAIN - 1], blocks[_AGAIN]], strict=True)))
        roots = []
        for revision in (first, second):
            hub.reset()
            roots.append(Path(folder) / f"{REPO}@{revision}")
            python(_FETCH, REPO, folder, revision, hub.url)
        bodies = hub.stats()["body_gets"]
        same = sum(os.path.samestat((roots[0] / name).stat(), (roots[1] / name).stat()) for name in names)
        changed = hashlib.sha256((roots[1] / names[-1]).read_bytes()).digest()
        assert changed == hashlib.sha256(blocks[_AGAIN]).digest()
    note = f"{bodies} bodies; {same} of {_AGAIN} files are the same inode as before, {_AGAIN - 1 - same} were copied"
    copied = bodies + (_AGAIN - 1 - same)
    return [Row("second revision, 9 of 10 files the same: bodies and copies", "1 body", copied, 1, 1.0, note, unit="")]


CASES = {"repos": repos, "requests": requests, "revisions": revisions}
