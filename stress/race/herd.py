"""64 processes, one download: all start cold on one file, the leader is killed midway, one takes over and goes on.

What must be seen: every process that was not killed has the whole file; one body is sent, in two parts; the second
begins where the first one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from model_cache import ModelCache
from model_cache.progress import Progress

from ..invariants import OWN
from .arena import Hub
from .children import fork, preload
from .journal import Event, Journal, Reader
from .world import KIB, MIB, File, World, digest

_FILE = File("org/model", "model.safetensors", 12 * MIB, "herd")
_RATE = 3.0 * MIB  # bytes per second that the hub sends
_KILLED_AT = 0.45  # of the file's bytes on disk
_HELD_AT = 0.47  # of its bytes: no more come until somebody was killed, so that it never is too late
_LONGEST = 60.0  # seconds that it may take
_TICK = 0.01
_PATIENCE = 2.0  # seconds between leaving and looking at the bytes


@dataclass
class Herd:
    """What came of it.

    Attributes:
        events: All lines of all journals, in the order of their times.
        began: When the first process asked (monotonic seconds).
        size: Bytes of the file.
        wrong: What was not as promised.
    """

    events: list[Event]
    began: float
    size: int
    wrong: list[str]

    def of(self, kind: str) -> list[Event]:
        """The lines of one kind."""
        return [event for event in self.events if event["e"] == kind]


class _World(World):
    """One repo with one file."""

    def __post_init__(self) -> None:
        self.all = [_FILE]
        self.versions = {_FILE.repo: 0}
        self.legal = {_FILE.path: {digest(self.bytes_of(_FILE, 0))}}


class _Told(Progress):
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def started(self, name: str, total: int | None, done: int) -> None:
        self._journal.write("phase", what="download", done=done, total=total, name=name)


class _Gate:
    """Lets all children go at the same instant, once every one of them stands there."""

    def __init__(self) -> None:
        self._there, self._says = os.pipe()
        self._waits, self._opens = os.pipe()

    def stand(self) -> None:
        """Of a child: wait for the others."""
        os.close(self._opens)
        os.write(self._says, b".")
        os.read(self._waits, 1)

    def open(self, count: int) -> float:
        """Of the parent: wait for so many children, and let them go; returns when."""
        while count:
            count -= len(os.read(self._there, count))
        now = time.monotonic()
        os.close(self._opens)
        return now


def _ask(root: Path, endpoint: str, journals: Path, slot: int, gate: _Gate) -> NoReturn:
    """One process of the herd: wait for the start, fetch, hash, say so."""
    journal = Journal(journals / f"worker-{slot:03}.jsonl", w=slot, l=0)

    waiting = False

    def step(name: str) -> None:
        nonlocal waiting
        if name == "publish:fsync-directory":
            journal.write("phase", what="publish")
        elif waiting and name != "lock:release":
            journal.write("phase", what="lead")
        waiting = name == "lock:write"

    cache = ModelCache(root, endpoint=endpoint, token=False, step=step)
    gate.stand()
    journal.write("begin", n=1, op="fetch", path=_FILE.path)
    path = cache.fetch(_FILE.repo, _FILE.name, progress=_Told(journal))
    journal.write("phase", what="left")
    time.sleep(_PATIENCE)  # 63 processes that hash at once would keep each other from leaving
    journal.write("end", n=1, op="fetch", path=_FILE.path, out="ok", sha=digest(path.read_bytes()))
    os._exit(0)


def run(folder: Path, processes: int, seed: int) -> Herd:
    """Let them race, kill the leader once, and wait for the others."""
    journals, root = folder / "journals", folder / "root"
    journals.mkdir()
    world = _World(seed)
    hub, own = Hub(journals, world), Journal(journals / "controller.jsonl")
    hub.order("traffic", latency=0.02, rate=_RATE)
    hub.order("hold", pattern=_FILE.name, after=_HELD_AT)
    preload()
    gate, pids, start = _Gate(), {}, 0.0
    try:
        for slot in range(processes):
            pids[fork(lambda slot=slot: _ask(root, hub.url, journals, slot, gate))] = slot  # type: ignore[misc]
        start = gate.open(processes)
        _watch(pids, journals, root, own, hub)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        hub.end()
    events = sorted(Reader(journals).new(), key=lambda event: event["t"])
    return Herd(events, start, _FILE.size, _wrong(events, processes, world))


def _watch(pids: dict[int, int], journals: Path, root: Path, own: Journal, hub: Hub) -> None:
    """Kill who downloads, once enough has come; reap who is through."""
    until, killed, last = time.monotonic() + _LONGEST, False, 0
    while pids and time.monotonic() < until:
        for pid in list(pids):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                own.write("died", w=pids.pop(pid), l=0, how="SIGKILL" if os.WIFSIGNALED(status) else "end")
        size = _on_disk(root)
        if size != last:
            own.write("size", bytes=size)
            last = size
        if size > _KILLED_AT * _FILE.size and not killed:
            killed = _kill_leader(pids, journals)
            if killed:
                hub.order("release")
        time.sleep(_TICK)


def _kill_leader(pids: dict[int, int], journals: Path) -> bool:
    """Kill who said first that it downloads; where locks do not hold, that one may be through or dead already."""
    slots = {slot: pid for pid, slot in pids.items()}
    said = [e["w"] for e in Reader(journals).new() if e["e"] == "phase" and e["what"] == "download"]
    leader = next((slots[slot] for slot in said if slot in slots), None)
    if leader is not None:
        os.kill(leader, signal.SIGKILL)
    return leader is not None


def _on_disk(root: Path) -> int:
    """Bytes of the file that have come: of its partial, or of itself."""
    found = [*(root / OWN / "partial").glob("*"), root / _FILE.path]
    try:
        return max((path.stat().st_size for path in found if path.exists()), default=0)
    except FileNotFoundError:
        return 0


def _wrong(events: list[Event], processes: int, world: World) -> list[str]:
    ends, bodies = [e for e in events if e["e"] == "end"], [e for e in events if e["e"] == "body"]
    sent = sum(event["bytes"] for event in events if event["e"] == "sent")
    slack = 512 * KIB  # what was on its way to the one that was killed
    claims = {
        f"{processes - 1} processes have the file": len(ends) == processes - 1,
        "all of them have its bytes": all(e["sha"] in world.legal[_FILE.path] for e in ends),
        "there was one download, in two parts": len(bodies) == 2,
        "the second part began where the first one ended": len(bodies) == 2 and bodies[1]["start"] > 0,
        "hardly a byte was sent twice": _FILE.size <= sent <= _FILE.size + slack,
        "I2: nobody was sent the same file at the same time": not any(e["e"] == "overlap" for e in events),
    }
    return [claim for claim, holds in claims.items() if not holds]


def facts(herd: Herd) -> dict[str, Any]:
    """What was seen, as JSON values."""
    ends, bodies = herd.of("end"), herd.of("body")
    published = [e["t"] for e in herd.of("phase") if e["what"] == "publish"]
    last = max((e["t"] for e in herd.of("phase") if e["what"] == "left"), default=herd.began)
    return {
        "served": len(ends), "bodies": len(bodies), "starts": [e["start"] for e in bodies], "size": herd.size,
        "bytes_sent": sum(e["bytes"] for e in herd.of("sent")), "seconds": round(last - herd.began, 3),
        "last_left_ms_after_publish": round((last - published[-1]) * 1000) if published else None,
        "wrong": herd.wrong, "passed": not herd.wrong,
    }  # fmt: skip


def main(given: argparse.Namespace, console: Console) -> int:
    """`--scenario herd`."""
    from .gantt import of_herd

    with tempfile.TemporaryDirectory(prefix="model-cache-herd-", dir=given.folder) as folder:
        herd = run(Path(folder), given.processes or 64, given.seed)
    seen = facts(herd)
    console.print_json(data=seen)
    if given.json:
        given.json.write_text(json.dumps(seen, indent=2) + "\n", encoding="utf-8")
    if given.picture:
        given.picture.write_text(of_herd(herd), encoding="utf-8")
    if herd.wrong:
        console.print(f"replay with: python -m stress --scenario herd --processes {given.processes or 64}"
                      f" --seed {given.seed}", soft_wrap=True)  # fmt: skip
    return 1 if herd.wrong else 0
