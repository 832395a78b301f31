"""`verify --repair`: what a run found to be rotten is given its recorded bytes again, one file after the other.

Files that were changed by somebody, or that may not be read, are not touched. One that cannot be mended does not keep
the others from it.

Concurrency:
    W of one entry at a time, waited for as any fetch waits. The damage is looked at again under it: somebody may have
    mended or replaced the file meanwhile.
"""

from __future__ import annotations

from ..budget.designated import refuse_to_take
from ..context import Context
from ..download import mending, notes
from ..download.request import Request
from ..download.staging import Job
from ..download.waiting import write_lock
from ..errors import ModelCacheError, OfflineMissError, StorageError
from ..layout import Entry
from ..log import logger
from ..preparing import prepare
from ..progress import Progress
from ..recorder import Recorder
from ..recovery import recover
from .report import VerifyReport


def repair(ctx: Context, report: VerifyReport, progress: Progress) -> None:
    """Mend what the report calls corrupt or unreadable; the report is told, also why something could not be mended.

    Raises:
        SettingError: The Hub cannot be asked at all (an unusable token or endpoint).
    """
    if not report.corrupt and not report.unreadable:
        return
    ctx.access.meet(progress)
    for trouble in (*report.corrupt, *report.unreadable):
        entry = trouble.row.entry()
        if entry is None:
            continue
        try:
            prepare(ctx, entry)
            refuse_to_take(ctx)
            if _repair(ctx, entry, Request(offline=ctx.settings.offline, progress=progress)):
                report.repaired.append(trouble.row)
        except OfflineMissError as error:
            refused = StorageError(f"{ctx.root} cannot be written ({error.reason})", hint="run it as the cache's owner")
            report.errors.append((trouble.row, refused))
        except ModelCacheError as error:
            logger.warning("%s is not repaired: %s", entry, error)
            report.errors.append((trouble.row, error))


def _repair(ctx: Context, entry: Entry, request: Request) -> bool:
    """Whether the entry's file has its recorded bytes now."""
    bad = mending.damaged(ctx, entry)
    if bad is None:
        return False
    with write_lock(ctx, entry, request) as lock:
        if lock is None:
            return True  # somebody else put verified bytes there
        recorder = Recorder(ctx, entry, request.progress, required=True)
        row = recover(ctx, entry, recorder)
        bad = mending.damaged(ctx, entry)
        if bad is None:
            return row is not None and row.verdict == "ok"
        mending.refuse_offline(ctx, entry, request)
        job = Job(entry, lock, request, recorder, notes.begin(ctx, entry))
        return mending.mend(ctx, job, row, bad) is not None
