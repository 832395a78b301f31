"""Whole repos, as a program sees them: all of one commit, or nothing.

`ModelCache` has this beside what hands out single files. Everything rare is imported where it is used.
"""

from __future__ import annotations

from . import hit, tiers
from .layout import DEFAULT_REVISION, Entry, Snapshot
from .surface import in_family
from .upkeep import Upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .context import Context
    from .download.request import Request
    from .progress import Progress
    from .selection import Patterns


class Repos(Upkeep):
    """The part of `ModelCache` that hands out directories."""

    _root: Path

    def _remember(self, entry: Entry, found: hit.Found) -> None:
        """Recognise a file that was handed out by its `stat`."""
        raise NotImplementedError

    def _remembered(self, repo: str, filename: str, revision: str, repo_type: str) -> hit.Found | None:
        """A file that was handed out just now, if a `stat` says that it is as it was."""
        raise NotImplementedError

    def _request(self, force: bool, offline: bool | None, progress: Progress | None) -> Request:
        """What is asked for, with the settings of this cache for what is left open."""
        raise NotImplementedError

    def fetch_repo(
        self,
        repo: str,
        *,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        force: bool = False,
        offline: bool | None = None,
        workers: int = 8,
        progress: Progress | None = None,
    ) -> Path:
        """The directory of a repo, once all of it (or of what is selected) is there, from one commit.

        What the repo consists of is asked of the Hub once and kept; from then on a complete repo needs no network. A part
        of it is never returned as if it were the whole. Where all of it is in a lower root, the directory there is
        returned; where some of it is, that is copied from there.

        Args:
            repo: `name` or `owner/name`.
            revision: Branch, tag or 40-hex commit.
            repo_type: `model`, `dataset`, `space` or `kernel`.
            include: Shell patterns over the path in the repo, such as `*.json` or `onnx/`; only what fits one is meant.
            exclude: Patterns of what is left out.
            force: Ask the Hub for the current commit, and download all of it again.
            offline: Never ask the network; None: as this cache was made.
            workers: Files at a time.
            progress: Who is told, of the whole; `Progress.part` makes who is told of one file.

        Raises:
            OfflineMissError: A part is not there, or nobody knows what the whole is, and nothing may be downloaded.
            ModelCacheError: As `fetch`, for the first file that could not be had; what was complete is kept.

        Concurrency:
            I1 to I4, for each file. Processes that want the same repo share the work. The files are leased until all are
            there; afterwards they stay as long as those that `fetch` handed out.
        """
        return self._fetch_repo(
            repo,
            revision,
            repo_type,
            include,
            exclude,
            force=force,
            offline=offline,
            workers=workers,
            progress=progress,
        )

    @in_family
    def _fetch_repo(
        self,
        repo: str,
        revision: str,
        repo_type: str,
        include: Patterns,
        exclude: Patterns,
        *,
        force: bool,
        offline: bool | None,
        workers: int,
        progress: Progress | None,
        loose: bool = False,
    ) -> Path:
        """As `fetch_repo`; `loose` patterns may match nothing, which is what users of `huggingface_hub` expect."""
        snapshot = Snapshot(repo, revision, repo_type)
        if not force and (there := self._there(snapshot, include, exclude, loose=loose)):
            return there
        from .download.repo import Selection, check_workers, fetch_repo

        request = self._request(force, offline, progress)
        selection = Selection(include, exclude, loose)
        fetched = fetch_repo(self._ctx, snapshot, selection, request, workers=check_workers(workers))
        if fetched.ctx is self._ctx:
            for entry, outcome in zip(fetched.entries, fetched.outcomes, strict=True):
                self._remember(entry, outcome.found)
        return fetched.ctx.root_path / snapshot.directory

    def _there(self, snapshot: Snapshot, include: Patterns, exclude: Patterns, *, loose: bool) -> Path | None:
        """The directory, if everything is there; in a lower root if it is there and not here."""
        if self._is_there(self._ctx, snapshot, include, exclude, loose=loose):
            return self._root / snapshot.directory
        for below in tiers.wholes(self._ctx, snapshot):
            if tiers.attempt(
                self._ctx, below, lambda below: self._is_there(below, snapshot, include, exclude, loose=loose)
            ):
                return below.root_path / snapshot.directory
        return None

    def _is_there(self, ctx: Context, snapshot: Snapshot, include: Patterns, exclude: Patterns, *, loose: bool) -> bool:
        """Whether everything is in a root, by its listing; files that were handed out just now cost a `stat` each."""
        from . import listings
        from .selection import select

        before = listings.identity(ctx, snapshot)
        listing = listings.read(ctx, snapshot)
        if listing is None or listing.moving:
            return False
        chosen = select([file.path for file in listing.files], include, exclude, loose=loose)
        names, place = (snapshot.repo, snapshot.revision, snapshot.repo_type), f"{ctx.root}/{snapshot.directory}/"
        there = all(self._is_remembered(names, path, place) or self._is_hit(ctx, snapshot, path) for path in chosen)
        # Else an update began meanwhile, and the files that were looked at may be of two commits.
        return there and listings.identity(ctx, snapshot) == before

    def _is_remembered(self, names: tuple[str, str, str], filename: str, place: str) -> bool:
        repo, revision, repo_type = names
        found = self._remembered(repo, filename, revision, repo_type)
        return found is not None and found.text.startswith(place)

    def _is_hit(self, ctx: Context, snapshot: Snapshot, filename: str) -> bool:
        entry = snapshot.entry(filename)
        found = hit.find(ctx, entry)
        # A file of this root is what a single fetch hands out, also where the whole repo is had from below.
        if found is not None and (ctx is self._ctx or not hit.exists(self._ctx, entry)):
            self._remember(entry, found)
        return found is not None
