"""`ModelCache`: one root as a program sees it.

Everything rare is imported where it is used, so that importing this module, and a hit, load nothing but small modules.
"""

from __future__ import annotations

import os
from time import monotonic

from . import hit, tiers
from .context import Context
from .layout import DEFAULT_REVISION, Entry
from .repos import Repos
from .settings import Settings
from .surface import in_family
from .units import check_seconds

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
    from .lease import Lease, LeasedFile
    from .pace import Pace
    from .progress import Progress

_REMEMBERED = 100_000  # files that one process recognises by a stat; some 40 MB at that number


def _has_password(lead: object) -> bool:
    """Whether the address of a database may have a secret in it."""
    if not lead:
        return False
    from .address import without_secrets  # only who names one pays for it

    return without_secrets(str(lead)) != str(lead)


def _remade(kind: type[ModelCache], arguments: dict[str, Any]) -> ModelCache:
    return kind(**arguments)


class ModelCache(Repos):
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
        has_secret = isinstance(token, str) or _has_password(policy.get("lead"))
        self._made_of = None if has_secret else {k: v for k, v in made_of.items() if v is not None}
        # What neither importing this package nor the first hit should pay for, making a cache does: 9 ms for the module
        # of paths; what has to be asked of the root once; the first name that is checked, hashed and made a path of, and
        # the first time that what a hit calls is called, which take ten times as long as the next.
        self._root, first = self._ctx.root_path, Entry("a", "a")
        _ = self._ctx.real_root, self._ctx.folds, first.key, self._root / first.relative
        hit.rehearse(self._ctx, first)

    def __repr__(self) -> str:
        return f"ModelCache({self._ctx.root!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as its arguments: a worker that unpickles it reads its own environment, as after a start of its own."""
        if self._made_of is None:
            raise TypeError(
                "this ModelCache was made with a token, or a password in lead, which is not pickled; let the workers find it"
                " (HF_TOKEN, HF_TOKEN_PATH, MODEL_CACHE_LEAD), or make a ModelCache in each"
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

    def _remembered(self, repo: str, filename: str, revision: str, repo_type: str) -> hit.Found | None:
        """A file that was handed out just now, if a `stat` says that it is as it was."""
        found = self._memory.get((repo, filename, revision, repo_type))
        try:
            if found is not None and found.is_as_it_was(os.stat(found.text)) and self._now() < found.until:
                return found
        except OSError:
            pass
        return None

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
