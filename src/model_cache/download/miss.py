"""A file is wanted: hand it out, wait for whoever downloads it, or be the one who does.

Of many processes that miss one file one leads. The others need neither HTTP nor SQL, and importing those takes a tenth
of a second of a processor for each of them: so only `leading` loads them, and only whoever leads loads that.
"""

from __future__ import annotations

from .. import damage, hit, tiers
from ..errors import OfflineMissError
from ..preparing import prepare, read_only_miss
from .asked import Asked, Outcome
from .repo_lock import at_its_commit
from .waiting import write_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..context import Context
    from ..layout import Entry


def fetch(ctx: Context, entry: Entry, asked: Asked) -> Outcome:
    """The entry's file in the root that is written, brought there if it is missing (or `force`d).

    Concurrency:
        I2: of all callers in all processes one holds W and downloads; the others leave its queue with a hit, share its
        failure, or take over when it dies.
    """
    force = asked.force
    while True:
        if not force and (found := hit.find(ctx, entry)):
            return Outcome(found, "hit", 0)
        refuse_offline(ctx, entry, asked)
        ctx.settings.refresh()
        ctx.access.meet(asked.progress)
        prepare(ctx, entry)
        with at_its_commit(ctx, entry, asked), write_lock(ctx, entry, asked) as lock:
            if lock is not None:
                from .leading import lead
                from .request import request

                return lead(ctx, entry, lock, request(asked))
        force = False  # somebody published while this caller waited, which is as fresh as it asked for


def refuse_offline(ctx: Context, entry: Entry, asked: Asked) -> None:
    """Refuse a miss where nothing may be downloaded; raises OfflineMissError, or IntegrityError for a damaged file."""
    path = entry.path(ctx.root)
    if (asked.offline or ctx.settings.read_only) and damage.is_known(ctx, entry.key):
        from . import mending

        mending.refuse_offline(ctx, entry, asked)
    if asked.offline and not can_be_copied(ctx, entry, asked):
        raise OfflineMissError(
            f"{entry} is not in the cache ({path}), and the network is switched off",
            hint=f"place the file at that path, or unset {_offline_source(ctx)}",
        )
    if ctx.settings.read_only:
        raise read_only_miss(ctx, "MODEL_CACHE_READ_ONLY is set", entry)


def can_be_copied(ctx: Context, entry: Entry, asked: Asked) -> bool:
    """Whether a lower root has a file that may be what was promised."""
    return asked.promise is not None and tiers.holder_below(ctx, entry, asked.promise.size) is not None


def _offline_source(ctx: Context) -> str:
    source = ctx.settings.sources["offline"]
    return source if source.isupper() else "offline"
