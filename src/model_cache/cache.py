"""`ModelCache`: one root as a program sees it.

Everything rare is imported where it is used, so that importing this module, and a hit, load nothing but small modules.
"""

from __future__ import annotations

import os
from time import monotonic

from . import hit, tiers
from .context import Context
from .layout import DEFAULT_REVISION, Entry
from .settings import Settings
from .surface import in_family
from .units import check_seconds
from .upkeep import Upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from .clock import Clock
    from .download.asked import Asked, Outcome
    from .download.background import Background
    from .download.request import Request
    from .hub.client import Hub
    from .layout import Snapshot
    from .lease import Lease, LeasedFile
    from .pace import Pace
    from .progress import Progress
    from .selection import Patterns

_REMEMBERED = 100_000  # files that one process recognises by a stat; some 40 MB at that number


def _remade(kind: type[ModelCache], arguments: dict[str, Any]) -> ModelCache:
    return kind(**arguments)


class ModelCache(Upkeep):
    """An on-disk cache of files from the Hugging Face Hub, shared by any number of processes.

    Args:
        root: The directory; by default from the environment (see `cache_root`).
        max_size: Budget in bytes, as text (`50GB`, `50GiB`), or as a share of the file system (`80%`).
        endpoint: Address of the Hub.
        lower: Roots that are looked at before the Hub is asked, in their order, and never written: absolute paths.
        token: A token for the Hub; False sends none; None looks at `HF_TOKEN`, `HF_TOKEN_PATH` and `HF_HOME`.
        offline: True: never ask the network.
        clock, step, hub, pace: Source of time, failure points, a stand-in for the Hub, and when a file comes over several
            connections; for tests.
        **policy: Any other policy key, such as `min_idle="10m"`.

    The environment is read once, here; the policy file again whenever it changed.

    Raises:
        SettingError: A value cannot be used, or no root can be found.

    Concurrency:
        Safe to share between threads and to inherit over `fork`; any number of processes may use one root.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        max_size: str | int | None = None,
        endpoint: str | None = None,
        lower: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        token: str | bool | None = None,
        offline: bool | None = None,
        clock: Clock | None = None,
        step: Callable[[str], None] | None = None,
        hub: Hub | None = None,
        pace: Pace | None = None,
        **policy: object,
    ) -> None:
        policy |= {"max_size": max_size, "endpoint": endpoint, "lower": lower, "offline": offline}
        settings = Settings(os.environ, root=root, **policy)
        self._ctx = Context(settings, token=token, clock=clock, step=step, hub=hub, pace=pace)
        self._now = monotonic if clock is None else clock.monotonic
        self._memory: dict[tuple[str, str, str, str], hit.Found] = {}
        self._background: Background | None = None
        made_of: dict[str, object] = {"token": token, "clock": clock, "step": step, "hub": hub, "pace": pace, **policy}
        made_of["root"] = root and settings.root
        # How another process makes the same cache; not where that would put a secret into a pickle.
        self._made_of = None if isinstance(token, str) else {k: v for k, v in made_of.items() if v is not None}
        # What neither importing this package nor the first hit should pay for, making a cache does: 9 ms for the module
        # of paths; what has to be asked of the root once; and the first name that is checked, hashed and made a path of,
        # which takes ten times as long as the next.
        self._root, first = self._ctx.root_path, Entry("a", "a")
        _ = self._ctx.real_root, self._ctx.folds, first.key, self._root / first.relative

    def __repr__(self) -> str:
        return f"ModelCache({self._ctx.root!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as its arguments: a worker that unpickles it reads its own environment, as after a start of its own."""
        if self._made_of is None:
            raise TypeError(
                "this ModelCache was made with a token, which is not pickled; let the workers find one (HF_TOKEN,"
                " HF_TOKEN_PATH), or make a ModelCache in each"
            )
        return _remade, (type(self), self._made_of)

    @property
    def root(self) -> Path:
        """The root's absolute path; it need not exist yet."""
        return self._root

    def path(self, repo: str, filename: str, *, revision: str = DEFAULT_REVISION, repo_type: str = "model") -> Path:
        """Where the file is or would be in this root, whatever the lower ones have. Touches nothing.

        Raises:
            InvalidNameError: The names cannot stand for a path.
        """
        return self._ctx.path(Entry(repo, filename, revision, repo_type))

    @in_family
    def is_cached(
        self, repo: str, filename: str, *, revision: str = DEFAULT_REVISION, repo_type: str = "model"
    ) -> bool:
        """Whether the file is there, or in a lower root. Asks no network, opens and touches nothing.

        Raises:
            InvalidNameError: The names cannot stand for a path.
        """
        return tiers.holder(self._ctx, Entry(repo, filename, revision, repo_type)) is not None

    def fetch(
        self,
        repo: str,
        filename: str,
        *,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        force: bool = False,
        offline: bool | None = None,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """The file's absolute path, in this root or a lower one; on a miss it is downloaded, verified and published first.

        Args:
            repo: `name` or `owner/name`.
            filename: Path inside the repo.
            revision: Branch, tag or 40-hex commit.
            repo_type: `model`, `dataset`, `space` or `kernel`.
            force: Download again even if the file is there.
            offline: Never ask the network; None: as this cache was made.
            timeout: Seconds to wait; the download goes on without this caller. None: as long as something moves.
            progress: Who is told of a download or a wait.

        Raises:
            InvalidNameError: The names cannot stand for a path.
            OfflineMissError: Not there, and it may not or cannot be downloaded.
            DownloadInProgressError: Not there in time.
            LockTimeoutError: Another process holds the entry and makes no progress.
            DownloadError: The Hub failed or refused; NotFoundError and AccessError under it.
            IntegrityError: The bytes that came are not the promised ones; nothing was published.
            CacheFullError: No room.
            StorageError: The file system refused.

        Concurrency:
            I1, I2, I9. A repeated hit is one `stat`. The file stays for `min_idle - touch_interval` seconds at least,
            whatever the budget; hold a lease to keep it longer.
        """
        try:
            found = self._memory.get((repo, filename, revision, repo_type))
            if found is not None and not force:
                now = os.stat(found.text)
                if (
                    now.st_ino == found.ino
                    and now.st_mtime_ns == found.mtime_ns
                    and now.st_size == found.size
                    and self._now() < found.until
                ):
                    return found.path
        except (OSError, TypeError):
            pass  # gone, or names that are no strings: the long way says what is wrong
        entry = Entry(repo, filename, revision, repo_type)
        if timeout is not None:
            check_seconds(timeout, "timeout")
        there = self._find(entry, timeout, force, offline, progress)
        self._remember(entry, there)
        return there.path

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
        from .layout import Snapshot

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

    def _remembered(self, repo: str, filename: str, revision: str, repo_type: str) -> hit.Found | None:
        """A file that was handed out just now, if a `stat` says that it is as it was."""
        found = self._memory.get((repo, filename, revision, repo_type))
        try:
            if found is not None and found.is_as_it_was(os.stat(found.text)) and self._now() < found.until:
                return found
        except OSError:
            pass
        return None

    def _is_hit(self, ctx: Context, snapshot: Snapshot, filename: str) -> bool:
        entry = snapshot.entry(filename)
        found = hit.find(ctx, entry)
        # A file of this root is what a single fetch hands out, also where the whole repo is had from below.
        if found is not None and (ctx is self._ctx or not hit.exists(self._ctx, entry)):
            self._remember(entry, found)
        return found is not None

    @in_family
    def lease(
        self,
        repo: str,
        filename: str,
        *,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        **options: Any,
    ) -> Lease:
        """Fetch the file and keep it: not evicted, updated or removed while the lease is held.

        Used as `with cache.lease(repo, filename) as path:`, or kept and given back by `release()`. The options are those
        of `fetch`, and so are the errors.

        Concurrency:
            I3. The kernel holds the lease for this process and drops it at its death; a forked child does not inherit
            it and takes its own.
        """
        from .lease import take

        entry = Entry(repo, filename, revision, repo_type)
        return take(
            self._ctx, entry, lambda: self.fetch(repo, filename, revision=revision, repo_type=repo_type, **options)
        )

    def open(
        self,
        repo: str,
        filename: str,
        *,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        **options: Any,
    ) -> LeasedFile:
        """The file, open for reading bytes, and leased until it is closed. Options and errors are those of `fetch`."""
        from .lease import LeasedFile

        return LeasedFile(self.lease(repo, filename, revision=revision, repo_type=repo_type, **options))

    def _forget(self) -> None:
        self._memory.clear()

    @in_family
    def _find(
        self, entry: Entry, timeout: float | None, force: bool, offline: bool | None, progress: Progress | None
    ) -> hit.Found:
        there = None if force else tiers.find(self._ctx, entry)
        return there or self._miss(entry, self._asked(force, offline, progress), timeout).found

    def _hit(self, entry: Entry) -> Path | None:
        """The file's path, if it is there."""
        there = in_family(tiers.find)(self._ctx, entry)
        if there is not None:
            self._remember(entry, there)
        return None if there is None else there.path

    def _miss(self, entry: Entry, asked: Asked, timeout: float | None) -> Outcome:
        if timeout is None:
            from .download.miss import fetch

            return fetch(self._ctx, entry, asked)
        if self._background is None:
            from .download.background import Background

            self._background = Background(self._ctx)
        return self._background.fetch(entry, asked, timeout)

    def _asked(self, force: bool, offline: bool | None, progress: Progress | None) -> Asked:
        from .download.asked import Asked
        from .progress import SILENT

        return Asked(force, self._ctx.settings.offline if offline is None else offline, progress or SILENT)

    def _request(self, force: bool, offline: bool | None, progress: Progress | None) -> Request:
        from .download.request import request

        return request(self._asked(force, offline, progress))

    def _remember(self, entry: Entry, found: hit.Found) -> None:
        if len(self._memory) >= _REMEMBERED:
            self._memory.clear()
        self._memory[entry.repo, entry.filename, entry.revision, entry.repo_type] = found
