"""Running things in turns and taking medians."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Sample(NamedTuple):
    """One program run: wall-clock seconds, CPU seconds, peak memory in MiB."""

    seconds: float
    cpu: float
    peak: float


def seconds_of(sample: Sample) -> float:
    """What counts as a rule."""
    return sample.seconds


def cpu_of(sample: Sample) -> float:
    """What counts where other programs would be kept from running: seconds of a processor."""
    return sample.cpu


class Series(NamedTuple):
    """Many runs of one thing: the median, how far the runs lay apart (in the same unit), and each in its turn."""

    median: float
    low: float
    high: float
    peak: float = 0.0
    values: tuple[float, ...] = ()


def run(command: Sequence[str], environ: dict[str, str] | None = None) -> Sample:
    """Run a program to its end; its children are not counted in CPU and memory."""
    # Byte code is cached for any installed package; a shell that forbids it would have every start compile.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**inherited, **(environ or {})}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"exit {process.returncode}: {' '.join(command[:6])}")
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def python(code: str, *arguments: str, environ: dict[str, str] | None = None) -> Sample:
    """Run a snippet in a new interpreter."""
    return run([sys.executable, "-c", code, *arguments], environ)


def in_turns(
    rounds: int, *measures: Callable[[], Sample], warm: bool = True, of: Callable[[Sample], float] = seconds_of
) -> list[Series]:
    """Measure each in turn, round after round, so that whatever else the machine does falls on all alike.

    Args:
        of: What of a sample counts: its seconds, or its CPU.
    """
    if warm:
        for measure in measures:
            measure()
    found: list[list[Sample]] = [[] for _ in measures]
    for _ in range(rounds):
        for place, measure in enumerate(measures):
            found[place].append(measure())
    return [series([of(sample) for sample in samples], max(s.peak for s in samples)) for samples in found]


def series(values: list[float], peak: float = 0.0) -> Series:
    """The median and the spread."""
    return Series(statistics.median(values), min(values), max(values), peak, tuple(values))


def loop(statement: Callable[[], object], seconds: float = 0.2) -> float:
    """Seconds per call of something short, the best of many short loops."""
    return loops(statement, seconds=seconds)[0]


def loops(*statements: Callable[[], object], seconds: float = 0.2) -> list[float]:
    """Seconds per call of things as short as each other, the best of many short loops in turns."""
    number, spent = 1, 0.0
    while spent < 0.02:
        number *= 4
        spent = _time(statements[0], number)
    rounds = max(int(seconds / spent), 5)
    best = [spent / number] + [float("inf")] * (len(statements) - 1)
    for _ in range(rounds):
        for place, statement in enumerate(statements):
            best[place] = min(best[place], _time(statement, number) / number)
    return best


def _time(statement: Callable[[], object], number: int) -> float:
    turns = range(number)
    started = time.perf_counter()
    for _ in turns:
        statement()
    return time.perf_counter() - started
