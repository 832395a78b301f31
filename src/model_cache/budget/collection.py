"""`gc`: evict down to the budget, expire, and remove what nobody wants; planned first, then carried out.

Concurrency:
    Under G; W of each entry is only tried. Everything it finds half done is settled first (`reclaim`). Lock files of
    entries that are gone are removed while their lock is held: whoever opened one before and locks it after sees a link
    count of 0 and opens anew, which `filelock` (4.2 and later) and `locks.try_write` both do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from .. import disk, locks, stats, volumes
from ..context import Context
from ..errors import IndexUnavailableError, InvalidNameError
from ..index import queries
from ..index.backup import BEFORE, NEWEST
from ..index.room import Room
from ..index.rows import Row
from ..layout import Snapshot
from ..log import logger
from . import aside, census, designated, eviction
from .candidates import candidates
from .eviction import Rules, Spared, Unit
from .limits import HIGH_WATERMARK, LOW_WATERMARK, ceiling
from .plan import choose
from .reclaim import drop_partial, settle_dead

_BACKUP_AGE = 3600.0  # seconds: a copy of a large index takes a second, and gc may run every minute
_DEAD_AGE = 86400.0  # seconds that a partial nobody works on is kept for whoever may resume it


@dataclass
class GcReport:
    """What a collection did, or (`dry_run`) would do. Sizes in bytes, last uses in seconds since the epoch.

    Attributes:
        evicted: (row, last use, `evict` or `expire`), in the order they went.
        spared: What could have gone but for its reason.
        freed_bytes, total_bytes: Freed by this run; counted afterwards.
        budget_bytes: The ceiling, or None.
        partials_removed: Of downloads that died more than a day ago.
        quarantine_removed: Damaged files that were kept for 30 days.
        dry_run: Nothing was changed.
    """

    evicted: list[tuple[Row, float, str]] = field(default_factory=list)
    spared: list[Spared] = field(default_factory=list)
    freed_bytes: int = 0
    total_bytes: int = 0
    budget_bytes: int | None = None
    partials_removed: int = 0
    quarantine_removed: int = 0
    dry_run: bool = False


def collect(
    ctx: Context,
    *,
    max_size: int | None = None,
    min_free: int | None = None,
    older_than: float | None = None,
    dry_run: bool = False,
) -> GcReport:
    """Bring the root under its policy, or under what is asked for this once.

    Args:
        max_size: Evict down to so many bytes; None: below the low watermark of the policy's budget, if it is above the high one.
        min_free: Evict until the file system has so many bytes free; None: the policy's.
        older_than: Expire what was not used for so many seconds; None: the policy's `max_age`.
        dry_run: Only say what would go.

    Raises:
        LockTimeoutError: Another eviction did not end in time.
        StorageError: The file system has no locks.
        IndexUnavailableError: Usage is unknown.
    """
    designated.refuse_to_take(ctx)
    report = GcReport(budget_bytes=ceiling(ctx) if max_size is None else max_size, dry_run=dry_run)
    room = Room(ctx.index)
    with eviction.sole_evictor(ctx):
        if not dry_run:
            report.partials_removed, freed = _remove_dead(ctx, room)
            report.freed_bytes += freed
            census.settle_quarantine(ctx)
            report.quarantine_removed, freed = aside.expire(ctx, ctx.clock.time() - aside.KEPT)
            report.freed_bytes += freed
        age = older_than if older_than is not None else ctx.settings.max_age
        if age is not None:
            _expire(ctx, room, report, ctx.clock.time() - age)
        asked = max_size is not None or min_free is not None
        _evict(ctx, room, report, _need(ctx, room, report, max_size, min_free), Rules("evict", asked=asked))
        if not dry_run:
            _sweep(ctx)
    report.total_bytes = room.total() - (report.freed_bytes if dry_run else 0)
    if not dry_run:
        room.note_gc(report.freed_bytes)
        _back_up(ctx, min_free)
    return report


def _back_up(ctx: Context, min_free: int | None) -> None:
    """Keep a copy of the index, unless that would take the room that was just made."""
    wanted = min_free if min_free is not None else ctx.settings.min_free
    free = stats.free_bytes(ctx.root)
    try:
        if free is None or free - os.stat(ctx.places.index).st_size > (wanted or 0):
            ctx.index.back_up(_BACKUP_AGE)
    except IndexUnavailableError as error:
        logger.warning("%s", error)  # what gc was asked for is done


def _need(ctx: Context, room: Room, report: GcReport, max_size: int | None, min_free: int | None) -> int:
    """Bytes that are too many."""
    total = room.total() - (report.freed_bytes if report.dry_run else 0)
    need = 0
    if max_size is not None:
        need = total - max_size
    elif report.budget_bytes is not None and total > HIGH_WATERMARK * report.budget_bytes:
        need = total - int(LOW_WATERMARK * report.budget_bytes)
    wanted = min_free if min_free is not None else ctx.settings.min_free
    free = stats.free_bytes(ctx.root)
    if free is not None and report.dry_run:
        free += report.freed_bytes
    if wanted is not None and free is not None:
        need = max(need, wanted - free)
    return max(need, 0)


def _expire(ctx: Context, room: Room, report: GcReport, before: float) -> None:
    old: list[Unit] = []
    for unit in candidates(ctx, room, set()):
        if unit.last_use > before:
            break
        old.append(unit)
    _take(ctx, room, report, old, Rules("expire"))


def _evict(ctx: Context, room: Room, report: GcReport, need: int, rules: Rules) -> None:
    """Take the least recently used until the need is met; who turns out to be in use is passed over."""
    if need <= 0:
        return
    gone = {row.id for row, _, _ in report.evicted}
    skip = set(gone)
    while need > 0:
        plan = choose(candidates(ctx, room, skip), need, ctx.clock.time() - ctx.settings.min_idle)
        before = report.freed_bytes
        _take(ctx, room, report, plan.victims, rules)
        skip |= {row.id for unit in plan.victims for row in unit.rows}
        need -= report.freed_bytes - before
        if plan.missing:
            report.spared += [Spared(unit.rows[0], "recent") for unit in plan.recent]
            report.spared += [Spared(row, "pinned") for row in queries.pinned(ctx.index)]
            return


def _take(ctx: Context, room: Room, report: GcReport, units: list[Unit], rules: Rules) -> None:
    for batch in eviction.batches(units):
        result = eviction.plan(ctx, batch, rules) if report.dry_run else eviction.evict(ctx, room, batch, rules)
        report.evicted += [(row, unit.last_use, rules.reason) for unit in result.gone for row in unit.rows]
        report.freed_bytes += sum(unit.charged for unit in result.gone)
        report.spared += result.spared


def _remove_dead(ctx: Context, room: Room) -> tuple[int, int]:
    """Settle what the dead left, and remove partials that are older than a day; (how many, bytes)."""
    count = freed = 0
    for row in settle_dead(ctx, room):
        try:
            age = ctx.clock.time() - os.stat(ctx.places.partial(row.key)).st_mtime
        except OSError:
            age = _DEAD_AGE + 1  # a row of a partial that is not there
        if age > _DEAD_AGE:
            freed += drop_partial(ctx, row)
            count += 1
    return count, freed


def _sweep(ctx: Context) -> None:
    """Remove files of the cache's own that belong to nothing: locks and notes, last uses, trash, torn temporaries.

    Where the index is one host's alone, it does not know what others fetched: what it has no row of may be theirs.
    """
    known = queries.keys(ctx.index)
    now = ctx.clock.time()
    apart = ctx.settings.state_dir is not None
    for name in _names(ctx.places.locks):
        key, _, kind = name.partition(".")
        path = ctx.places.locks + name
        if kind == "lock" and key not in known and not apart:
            _remove_lock_file(ctx, key)
        elif kind not in ("lock", "json") and _older(path, now):
            disk.remove(path)
    if not apart:
        _sweep_shared(ctx, known, now)
    for name in _names(ctx.places.state):
        # An index that was set aside; what could be read of it was, or will not be.
        if name.startswith("index.db.") and now - _changed(f"{ctx.places.state}/{name}", now) > aside.KEPT:
            disk.remove(f"{ctx.places.state}/{name}")
    for name in _names(ctx.places.backups):
        if name not in (NEWEST, BEFORE) and _older(f"{ctx.places.backups}/{name}", now):
            disk.remove(f"{ctx.places.backups}/{name}")
    for name in _names(ctx.places.partials):
        if "." in name and _older(ctx.places.partials + name, now):
            disk.remove(
                ctx.places.partials + name
            )  # of one attempt, or of one host: nobody has written to it for a day
    for name in _names(ctx.places.trash):
        if name not in known and not (apart and not _older(ctx.places.trash + name, now)):
            disk.remove(ctx.places.trash + name)


def _sweep_shared(ctx: Context, known: set[str], now: float) -> None:
    """Remove what is told of entries that this index, the only one, does not know."""
    for folder in (ctx.places.used, ctx.places.partials):
        for name in _names(folder):
            if name.partition(".")[0] not in known and _older(folder + name, now):
                disk.remove(folder + name)
    for key in _names(ctx.places.damaged):
        if key not in known and _older(ctx.places.damaged + key, now):
            disk.remove(ctx.places.damaged + key)
    _sweep_listings(ctx, now)


def _sweep_listings(ctx: Context, now: float) -> None:
    """Remove the listings of repos of which nothing is there."""
    here = set()
    for names in queries.snapshots(ctx.index):
        with suppress(InvalidNameError):
            here.add(Snapshot(*names).key)
    for name in _names(ctx.places.listings):
        if name.partition(".")[0] not in here and _older(ctx.places.listings + name, now):
            disk.remove(ctx.places.listings + name)


def _remove_lock_file(ctx: Context, key: str) -> None:
    """Under W: nobody works on the entry, and it has no row."""
    path = ctx.places.lock(key)
    fd = locks.try_write(path, ctx.settings.file_mode)
    if fd is None:
        return
    try:
        if key not in queries.keys(ctx.index, key):
            disk.remove(ctx.places.note(key))
            disk.remove(path)
    finally:
        locks.release(fd)


def _names(folder: str) -> Iterator[str]:
    """The names in a directory; not of files that an NFS client keeps for who has them open, and removes itself."""
    yield from (name for name in disk.contents(folder) if not volumes.is_silly(name))


def _older(path: str, now: float) -> bool:
    return now - _changed(path, now) > _DEAD_AGE


def _changed(path: str, now: float) -> float:
    """When a file was last changed; of one that is gone, now."""
    try:
        return os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return now
