"""`reconcile`: index and disk brought into agreement, after a restore, an edit, a lost index, a file placed by hand.

The order: a damaged index is set aside and its newest backup brought back → what the dead left is settled → one walk
over the root → files that are unlike their row, or have none, are hashed and entered; rows without files are dropped.
What was recorded before, in the index or its backup, is kept where the hash is still the same.

Concurrency:
    I6, I7, I8. No file is written, moved or removed, and none is adopted unhashed. The rows are read before the files, and
    changed only while they are what was read; a file that moves while it is hashed is left for the next run. One verify
    or reconcile at a time. A file with a damage mark keeps its recorded hash: damage is not adopted as right.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from .. import damage
from ..budget import census
from ..budget.reclaim import settle_dead
from ..context import Context
from ..errors import IndexUnavailableError
from ..index.inventory import Hashed, Inventory, Placed, Recorded
from ..index.ledger import Ledger
from ..index.room import Room
from ..index.rows import Provenance
from ..preparing import prepare
from ..progress import SILENT, Progress
from .reading import Expected, Pace, read
from .turn import sole_run

_PAGE = 64  # files that are hashed before the next are looked up


@dataclass
class ReconcileReport:
    """What was brought into agreement.

    Attributes:
        adopted: Paths of files that were hashed and entered as they are.
        rebound: Paths of files whose bytes are as recorded, and whose inode or mtime were not.
        dropped: Paths of rows that had no file.
        damaged: Paths of files that are known to be damaged, entered as such.
        busy: Paths of files that changed while they were looked at; the next run sees to them.
        index: `sound`, `damaged` (and set aside), `older` (a backup, or one that somebody put back),
            `new` (it was gone, and there was no backup), or `rebuilt`.
        seconds: How long it took.
    """

    adopted: list[str] = field(default_factory=list)
    rebound: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    index: str = "sound"
    seconds: float = 0.0


def reconcile(ctx: Context, progress: Progress = SILENT, *, rebuild: bool = False, jobs: int = 1) -> ReconcileReport:
    """Enter what is there and drop what is not.

    Args:
        rebuild: Begin a new index, and hash every file.
        jobs: Files that are hashed at the same time.

    Raises:
        LockTimeoutError: A verify or reconcile is under way.
        IndexUnavailableError: The index cannot be written.
        OfflineMissError: The root cannot be written.
    """
    began = ctx.clock.monotonic()
    prepare(ctx)
    report = ReconcileReport()
    with sole_run(ctx):
        if rebuild:
            Ledger(ctx.index).mend()
            _begin_anew(ctx)
        inventory = Inventory(ctx.index)
        known, unlike, report.index = _survey(ctx, inventory)
        if rebuild:
            report.index = "rebuilt"
        _enter(ctx, inventory, unlike, report, progress, jobs)
        gone = dict(census.missing(ctx, known))
        inventory.forget(gone.values())
        report.dropped = sorted(gone)
        census.settle_quarantine(ctx)
        census.drop_unknown_partials(ctx)
        inventory.complete()
    report.seconds = ctx.clock.monotonic() - began
    return report


def _survey(ctx: Context, inventory: Inventory) -> tuple[dict[str, Recorded], list[Placed], str]:
    """The rows that no file was met for, the files that are unlike their row, and in what state the index was.

    The index is checked from end to end beside the walk, which leaves it and a processor idle; one that turns out to be
    damaged is set aside, and what was surveyed by it is thrown away.
    """
    ledger, damaged = Ledger(ctx.index), False
    try:
        inventory.is_complete()
    except IndexUnavailableError:
        damaged = ledger.mend()
    while True:
        ctx.index.open()
        stale = inventory.is_stale()
        settle_dead(ctx, Room(ctx.index))
        known = inventory.recorded()
        state = "damaged" if damaged else "sound" if not stale else "older" if known else "new"
        with ThreadPoolExecutor(1, thread_name_prefix="model-cache-index") as beside:
            check = beside.submit(ledger.mend)
            unlike = list(census.strangers(ctx, known, placed=True))
            if not check.result():
                return known, unlike, state
        damaged = True


def _begin_anew(ctx: Context) -> None:
    """An empty index; what the old one knew is in a backup, from which it is taken where the hash confirms it."""
    with suppress(IndexUnavailableError):  # it cannot be read: then an older backup has to do
        ctx.index.back_up(max_age=0.0)
    ctx.index.rebuild()


def _enter(
    ctx: Context, inventory: Inventory, unlike: list[Placed], report: ReconcileReport, progress: Progress, jobs: int
) -> None:
    """Hash files and enter them, as they come, so that a run that is killed need not begin anew."""
    if not unlike:
        return
    progress.verifying(len(unlike), sum(file.size for file in unlike), what="hashing")
    pace = Pace(ctx.clock, None)
    executor = ThreadPoolExecutor(jobs, thread_name_prefix="model-cache-reconcile")
    try:
        memory = _Memory(ctx, inventory)
        rest = iter(unlike)
        while page := list(islice(rest, _PAGE)):
            memory.recall(page)
            judged = executor.map(lambda file: _judge(ctx, file, memory, pace), page)
            _record(inventory, [one for one in judged if one is not None], report)
            entered = {*report.adopted, *report.rebound, *report.damaged}
            report.busy += [file.entry.relative for file in page if file.entry.relative not in entered]
            progress.advanced(pace.read)
    finally:
        pace.stop()
        executor.shutdown(cancel_futures=True)
        progress.finished()


class _Memory:
    """What was recorded of files before: in their row, or, where there is none, in the newest backup of the index."""

    def __init__(self, ctx: Context, inventory: Inventory) -> None:
        self._ctx, self._inventory = ctx, inventory
        self._rows: dict[int, Provenance] = {}
        self._backup: dict[str, Provenance] | None = None

    def recall(self, page: list[Placed]) -> None:
        """Look up what there is of some files."""
        self._rows = self._inventory.provenance([file.known.id for file in page if file.known is not None])
        if self._backup is None and any(file.known is None for file in page):
            self._backup = self._ctx.index.remembered()

    def of(self, file: Placed) -> Provenance | None:
        """What is remembered of one of them."""
        if file.known is not None:
            return self._rows.get(file.known.id)
        return (self._backup or {}).get(file.entry.relative)


def _judge(ctx: Context, file: Placed, memory: _Memory, pace: Pace) -> Hashed | None:
    """What is to be recorded of a file; None if it did not hold still, or cannot be read."""
    mark = damage.read(ctx, file.entry.key)
    identity = (file.ino, file.size, file.mtime_ns)
    if mark is not None and mark.identity == identity and mark.sha256:
        return _damaged(file, mark)
    reading = read(ctx.root, file.entry.relative, Expected(), pace, ctx.clock)
    if not reading.sha256 or not reading.steady or reading.identity != identity:
        return None
    if mark is not None and mark.found == reading.sha256:
        return _damaged(file, mark)
    return Hashed(file, reading.sha256, memory.of(file))


def _damaged(file: Placed, mark: damage.Mark) -> Hashed:
    """What is known to be damaged keeps the hash that was recorded."""
    origin = "download" if mark.commit else "adopted"
    before = Provenance(mark.sha256, mark.etag, mark.commit, origin, 0, None)
    return Hashed(file, mark.sha256 or "", before, "corrupt")


def _record(inventory: Inventory, hashed: list[Hashed], report: ReconcileReport) -> None:
    for one in inventory.adopt(hashed):
        if one.verdict == "corrupt":
            paths = report.damaged
        elif one.before is not None and one.before.sha256 == one.sha256:
            paths = report.rebound
        else:
            paths = report.adopted
        paths.append(one.file.entry.relative)
