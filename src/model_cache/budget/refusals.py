"""The errors of a download that gets no room: which file wants how much, who holds the rest, and what can be done."""

from __future__ import annotations

from typing import NamedTuple

from ..context import Context
from ..errors import CacheFullError, FileTooLargeError, StorageError, quoted
from ..index import queries
from ..index.ledger import Ledger
from ..index.room import Claim
from ..platforms.capabilities import host_name
from ..units import format_duration, format_size, plural
from .limits import ceiling
from .owners import owners_of
from .plan import Plan


class _Part(NamedTuple):
    """Who holds how many bytes of the room, and what frees them."""

    bytes: int
    text: str
    hint: str = ""


def too_large(ctx: Context, claim: Claim, limit: int) -> FileTooLargeError:
    """The error of a file that could never fit."""
    return FileTooLargeError(
        f"{claim.name} takes {format_size(claim.wanted)} on disk, more than the whole max_size of {format_size(limit)}"
        f" of {ctx.root}",
        hint=f"model-cache --root {quoted(ctx.root)} config max_size=…",
        needed=claim.wanted,
        available=limit,
    )


def disk_full(ctx: Context, claim: Claim, coming: int, short: int) -> CacheFullError:
    """The error of a root without a budget, where nothing is ever evicted: so much is to come, so much of it has no room."""
    free = max(coming - short, 0)  # as it was when that was found: others write to the disk meanwhile
    return CacheFullError(
        f"{claim.name} needs {format_size(coming)} more, and {ctx.root} has {format_size(free)} free",
        hint="free some space there, set MODEL_CACHE_DIR to another file system, or set a max_size",
        needed=coming,
        available=free,
    )


def elsewhere(ctx: Context, claim: Claim, missing: int) -> CacheFullError:
    """The error of a host that may not make room."""
    evictor = ctx.settings.evictor or ""
    return CacheFullError(
        f"{claim.name} needs {format_size(claim.wanted)}, {format_size(missing)} more than there is in {ctx.root}; only the host"
        f" {quoted(evictor)} makes room there (evictor), and this is {host_name()}",
        hint=f"there: model-cache --root {quoted(ctx.root)} gc",
        needed=claim.wanted,
        available=max(claim.wanted - missing, 0),
    )


def nowhere(claim: Claim, missing: int, unsafe: StorageError) -> CacheFullError:
    """The error where nobody may make room: what another process uses could be taken from it."""
    return CacheFullError(
        f"{claim.name} needs {format_size(claim.wanted)}, {format_size(missing)} more than there is; {unsafe}",
        hint=unsafe.hint,
        needed=claim.wanted,
        available=max(claim.wanted - missing, 0),
    )


def full(ctx: Context, claim: Claim, plan: Plan, missing: int) -> CacheFullError:
    """The error that says who holds the room, how much each, and when the first of it frees."""
    parts = [part for part in _parts(ctx, claim, plan) if part.bytes > 0]
    held = ", ".join(f"{format_size(part.bytes)} {part.text}" for part in parts)
    hints = [part.hint for part in parts if part.hint]
    limit = claim.limit if claim.limit is not None else (ceiling(ctx) or queries.totals(ctx.index).all)
    return CacheFullError(
        f"{claim.name} needs {format_size(claim.wanted)}, {format_size(missing)} more than can be freed now under the"
        f" {format_size(limit)} of {ctx.root}: {held or 'the file system is full'}",
        hint=hints[0] if hints else f"{_command(ctx)} ls --sort used, unpin what is not needed, or raise max_size",
        needed=claim.wanted,
        available=max(claim.wanted - missing, 0),
    )


def _parts(ctx: Context, claim: Claim, plan: Plan) -> list[_Part]:
    """Who holds the room; the hint of the first that has one is what helps soonest."""
    totals, held = queries.totals(ctx.index), queries.held(ctx.index)
    recent = _recent(ctx, plan)
    spared = [_untested(ctx, plan), _refused(ctx, plan)]
    replaced = Ledger(ctx.index).row(claim.entry) if claim.replacing else None
    replacing = 0 if replaced is None or replaced.pinned else replaced.charged
    victims = sum(unit.charged for unit in plan.victims)
    known = held.pinned + held.placed + recent.bytes + sum(part.bytes for part in spared) + replacing + victims
    return [
        _Part(held.pinned, f"pinned ({plural(held.pinned_files, 'file')})"),
        _Part(held.placed, f"that nobody adopted yet ({plural(held.placed_files, 'file')})"),
        recent,
        _Part(totals.reserved, "reserved by downloads under way"),
        *spared,
        _Part(replacing, "of the file that is to be replaced"),
        _Part(totals.ready - known, "leased or open in running programs", f"{_command(ctx)} ls --in-use says by whom"),
    ]


def _recent(ctx: Context, plan: Plan) -> _Part:
    if not plan.recent:
        return _Part(0, "")
    when = max(plan.recent[0].last_use + ctx.settings.min_idle - ctx.clock.time(), 0.0)
    return _Part(
        sum(unit.charged for unit in plan.recent),
        f"used less than {format_duration(ctx.settings.min_idle)} ago"
        f" ({plural(len(plan.recent), 'file')}; the first may go in {format_duration(when)})",
        "wait, lower min_idle, or raise max_size",
    )


def _untested(ctx: Context, plan: Plan) -> _Part:
    units = plan.spared.get("untested", [])
    whose = owners_of(ctx, units)
    return _Part(
        sum(unit.charged for unit in units),
        f"of {whose}, whose files only they or root can test for being open ({plural(len(units), 'file')})",
        f"{_command(ctx)} gc, run by {whose} or root",
    )


def _refused(ctx: Context, plan: Plan) -> _Part:
    units = plan.spared.get("refused", [])
    return _Part(
        sum(unit.charged for unit in units),
        f"that this user may not take away ({plural(len(units), 'file')})",
        f"{_command(ctx)} gc, run by root",
    )


def _command(ctx: Context) -> str:
    return f"model-cache --root {quoted(ctx.root)}"
