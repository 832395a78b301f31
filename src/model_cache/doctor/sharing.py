"""Is the root on a volume that other hosts use, and does its policy say what has to be said then?"""

from __future__ import annotations

import os

from .. import mounts
from ..budget.designated import is_designated
from ..context import Context
from ..errors import quoted
from ..mounts import Mount
from ..platforms.capabilities import host_name
from ..units import format_duration
from ..volumes import is_shared, is_stateless
from .check import Check, ok, warn

_NAME = "sharing"


def sharing(ctx: Context, mount: Mount | None) -> list[Check]:
    """One finding for each thing that other hosts make a difference to; none on a volume of this host's own."""
    state_dir = ctx.settings.state_dir
    return judge_sharing(ctx, mount, None if state_dir is None else mounts.find(_existing(state_dir)))


def judge_sharing(ctx: Context, mount: Mount | None, state: Mount | None) -> list[Check]:
    """What it means that the files are on one mount and the index on another."""
    found = [] if ctx.settings.evictor is None else [_who(ctx)]
    if state is not None and is_shared(state):
        what = f"state_dir {ctx.settings.state_dir} is on {state.type} at {state.point}, which other hosts may use too"
        found.append(warn(_NAME, f"{what}: it is for what one host has for itself", _local_state(ctx)))
    if not is_shared(mount):
        return found
    if ctx.settings.state_dir is None:
        what = "the index is on a volume that other hosts use, where SQLite can lose what it has committed"
        found.append(warn(_NAME, f"{what}: keep it on a disk of this host", _local_state(ctx)))
    if ctx.settings.evictor is None:
        what = "any host may evict and replace files, and none sees which of them another host has open"
        hint = f"model-cache --root {quoted(ctx.root)} config evictor={host_name()}"
        found.append(warn(_NAME, f"{what}: name the one that may", hint))
    if is_stateless(mount):
        patience = format_duration(ctx.settings.lock_timeout)
        what = (
            "over NFSv3 the server is not told who has a file open, nor that a host with locks is gone: gc and update take"
            f" every file for one in use, rm wants --force, and a download waits {patience} for a host that is gone, then"
            " goes on alone"
        )
        found.append(warn(_NAME, what, "mount it with vers=4.1 or later"))
    return found


def _who(ctx: Context) -> Check:
    evictor, source = ctx.settings.evictor, ctx.settings.sources["evictor"]
    if is_designated(ctx):
        return ok(_NAME, f"this is {evictor} (from {source}), the one host that removes and replaces files")
    return ok(_NAME, f"files are removed and replaced by {evictor} alone (from {source}); this is {host_name()}")


def _local_state(ctx: Context) -> str:
    return f"model-cache --root {quoted(ctx.root)} config state_dir=/var/lib/model-cache"


def _existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
