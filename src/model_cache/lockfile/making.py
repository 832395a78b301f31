"""Making a lock file: what a repo has at one commit, or what this cache has.

The Hub names the sha256 of large files. Of small ones it knows git's name alone: their bytes are taken from the cache, or
fetched into it, and hashed. They are fetched to where the revision's files are, or, where that would mix two commits or
something stands in the way, to where those of the commit are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .. import damage, digest, disk, hit, locks, stats, walk
from ..budget.eviction import last_use
from ..context import Context
from ..download import linking
from ..download.many import Wanted, fetch_many
from ..download.request import Request
from ..errors import (
    DownloadError,
    IndexUnavailableError,
    IntegrityError,
    NotFoundError,
    OfflineMissError,
    SettingError,
    StorageError,
    quoted,
)
from ..hub.client import FileMeta
from ..hub.protocol import TreeItem
from ..index import Row, queries
from ..layout import DEFAULT_REVISION, Entry, is_commit, readings, repo_directory
from ..recorder import Recorder
from ..selection import Patterns, check_patterns, select
from .format import Locked

_ROUNDS = 3  # times that a file which is gone again is fetched once more
_TOLD = 5  # files that a message names
_DAMAGED = ("corrupt", "unreadable")


class Asked(NamedTuple):
    """Which files are to be locked.

    Attributes:
        repo: None for all that is in the cache.
        filenames: These alone; empty for all that the patterns leave.
    """

    repo: str | None
    revision: str = DEFAULT_REVISION
    repo_type: str = "model"
    filenames: tuple[str, ...] = ()
    include: Patterns = None
    exclude: Patterns = None

    def check(self) -> None:
        """Refuse what cannot be meant, before anything is done; raises InvalidNameError, SettingError."""
        if self.repo is None and (self.filenames or (self.revision, self.repo_type) != (DEFAULT_REVISION, "model")):
            raise SettingError("repo: expected the name of a repo with files, a revision or a repo type, found None")
        check_patterns(self.include, self.exclude)
        if self.filenames and not (self.include is None and self.exclude is None):
            raise SettingError("include, exclude: expected no pattern where files are named")
        if self.repo is not None:
            repo_directory(self.repo, self.revision, self.repo_type)
            for name in self.filenames:
                Entry(self.repo, name, self.revision, self.repo_type)


def from_hub(ctx: Context, asked: Asked, request: Request, *, workers: int = 8) -> list[Locked]:
    """The files of a repo at the commit that the revision stands for now.

    Raises:
        OfflineMissError: The network is switched off.
        NotFoundError: The Hub has no such repo, revision or file.
        DownloadError, IntegrityError, CacheFullError, StorageError: A small file could not be fetched.
    """
    repo, revision, repo_type = asked.repo, asked.revision, asked.repo_type
    if repo is None:
        raise SettingError("repo: expected the name of a repo, or from_cache", hint="model-cache lock --help")
    if request.offline:
        raise OfflineMissError(
            f"{repo}: the Hub is to be asked for its files, and the network is switched off",
            hint="--from-cache locks what is in the cache",
        )
    ctx.access.meet(request.progress)
    commit = ctx.hub.commit(repo_type, repo, revision, deadline=request.deadline)
    items = {item.path: item for item in ctx.hub.tree(repo_type, repo, commit, deadline=request.deadline)}
    chosen = [items[name] for name in _chosen(asked, sorted(items), commit)]
    hashed = _hash_small(ctx, _Place(ctx, repo_type, repo, revision, commit), chosen, request, workers)
    return [
        Locked(
            Entry(repo, item.path, revision, repo_type),
            commit,
            item.size,
            item.sha256 or hashed[item.path],
            item.git_sha1,
        )
        for item in chosen
    ]


def _chosen(asked: Asked, names: Sequence[str], commit: str) -> list[str]:
    missing = [name for name in asked.filenames if name not in names]
    if missing:
        raise NotFoundError(f"{asked.repo} has no file {missing[0]!r} at commit {commit[:12]}")
    found = list(dict.fromkeys(asked.filenames)) or select(names, asked.include, asked.exclude)
    if not found:
        raise NotFoundError(f"{asked.repo} has no file at commit {commit[:12]}")
    return found


class _Place:
    """Where the files of a commit are fetched to."""

    def __init__(self, ctx: Context, repo_type: str, repo: str, revision: str, commit: str) -> None:
        self._root, self._names, self.commit = ctx.root, (repo_type, repo, revision), commit
        try:
            rows = queries.entries(ctx.index, repo)
        except IndexUnavailableError:
            self._mixed = True  # nobody can say which commit the revision is at here
            return
        there = [row for row in rows if (row.repo_type, row.revision) == (repo_type, revision)]
        self._mixed = any(row.commit not in (None, commit) for row in there)

    def entry(self, filename: str) -> Entry:
        """The entry that a file is fetched as."""
        repo_type, repo, revision = self._names
        asked = Entry(repo, filename, revision, repo_type)
        if self._mixed or os.path.lexists(asked.path(self._root)):
            return Entry(repo, filename, self.commit, repo_type)
        return asked


def _hash_small(
    ctx: Context, place: _Place, items: Sequence[TreeItem], request: Request, workers: int
) -> dict[str, str]:
    """The sha256 of the files that the Hub has git's name of, by path."""
    wanted = []
    for item in items:
        entry = place.entry(item.path)
        if item.sha256 is None and item.git_sha1 is None:
            raise DownloadError(f"{entry}: {ctx.settings.endpoint} names neither a sha256 nor a git-sha1 of it")
        if item.sha256 is None:
            wanted.append(Wanted(entry, FileMeta(place.commit, item.git_sha1 or "", item.size, None, item.git_sha1)))
    known = {one.entry.filename: _in_cache(ctx, one, request) for one in wanted}
    lacking = [one for one in wanted if known[one.entry.filename] is None]
    fetch_many(ctx, lacking, request, workers=workers)
    return {one.entry.filename: known[one.entry.filename] or _hashed(ctx, one, request) for one in wanted}


def _in_cache(ctx: Context, wanted: Wanted, request: Request) -> str | None:
    """The sha256 of the bytes if the cache has them under whatever name; None if it has not."""
    source = linking.find_source(ctx, wanted.entry, wanted.meta, Recorder(ctx, wanted.entry, request.progress))
    if source is None:
        return None
    source.close()
    return source.sha256


def _hashed(ctx: Context, wanted: Wanted, request: Request) -> str:
    """The sha256 of a file that was just handed out; it may have stood there, and is compared with git's name."""
    path, promised = wanted.entry.path(ctx.root), wanted.meta.git_sha1
    for _ in range(_ROUNDS):
        fd = hit.open_leased(ctx, wanted.entry)
        if fd is not None:
            break
        fetch_many(ctx, [wanted], request, workers=1)  # evicted before its turn came, or somebody removed it
    else:
        raise StorageError(f"{path} was gone again whenever it was there", path=path)
    try:
        sha256, size = digest.sha256(fd)
        found = digest.git_sha1(fd, size)
    finally:
        locks.release(fd)
    if found != promised:
        raise IntegrityError(
            f"{path}: expected git-sha1 {promised}, found bytes with {found}",
            hint=f"move it away: mv {quoted(path)} {quoted(f'{path}.mine')}",
            expected=promised,
            found=found,
        )
    return sha256


def from_cache(ctx: Context, asked: Asked, used_within: float | None = None) -> list[Locked]:
    """What is in the cache, with the hashes that are recorded of it; asks no network, reads no model file.

    Args:
        asked: Of which repo at which revision, or of all.
        used_within: Only what was used in the last so many seconds.

    Raises:
        OfflineMissError: Nothing is there of what was asked for.
        IntegrityError: Files of which nobody can say that they are what the Hub has: damaged, changed, placed by hand.
        IndexUnavailableError: The index cannot be read.
    """
    rows = {row.path: row for row in queries.entries(ctx.index, asked.repo) if row.entry() is not None}
    found = dict(_standing(ctx, asked, rows))
    missing = [name for name in asked.filenames if name not in {entry.filename for entry in found}]
    if missing or not found:
        raise _not_there(ctx, asked, missing)
    names = asked.filenames or select(sorted({entry.filename for entry in found}), asked.include, asked.exclude)
    chosen = {entry: row for entry, row in found.items() if entry.filename in set(names)}
    if used_within is not None:
        since = ctx.clock.time() - used_within
        chosen = {entry: row for entry, row in chosen.items() if _last_use(ctx, entry, row) >= since}
        if not chosen:
            raise OfflineMissError(f"nothing in the cache {ctx.root} was used in that time")
    _refuse(ctx, [(entry, reason) for entry, row in chosen.items() if (reason := _doubt(ctx, entry, row))])
    return [_recorded(entry, row) for entry, row in chosen.items() if row is not None]


def _standing(ctx: Context, asked: Asked, rows: dict[str, Row]) -> Iterator[tuple[Entry, Row | None]]:
    """The files that are there, and their ready row if they have one."""
    below = "" if asked.repo is None else repo_directory(asked.repo, asked.revision, asked.repo_type)
    for path, _ in walk.files(ctx.root, below):
        row = rows.get(path)
        entry = row.entry() if row is not None else next(_read_as(path, asked), None)
        if entry is None or (row is not None and row.state not in ("ready", "installing")):
            continue
        if asked.repo is None or _names(entry) == (asked.repo_type, asked.repo, asked.revision):
            yield entry, row


def _read_as(path: str, asked: Asked) -> Iterator[Entry]:
    """What a path without a row can mean, the repo that was asked for first."""
    return iter(sorted(readings(path), key=lambda entry: entry.repo != asked.repo))


def _names(entry: Entry) -> tuple[str, str, str]:
    return entry.repo_type, entry.repo, entry.revision


def _not_there(ctx: Context, asked: Asked, missing: Sequence[str]) -> OfflineMissError:
    what = f"{asked.repo} {missing[0]}" if missing else asked.repo or "nothing"
    verb = "is in" if asked.repo is None else "is not in"
    return OfflineMissError(f"{what} {verb} the cache {ctx.root}", hint=f"model-cache --root {quoted(ctx.root)} ls")


def _last_use(ctx: Context, entry: Entry, row: Row | None) -> float:
    if row is not None:
        return last_use(ctx, [row])
    try:
        return os.stat(ctx.places.used + entry.key).st_mtime
    except OSError:
        return 0.0


def _doubt(ctx: Context, entry: Entry, row: Row | None) -> str:
    """Why nobody can say what a file is; empty if its recorded hash is that of what stands there."""
    found = stats.identity_at(entry.path(ctx.root))
    mark = damage.read(ctx, entry.key)
    tests: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("damaged", lambda: mark is not None and mark.identity == found),
        ("being published, or left so by a dead process", lambda: row is not None and row.state != "ready"),
        ("never hashed: placed by hand", lambda: row is None or row.origin == "placed" or row.sha256 is None),
        ("damaged", lambda: row is not None and row.verdict in _DAMAGED),
        ("changed since", lambda: row is None or row.identity != found or row.verdict == "changed"),
        ("its record is damaged", lambda: row is None or not row.is_sealed),
        ("not from the Hub: adopted by hand", lambda: row is None or not is_commit(row.commit)),
        ("behind a symlink", lambda: disk.leads_out(ctx.root, entry.relative)),
    )
    return next((reason for reason, is_so in tests if is_so()), "")


def _refuse(ctx: Context, doubts: Sequence[tuple[Entry, str]]) -> None:
    if not doubts:
        return
    told = ", ".join(f"{entry} ({reason})" for entry, reason in doubts[:_TOLD])
    more = f" and {len(doubts) - _TOLD} more" if len(doubts) > _TOLD else ""
    raise IntegrityError(
        f"not known to be as the Hub has them: {told}{more}",
        hint=f"model-cache --root {quoted(ctx.root)} verify says more; --exclude leaves files out",
    )


def _recorded(entry: Entry, row: Row) -> Locked:
    etag = (row.etag or "").lower()
    assert row.commit and row.sha256 and row.size is not None, "it was looked at"
    return Locked(entry, row.commit, row.size, row.sha256, etag if is_commit(etag) else None)
