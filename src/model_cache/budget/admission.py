"""Room for a download, before its first byte; over all processes, and exactly as much as is needed.

Concurrency:
    I4. The caller holds W of the entry, takes G for the eviction, and never waits for anything else under G: what has
    to be waited for (recent files to age) is waited for with G free and nothing but the entry's own W held.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import disk, stats
from ..context import Context
from ..errors import CacheFullError, FileTooLargeError, StorageError, quoted
from ..index import queries
from ..index.ledger import Ledger
from ..index.room import Claim, Room
from ..layout import Entry
from ..platforms.capabilities import host_name
from ..progress import Progress
from ..recovery import allocated
from ..units import format_duration, format_size, plural
from . import aside, census, designated, eviction
from .candidates import candidates
from .eviction import Unit
from .limits import BLOCK, blocks, ceiling
from .owners import owners_of
from .plan import Plan, choose
from .reclaim import drop_partial, settle_dead

_LOOK_AGAIN = 0.25  # seconds between two looks while recent files age


def admit(ctx: Context, claim: Claim, deadline: float | None, progress: Progress) -> None:
    """Reserve what the claim wants, evicting as much as is missing.

    Raises:
        FileTooLargeError: It could never fit; nothing was deleted.
        CacheFullError: It does not fit now; by whom the room is held.
        IndexUnavailableError: Usage is unknown.
    """
    _refuse_too_large(ctx, claim)
    room = Room(ctx.index)
    began = ctx.clock.monotonic()
    told = False
    while True:
        if claim.limit is not None:
            census.take(ctx)  # each time: an index that is lost while this waits knows nothing of what is there
        missing = _missing(ctx, room, claim)
        if not missing:
            return
        if ctx.settings.max_size is None and ctx.settings.min_free is None:
            raise _disk_full(ctx, claim, missing)
        if not designated.is_designated(ctx):
            raise _elsewhere(ctx, claim, missing)
        if (unsafe := designated.unsafe(ctx)) is not None:
            raise _nowhere(claim, missing, unsafe)
        plan = _evict(ctx, room, claim)
        if plan is None:
            return
        _release(ctx, claim)
        wait = _until_first_ages(ctx, plan)
        if wait is None:
            raise _full(ctx, claim, plan, missing)
        _wait(ctx, claim, plan, wait, began, deadline, None if told else progress)
        told = True


def _evict(ctx: Context, room: Room, claim: Claim) -> Plan | None:
    """Under G: the dead first, then the least recently used; None when the claim has its room."""
    own = Ledger(ctx.index).row(claim.entry) if claim.replacing else None
    skip = set() if own is None else {own.id}  # what is to be replaced makes no room before it is
    untested: list[Unit] = []
    with eviction.sole_evictor(ctx):
        for partial in settle_dead(ctx, room, claim.entry.key):
            if not _missing(ctx, room, claim):
                return None
            drop_partial(ctx, partial)
        while True:
            missing = _missing(ctx, room, claim)
            if not missing:
                return None
            plan = choose(candidates(ctx, room, skip), missing, ctx.clock.time() - ctx.settings.min_idle)
            if plan.missing and aside.drop_oldest(ctx, claim.entry.key):
                continue
            if plan.missing:
                plan.untested = untested
                return plan
            for units in eviction.batches(plan.victims):
                batch = eviction.evict(ctx, room, units, eviction.Rules("evict"), claim)
                skip |= {spared.row.id for spared in batch.spared}
                untested += _untested(units, batch.spared)


def _untested(units: Sequence[Unit], spared: list[eviction.Spared]) -> list[Unit]:
    """The units that stayed because they are another user's."""
    rows = {one.row.id for one in spared if one.reason == "untested"}
    return [unit for unit in units if unit.rows[0].id in rows]


def _missing(ctx: Context, room: Room, claim: Claim) -> int:
    """Bytes that the budget or the file system lacks; 0: the claim has its reservation."""
    return max(room.admit(claim), _disk_shortage(ctx, claim))


def _refuse_too_large(ctx: Context, claim: Claim) -> None:
    if claim.limit is not None and claim.wanted > claim.limit:
        raise FileTooLargeError(
            f"{claim.name} takes {format_size(claim.wanted)} on disk, more than the whole max_size of"
            f" {format_size(claim.limit)} of {ctx.root}",
            hint=f"model-cache --root {quoted(ctx.root)} config max_size=…",
            needed=claim.wanted,
            available=claim.limit,
        )


def _disk_shortage(ctx: Context, claim: Claim) -> int:
    """Bytes that the file system lacks for this download, all others under way, and `min_free`."""
    free = stats.free_bytes(ctx.root)
    if free is None:
        return 0
    present = allocated(ctx.places.partial(claim.entry.key))
    coming = max(claim.wanted - present, 0)
    if ctx.settings.min_free is not None:
        totals = queries.totals(ctx.index)
        others = _on_disk(ctx.places.partials) - present
        coming += ctx.settings.min_free + max(totals.reserved - claim.wanted - others, 0)
    return max(coming - free, 0)


def _on_disk(folder: str) -> int:
    with disk.scan(folder) as found:
        return sum(stats.allocated(entry.stat(follow_symlinks=False)) for entry in found)


def _disk_full(ctx: Context, claim: Claim, short: int) -> CacheFullError:
    """The error of a root without a budget, where nothing is ever evicted."""
    free = stats.free_bytes(ctx.root) or 0
    return CacheFullError(
        f"{claim.name} needs {format_size(free + short)} more, and {ctx.root} has {format_size(free)} free",
        hint="free some space there, set MODEL_CACHE_DIR to another file system, or set a max_size",
        needed=free + short,
        available=free,
    )


def _elsewhere(ctx: Context, claim: Claim, missing: int) -> CacheFullError:
    """The error of a host that may not make room."""
    evictor = ctx.settings.evictor or ""
    return CacheFullError(
        f"{claim.name} needs {format_size(claim.wanted)}, {format_size(missing)} more than there is in {ctx.root}; only the host"
        f" {quoted(evictor)} makes room there (evictor), and this is {host_name()}",
        hint=f"there: model-cache --root {quoted(ctx.root)} gc",
        needed=claim.wanted,
        available=max(claim.wanted - missing, 0),
    )


def _nowhere(claim: Claim, missing: int, unsafe: StorageError) -> CacheFullError:
    """The error where nobody may make room: what another process uses could be taken from it."""
    return CacheFullError(
        f"{claim.name} needs {format_size(claim.wanted)}, {format_size(missing)} more than there is; {unsafe}",
        hint=unsafe.hint,
        needed=claim.wanted,
        available=max(claim.wanted - missing, 0),
    )


def _release(ctx: Context, claim: Claim) -> None:
    """Give back what was reserved, and keep what is on disk: nobody holds room while waiting for more."""
    left = allocated(ctx.places.partial(claim.entry.key))
    Ledger(ctx.index).stopped(claim.entry, left, replacing=claim.replacing)


def _until_first_ages(ctx: Context, plan: Plan) -> float | None:
    """Seconds until the first recent file may go, or None if their going would not make room either."""
    if not plan.recent or sum(unit.charged for unit in plan.recent) < plan.missing:
        return None
    return max(plan.recent[0].last_use + ctx.settings.min_idle - ctx.clock.time(), 0.0)


def _wait(
    ctx: Context,
    claim: Claim,
    plan: Plan,
    seconds: float,
    began: float,
    deadline: float | None,
    progress: Progress | None,
) -> None:
    """Let recent files age, aloud, up to the caller's deadline or `lock_timeout`, without any lock but W."""
    now = ctx.clock.monotonic()
    last = began + max(ctx.settings.lock_timeout, 2 * ctx.settings.min_idle)
    last = last if deadline is None else min(last, deadline)
    if now + seconds > last:
        raise _full(ctx, claim, plan, plan.missing)
    if progress is not None:
        progress.warning(
            f"{claim.name} waits for room: {format_size(sum(unit.charged for unit in plan.recent))} are held by files"
            f" used less than {format_duration(ctx.settings.min_idle)} ago; the first may go in {format_duration(seconds)}"
        )
    ctx.clock.sleep(min(max(seconds, 0.01), _LOOK_AGAIN))


def _full(ctx: Context, claim: Claim, plan: Plan, missing: int) -> CacheFullError:
    """The error that says who holds the room, how much each, and when the first of it frees."""
    totals = queries.totals(ctx.index)
    held = queries.held(ctx.index)
    parts = [f"{format_size(held.pinned)} pinned ({plural(held.pinned_files, 'file')})"] if held.pinned else []
    if held.placed:
        parts.append(f"{format_size(held.placed)} that nobody adopted yet ({plural(held.placed_files, 'file')})")
    recent = sum(unit.charged for unit in plan.recent)
    if recent:
        when = max(plan.recent[0].last_use + ctx.settings.min_idle - ctx.clock.time(), 0.0)
        parts.append(
            f"{format_size(recent)} used less than {format_duration(ctx.settings.min_idle)} ago"
            f" ({plural(len(plan.recent), 'file')}; the first may go in {format_duration(when)})"
        )
    if totals.reserved:
        parts.append(f"{format_size(totals.reserved)} reserved by downloads under way")
    untested = sum(unit.charged for unit in plan.untested)
    if untested:
        whose = owners_of(ctx, plan.untested)
        parts.append(
            f"{format_size(untested)} of {whose}, whose files only they or root can test for being open"
            f" ({plural(len(plan.untested), 'file')})"
        )
    known = held.pinned + held.placed + recent + untested + sum(unit.charged for unit in plan.victims)
    replaced = Ledger(ctx.index).row(claim.entry) if claim.replacing else None
    if replaced is not None and not replaced.pinned:
        known += replaced.charged
        parts.append(f"{format_size(replaced.charged)} of the file that is to be replaced")
    in_use = totals.ready - known
    if in_use > 0:
        parts.append(f"{format_size(in_use)} leased or open in running programs")
    limit = claim.limit if claim.limit is not None else (ceiling(ctx) or totals.all)
    if recent:
        hint = "wait, lower min_idle, or raise max_size"
    elif untested:
        hint = f"model-cache --root {quoted(ctx.root)} gc, run by {whose} or root"
    elif in_use > 0:
        hint = f"model-cache --root {quoted(ctx.root)} ls --in-use says by whom"
    else:
        hint = f"model-cache --root {quoted(ctx.root)} ls --sort used, unpin what is not needed, or raise max_size"
    return CacheFullError(
        f"{claim.name} needs {format_size(claim.wanted)}, {format_size(missing)} more than can be freed now under the"
        f" {format_size(limit)} of {ctx.root}: {', '.join(parts) or 'the file system is full'}",
        hint=hint,
        needed=claim.wanted,
        available=max(claim.wanted - missing, 0),
    )


def reservation(ctx: Context, size: int | None, limit: int | None, name: Entry) -> int:
    """Bytes to reserve for a file: what the file system will allocate for it.

    Of a file whose size the Hub did not say, and under a budget, all that is left is promised, and nothing is evicted
    for it: a body that is longer ends there.

    Raises:
        CacheFullError: The size is unknown, and nothing is left.
    """
    if size is not None or limit is None:
        return blocks(size or 0)
    left = limit - Room(ctx.index).total() + allocated(ctx.places.partial(name.key))
    if left < BLOCK:
        raise CacheFullError(
            f"{name}: the Hub did not say its size, and nothing is left of the {format_size(limit)} of {ctx.root}",
            hint=f"model-cache --root {quoted(ctx.root)} gc",
        )
    return left // BLOCK * BLOCK
