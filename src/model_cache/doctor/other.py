"""The other process, from its own side: `python -m model_cache.doctor.other`, in the directory of the trials.

A question is a line of words on standard input, the answer one line: `ok TEXT` or `error TEXT`. The first line, `ok`,
says that it is ready. Every question but `watch` is answered at once:

| question | does | answer |
|---|---|---|
| `shared NAME`, `exclusive NAME` | opens the file read-only and tries the lease | `yes` or `no` |
| `write-lock NAME` | tries W on that file | `yes`, `no`, or `unlocked` where it excludes nobody |
| `open NAME` | opens the file | |
| `map NAME` | maps the file, its descriptor closed again | |
| `drop` | lets go of everything it holds | |
| `watch NAME BYTES` | reads the file, answers, reads on until the next line, answers again | `LOOKS MISSING TORN` |
"""

from __future__ import annotations

import mmap
import os
import select
import signal
from collections.abc import Callable
from typing import BinaryIO

from .. import disk, locks
from ..platforms.capabilities import CLOEXEC
from ..write_lock import WriteLock

_MODE = 0o600


class _Held:
    """What this process holds on to until it is told to drop it."""

    def __init__(self) -> None:
        self._drops: list[Callable[[], object]] = []

    def lease(self, name: str, take: Callable[[int], bool]) -> str:
        fd = os.open(name, os.O_RDONLY | CLOEXEC)
        if not take(fd):
            os.close(fd)
            return "no"
        self._drops.append(lambda: locks.release(fd))
        return "yes"

    def write_lock(self, name: str) -> str:
        lock = WriteLock(os.path.abspath(name), _MODE)
        if not lock.acquire():
            return "no"
        self._drops.append(lock.release)
        return "yes" if lock.excludes else "unlocked"

    def open(self, name: str) -> str:
        fd = os.open(name, os.O_RDONLY | CLOEXEC)
        self._drops.append(lambda: os.close(fd))
        return ""

    def map(self, name: str) -> str:
        with open(name, "rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._drops.append(mapping.close)
        return ""

    def drop(self) -> str:
        while self._drops:
            self._drops.pop()()
        return ""


def whole(data: bytes, size: int) -> bool:
    """Whether a version of the watched file is all there: every byte of it is the same."""
    return len(data) == size and data == data[:1] * size


def _watch(questions: BinaryIO, name: str, size: int) -> str:
    looks = missing = torn = 0
    while not looks or not select.select([questions], [], [], 0)[0]:
        try:
            torn += not whole(disk.read_small(name, 2 * size), size)
        except OSError:
            missing += 1
        looks += 1
        if looks == 1:
            _say("ok")
    questions.readline()
    return f"{looks} {missing} {torn}"


def _answer(held: _Held, questions: BinaryIO, question: str, *words: str) -> str:
    known: dict[str, Callable[..., str]] = {
        "watch": lambda name, size: _watch(questions, name, int(size)),
        "shared": lambda name: held.lease(name, locks.try_shared),
        "exclusive": lambda name: held.lease(name, locks.try_exclusive),
        "write-lock": held.write_lock,
        "open": held.open,
        "map": held.map,
        "drop": held.drop,
    }
    return known[question](*words)


def _say(*words: str) -> None:
    os.write(1, " ".join(words).encode(errors="replace") + b"\n")


def main() -> None:
    """Answer until there are no more questions."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _say("ok")
    held = _Held()
    # Unbuffered: `watch` looks by the descriptor whether there is a next line.
    with open(0, "rb", buffering=0, closefd=False) as questions:
        while line := questions.readline():
            try:
                text = _answer(held, questions, *line.decode().split())
            except OSError as error:
                _say("error", error.strerror or str(error))
            else:
                _say("ok", text)


if __name__ == "__main__":
    main()
