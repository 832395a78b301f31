"""Versions, the index, and the clock."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import closing

from ..context import Context
from ..errors import IndexUnavailableError, quoted
from ..units import format_duration, plural
from .check import Check, fail, ok, warn
from .trial import Trial

_FILELOCK = (4, 2)  # the first that is told not to fall back to marker files, which outlive a kill
_SKEW = 2.0  # seconds between the clock here and the file system's; servers are rarely closer


def versions() -> list[Check]:
    """Python, the kernel, and the two libraries that locks and the index stand on."""
    return [
        ok("python", f"{platform.python_version()} at {sys.executable}"),
        judge_kernel(platform.system(), platform.release()),
        ok("sqlite", _sqlite_version()),
        judge_filelock(_filelock_version()),
    ]


def judge_kernel(system: str, release: str) -> Check:
    """What it means to run on this one."""
    if system == "Linux":
        return ok("kernel", f"{system} {release}")
    return warn("kernel", f"{system} {release}: only Linux was tried; elsewhere there is no open test")


def _sqlite_version() -> str:
    """The version of the SQLite library; the index is the one that imports its module."""
    from ..index import queries  # noqa: F401 - for what it imports

    return str(sys.modules["sqlite3"].sqlite_version)


def _filelock_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("filelock")
    except PackageNotFoundError:
        return ""


def judge_filelock(version: str) -> Check:
    """What this version of filelock means."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    wanted = ".".join(map(str, _FILELOCK))
    if not numbers:
        return warn("filelock", f"its version cannot be told; {wanted} is needed")
    if numbers < _FILELOCK:
        what = f"{version} is too old, {wanted} is needed"
        hint = f"{quoted(sys.executable)} -m pip install 'filelock>={wanted}'"
        return fail("filelock", f"{what}: where flock does not work it goes by marker files that outlive a kill", hint)
    return ok("filelock", version)


def index(ctx: Context) -> Check:
    """Whether the index opens, is whole, and is of a version this program knows."""
    from ..index import queries

    if not os.path.lexists(ctx.places.index):
        return ok("index", "none yet")
    try:
        with closing(ctx.index) as found:
            wrong = queries.health(found)
    except IndexUnavailableError as error:
        return fail("index", str(error), error.hint)
    if wrong != "ok":
        what = f"{ctx.places.index} is damaged ({wrong})"
        return fail("index", f"{what}: no model file is affected", "model-cache reconcile --rebuild")
    return ok("index", "opens, and is whole")


def last_uses(ctx: Context) -> Check:
    """Whether a last use lies in the future: then the clock was wrong when it was noted, or is wrong now."""
    latest, count = 0.0, 0
    try:
        with os.scandir(ctx.places.used) as entries:
            for entry in entries:
                # The time after the file: one that is touched meanwhile is not ahead of it.
                ahead = entry.stat(follow_symlinks=False).st_mtime - ctx.clock.time()
                count += ahead > 0
                latest = max(latest, ahead)
    except (FileNotFoundError, NotADirectoryError):
        return ok("last-uses", "none yet")
    if count:
        what = f"{plural(count, 'last use')} in the future, by up to {format_duration(latest)}"
        return warn(
            "last-uses", f"{what}: those files are evicted last until the next gc sets them to now", "timedatectl"
        )
    return ok("last-uses", "none in the future")


def clock(trial: Trial) -> Check:
    """Whether the file system's clock, which may be a server's, is the one here."""
    before = trial.clock.time()
    made = os.stat(trial.file("clock")).st_mtime
    return judge_clock(max(before - made, made - trial.clock.time(), 0.0))


def judge_clock(skew: float) -> Check:
    """What it means that the two differ by so many seconds."""
    if skew > _SKEW:
        what = f"the file system's clock and this one are {format_duration(skew)} apart"
        return warn("clock", f"{what}: recent use, on which eviction goes, is off by as much", "timedatectl")
    return ok("clock", "the file system's is the one here")
