"""Paths that `fetch` handed out, opened later, with evictors running flat out: is one ever gone too early?

I3 promises `min_idle - touch_interval` seconds. Workers fetch at random, and open each path after a random delay below
that; evictors call `gc` with a budget of nothing in a loop.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from model_cache import ModelCache
from model_cache.testing.process import HubProcess

REPO = "stress/handout"
MIN_IDLE, TOUCH_INTERVAL = 2.0, 0.5
_WINDOW, _SHIFT = 16, 1.0  # files in use at a time; seconds until half of them are others
_PACE = 0.001  # seconds between two fetches of one reader


def read(number: int, given: dict[str, Any]) -> dict[str, int]:
    """Hand out and open so many paths; how many were gone."""
    chance = random.Random(given["seed"] * 1000 + number)
    cache = ModelCache(
        given["root"], endpoint=given["endpoint"], token=False, min_idle=MIN_IDLE, touch_interval=TOUCH_INTERVAL
    )
    due: list[tuple[float, str]] = []
    opened = gone = handed = 0
    began = time.monotonic()
    while opened + gone < given["count"]:
        if handed < given["count"]:
            # A window that moves over the files: those it has left are soon idle, evicted, and fetched again later.
            place = int((time.monotonic() - began) / _SHIFT) * _WINDOW // 2 + chance.randrange(_WINDOW)
            path = cache.fetch(REPO, given["names"][place % len(given["names"])])
            # From the moment it was handed out: the longest delay that is promised, less what opening itself takes.
            delay = chance.uniform(0, MIN_IDLE - TOUCH_INTERVAL - 0.05)
            heapq.heappush(due, (time.monotonic() + delay, str(path)))
            handed += 1
        while due and (due[0][0] <= time.monotonic() or len(due) > 4000):
            when, text = heapq.heappop(due)
            late = when - time.monotonic()
            if late > 0:
                time.sleep(late)
            elif late < -0.05:
                opened += 1  # this process was late itself: the promise is over, and nothing is learnt
                continue
            try:
                with open(text, "rb") as file:
                    file.read(1)
                opened += 1
            except FileNotFoundError:
                gone += 1
        time.sleep(_PACE)
    return {"opened": opened, "gone": gone}


def evict(given: dict[str, Any]) -> dict[str, int]:
    """Evict all that may go, again and again, until told to stop."""
    cache = ModelCache(given["root"], min_idle=MIN_IDLE, touch_interval=TOUCH_INTERVAL)
    evicted = rounds = 0
    while not Path(given["stop"]).exists():
        evicted += len(cache.gc(max_size=0).evicted)
        rounds += 1
    return {"evicted": evicted, "rounds": rounds}


def run(readers: int, evictors: int, count: int, files: int, seed: int) -> dict[str, Any]:
    """Race them; returns what was seen."""
    with tempfile.TemporaryDirectory(prefix="model-cache-stress-") as folder:
        models = Path(folder) / "hub" / "models" / REPO
        models.mkdir(parents=True)
        names = [f"file-{number:03}.bin" for number in range(files)]
        for number, name in enumerate(names):
            (models / name).write_bytes(number.to_bytes(4, "big") * 1000)
        with HubProcess(Path(folder) / "hub") as hub:
            given: dict[str, Any] = {
                "root": f"{folder}/root", "endpoint": hub.url, "names": names, "count": count // readers,
                "seed": seed, "stop": f"{folder}/stop",
            }  # fmt: skip
            command = [sys.executable, "-m", "stress.handout", "--worker"]

            def start(kind: str, number: int) -> subprocess.Popen[str]:
                arguments = [*command, kind, str(number), json.dumps(given)]
                return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

            reading = [start("read", number) for number in range(readers)]
            evicting = [start("evict", number) for number in range(evictors)]
            found = [json.loads(one.communicate()[0]) for one in reading]
            Path(given["stop"]).touch()
            ends = [json.loads(one.communicate()[0]) for one in evicting]
    return {
        "opened": sum(one["opened"] for one in found), "gone": sum(one["gone"] for one in found),
        "evicted": sum(one["evicted"] for one in ends), "rounds_of_gc": sum(one["rounds"] for one in ends), "seed": seed,
    }  # fmt: skip


def main() -> None:
    """`python -m stress.handout`: print what was seen, and fail if a path was gone."""
    parser = argparse.ArgumentParser(prog="python -m stress.handout", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="paths handed out and opened")
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--evictors", type=int, default=2)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        kind, number, text = given.worker
        arguments = json.loads(text)
        print(json.dumps(read(int(number), arguments) if kind == "read" else evict(arguments)))
        return
    seen = run(given.readers, given.evictors, given.count, given.files, given.seed)
    print(json.dumps(seen, indent=2))
    sys.exit(1 if seen["gone"] or not seen["evicted"] else 0)


if __name__ == "__main__":
    main()
