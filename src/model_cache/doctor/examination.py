"""All checks of a root, in the order in which they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from .. import mounts, trust
from ..context import Context
from ..errors import ModelCacheError, quoted
from ..platforms.space import is_read_only
from ..strays import strays
from . import environment, exclusion, files, fleet, lower, ownership
from .check import Check, Status, fail, ok, warn
from .filesystems import judge_file_system
from .scratch import base, scratch
from .sharing import sharing
from .space import space
from .trial import Trial

# What is tried in a directory of its own, by the name that stands for it if it cannot be tried at all.
_TRIALS: tuple[tuple[str, Callable[[Trial], Check]], ...] = (
    ("flock", exclusion.flock),
    ("write-lock", exclusion.write_lock),
    ("open-test", exclusion.open_test),
    ("rename", files.rename),
    ("fsync", files.fsync),
    ("hard-links", files.hard_links),
    ("reflinks", files.reflinks),
    ("names", files.names),
    ("long-names", files.long_names),
    ("clock", environment.clock),
)


class Report(NamedTuple):
    """What an examination found.

    Attributes:
        root: Absolute path of the root.
        mount: What it is on, or would be; None where this system does not tell.
        checks: In the order of reading.
    """

    root: str
    mount: mounts.Mount | None
    checks: list[Check]

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.status is Status.FAIL]


def examine(ctx: Context) -> Report:
    """Look at the root and try its file system; a root that is not there is not made.

    Concurrency:
        Beside any number of other processes: nothing of the cache's own is locked or changed. What is tried is tried on
        files of its own, in a directory that is removed again whatever happens.
    """
    place = base(ctx.root, ctx.places.own)
    mount = mounts.find(place)
    there = os.path.isdir(ctx.root)
    checks = [_root(ctx, place), judge_file_system(mount)]
    checks += _attempt("settings", _settings, ctx)
    checks += _attempt("sharing", sharing, ctx, mount)
    if there:
        checks += _attempt("permissions", ownership.permissions, ctx)
        checks += _attempt("parents", ownership.parents, ctx)
    checks += _attempt("lower", lower.lower, ctx)
    if not ctx.settings.read_only:
        checks += _attempt("space", space, ctx, place)
    checks += _try_all(ctx, place)
    if there:
        checks += _attempt("last-uses", environment.last_uses, ctx)
        checks += _attempt("index", environment.index, ctx)
    checks += _attempt("tier", fleet.tier, ctx)
    checks += _attempt("lead", fleet.lead, ctx)
    return Report(ctx.root, mount, checks + environment.versions())


def _root(ctx: Context, place: str) -> Check:
    source = ctx.settings.root_source
    if (distrusted := trust.distrust(ctx.root)) is not None:
        return fail("root", str(distrusted), distrusted.hint)
    if os.path.isdir(ctx.root):
        return ok("root", f"{ctx.root} (from {source})")
    if os.path.lexists(ctx.root):
        what = f"{ctx.root} (from {source}) is no directory"
        return fail("root", f"{what}; {place} was looked at instead", f"ls -ld {quoted(ctx.root)}")
    return warn("root", f"none at {ctx.root} (from {source}) yet: {place} was looked at, where a fetch would make it")


def _settings(ctx: Context) -> list[Check]:
    """What was set and nobody reads; nothing is said where there is none."""
    return [warn("settings", said, "model-cache config") for said in strays(ctx.settings, os.environ)]


def _try_all(ctx: Context, place: str) -> list[Check]:
    """Everything that needs files of its own, if some can be made."""
    if ctx.settings.read_only:
        what = "nothing was tried on the file system: MODEL_CACHE_READ_ONLY is set"
        return [warn("trials", what, "unset MODEL_CACHE_READ_ONLY")]
    checks = []
    try:
        # Not a generator: what is made is removed before anybody else has a say.
        with scratch(place, ctx.clock) as directory:
            for name, trial in _TRIALS:
                checks += _attempt(name, trial, Trial(directory, ctx.clock))
    except OSError as error:
        what = f"nothing can be made in {place} ({_reason(error)}): hits go on, downloads fail; nothing was tried"
        hint = "export MODEL_CACHE_READ_ONLY=1" if is_read_only(place) else f"ls -ld {quoted(place)}"
        return [fail("trials", what, hint)]
    if os.path.lexists(directory):
        checks.append(warn("trials", f"{directory} could not be removed again", f"rm -r {quoted(directory)}"))
    return checks


def _attempt(name: str, look: Callable[..., Check | list[Check]], *given: object) -> list[Check]:
    """The findings; that it could not even be looked at is one too."""
    try:
        found = look(*given)
    except ModelCacheError as error:
        return [fail(name, str(error), error.hint)]
    except OSError as error:
        return [fail(name, f"could not be tried: {_reason(error)}")]
    return found if isinstance(found, list) else [found]


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
