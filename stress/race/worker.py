"""One process of a race: does what its seed says, and writes down each operation before and after."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import struct
import time
from types import FrameType
from typing import NoReturn

from model_cache import ModelCache
from model_cache.errors import ModelCacheError
from model_cache.pace import Pace
from model_cache.progress import Progress

from ..hosts import GUEST, KEEPER, is_guest, settings_of
from .acts import ACTS, Seen
from .journal import Journal
from .scenario import LOCK_TIMEOUT, MIN_IDLE, TOUCH_INTERVAL, Choice, Doom, Scenario, Setting, choices
from .world import World

REQUEST = struct.Struct("<iidi")  # slot, life, seconds from now, signal: what a worker asks its killer for

_IN_PARTS = 3  # one process in so many fetches what is not small in parts, over several connections
_PARTS: dict[str, object] = {
    "connections": 3,
    "pace": Pace(
        large=128 << 10, window=0.0, fast=1e18, smallest=32 << 10, noted=32 << 10, between=0.0, flushed=256 << 10,
        chunk=16 << 10,
    ),
}  # fmt: skip


class Terminated(BaseException):
    """SIGTERM came: everything is given back on the way out."""


class Worker:
    """Operations one after the other, until it is killed or told to stop.

    Args:
        setting, scenario, world: What is raced.
        slot: Which of the processes this is.
        life: How many held this place before.
        killer: A pipe to whoever kills.
    """

    def __init__(self, setting: Setting, scenario: Scenario, world: World, slot: int, life: int, killer: int) -> None:
        self.slot, self._life, self._killer = slot, life, killer
        self._choices = choices(scenario, world, slot, life)
        self._journal = Journal(setting.journals / f"worker-{slot:03}.jsonl", w=slot, l=life)
        self._number = self._steps = 0
        self._doom: Doom | None = None
        options = dict(_PARTS) if slot % _IN_PARTS == 0 else {}
        if setting.shelf is not None and slot % 2:
            options["tier"] = f"file://{setting.shelf}"
        if setting.hosts:
            options |= settings_of(setting.root, GUEST if is_guest(slot) else KEEPER)
        self.cache = cache_of(setting, step=self._step, **options)
        self.budget, self.lockfiles = setting.budget, setting.journals
        self.above = _above(setting, slot)
        self.other = setting.journals.parent / f"other-{slot:03}"
        self.progress = _Told(self)

    def run(self) -> NoReturn:
        """Race."""
        self._journal.write("born", pid=os.getpid())
        while True:
            choice = next(self._choices)
            self._number += 1
            self._perform(choice)
            if choice.doom is None:
                time.sleep(choice.think)  # whoever is about to be killed goes on, so that it is killed at work

    def phase(self, what: str, **facts: object) -> None:
        """Write down how an operation goes on."""
        self._journal.write("phase", n=self._number, what=what, **facts)

    def _perform(self, choice: Choice) -> None:
        self._doom, self._steps = choice.doom, 0
        self._journal.write("begin", n=self._number, op=choice.kind, path=choice.file.path, doom=choice.doom)
        if choice.doom is not None and not choice.doom.step:
            number = getattr(signal, choice.doom.signal)
            os.write(self._killer, REQUEST.pack(self.slot, self._life, choice.doom.after, number))
        seen: Seen = {}
        try:
            seen = ACTS[choice.kind](self, choice)
            result, text = "ok", ""
        except ModelCacheError as error:
            result, text = type(error).__name__, str(error)
        except Terminated:
            self._journal.write("end", n=self._number, op=choice.kind, path=choice.file.path, out="terminated")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the oracle says that it should not have been
            result, text = f"!{type(error).__name__}", repr(error)
        if self._doom is not None and self._doom.step:
            self._die(self._doom)  # it took fewer steps: killed between its last one and saying so
        self._doom = None
        self._journal.write(
            "end", n=self._number, op=choice.kind, path=choice.file.path, out=result, text=text[:400], **seen
        )

    def _step(self, name: str) -> None:
        self._steps += 1
        if name == "lock:write":
            self.phase("wait")
        elif name == "lock:release":
            self.phase("let-go")
        if self._doom is not None and self._doom.step == self._steps:
            self._die(self._doom)

    def _die(self, doom: Doom) -> None:
        self._doom = None
        os.kill(os.getpid(), getattr(signal, doom.signal))


class _Told(Progress):
    """Writes down when a download begins: from zero, or from where somebody left it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def started(self, name: str, total: int | None, done: int) -> None:
        self._worker.phase("download", name=name, total=total, done=done)

    def warning(self, message: str) -> None:
        if "waits for room" in message:
            self._worker.phase("room")
        elif "it is replaced" in message:
            self._worker.phase("spoilt")


def cache_of(setting: Setting, **options: object) -> ModelCache:
    """The cache that everybody races for."""
    policy: dict[str, object] = {
        "max_size": setting.budget, "min_idle": MIN_IDLE, "touch_interval": TOUCH_INTERVAL, "lock_timeout": LOCK_TIMEOUT,
        "download_timeout": 2, "etag_timeout": 5,
    }  # fmt: skip
    return ModelCache(setting.root, endpoint=setting.endpoint, token=False, **policy, **options)  # type: ignore[arg-type]


def _above(setting: Setting, slot: int) -> ModelCache:
    """A cache of a process's own, to which the one that everybody races for is a lower root; it asks nobody."""
    root = setting.journals.parent / f"above-{slot:03}"
    return ModelCache(root, lower=[setting.root], offline=True, min_idle=MIN_IDLE, touch_interval=0)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def live(setting: Setting, scenario: Scenario, world: World, slot: int, life: int, killer: int) -> NoReturn:
    """What a forked child does; it never returns."""
    status = 1
    try:
        # A short core of a process that died by itself tells more than none; of those that are killed there is none.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGTERM, _terminate)
        log = os.open(setting.journals / f"worker-{slot:03}.stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        Worker(setting, scenario, world, slot, life, killer).run()
    except Terminated:
        status = 0
    except BaseException:  # noqa: BLE001 - the last thing before the process ends
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
