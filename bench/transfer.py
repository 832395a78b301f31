"""One large file from the hub: over a link that limits each connection, and over one that limits nothing."""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .cases import FILE, REPO, Row, served
from .timing import Sample, in_turns, run

_RATE = 20e6  # bytes per second of one connection


def _anew(place: Path, measure: Callable[[str], Sample]) -> Callable[[], Sample]:
    """Measure with an empty folder, and with nothing of the last run still on its way to the disk."""

    def once() -> Sample:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        os.sync()
        return measure(str(place))

    return once


def _ours(place: Path, url: str, connections: int) -> Callable[[], Sample]:
    command = str(Path(sys.executable).parent / "model-cache")
    environ = {"HF_ENDPOINT": url, "MODEL_CACHE_CONNECTIONS": str(connections)}
    return _anew(place, lambda root: run([command, "--root", root, "fetch", REPO, FILE, "-q"], environ))


def ranges(rounds: int, size: int = 256 << 20) -> list[Row]:
    """A link that gives each connection 20 MB/s, eight connections; ours with the hash and fsync."""
    with served(size) as (folder, url):
        address = f"{url}/{REPO}/resolve/main/{FILE}"
        order = json.dumps({"latency": 0.0, "rate": _RATE}).encode()
        with urllib.request.urlopen(f"{url}/.hub/traffic", order, 30):
            pass
        split = ["aria2c", "-q", "-x8", "-s8", "-k1M", "-o", FILE]
        aria2, curl, ours = in_turns(
            rounds,
            _anew(folder / "aria2", lambda place: run([*split, "-d", place, address])),
            _anew(folder / "curl", lambda place: run(["curl", "-sfL", "-o", f"{place}/{FILE}", address])),
            _ours(folder / "ours", url, 8),
        )
    name = f"{size >> 20} MiB at 20 MB/s per connection, 8 connections"
    return [
        Row(name, "aria2c -x8", ours.median, aria2.median, 1.1, f"peak memory {ours.peak:.1f} MiB"),
        Row(name, "curl, one connection", ours.median, curl.median, None),
    ]


def fast_link(rounds: int, size: int = 1 << 30) -> list[Row]:
    """A link that limits nothing: several connections are allowed, and not wanted."""
    with served(size) as (folder, url):
        one, four = in_turns(rounds, _ours(folder / "one", url, 1), _ours(folder / "four", url, 4))
    return [Row(f"{size >> 20} MiB over loopback, connections=4", "connections=1", four.median, one.median, 1.05)]
