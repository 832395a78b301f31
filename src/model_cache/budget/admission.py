"""Room for a download, before its first byte; over all processes, and exactly as much as is needed.

Concurrency:
    I4. The caller holds W of the entry, takes G for the eviction, and never waits for anything else under G: what has
    to be waited for (recent files to age) is waited for with G free and nothing but the entry's own W held.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import disk, stats
from ..context import Context
from ..errors import CacheFullError, quoted
from ..index import queries
from ..index.ledger import Ledger
from ..index.room import Claim, Room
from ..layout import Entry
from ..progress import Progress
from ..recovery import allocated
from ..units import format_duration, format_size
from . import aside, census, designated, eviction, refusals
from .candidates import candidates
from .eviction import Unit
from .limits import BLOCK, blocks
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
    if claim.limit is not None and claim.wanted > claim.limit:
        raise refusals.too_large(ctx, claim, claim.limit)
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
            raise refusals.disk_full(ctx, claim, _coming(ctx, claim), missing)
        if not designated.is_designated(ctx):
            raise refusals.elsewhere(ctx, claim, missing)
        if (unsafe := designated.unsafe(ctx)) is not None:
            raise refusals.nowhere(claim, missing, unsafe)
        plan = _evict(ctx, room, claim)
        if plan is None:
            return
        _release(ctx, claim)
        wait = _until_first_ages(ctx, plan)
        if wait is None:
            raise refusals.full(ctx, claim, plan, missing)
        _wait(ctx, claim, plan, wait, began, deadline, None if told else progress)
        told = True


def _evict(ctx: Context, room: Room, claim: Claim) -> Plan | None:
    """Under G: the dead first, then the least recently used; None when the claim has its room."""
    own = Ledger(ctx.index).row(claim.entry) if claim.replacing else None
    skip = set() if own is None else {own.id}  # what is to be replaced makes no room before it is
    spared: dict[str, list[Unit]] = {}
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
                plan.spared = spared
                return plan
            for units in eviction.batches(plan.victims):
                batch = eviction.evict(ctx, room, units, eviction.Rules("evict"), claim)
                skip |= {one.row.id for one in batch.spared}
                _sort_in(spared, units, batch.spared)


def _sort_in(by_reason: dict[str, list[Unit]], units: Sequence[Unit], spared: list[eviction.Spared]) -> None:
    """Add the units that stayed to those that stayed for the same reason."""
    reasons = {one.row.id: one.reason for one in spared}
    for unit in units:
        reason = reasons.get(unit.rows[0].id)
        if reason is not None:
            by_reason.setdefault(reason, []).append(unit)


def _missing(ctx: Context, room: Room, claim: Claim) -> int:
    """Bytes that the budget or the file system lacks; 0: the claim has its reservation."""
    return max(room.admit(claim), _disk_shortage(ctx, claim))


def _disk_shortage(ctx: Context, claim: Claim) -> int:
    """Bytes that the file system lacks for this download, all others under way, and `min_free`."""
    free = stats.free_bytes(ctx.root)
    if free is None:
        return 0
    coming = _coming(ctx, claim)
    if ctx.settings.min_free is not None:
        totals = queries.totals(ctx.index)
        others = _on_disk(ctx.places.partials) - allocated(ctx.places.partial(claim.entry.key))
        coming += ctx.settings.min_free + max(totals.reserved - claim.wanted - others, 0)
    return max(coming - free, 0)


def _coming(ctx: Context, claim: Claim) -> int:
    """Bytes of the claim that are not on disk yet."""
    return max(claim.wanted - allocated(ctx.places.partial(claim.entry.key)), 0)


def _on_disk(folder: str) -> int:
    with disk.scan(folder) as found:
        return sum(stats.allocated(entry.stat(follow_symlinks=False)) for entry in found)


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
        raise refusals.full(ctx, claim, plan, plan.missing)
    if progress is not None:
        progress.warning(
            f"{claim.name} waits for room: {format_size(sum(unit.charged for unit in plan.recent))} are held by files"
            f" used less than {format_duration(ctx.settings.min_idle)} ago; the first may go in {format_duration(seconds)}"
        )
    ctx.clock.sleep(min(max(seconds, 0.01), _LOOK_AGAIN))


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
