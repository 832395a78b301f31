"""`import-hf`: take the files of a Hugging Face cache over, each verified against the name of its blob.

A file comes as a miss does, from W to `row:ready`, with the blob in the place of the network: room is made, the bytes are
copied (sharing blocks where the file system can) and hashed, and only then have a name. Nothing in the other cache is
changed, but for the second names that `link` gives its blobs. The Hub is asked nothing, but for a root that a group shares:
whether everybody may read the repo.

Concurrency:
    I1, I2, I4, I7, I10. The repo's lock, shared, is held while its files come: no update mixes commits. What stands at a
    path stays. A run that was interrupted goes on: what came is a hit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .. import beneath, damage, digest, disk, hit, listings, locks, modes, stats
from ..context import Context
from ..download.leading import lead
from ..download.linking import Source
from ..download.repo_lock import repo_lock
from ..download.request import Request
from ..download.waiting import write_lock
from ..errors import (
    DownloadError,
    FileTooLargeError,
    IndexUnavailableError,
    IntegrityError,
    InvalidNameError,
    OfflineMissError,
    StorageError,
)
from ..index.ledger import Ledger
from ..layout import DEFAULT_REVISION, Entry, Snapshot
from ..platforms import at
from ..preparing import prepare
from . import trees
from .foreign import Candidate, Skipped, survey


class Imported(NamedTuple):
    """A file that was taken over: how (`copy`, `link`; of a dry run what would be tried) and its bytes."""

    entry: Entry
    path: str
    size: int
    way: str


@dataclass
class ImportReport:
    """What was taken over, and what was not and why."""

    imported: list[Imported] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def copied(self) -> int:
        """Bytes that were copied, blocks shared by the file system included."""
        return sum(one.size for one in self.imported if one.way == "copy")


def take_over(ctx: Context, directory: str, request: Request, *, link: bool, dry_run: bool) -> ImportReport:
    """Take over all that can be.

    Args:
        link: Give the blobs a second name instead of copying them, where the file system can.
        dry_run: Only say what would be taken over.

    Raises:
        StorageError: It is no Hugging Face cache.
        CacheFullError: No room; what came is kept.
        LockTimeoutError, IndexUnavailableError: As fetching does.
    """
    if ctx.settings.read_only:
        raise OfflineMissError("MODEL_CACHE_READ_ONLY is set, and importing writes", hint="unset MODEL_CACHE_READ_ONLY")
    found = list(survey(directory))
    report = ImportReport(skipped=[one for one in found if isinstance(one, Skipped)])
    refused: dict[tuple[str, str], str] = {}
    for snapshot, candidates in _by_snapshot(one for one in found if isinstance(one, Candidate)):
        if reason := _refusal(ctx, snapshot, refused):
            report.skipped += [Skipped(one.path, reason) for one in candidates]
        elif dry_run:
            for candidate in _of_one_commit(ctx, snapshot, candidates, report):
                _plan(ctx, candidate, report, link=link)
        else:
            _take_snapshot(ctx, snapshot, candidates, request, report, link=link)
    return report


def _by_snapshot(candidates: Iterable[Candidate]) -> list[tuple[Snapshot, list[Candidate]]]:
    found: dict[str, tuple[Snapshot, list[Candidate]]] = {}
    for one in candidates:
        snapshot = Snapshot(one.entry.repo, one.entry.revision, one.entry.repo_type)
        found.setdefault(snapshot.key, (snapshot, []))[1].append(one)
    return list(found.values())


def _take_snapshot(
    ctx: Context, snapshot: Snapshot, candidates: list[Candidate], request: Request, report: ImportReport, *, link: bool
) -> None:
    """Take the files of one repo at one revision over; nobody moves it to another commit meanwhile."""
    ctx.settings.refresh()
    prepare(ctx)
    _keep_listing(ctx, snapshot, candidates, request, report)
    with repo_lock(ctx, snapshot, shared=True, deadline=request.deadline):
        for candidate in _of_one_commit(ctx, snapshot, candidates, report):
            _take(ctx, candidate, request, report, link=link)


def _keep_listing(
    ctx: Context, snapshot: Snapshot, candidates: list[Candidate], request: Request, report: ImportReport
) -> None:
    """Have the other cache's listing here too, before the first of its files: then it is known when the repo is whole."""
    commit, tree = candidates[0].meta.commit, candidates[0].tree
    listing = trees.read(tree, commit)
    if listing is None:
        return
    if (filename := trees.disagreement(listing, candidates)) is not None:
        report.skipped.append(Skipped(tree, f"it does not agree with the name of the blob of {filename}"))
        return
    with repo_lock(ctx, snapshot, shared=False, deadline=request.deadline):
        if listings.read(ctx, snapshot) is None and _commit(ctx, snapshot) in (None, commit):
            try:
                listings.write(ctx, snapshot, listing)
            except OSError as error:
                raise disk.storage_error(error, "cannot write", listings.place(ctx, snapshot)) from None


def _of_one_commit(
    ctx: Context, snapshot: Snapshot, candidates: list[Candidate], report: ImportReport
) -> list[Candidate]:
    """All of them, or none where this cache has the repo at another commit: two are not mixed."""
    here = _commit(ctx, snapshot)
    if here is None or here == candidates[0].meta.commit:
        return candidates
    report.skipped += [
        Skipped(one.path, f"{one.entry} is of another commit than the repo here ({here[:12]})") for one in candidates
    ]
    return []


def _refusal(ctx: Context, snapshot: Snapshot, known: dict[tuple[str, str], str]) -> str:
    """Why not everybody may read a repo, or why that cannot be told, in a root that a group shares; empty if everybody may.

    Args:
        known: What the Hub was asked before.
    """
    repo = (snapshot.repo_type, snapshot.repo)
    if ctx.settings.sends == "nothing" and repo not in known and ctx.settings.offline:
        known[repo] = "the network is switched off: whether everybody who shares the root may read it cannot be asked"
    elif ctx.settings.sends == "nothing" and repo not in known:
        try:
            ctx.hub.commit(*repo, DEFAULT_REVISION)
            known[repo] = ""
        except DownloadError as error:
            known[repo] = str(error)
    return known.get(repo, "")


def _commit(ctx: Context, snapshot: Snapshot) -> str | None:
    listing = listings.read(ctx, snapshot)
    if listing is not None:
        return listing.commit
    try:
        return Ledger(ctx.index).snapshot_commit(snapshot)
    except IndexUnavailableError:
        return None  # then each file has to be right by itself, as where there is no row


def _plan(ctx: Context, one: Candidate, report: ImportReport, *, link: bool) -> None:
    if hit.exists(ctx, one.entry):
        report.skipped.append(_there(one))
    else:
        report.imported.append(_imported(ctx, one, "link" if link else "copy"))


def _there(one: Candidate) -> Skipped:
    return Skipped(one.path, f"{one.entry} is in the cache")


def _imported(ctx: Context, one: Candidate, way: str) -> Imported:
    return Imported(one.entry, one.entry.path(ctx.root), one.meta.size or 0, way)


def _take(ctx: Context, one: Candidate, request: Request, report: ImportReport, *, link: bool) -> None:
    """Take one file over, or say why not."""
    if damage.is_known(ctx, one.entry.key):
        report.skipped.append(Skipped(one.path, f"{one.entry} is damaged here, which verify --repair mends"))
        return
    asked = Request(
        offline=True,
        deadline=request.deadline,
        progress=request.progress,
        promise=one.meta,
        source=lambda: _open(ctx, one, link=link),
    )
    try:
        came = _bring(ctx, one, asked)
    except (FileTooLargeError, IntegrityError, InvalidNameError, OfflineMissError, StorageError) as error:
        if isinstance(error, StorageError) and error.errno:
            raise  # this root's file system refuses, which the next file would meet too
        report.skipped.append(Skipped(one.path, str(error)))
        return
    if came is None:
        report.skipped.append(_there(one))
        return
    report.imported.append(_imported(ctx, one, came))


def _bring(ctx: Context, one: Candidate, asked: Request) -> str | None:
    """How the file came, or None where something stands at its path."""
    if hit.find(ctx, one.entry):
        return None
    prepare(ctx, one.entry)
    with write_lock(ctx, one.entry, asked) as lock:
        if lock is None:
            return None
        outcome = lead(ctx, one.entry, lock, asked)
    if outcome.source == "hit":
        return None
    # Where nothing can be linked it was copied, whatever was asked.
    return "link" if os.stat(outcome.found.text).st_nlink > 1 else "copy"


def _open(ctx: Context, one: Candidate, *, link: bool) -> Source | None:
    """The blob, leased and (to be linked) hashed; None where it is gone.

    Raises:
        IntegrityError: Its bytes are not those that its name says.
    """
    try:
        fd = at.open_file(one.path, beneath.READ)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{one.path} is no regular file any more")
        locks.try_shared(fd)
        if not link or not _is_shareable(ctx, found):
            return Source(one.path, fd)
        return Source(one.path, fd, _hashed(ctx, one, fd), charged=stats.allocated(found))
    except BaseException:
        locks.release(fd)
        raise


def _is_shareable(ctx: Context, found: os.stat_result) -> bool:
    """Whether a second name of a file here is one that all who share the root can use.

    Names share mode and group, which are the other cache's business: a blob that is closed to the group is copied.
    """
    if ctx.settings.sharing != "group":
        return True
    mode = stat.S_IMODE(found.st_mode)
    return not modes.wrong(mode, "group", directory=False) and found.st_gid == os.stat(ctx.root).st_gid


def _hashed(ctx: Context, one: Candidate, fd: int) -> str:
    ctx.step("link:hash")
    sha256, size = digest.sha256(fd)
    kind, expected = ("sha256", one.meta.sha256) if one.meta.sha256 else ("git-sha1", one.meta.git_sha1)
    found = sha256 if one.meta.sha256 else digest.git_sha1(fd, size)
    if found != expected:
        raise IntegrityError(
            f"{one.path}: expected {kind} {expected}, found bytes with {found}", expected=expected, found=found
        )
    return sha256
