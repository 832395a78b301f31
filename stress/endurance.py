"""One process, a hundred thousand operations of every kind: does it keep memory, or descriptors, of any of them?

The mix is seeded: repeated hits, slow hits of other objects, misses, leases, failures of every family, evictions, listings,
pins, updates, verifies with repair. The hub is a process of its own, so that only the cache is measured.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from model_cache import CacheFullError, InUseError, ModelCache, ModelCacheError, NotFoundError, OfflineMissError
from model_cache.index.schema import EVENTS_KEPT
from model_cache.testing.process import HubProcess

from .site import Later, rot

REPO = "stress/endurance"
FILES, SIZE = 24, 40_000  # bytes of each file; the budget holds two thirds of them
BUDGET = 16 * 40_960
ALLOWED = 2 * 1024 * 1024  # bytes that may be resident more at the end than after the warm-up
PARTS = 10  # of the run; the first is the warm-up


class Endurance:
    """A cache, and what one step of the run may be."""

    def __init__(self, root: Path, endpoint: str, seed: int) -> None:
        self._chance = random.Random(seed)
        self._root, self._endpoint = root, endpoint
        self._clock = Later()
        self._cache = self._another()
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        often: dict[Callable[[], object], int] = {
            self._hit: 600, self._slow_hit: 150, self._fetch: 60, self._lease: 60, self._read: 30, self._look: 30,
            self._miss_offline: 20, self._wrong_name: 20, self._not_found: 8, self._pin: 8, self._entries: 8,
            self._remove: 6, self._in_use: 6, self._force: 3, self._background: 3, self._gc: 2, self._verify: 2,
            self._repair: 1, self._update: 1, self._reconcile: 1, self._reader: 5,
        }  # fmt: skip
        self._steps, self._weights = list(often), list(often.values())

    def warm_up(self) -> None:
        """Each kind of operation some times, and what has a bound full: the index's events, and SQLite's pages of them."""
        for act in 5 * self._steps:
            self._do(act)
        event = (time.time(), "gc", REPO, "00.bin", 0, "1234567890.1234567")
        with self._cache._ctx.index.transaction("row:gc") as connection:
            connection.executemany(
                "INSERT INTO events (at, kind, repo, filename, size, detail) VALUES (?, ?, ?, ?, ?, ?)",
                [event] * EVENTS_KEPT,
            )
        with self._cache._ctx.index.reading() as connection:
            assert connection is not None, "there is an index by now"
            connection.execute("SELECT count(detail), max(at), max(size) FROM events").fetchall()

    def step(self) -> None:
        """Do one operation."""
        (act,) = self._chance.choices(self._steps, self._weights)
        self._do(act)

    def _do(self, act: Callable[[], object]) -> None:
        """Do it; errors that its kind can have are counted."""
        try:
            act()
        except (OfflineMissError, CacheFullError, InUseError) as error:
            self.refused[type(error).__name__] += 1
        self.done[act.__name__.lstrip("_")] += 1

    def _another(self, **settings: Any) -> ModelCache:
        policy: dict[str, Any] = {"min_idle": 0, "max_size": BUDGET} | settings
        return ModelCache(self._root, endpoint=self._endpoint, token=False, clock=self._clock, **policy)

    def _name(self) -> str:
        return f"{self._chance.randrange(FILES):02}.bin"

    def _hit(self) -> None:
        self._cache.fetch(REPO, "00.bin")

    def _slow_hit(self) -> None:
        self._clock.ahead += 61  # beyond touch_interval: looked at anew
        self._cache.fetch(REPO, "00.bin")

    def _fetch(self) -> None:
        self._cache.fetch(REPO, self._name())

    def _lease(self) -> None:
        with self._cache.lease(REPO, "00.bin"), self._cache.lease(REPO, self._name()):
            pass

    def _read(self) -> None:
        with self._cache.open(REPO, self._name()) as file:
            file.read()

    def _look(self) -> None:
        self._cache.is_cached(REPO, self._name())
        self._cache.path(REPO, self._name())
        self._cache.usage()

    def _miss_offline(self) -> None:
        self._cache.fetch(REPO, f"none-{self._chance.randrange(10**9)}.bin", offline=True)

    def _wrong_name(self) -> None:
        with suppress(ModelCacheError):
            self._cache.fetch(REPO, f"../{self._chance.randrange(10**9)}")

    def _not_found(self) -> None:
        with suppress(NotFoundError):
            self._cache.fetch(REPO, f"none-{self._chance.randrange(10**9)}.bin")

    def _pin(self) -> None:
        name = self._name()
        self._cache.pin(REPO, name)
        self._cache.unpin(REPO, name)

    def _entries(self) -> None:
        self._cache.entries()
        self._cache.entries(REPO)

    def _remove(self) -> None:
        self._cache.remove(REPO, self._name())

    def _in_use(self) -> None:
        name = self._name()
        with self._cache.lease(REPO, name):
            assert self._cache.remove(REPO, name).in_use
            self._cache.fetch(REPO, name, force=True)

    def _force(self) -> None:
        self._cache.fetch(REPO, self._name(), force=True)

    def _background(self) -> None:
        name = self._name()
        with suppress(OfflineMissError):
            self._cache.remove(REPO, name)
        self._cache.fetch(REPO, name, timeout=60)

    def _gc(self) -> None:
        self._cache.gc(max_size=self._chance.randrange(BUDGET))

    def _verify(self) -> None:
        self._cache.verify(max_age=0)

    def _repair(self) -> None:
        rot(self._cache.fetch(REPO, "00.bin"), self._chance.randrange(SIZE))
        self._cache.verify(max_age=0, repair=True)

    def _update(self) -> None:
        self._cache.update(REPO)

    def _reconcile(self) -> None:
        self._cache.reconcile()

    def _reader(self) -> None:
        """An object that is made, used and dropped, as a library does in each call."""
        self._another(read_only=True, offline=True).fetch(REPO, self._name())


def resident() -> int:
    """Bytes of this process that are in memory, of its own (proc_pid_statm(5): resident less shared).

    Less what is free and not yet given back to the kernel, of which each thread can have its own (malloc_trim(3)).
    """
    gc.collect()
    with suppress(AttributeError):  # not the GNU C library
        ctypes.CDLL(None).malloc_trim(0)
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """How many descriptors are open, once what works for nobody any more has ended."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(60)
    return len(os.listdir("/proc/self/fd"))


def run(operations: int, seed: int) -> dict[str, Any]:
    """Do them; what was resident and open after each tenth."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="model-cache-endurance-") as folder:
        models = Path(folder) / "hub" / "models" / REPO
        models.mkdir(parents=True)
        for number in range(FILES):
            (models / f"{number:02}.bin").write_bytes(random.Random(number).randbytes(SIZE))
        with HubProcess(Path(folder) / "hub", "--lfs-threshold=1000000") as hub:
            endurance = Endurance(Path(folder) / "root", hub.url, seed)
            endurance.warm_up()
            rows = []
            for part in range(1, PARTS + 1):
                for _ in range(operations // PARTS):
                    endurance.step()
                rows.append({"done": operations * part // PARTS, "resident": resident(), "descriptors": descriptors()})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {
        "operations": dict(endurance.done), "refused": dict(endurance.refused), "parts": rows, "seed": seed,
        "grown": rows[-1]["resident"] - rows[0]["resident"], "seconds": round(time.monotonic() - began, 1),
        "leaked_descriptors": rows[-1]["descriptors"] - rows[0]["descriptors"],
    }  # fmt: skip


def main() -> None:
    """`python -m stress.endurance`: print what was seen, and fail if memory or descriptors grew."""
    parser = argparse.ArgumentParser(prog="python -m stress.endurance", description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if not os.path.exists("/proc/self/statm"):
        sys.exit("stress.endurance reads /proc, which is not here")
    seen = run(max(given.operations, PARTS), given.seed)
    print(json.dumps(seen, indent=2))
    sys.exit(0 if seen["grown"] < ALLOWED and seen["leaked_descriptors"] == 0 else 1)


if __name__ == "__main__":
    main()
