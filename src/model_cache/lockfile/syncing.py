"""`sync`: the cache holds exactly the bytes that a lock file names, or it fails and says why.

The order: every file is looked at → somebody's own bytes at a path end it before anything changes → what is missing, and
what has other bytes of this cache's, is fetched, linked or replaced → all is looked at again, for a file that came may have
been another process's.

Concurrency:
    I2, I3, I7. A name is never trusted: a file counts if the index has its hash for this very identity, else it is hashed,
    under a shared lease, so that nobody replaces it meanwhile. Whether other bytes may be replaced is decided again under W.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .. import digest, hit, locks, stats, tiers
from ..budget import limits
from ..context import Context
from ..download.many import Wanted, fetch_many
from ..download.request import Outcome, Request
from ..errors import (
    CacheFullError,
    IndexUnavailableError,
    InUseError,
    LockTimeoutError,
    OfflineMissError,
    StorageError,
    quoted,
)
from ..hub.client import FileMeta
from ..index import Row
from ..index.ledger import Ledger
from ..log import logger
from ..units import format_size, plural
from .format import Locked

RIGHT, ABSENT, OTHER, FOREIGN = "right", "absent", "other", "foreign"
_ROUNDS = 4  # a file may be taken away, or be given other bytes, by somebody else meanwhile; more is a quarrel
_MOMENT = 0.5  # seconds; for less another process that syncs has a file open, to look at it
_TOLD = 5  # files that a message names


@dataclass
class SyncReport:
    """What became of the files of a lock file.

    Attributes:
        files: Each, and how it came (`hit`, `download`, `resume`, `link`); None where a dry run would have fetched it.
        replaced: Those that had other bytes before.
    """

    files: list[tuple[Locked, Outcome | None]] = field(default_factory=list)
    replaced: list[Locked] = field(default_factory=list)

    @property
    def downloaded(self) -> int:
        """Bytes that came over the network."""
        return sum(outcome.downloaded for _, outcome in self.files if outcome is not None)


def sync(
    ctx: Context, files: Sequence[Locked], request: Request, *, workers: int = 8, dry_run: bool = False
) -> SyncReport:
    """Have every file at its path with its bytes.

    Args:
        workers: Files that are fetched at the same time.
        dry_run: Only say what would be fetched and replaced.

    Raises:
        OfflineMissError: Something is not there, and the network is switched off or the root cannot be written.
        StorageError: Somebody's own bytes stand at a path; nothing was changed.
        InUseError: Other bytes are in use by a program.
        CacheFullError: The files do not fit.
        ModelCacheError: As fetching does.
    """
    _refuse_too_large(ctx, files)
    came: dict[Locked, Outcome] = {}
    report = SyncReport()
    patient = True
    for _ in range(_ROUNDS):
        seen = _Survey(ctx, files, request)
        _refuse_foreign(ctx, seen.of(FOREIGN))
        lacking = seen.of(ABSENT) + seen.of(OTHER)
        report.replaced = list(dict.fromkeys(report.replaced + seen.of(OTHER)))
        if dry_run:
            report.files = [(file, seen.outcome(file)) for file in files]
            return report
        if not lacking:
            handed_out = [seen.hand_out(file) for file in files]
            if None in handed_out:
                continue  # taken away or replaced just now
            seen.note_commits()
            report.files = [
                (file, _outcome(found, came.get(file))) for file, found in zip(files, handed_out, strict=True)
            ]
            return report
        _refuse_offline(ctx, lacking, request)
        try:
            came |= _fetch(ctx, seen, request, workers)
        except InUseError:
            if not patient:
                raise
            patient = False
            ctx.clock.sleep(_MOMENT)
    raise LockTimeoutError(
        f"{_told(lacking or list(files))} did not keep the bytes of the lock file: another program replaces or removes them",
        hint="is another lock file being synced into the same root?",
    )


def _fetch(ctx: Context, seen: _Survey, request: Request, workers: int) -> dict[Locked, Outcome]:
    """Fetch what is missing, then what is to be replaced; how each came."""
    came: dict[Locked, Outcome] = {}
    for files, how in ((seen.of(ABSENT), request), (seen.of(OTHER), replace(request, force=True, exact=True))):
        if files:
            outcomes = fetch_many(ctx, [Wanted(file.entry, _promise(file)) for file in files], how, workers=workers)
            came |= {file: one for file, one in zip(files, outcomes, strict=True) if one.source != "hit"}
    return came


def _promise(file: Locked) -> FileMeta:
    return FileMeta(file.commit, file.etag, file.size, file.sha256, file.git_sha1)


class _Survey:
    """How each file stands, at one look."""

    def __init__(self, ctx: Context, files: Iterable[Locked], request: Request) -> None:
        self._ctx, self._request, self._ledger = ctx, request, Ledger(ctx.index)
        self._elsewhere: list[tuple[Locked, Row]] = []  # right bytes that the index has from another commit
        self._looked_at: dict[Locked, hit.Found] = {}
        self._states = {file: self._look(file) for file in files}

    def of(self, state: str) -> list[Locked]:
        """The files in one state, in their order."""
        return [file for file, found in self._states.items() if found == state]

    def hand_out(self, file: Locked) -> hit.Found | None:
        """The very file that was looked at, its use noted; None if another one or none is there by now."""
        found, before = tiers.find(self._ctx, file.entry), self._looked_at.get(file)
        if found is None or before is None or found.text != before.text:
            return None
        same = (found.ino, found.size, found.mtime_ns) == (before.ino, before.size, before.mtime_ns)
        return found if same else None

    def outcome(self, file: Locked) -> Outcome | None:
        """The file as a hit, if it is right."""
        return Outcome(self._looked_at[file], "hit", 0) if self._states[file] == RIGHT else None

    def note_commits(self) -> None:
        """Have the index say of right bytes that they are those of the lock file's commit: `update` goes on from there."""
        commits: dict[str, list[Row]] = {}
        for file, row in self._elsewhere:
            commits.setdefault(file.commit, []).append(row)
        if self._ctx.settings.read_only or not os.access(self._ctx.places.own, os.W_OK):
            return
        try:
            for commit, rows in commits.items():
                self._ledger.at_commit(rows, commit)
        except IndexUnavailableError as error:
            logger.warning("%s; the commit of the lock file is not recorded", error)

    def _look(self, file: Locked) -> str:
        opened = tiers.open_leased(self._ctx, file.entry)
        if opened is None:
            return ABSENT  # or known to be damaged, which is mended as a miss is
        at, fd = opened
        try:
            found = os.fstat(fd)
            identity, self._looked_at[file] = stats.identity(found), hit.recognised(at, file.entry, found)
            if at is not self._ctx:
                # Other bytes there are nobody's business here: the right ones come into this root, and are found first.
                return RIGHT if self._is_right_below(at, file, fd, identity) else ABSENT
            # The row is read behind the file: what is being replaced says so before it is.
            row = self._row(file)
            if row is not None and row.state == "ready" and row.origin != "placed" and row.identity == identity:
                if row.is_sealed and row.sha256 != file.sha256:
                    return OTHER
                if row.is_sealed:
                    if row.commit not in (None, file.commit):
                        self._elsewhere.append((file, row))
                    return RIGHT
            if identity[1] == file.size and self._sha256(fd, file) == file.sha256:
                return RIGHT
            return OTHER if row is not None and identity in _under_way(row) else FOREIGN
        finally:
            locks.release(fd)

    def _is_right_below(self, at: Context, file: Locked, fd: int, identity: stats.Identity) -> bool:
        try:
            row = Ledger(at.index).row(file.entry)
        except IndexUnavailableError:
            row = None
        if row is not None and row.state == "ready" and row.identity == identity and row.is_sealed and row.sha256:
            return row.sha256 == file.sha256
        return identity[1] == file.size and self._sha256(fd, file) == file.sha256

    def _row(self, file: Locked) -> Row | None:
        try:
            return self._ledger.row(file.entry)
        except IndexUnavailableError:
            return None  # then every file is hashed

    def _sha256(self, fd: int, file: Locked) -> str:
        self._ctx.step("sync:hash")
        progress, done = self._request.progress, 0

        def each(size: int) -> None:
            nonlocal done
            done += size
            progress.advanced(done)

        progress.verifying(1, file.size, what="hashing")
        try:
            return digest.sha256(fd, each)[0]
        finally:
            progress.finished()


def _under_way(row: Row) -> Iterator[tuple[int | None, int | None, int | None]]:
    """Which files this cache is just giving the path to or taking it from, or was when its process died."""
    if row.state in ("installing", "deleting"):
        yield row.identity
    if row.next_state == "installing":
        yield row.next_ino, row.next_size, row.next_mtime_ns


def _outcome(found: hit.Found | None, came: Outcome | None) -> Outcome:
    assert found is not None, "the caller looked"
    return Outcome(found, "hit", 0) if came is None else Outcome(found, came.source, came.downloaded)


def _refuse_too_large(ctx: Context, files: Sequence[Locked]) -> None:
    """Refuse before anything is evicted for what can never fit."""
    ctx.settings.refresh()
    ceiling = limits.ceiling(ctx)
    # The same bytes under several names are linked, and count once.
    needed = sum({file.sha256: file.size for file in files}.values())
    if ceiling is not None and needed > ceiling:
        raise CacheFullError(
            f"the files of the lock file need {format_size(needed)}, and max_size is {format_size(ceiling)}",
            hint=f"model-cache --root {quoted(ctx.root)} config max_size=…",
            needed=needed,
            available=ceiling,
        )


def _refuse_offline(ctx: Context, lacking: Sequence[Locked], request: Request) -> None:
    if request.offline:
        raise OfflineMissError(
            f"{plural(len(lacking), 'file')} of the lock file not in the cache {ctx.root}, and the network is switched off:"
            f" {_told(lacking)}",
            hint="sync once with the network",
        )


def _refuse_foreign(ctx: Context, foreign: Sequence[Locked]) -> None:
    if not foreign:
        return
    path = foreign[0].entry.path(ctx.root)
    raise StorageError(
        f"other bytes than those of the lock file stand at the path of {_told(foreign)}, and this cache did not put them"
        " there: somebody did, or changed them; nothing was changed",
        hint=f"move it away: mv {quoted(path)} {quoted(f'{path}.mine')}",
        path=path,
    )


def _told(files: Sequence[Locked]) -> str:
    more = f" and {len(files) - _TOLD} more" if len(files) > _TOLD else ""
    return ", ".join(str(file.entry) for file in files[:_TOLD]) + more
