"""Taking files away: never one that is in use, never one that is not ours, recoverable at every step.

The order, per batch: W of every name → row `deleting` → exclusive lease → open test → last use read again → rename into
the trash → directories durable → leases gone → trash unlinked → row gone → W released.

Why this order: the row says that the file is about to go before it does, and is dropped after it is gone, so no crash
leaves a file that is not counted (I5). The last use is read after the exclusive lease is ours: a reader either has its
shared lease first (and spares the file) or finds ours and looks at the path again (I3). The rename comes before the
unlink so that a crash in between leaves a name that only the cache knows.

Concurrency:
    Under G, so that there is one evictor at a time; W of the victims is only tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from .. import beneath, disk, locks, stats, volumes
from ..context import Context
from ..index.room import PAGE, Claim, Room
from ..index.rows import Row
from ..layout import rivals
from ..locks import FileMutex, Hold

_EVICTOR_WAIT = 60.0  # seconds for another evictor, which takes milliseconds per file


class Spared(NamedTuple):
    """An entry that was not evicted: `pinned leased open untested recent busy changed linked placed refused`."""

    row: Row
    reason: str


class Unit(NamedTuple):
    """One file with all the names the cache has for it: they go together or not at all."""

    rows: tuple[Row, ...]
    last_use: float

    @property
    def charged(self) -> int:
        """Bytes that count against the budget."""
        return sum(row.charged for row in self.rows)


class Rules(NamedTuple):
    """What protects a file from being taken away.

    Attributes:
        reason: Why it goes: `evict`, `expire`, `remove`; the events say so too.
        asked: Somebody asked for it this once: nothing to regret if the file is wanted again.
        idle: Recent use protects.
        used: A lease or an open descriptor protects, and so does that nobody can tell; only `rm --force` says no.
        linked: Another name of the same file protects, as removing one would free nothing.
    """

    reason: str
    idle: bool = True
    used: bool = True
    linked: bool = True
    asked: bool = False


@dataclass
class Evicted:
    """What a batch came to."""

    gone: list[Unit] = field(default_factory=list)
    spared: list[Spared] = field(default_factory=list)
    missing: int = 0


@dataclass
class _Victim:
    """A unit on its way: its write locks, its open file, and the directory it is in."""

    unit: Unit
    locks: list[Hold] = field(default_factory=list)
    fd: int = -1
    tested: bool = False
    trash: list[str] = field(default_factory=list)
    partials: list[str] = field(default_factory=list)  # names of it that a power loss brought back

    def close(self) -> None:
        """Let the file go, and with it every lease."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            locks.release(fd)

    def release(self) -> None:
        """Let go of the file and of the write locks."""
        try:
            self.close()
        finally:
            while self.locks:
                self.locks.pop().release()


@contextmanager
def sole_evictor(ctx: Context) -> Iterator[None]:
    """Hold G for the block."""
    mutex = FileMutex(ctx.places.evictor_lock, ctx.settings.file_mode, ctx.clock)
    ctx.step("lock:evictor")
    mutex.acquire(_EVICTOR_WAIT)
    try:
        yield
    finally:
        mutex.release()


def batches(units: Sequence[Unit]) -> Iterator[Sequence[Unit]]:
    """Units in runs that one eviction holds open at a time: a page, or fewer where descriptors are scarce (two each)."""
    size = min(PAGE, stats.spare_descriptors() // 2)
    for start in range(0, len(units), size):
        yield units[start : start + size]


def evict(ctx: Context, room: Room, units: Sequence[Unit], rules: Rules, claim: Claim | None = None) -> Evicted:
    """Take one batch of units away; G is held. The freed bytes become the claim's reservation."""
    result = Evicted()
    victims: list[_Victim] = []
    try:
        for unit in units:
            victim = _Victim(unit)
            victims.append(victim)  # first: what fails half way is let go of too
            if not _lock(ctx, victim, result):
                victims.pop()
        ctx.step("evict:deleting")
        rows = [row for victim in victims for row in victim.unit.rows]
        kept = {row.id for row in room.deleting(rows)}
        taken = [
            victim
            for victim in victims
            if all(row.id in kept for row in victim.unit.rows) and _claim(ctx, victim, rules, result)
        ]
        _unname(ctx, taken, result)
        _unlink(ctx, taken)
        result.gone = [victim.unit for victim in taken]
        gone = [row for unit in result.gone for row in unit.rows]
        spared = [row for row in rows if row not in gone]
        ctx.step("evict:row")
        result.missing = room.gone(gone, spared, "asked" if rules.asked else rules.reason, claim)
        _forget(ctx, taken)
    finally:
        with ExitStack() as each:  # though one cannot be let go, or an interrupt comes, the others are
            for victim in victims:
                each.callback(victim.release)
    return result


def plan(ctx: Context, units: Sequence[Unit], rules: Rules) -> Evicted:
    """What `evict` would do with a batch right now, and none of it done."""
    result = Evicted()
    for unit in units:
        reason = examine(ctx, unit, rules)
        if reason is None:
            result.gone.append(unit)
        else:
            result.spared.append(Spared(unit.rows[0], reason))
    return result


def examine(ctx: Context, unit: Unit, rules: Rules) -> str | None:
    """Why a unit would be spared right now, or None: all the tests of an eviction, and none of its changes."""
    result, victim = Evicted(), _Victim(unit)
    try:
        if _lock(ctx, victim, result):
            _claim(ctx, victim, rules, result)
    finally:
        victim.release()
    return result.spared[0].reason if result.spared else None


def _lock(ctx: Context, victim: _Victim, result: Evicted) -> bool:
    """W of every name; False, and none of them, where somebody has one."""
    for row in victim.unit.rows:
        fd = locks.try_write(ctx.places.lock(row.key), ctx.settings.file_mode)
        if fd is None:
            result.spared.append(Spared(row, "busy"))
            victim.release()
            return False
        victim.locks.append(Hold(fd))
    return True


def _claim(ctx: Context, victim: _Victim, rules: Rules, result: Evicted) -> bool:
    """The exclusive lease on the file, with every test that could spare it; True if it may go."""
    row = victim.unit.rows[0]
    entry = row.entry()
    if entry is None or disk.leads_out(ctx.root, row.path):
        result.spared.append(Spared(row, "changed"))
        return False
    try:
        victim.fd = beneath.open_entry(ctx.root, row.path)
    except FileNotFoundError:
        return True  # somebody removed it: only the row is left to go
    except OSError:
        result.spared.append(Spared(row, "changed"))
        return False
    reason = _in_use(ctx, victim, rules)
    if reason is None:
        return True
    victim.close()
    result.spared.append(Spared(row, reason))
    return False


def _in_use(ctx: Context, victim: _Victim, rules: Rules) -> str | None:
    """Why the open file must stay, or None."""
    row = victim.unit.rows[0]
    found = os.fstat(victim.fd)
    if stats.identity(found) != row.identity or not _is_known(ctx, victim.unit.rows):
        return "changed"
    # Of its names some may be gone: what somebody removed is none of them any more, though its row is there.
    names = sum(stats.identity_at(f"{ctx.root}/{one.path}") == row.identity for one in victim.unit.rows)
    if found.st_nlink > names:
        partials = [ctx.places.partial(one.key) for one in victim.unit.rows]
        victim.partials = [name for name in partials if stats.identity_at(name) == row.identity]
    if rules.linked and found.st_nlink != names + len(victim.partials):
        return "linked"
    if not rules.used:
        return None
    if volumes.is_stateless(ctx.mount):
        return "open"  # for all that can be told: nobody knows what other hosts have open
    ctx.step("evict:lease")
    if not locks.try_exclusive(victim.fd):
        return "leased"
    ctx.step("evict:open-test")
    try:
        sole = locks.try_sole_use(victim.fd)
    except PermissionError:
        if not ctx.settings.evict_untested:
            return "untested"
        sole = None
    if sole is False:
        return "open"
    victim.tested = sole is True
    ctx.step("evict:last-use")
    if rules.idle and last_use(ctx, victim.unit.rows) > ctx.clock.time() - ctx.settings.min_idle:
        return "recent"
    return None


def _is_known(ctx: Context, rows: Sequence[Row]) -> bool:
    """Whether these rows can be believed to speak of this file (I7).

    Of an adopted file the names were guessed from its path; if it is in use under others, they were guessed wrongly.
    """
    for row in rows:
        entry = row.entry()
        if entry is None or not row.is_sealed:
            return False
        guessed = row.origin == "adopted" and row.commit is None
        if guessed and any(os.path.exists(ctx.places.used + other.key) for other in rivals(entry)):
            return False
    return True


def last_use(ctx: Context, rows: Sequence[Row]) -> float:
    """The exact last use of a unit: the latest of its names; one in the future counts as now, and is rewritten to it."""
    now = ctx.clock.time()
    latest = 0.0
    for row in rows:
        used = ctx.places.used + row.key
        try:
            when = os.stat(used, follow_symlinks=False).st_mtime
        except OSError:
            when = 0.0
        if when > now:
            with suppress(OSError):  # another user's: then the next hit sets it, or its owner
                disk.touch(used, now)
        latest = max(latest, min(max(when, row.last_used_at), now))
    return latest


def _unname(ctx: Context, victims: list[_Victim], result: Evicted) -> None:
    """Rename into the trash, and make all directories durable before anything is unlinked."""
    directories: dict[str, str] = {}  # of each, a path in it
    for victim in list(victims):
        if victim.tested and not locks.has_sole_use(victim.fd):
            # Somebody opens it right now, or did while this process was stopped for longer than the kernel waits.
            victims.remove(victim)
            result.spared.append(Spared(victim.unit.rows[0], "open"))
            continue
        try:
            _take(ctx, victim, directories)
        except PermissionError:  # it keeps nobody else's file from going
            victims.remove(victim)
            result.spared.append(Spared(victim.unit.rows[0], "refused"))
            continue
        for name in victim.partials:
            disk.remove(name)
    ctx.step("evict:fsync")
    for path in directories.values():
        disk.fsync_parent(ctx.root, path)
    if any(victim.partials for victim in victims):
        disk.fsync_directory(ctx.places.partials)
    disk.fsync_directory(ctx.places.trash)
    for victim in victims:
        victim.close()


def _take(ctx: Context, victim: _Victim, directories: dict[str, str]) -> None:
    """Rename every name of one; where one may not be, those that were get their places again.

    Raises:
        PermissionError: A directory is another user's, or a file may not be changed.
    """
    taken: list[tuple[str, str]] = []
    try:
        for row in victim.unit.rows:
            trash = ctx.places.trash + row.key
            ctx.step("evict:rename")
            try:
                if not disk.take(ctx.root, row.path, trash, victim.unit.rows[0].identity):
                    continue  # somebody put a file of their own there just now
            except (FileNotFoundError, NotADirectoryError):
                continue
            taken.append((trash, row.path))
            directories.setdefault(os.path.dirname(row.path), row.path)
    except PermissionError:
        for trash, path in taken:
            disk.give_back(trash, ctx.root, path)
        raise
    victim.trash = [trash for trash, _ in taken]


def _unlink(ctx: Context, victims: list[_Victim]) -> None:
    for victim in victims:
        for trash in victim.trash:
            ctx.step("evict:unlink")
            disk.remove(trash)
    if any(victim.trash for victim in victims):
        # The rows must not go while the trash can come back.
        disk.fsync_directory(ctx.places.trash)


def _forget(ctx: Context, victims: list[_Victim]) -> None:
    """What is left of an entry that is gone: its last use, and directories that have become empty."""
    for victim in victims:
        for row in victim.unit.rows:
            disk.remove(ctx.places.used + row.key)
            disk.remove_empty_parents(ctx.root, row.path)
