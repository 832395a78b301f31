"""Do locks exclude another process, and does the kernel tell who has a file open? Tried with both at once.

Filesystems:
    On NFS `flock` is a lock of bytes at the server, which grants an exclusive one only on a descriptor that is open for
    writing (flock(2), "NFS details"): `locks.try_exclusive` sees to that. NFSv4 and SMB clients grant
    a kernel lease only while the server has granted them one, and say "somebody has it open" for "no".
"""

from __future__ import annotations

import os
from typing import NamedTuple

from .. import locks
from ..platforms.capabilities import CLOEXEC
from ..write_lock import WriteLock
from .check import ELSEWHERE, WITHOUT_LOCKS, Check, fail, ok, warn
from .trial import Trial

_AFTER_DEATH = 10.0  # seconds until a dead holder's lock must be free; a server may learn of the death a little later
_POLL = 0.05  # seconds
_SECOND_LOOKS = 5  # at a file that seems open: a scanner or an indexer opens what is new, for a moment


class Flock(NamedTuple):
    """What came of `flock` between two processes; None where it could not be asked."""

    there: bool
    shared_beside_shared: bool = False
    exclusive_beside_shared: bool = True
    shared_beside_exclusive: bool = True
    free_after_kill: bool = False


def flock(trial: Trial) -> Check:
    """The lease: shared beside shared, never exclusive beside shared, free when its holder is killed."""
    return judge_flock(_try_flock(trial))


def judge_flock(found: Flock) -> Check:
    """What the outcome means."""
    name = "flock"
    if not found.there:
        return fail(name, f"this file system has no flock: {WITHOUT_LOCKS}", ELSEWHERE)
    if found.exclusive_beside_shared or found.shared_beside_exclusive:
        what = "flock is granted to everybody at once, so a file can be taken away from under its reader"
        return fail(name, f"{what}: use this root with one process at a time, and without a budget", ELSEWHERE)
    if not found.shared_beside_shared:
        return fail(name, "two processes cannot hold a shared flock at once, so readers wait for each other", ELSEWHERE)
    if not found.free_after_kill:
        what = f"a flock was not free {_AFTER_DEATH:g} seconds after its holder was killed"
        return fail(name, f"{what}: a crashed process holds up downloads and evictions", ELSEWHERE)
    return ok(name, "shared beside shared, exclusive beside neither, free when its holder is killed")


def _try_flock(trial: Trial) -> Flock:
    path = trial.file("flock")
    fd = os.open(path, os.O_RDWR | CLOEXEC)
    try:
        if not locks.flock_works(fd):
            return Flock(there=False)
    finally:
        os.close(fd)
    with trial.partner() as other:
        both = other.ask("shared", "flock") == "yes" and _shared(path)
        over_shared = _exclusive_on(path)
        other.ask("drop")
        fd = os.open(path, os.O_RDONLY | CLOEXEC)
        try:
            mine = locks.try_exclusive(fd)
            under_exclusive = mine and other.ask("shared", "flock") == "yes"
        finally:
            locks.release(fd)
        if not under_exclusive:
            other.ask("shared", "flock")
        other.kill()
        free = _comes_free(trial, path)
    return Flock(True, both, over_shared, under_exclusive, free)


def _shared(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY | CLOEXEC)
    granted = locks.try_shared(fd)
    locks.release(fd)
    return granted


def _exclusive_on(path: str) -> bool:
    """Whether the exclusive lock is granted, as eviction asks for it."""
    fd = os.open(path, os.O_RDONLY | CLOEXEC)
    try:
        return locks.try_exclusive(fd)
    finally:
        locks.release(fd)


def _comes_free(trial: Trial, path: str) -> bool:
    deadline = trial.clock.monotonic() + _AFTER_DEATH
    while not _exclusive_on(path):
        if trial.clock.monotonic() >= deadline:
            return False
        trial.clock.sleep(_POLL)
    return True


def write_lock(trial: Trial) -> Check:
    """W, as downloads take it."""
    with trial.partner() as other:
        answer = other.ask("write-lock", "write.lock")
        beside = _write_lock(trial)
        other.kill()
        after = _write_lock(trial)
    return judge_write_lock(answer, beside=beside, after=after)


def _write_lock(trial: Trial) -> bool:
    lock = WriteLock(trial.path("write.lock"), 0o600)
    granted = lock.acquire()
    lock.release()
    return granted


def judge_write_lock(answer: str, *, beside: bool, after: bool) -> Check:
    """What it means that the other process got `answer`, and this one the lock beside it, and after its death."""
    name = "write-lock"
    if answer == "unlocked":
        what = "the write lock of an entry excludes nobody: each process downloads for itself, and nothing is resumed"
        return fail(name, f"{what}; {WITHOUT_LOCKS}", ELSEWHERE)
    if answer == "yes" and beside:
        what = "the write lock of an entry is granted to two processes at once"
        return fail(name, f"{what}: they disturb each other's downloads, and the hash of the bytes decides", ELSEWHERE)
    if answer != "yes" or not after:
        return fail(name, "the write lock of an entry was not free with nobody holding it", ELSEWHERE)
    return ok(name, "one process at a time, free when its holder is killed")


class OpenTest(NamedTuple):
    """Whether the kernel says that nobody uses a file: while nobody does, and while another process does.

    Attributes: True if nobody, False if somebody, None if it does not say.
    """

    unused: bool | None
    opened: bool | None = None
    mapped: bool | None = None
    unused_again: bool | None = None


def open_test(trial: Trial) -> Check:
    """The kernel lease: refused while another process has the file open or mapped, granted when none has."""
    path = trial.file("open-test", b"\3")
    found = OpenTest(_unused(trial, path))
    if found.unused:
        with trial.partner() as other:
            other.ask("open", "open-test")
            opened = _sole_use(path)
            other.ask("drop")
            other.ask("map", "open-test")
            mapped = _sole_use(path)
            other.ask("drop")
            found = OpenTest(True, opened, mapped, _unused(trial, path))
    return judge_open_test(found)


def judge_open_test(found: OpenTest) -> Check:
    """What the outcome means."""
    name = "open-test"
    if found.unused is None:
        what = "the kernel does not tell who has a file open here"
        return warn(name, f"{what}: only a lease, a pin and a recent use protect a file from eviction")
    if not found.unused or not found.unused_again:
        what = "the kernel says that a file is open which nobody has open"
        return fail(name, f"{what}: gc and update take every file for one in use, and rm wants --force", ELSEWHERE)
    if found.opened:
        what = "the kernel says that nobody has a file open while another process has"
        return fail(name, f"{what}: only a lease, a pin and a recent use protect a file from eviction", ELSEWHERE)
    if found.mapped:
        what = "a file that another process has mapped, and not open, counts as unused"
        return warn(name, f"{what}: it can be evicted; its mapping stays good where the file system is local")
    return ok(name, "what another process has open or mapped is seen, and nothing else")


def _sole_use(path: str) -> bool | None:
    fd = os.open(path, os.O_RDONLY | CLOEXEC)
    try:
        return locks.try_sole_use(fd)
    except PermissionError:
        return None  # a server that makes this file another user's
    finally:
        os.close(fd)


def _unused(trial: Trial, path: str) -> bool | None:
    for _ in range(_SECOND_LOOKS):
        found = _sole_use(path)
        if found is not False:
            break
        trial.clock.sleep(_POLL)
    return found
