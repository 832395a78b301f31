"""A race from its first process to its last look: workers, hub, chaos and oracle, in one loop."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from model_cache.budget.limits import BLOCK

from ..hosts import settle
from ..invariants import OWN
from .chaos import Chaos
from .children import Children, fork, preload
from .ending import end
from .excuses import Known
from .journal import Journal, Reader
from .oracle import Oracle
from .room import occupied
from .scenario import FAULTS, PROMISE, Scenario, Setting
from .served import serve
from .shelf import Shelf
from .worker import cache_of, live
from .world import STILL, World

_TICK = 0.004  # seconds
_TOP = Path(__file__).parents[2]
# What is done now and then: seconds between two.
_SAMPLE, _READ, _FOREIGN, _PROBE = 0.02, 0.25, 0.5, 4.0
_HANG = 90.0  # seconds in which every operation ends, in one way or another
_PROBING = 60.0
_DOWNLOADS = ("fetch", "force", "brief", "repo", "handout", "lease", "open", "mapped", "update", "repair")


class Hub:
    """The hub's process, and the pipe on which it takes orders."""

    def __init__(self, journals: Path, world: World) -> None:
        orders, self._orders = os.pipe2(os.O_CLOEXEC)
        said, told = os.pipe2(os.O_CLOEXEC)

        def act() -> None:
            os.close(self._orders)
            serve(journals, world, orders, told)

        self.pid = fork(act)
        os.close(orders)
        os.close(told)
        with os.fdopen(said, encoding="ascii") as answer:
            self.url = answer.read()

    def order(self, name: str, **arguments: object) -> None:
        """Tell it to do something."""
        os.write(self._orders, json.dumps([name, arguments]).encode() + b"\n")

    def end(self) -> None:
        """Let it end."""
        os.close(self._orders)
        os.waitpid(self.pid, 0)


class Arena:
    """One race.

    Args:
        scenario: What is raced.
        folder: Where root and journals are made.
        tell: Called with the arena, now and then.

    Attributes:
        oracle, chaos: Who judges, and who does harm.
        shelf: The tier, if there is one.
        began: When the workers were started (monotonic seconds).
        largest: Bytes that the cache had on disk at most.
    """

    def __init__(self, scenario: Scenario, folder: Path, tell: Callable[[Arena], None] = lambda _: None) -> None:
        self.scenario, self._folder, self._tell = scenario, folder, tell
        self.world = scenario.world()
        journals = folder / "journals"
        journals.mkdir()
        self.known = Known(self.world.legal, PROMISE, scenario.hosts)
        self.oracle = Oracle(self.known)
        self._reader = Reader(journals)
        self._journal = Journal(journals / "controller.jsonl")
        self._hub = Hub(journals, scenario.world())
        self.budget = int(self.world.occupied * scenario.room)
        self.setting = Setting(folder / "root", journals, self._hub.url, self.budget)
        self.shelf = Shelf(folder / "shelf", self._journal, random.Random(f"{scenario.seed}/shelf"))
        if scenario.plants:
            self.shelf.place.mkdir()
            self.setting = self.setting._replace(shelf=self.shelf.place)
        self._chance = random.Random(f"{scenario.seed}/chaos")
        self.chaos = Chaos(self.setting.root, self.known, self._journal, random.Random(f"{scenario.seed}/harm"))
        self._children: Children | None = None
        self._next: dict[str, float] = {}
        self._probe: subprocess.Popen[str] | None = None
        self.began, self.largest, self.seconds = 0.0, 0, 0.0
        self._unknown = 0  # bytes that were reserved in an index that was lost

    def run(self) -> None:
        """Race, end, and look at what is left."""
        try:
            self._prepare()
            self.began = time.monotonic()
            self._children = Children(self._live, self.scenario.processes)
            while time.monotonic() < self.began + self.scenario.seconds:
                self._turn()
                time.sleep(_TICK)
            self.seconds = time.monotonic() - self.began
        finally:
            self._end_workers()
        try:
            self._last_look()
        finally:
            self.close()

    def close(self) -> None:
        """Let the hub end."""
        self._hub.end()

    def _live(self, slot: int, life: int, killer: int) -> NoReturn:
        live(self.setting, self.scenario, self.world, slot, life, killer)

    def _prepare(self) -> None:
        """What the workers would load, loaded; the file that a cheap hit is measured on, fetched and pinned."""
        preload()
        if self.scenario.hosts:
            (self.setting.root / OWN).mkdir(parents=True)
            settle(self.setting.root)
            self.setting = self.setting._replace(hosts=True)

        def first() -> None:
            cache = cache_of(self.setting)
            cache.fetch(STILL, "still.bin")
            cache.pin(STILL)
            for file in self.world.moving[:2]:
                cache.fetch(file.repo, file.name)
            cache.verify()

        _, status = os.waitpid(fork(first), 0)
        if status:
            raise RuntimeError(f"the race could not be prepared: {status}")
        self.chaos.begin()

    def _turn(self) -> None:
        assert self._children is not None
        for slot, life, how, status in self._children.reap():
            self._journal.write("died", w=slot, l=life, how=how, status=status)
        self._children.kill()
        turns: list[tuple[str, float, Callable[[], None]]] = [
            ("sample", _SAMPLE, self._sample), ("read", _READ, self._read), ("foreign", _FOREIGN, self._look_at_foreign),
            ("probe", _PROBE, self._ask_probe),
            ("move", self.scenario.moves, self._move), ("fault", self.scenario.faults, self._fault),
            ("stop", self.scenario.stops, self._stop), ("rot", self.scenario.rot, self.chaos.rot),
            ("edit", self.scenario.edits, self.chaos.edit), ("place", self.scenario.edits, self.chaos.place),
            ("lose", self.scenario.losses, self._lose), ("plant", self.scenario.plants, self.shelf.plant),
        ]  # fmt: skip
        now = time.monotonic()
        for name, every, act in turns:
            if every and now >= self._next.setdefault(name, now + every):
                act()
                self._next[name] = now + every * (0.5 + self._chance.random() if every > _FOREIGN else 1.0)

    def _sample(self) -> None:
        found = occupied(self.setting.root, self.known.is_own)
        self.largest = max(self.largest, found)
        over = found - self.budget - self._unknown
        if found <= self.budget:
            self._unknown = 0
        self.oracle.note("I4", f"{found} bytes were on disk, {over} over the budget" if over > 0 else "")

    def _lose(self) -> None:
        """What downloads under way have reserved is lost with the index: until it is all counted, it comes on top."""
        self._read()
        paths = {operation.begin["path"] for operation in self.oracle.current() if operation.begin["op"] in _DOWNLOADS}
        repos = {path.rpartition("/")[0] for path in paths}
        self._unknown += sum(file.size + BLOCK for file in self.world.all if file.path in paths or file.repo in repos)
        self.chaos.lose()

    def _read(self) -> None:
        self.oracle.read(self._reader.new())
        now = time.monotonic()
        for operation in list(self.oracle.current()):
            if now - operation.begin["t"] > _HANG:
                begin = operation.begin
                operation.over = now
                where = f"worker {begin['w']}.{begin['l']}.{begin['n']} {begin['op']} {begin['path']}"
                self.oracle.note("I10", f"{where} hangs since {now - begin['t']:.0f} s")
                self.oracle.forget(begin)
        self._tell(self)

    def _look_at_foreign(self) -> None:
        self._report_foreign(self.chaos.look())

    def _report_foreign(self, found: list[Any]) -> None:
        self.oracle.violations += found
        self.oracle.checks["I7"] = self.chaos.checks

    def _ask_probe(self) -> None:
        """I9: a fresh interpreter hits a file, with a hub that is not there."""
        self._collect_probe()
        if self._probe is None:
            command = [sys.executable, "-m", "stress.race.probe", str(self.setting.root), STILL, "still.bin"]
            self._probe = subprocess.Popen(command, cwd=_TOP, stdout=subprocess.PIPE, text=True)

    def _collect_probe(self, timeout: float = 0.0) -> None:
        if self._probe is None or (self._probe.poll() is None and not timeout):
            return
        said = json.loads(self._probe.communicate(timeout=timeout or _PROBING)[0] or '{"wrong": "said nothing"}')
        self._probe = None
        if not said.get("absent"):
            self.oracle.note("I9", said["wrong"] and f"a hit in a fresh process {said['wrong']}")

    def _move(self) -> None:
        repo = self._chance.choice([repo for repo in self.world.versions if repo != STILL])
        self.world.move(repo)  # legal before the hub has it
        self._journal.write("move", repo=repo, version=self.world.versions[repo])
        self._hub.order("move", repo=repo)

    def _fault(self) -> None:
        file = self._chance.choice(self.world.moving)
        kind = self._chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        more: dict[str, Any] = {}
        if kind == "status":
            more = {"status": self._chance.choice([500, 502, 503, 429]), "on": "any"}
        elif kind == "slow":
            more = {"rate": self._chance.choice([64, 256, 1024]) * 1024}
        pattern, at = f"{file.repo}/{file.name}", round(self._chance.uniform(0.0, 0.95), 2)
        self.known.faulted(file.path, kind)
        self._hub.order("fault", pattern=pattern, kind=kind, at=at, times=self._chance.choice([1, 1, 1, 4]), **more)

    def _stop(self) -> None:
        assert self._children is not None
        slot, seconds = self._chance.randrange(self.scenario.processes), self._chance.uniform(0.02, 1.5)
        self._journal.write("stop", w=slot, l=self._children.lives[slot], seconds=seconds)
        self._children.stop(slot, seconds)

    def _end_workers(self) -> None:
        if self._children is not None and self._children.pids:
            lives = list(self._children.lives)
            self._children.end()
            for slot, life in enumerate(lives):
                self._journal.write("died", w=slot, l=life, how="end", status=9)

    def _last_look(self) -> None:
        self._collect_probe(_PROBING)
        self._sample()
        self._look_at_foreign()
        self.oracle.read(self._reader.new())
        self.oracle.close()
        self._look_at_foreign()
        self._hub.order("still")
        if self.scenario.plants:
            self.shelf.judge(self.oracle)
        end(self)
        self._tell(self)

    def keep(self, place: Path) -> None:
        """Copy the journals and the root somewhere, to be looked at."""
        shutil.copytree(self._folder, place, dirs_exist_ok=True, symlinks=True)
