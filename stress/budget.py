"""Many processes, many files, a small budget: is it ever exceeded, by one block, at any instant?

Workers fetch files in an order of their own and write what came of each call to a file of their own. Meanwhile the
allocated blocks of everything the cache has on disk (models, partials, quarantine, trash), each inode once, are summed
from outside every few milliseconds, and by every worker at each step of the protocol. I4 says that no sum is over
`max_size`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from model_cache import CacheFullError, ModelCache, ModelCacheError
from model_cache.testing.process import HubProcess

REPO = "stress/budget"
_OWN_COUNTED = ("partial", "trash", "quarantine")
_MIB = 1 << 20


def usage(root: str) -> int:
    """Allocated bytes of everything that counts, each inode once; what vanishes while it is counted is left out."""
    found: dict[int, int] = {}
    places = [f"{root}/.model-cache/{name}" for name in _OWN_COUNTED]
    places += [entry.path for entry in scan(root) if not entry.name.startswith(".") and entry.is_dir()]
    while places:
        for entry in scan(places.pop()):
            try:
                if entry.is_dir(follow_symlinks=False):
                    places.append(entry.path)
                else:
                    status = entry.stat(follow_symlinks=False)
                    found[status.st_ino] = status.st_blocks * 512
            except FileNotFoundError:
                continue
    return sum(found.values())


def scan(place: str) -> list[os.DirEntry[str]]:
    """What is in a directory; nothing, where that went meanwhile."""
    try:
        with os.scandir(place) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def work(number: int, given: dict[str, Any]) -> None:
    """One worker: fetch its files, and write down each outcome and the largest sum it saw at any step."""
    chance = random.Random(given["seed"] * 1000 + number)
    names = given["names"][number :: given["processes"]] + chance.sample(given["names"], given["extra"])
    chance.shuffle(names)
    largest, refused = 0, set()

    def look(_step: str) -> None:
        nonlocal largest
        largest = max(largest, usage(given["root"]))

    policy = {"max_size": given["budget"], "min_idle": "1s", "touch_interval": "0.25s"}
    cache = ModelCache(given["root"], endpoint=given["endpoint"], token=False, step=look, **policy)
    with open(given["log"] + str(number), "w", encoding="utf-8") as log:
        for name in names:
            outcome = {"name": name, "result": "ok", "reason": ""}
            try:
                path = cache.fetch(REPO, name)
                outcome["result"] = "ok" if path.exists() else "vanished"
            except CacheFullError as error:
                outcome.update(result="full", reason=str(error))
                if name not in refused:  # all the room was in use by others: at the end there may be some
                    names.append(name)
                refused.add(name)
            except ModelCacheError as error:
                outcome.update(result="error", reason=repr(error))
            print(json.dumps(outcome), file=log, flush=True)
        print(json.dumps({"largest": largest}), file=log)


def run(processes: int, files: int, room: int, largest: int, extra: int, seed: int) -> dict[str, Any]:
    """Race them; returns what was seen."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="model-cache-stress-") as folder:
        models = Path(folder) / "hub" / "models" / REPO
        models.mkdir(parents=True)
        sizes = [chance.randrange(_MIB, largest * _MIB + 1) for _ in range(files)]
        names = [f"model-{number:04}.bin" for number in range(files)]
        for name, size in zip(names, sizes, strict=True):
            with (models / name).open("wb") as file:
                file.truncate(size)
        budget = room * sum(sizes) // files
        with HubProcess(Path(folder) / "hub") as hub:
            given: dict[str, Any] = {
                "root": f"{folder}/root", "endpoint": hub.url, "names": names, "processes": processes,
                "budget": budget, "extra": extra, "seed": seed, "log": f"{folder}/log-",
            }  # fmt: skip
            started = time.monotonic()
            command = [sys.executable, "-m", "stress.budget", "--worker"]
            workers = [subprocess.Popen([*command, str(n), json.dumps(given)]) for n in range(processes)]
            outside, samples = 0, 0
            while any(worker.poll() is None for worker in workers):
                outside, samples = max(outside, usage(given["root"])), samples + 1
                time.sleep(0.005)
        logs = [Path(f"{folder}/log-{n}").read_text(encoding="utf-8") for n in range(processes)]
        lines = [json.loads(line) for log in logs for line in log.splitlines()]
        seconds = time.monotonic() - started
    calls = [line for line in lines if "result" in line]
    inside = max(line["largest"] for line in lines if "largest" in line)
    results = {kind: sum(call["result"] == kind for call in calls) for kind in ("ok", "full", "error", "vanished")}
    return {
        "processes": processes, "files": files, "budget": budget, "seed": seed, "seconds": round(seconds, 1),
        "calls": len(calls), **results, "served": len({call["name"] for call in calls if call["result"] == "ok"}),
        "largest_outside": outside, "largest_at_a_step": inside, "samples_outside": samples,
        "over_budget": max(outside, inside) - budget, "reasons": sorted({c["reason"] for c in calls if c["reason"]})[:5],
        "exit_codes": [worker.returncode for worker in workers],
    }  # fmt: skip


def main() -> None:
    """`python -m stress.budget`: print what was seen, and fail if anything is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m stress.budget", description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--room", type=int, default=20, help="how many files of the mean size fit")
    parser.add_argument("--largest", type=int, default=64, help="MiB; the smallest is 1")
    parser.add_argument("--extra", type=int, default=25, help="further calls of each worker")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(int(given.worker[0]), json.loads(given.worker[1]))
        return
    seen = run(given.processes, given.files, given.room, given.largest, given.extra, given.seed)
    print(json.dumps(seen, indent=2))
    good = seen["over_budget"] <= 0 and not seen["error"] and not seen["vanished"] and seen["served"] == given.files
    sys.exit(0 if good and seen["ok"] >= 0.9 * seen["calls"] and not any(seen["exit_codes"]) else 1)


if __name__ == "__main__":
    main()
