"""Many processes at once: 32 that want one file that is not there, and 2 or 32 that are handed one that is."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from model_cache.testing import HubProcess

from .cases import FILE, REPO, Row, paired, served_by
from .timing import Series, series

_PROCESSES = 32
_SIZE = 64 << 20
_COUNTED = 1.0  # seconds for which hits are counted
# cached-path asks for other versions of what it shares with the rest, so it has an environment of its own.
_CACHED_PATH = Path(sys.executable).parent.parent.with_name(".venv-bench-cached-path") / "bin" / "python"

# Each begins when the gate's other end is closed, and says when it was done by the clock that all processes share.
_AT_THE_GATE = """
import os, sys, time
gate, place, url, digest = int(sys.argv[1]), *sys.argv[2:]
{prepare}
print("ready", flush=True)
os.read(gate, 1)
{call}
print(time.monotonic(), flush=True)
"""
_PROGRAMS = {
    "ours": (
        "from model_cache import ModelCache; cache = ModelCache(place, endpoint=url, token=False)",
        "cache.fetch('owner/name', 'model.bin')",
    ),
    "hf": (
        "from huggingface_hub import hf_hub_download",
        "hf_hub_download('owner/name', 'model.bin', cache_dir=place)",
    ),
    "cached-path": (
        "from cached_path import cached_path",
        "cached_path(url + '/owner/name/resolve/main/model.bin', cache_dir=place, quiet=True)",
    ),
    "pooch": (
        "import pooch; pooch.get_logger().setLevel('ERROR')",
        "pooch.retrieve(url + '/owner/name/resolve/main/model.bin', 'sha256:' + digest, 'model.bin', place)",
    ),
}


def _started(code: str, arguments: Sequence[str], count: int, gate: int, python: str) -> list[subprocess.Popen[str]]:
    url = arguments[1]
    environ = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [python, "-c", code, str(gate), *arguments]
    return [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, pass_fds=[gate]) for _ in range(count)
    ]


def _released(code: str, arguments: Sequence[str], count: int, python: str = sys.executable) -> tuple[float, list[str]]:
    """When the gate was opened, and what each process said behind it."""
    reading, writing = os.pipe()
    processes = _started(code, arguments, count, reading, python)
    os.close(reading)
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        os.close(writing)
        return began, [process.communicate(timeout=300)[0].strip() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def herd(rounds: int) -> list[Row]:
    """32 processes at a gate, and one cold file of 64 MiB: from the gate's opening until the last has its path."""
    with served_by(_SIZE) as (folder, hub):
        digest = hashlib.file_digest((folder / "hub" / "models" / REPO / FILE).open("rb"), "sha256").hexdigest()
        names = [name for name in _PROGRAMS if name != "cached-path" or _CACHED_PATH.exists()]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        bodies: dict[str, int] = {}
        for turn in range(rounds + 1):
            # The first turn is not counted. pooch downloads 32 times: once is enough to see it.
            for name in [name for name in names if name != "pooch" or turn == 1]:
                spent, bodies[name] = _herd(name, folder, hub, digest)
                if turn:
                    seconds[name].append(spent)
    found = {name: series(values) for name, values in seconds.items()}
    peers = [name for name in names if name != "ours"]
    asked = {"hf": 0.5}
    return [_herd_row(found["ours"], found[name], name, bodies, asked.get(name)) for name in peers]


def _herd(name: str, folder: Path, hub: HubProcess, digest: str) -> tuple[float, int]:
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    os.sync()
    hub.reset()
    prepare, call = _PROGRAMS[name]
    python = str(_CACHED_PATH) if name == "cached-path" else sys.executable
    code = _AT_THE_GATE.format(prepare=prepare, call=call)
    began, ends = _released(code, [str(place), hub.url, digest], _PROCESSES, python)
    return max(map(float, ends)) - began, hub.stats()["body_gets"]


def _herd_row(ours: Series, theirs: Series, peer: str, bodies: dict[str, int], asked: float | None) -> Row:
    note = f"bodies: {bodies['ours']}, theirs {bodies[peer]}"
    return paired("32 processes, one cold 64 MiB file", peer, ours, theirs, asked, note)


_HITS = """
import os, sys, time
from model_cache import ModelCache
gate, place, url, seconds = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
cache = ModelCache(place, endpoint=url, token=False)
cache.fetch("owner/name", "model.bin")
print("ready", flush=True)
os.read(gate, 1)
number, end = 0, time.monotonic() + seconds
while time.monotonic() < end:
    for _ in range(100):
        cache.fetch("owner/name", "model.bin")
    number += 100
print(number, flush=True)
"""


def hits(rounds: int) -> list[Row]:
    """Repeated hits on one file by 2 and by 32 processes at once; nobody stands in another's way."""
    few: list[float] = []
    many: list[float] = []
    with served_by(1 << 20) as (folder, hub):
        place = str(folder / "root")
        for _ in range(rounds):
            for count, found in ((2, few), (_PROCESSES, many)):
                _, numbers = _released(_HITS, [place, hub.url, str(_COUNTED)], count)
                # Of all processes together: seconds per hit.
                found.append(_COUNTED / sum(map(int, numbers)))
    ours, theirs = series(many), series(few)
    note = f"{1 / ours.median:,.0f} and {1 / theirs.median:,.0f} hits per second in all"
    return [paired("a hit, 32 processes on one file", "2 processes", ours, theirs, 1 / 0.9, note)]
