"""Is there room: bytes, inodes, and what the policy wants of them."""

from __future__ import annotations

from ..budget.limits import ceiling
from ..context import Context
from ..errors import quoted
from ..platforms.space import inodes, room
from ..units import format_size
from .check import Check, fail, ok, warn

_LOW_BYTES = 0.10  # shares of the file system, below which somebody should know
_LOW_INODES = 0.05


def space(ctx: Context, place: str) -> list[Check]:
    """Free bytes and inodes, the budget and `min_free`."""
    total, free = room(place)
    limit = ceiling(ctx)
    if isinstance(ctx.settings.max_size, float):
        limit = int(ctx.settings.max_size * total)
    return [
        judge_space(total, free, place),
        judge_inodes(*inodes(place), place),
        judge_budget(limit, ctx.settings.min_free, total, free),
    ]


def judge_space(total: int, free: int, place: str) -> Check:
    """What so many bytes mean."""
    detail = f"{format_size(free)} free of {format_size(total)}"
    if not free:
        return fail("space", f"{detail}: nothing can be downloaded", f"df -h {quoted(place)}")
    if free < total * _LOW_BYTES:
        return warn("space", f"{detail}, {free * 100 // total} %", f"df -h {quoted(place)}")
    return ok("space", detail)


def judge_inodes(total: int, free: int, place: str) -> Check:
    """What so many inodes mean; a file needs three of them, for itself, its lock and its last use."""
    if not total:
        return ok("inodes", "made as they are needed")
    detail = f"{free} free of {total}"
    if not free:
        return fail("inodes", f"{detail}: no file can be made", f"df -i {quoted(place)}")
    if free < total * _LOW_INODES:
        return warn("inodes", f"{detail}, {free * 100 // total} %", f"df -i {quoted(place)}")
    return ok("inodes", detail)


def judge_budget(limit: int | None, min_free: int | None, total: int, free: int) -> Check:
    """What the policy means on a file system of so many bytes."""
    name, said = "budget", []
    if limit is not None:
        if limit > total:
            what = f"max_size is {format_size(limit)}, more than the whole file system ({format_size(total)})"
            return warn(name, f"{what}: it is full before anything is evicted", "model-cache config max_size=80%")
        said.append(f"max_size {format_size(limit)}")
    if min_free is not None:
        if min_free > total:
            what = f"min_free is {format_size(min_free)}, more than the whole file system ({format_size(total)})"
            return warn(name, f"{what}: nothing can be downloaded", "model-cache config min_free=")
        if min_free > free:
            what = f"min_free is {format_size(min_free)} and {format_size(free)} are free"
            return warn(name, f"{what}: each download evicts first", "model-cache gc --dry-run")
        said.append(f"min_free {format_size(min_free)}")
    return ok(name, ", ".join(said) or "none: nothing is ever evicted to save space")
