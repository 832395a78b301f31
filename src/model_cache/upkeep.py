"""What keeps a cache in order, as a program sees it: look, pin, remove, update, collect, verify, reconcile.

`ModelCache` has these methods beside those that hand out files. Everything is imported where it is used.
"""

from __future__ import annotations

from .layout import DEFAULT_REVISION
from .lockfiles import LockFiles
from .surface import in_family

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from .budget.collection import GcReport
    from .budget.removal import RemoveReport
    from .context import Context
    from .download.update import UpdateReport
    from .importing.taking import ImportReport
    from .index import Row
    from .index.queries import Totals
    from .integrity.reconcile import ReconcileReport
    from .integrity.report import VerifyReport
    from .progress import Progress


class Upkeep(LockFiles):
    """The half of `ModelCache` that is not about handing out files."""

    _ctx: Context

    def _forget(self) -> None:
        """Recognise no file by its `stat` any more: what is known of some has changed."""
        raise NotImplementedError

    @in_family
    def entries(self, repo: str | None = None) -> list[Row]:
        """What the index knows, in the order of the names; of one repo, or of all.

        Raises:
            IndexUnavailableError: The index cannot be read.
        """
        from .index import queries

        return queries.entries(self._ctx.index, repo)

    @in_family
    def usage(self) -> Totals:
        """Bytes and files per state; `all` is what counts against the budget. Raises IndexUnavailableError."""
        from .index import queries

        return queries.totals(self._ctx.index)

    def wait_for_uploads(self, timeout: float | None = None) -> int:
        """Wait until what this process downloaded is in the tier; returns how many files are not there yet.

        A process that ends waits by itself. Not one that is killed, or leaves by `os._exit`, as the workers of
        `multiprocessing` do.

        Args:
            timeout: Seconds; None: as long as bytes move.
        """
        return sum(fleet.uploads.wait(timeout) for fleet in self._ctx.fleets)

    @in_family
    def pin(self, repo: str, *filenames: str, revision: str = DEFAULT_REVISION, repo_type: str = "model") -> list[Row]:
        """Keep entries (all of the repo at the revision, if no filename is given) from eviction until `unpin`.

        Raises:
            OfflineMissError: A file is not in the index.
            IndexUnavailableError: It cannot be written.
        """
        from .operations import pin

        return pin(self._ctx, repo, filenames, revision, repo_type, pinned=True)

    @in_family
    def unpin(
        self, repo: str, *filenames: str, revision: str = DEFAULT_REVISION, repo_type: str = "model"
    ) -> list[Row]:
        """Let pinned entries be evicted again; as `pin`."""
        from .operations import pin

        return pin(self._ctx, repo, filenames, revision, repo_type, pinned=False)

    @in_family
    def remove(
        self,
        repo: str,
        *filenames: str,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        force: bool = False,
        dry_run: bool = False,
    ) -> RemoveReport:
        """Remove entries (all of the repo at the revision, if no filename is given), never one in use unless forced.

        With `dry_run` nothing goes, and the report says what would.

        Raises:
            OfflineMissError: A file is not in the index.
            LockTimeoutError: An eviction did not end in time.
        """
        from .operations import remove

        return remove(self._ctx, repo, filenames, revision, repo_type, force=force, dry_run=dry_run)

    @in_family
    def update(
        self,
        repo: str | None = None,
        *filenames: str,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        progress: Progress | None = None,
    ) -> list[UpdateReport]:
        """Bring a repo to the Hub's current commit, as a whole or not at all; without a repo, all of them in turn.

        Returns:
            One report per repo and revision. Where a file is in use, its `in_use` says so and nothing was replaced.

        Raises:
            CacheFullError: Old and new bytes do not fit together.
            DownloadError, OfflineMissError, LockTimeoutError: As `fetch`.
        """
        from .operations import update
        from .progress import SILENT

        return update(self._ctx, repo, filenames, revision, repo_type, progress or SILENT)

    @in_family
    def gc(
        self,
        *,
        max_size: str | int | None = None,
        min_free: str | int | None = None,
        older_than: str | float | None = None,
        dry_run: bool = False,
    ) -> GcReport:
        """Bring the root under its policy, or under what is asked for this once (sizes in bytes, ages in seconds, or text).

        Raises:
            LockTimeoutError: Another eviction did not end in time.
        """
        from .operations import gc

        return gc(self._ctx, max_size, min_free, older_than, dry_run=dry_run)

    @in_family
    def verify(
        self,
        repo: str | None = None,
        filename: str | None = None,
        *,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        repair: bool = False,
        max_age: str | float | None = None,
        time_limit: str | float | None = None,
        byte_limit: str | int | None = None,
        rate: str | int | None = None,
        jobs: int | None = None,
        direct: bool = False,
        progress: Progress | None = None,
    ) -> VerifyReport:
        """Read files again and compare them with what was recorded, the least recently verified first.

        Args:
            repo, filename: What to verify; None: all of it.
            repair: Move damaged bytes into quarantine and fetch the recorded ones again.
            max_age: Only what was not verified for so long (seconds, or text such as `7d`); None: everything, going on
                with the last run where that one was stopped.
            time_limit: Begin no further file after so long (seconds, or text).
            byte_limit: Begin no further file after so many bytes.
            rate: Bytes per second at most, of all readers together.
            jobs: Files read at the same time; None: one per processor, four at most.
            direct: Read the disk and not the page cache, as far as pages are not mapped.
            progress: Who is told.

        Raises:
            StorageError: There is no root, or nothing was recorded of it.
            OfflineMissError: Nothing is there of what was named.
            LockTimeoutError: Another run is under way.
            IndexUnavailableError: The index cannot be read.

        Concurrency:
            I6. Takes no lock that a reader or a download waits for; last uses stay as they are.
        """
        from .operations import verify

        wanted = {"max_age": max_age, "time_limit": time_limit, "byte_limit": byte_limit, "rate": rate, "jobs": jobs}
        try:
            return verify(
                self._ctx,
                (repo_type, repo, revision, filename),
                wanted,
                direct=direct,
                repair=repair,
                progress=progress,
            )
        finally:
            self._forget()

    @in_family
    def import_hf(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        link: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Take the files of a Hugging Face cache over, each verified against the name of its blob; no network.

        What is there already is left alone, and a run that was interrupted goes on.

        Args:
            directory: The other cache, which holds `models--owner--name`; None: where `huggingface_hub` has it.
            link: Give its blobs a second name instead of copying them: then evicting frees nothing, and who edits one edits
                both.
            dry_run: Only say what would be taken over.
            progress: Who is told.

        Raises:
            StorageError: It is no Hugging Face cache.
            CacheFullError: No room; what came is kept.
            OfflineMissError: The root is only read.
            LockTimeoutError: Another process holds an entry.

        Concurrency:
            I1, I2, I4, I7. The other cache is only read.
        """
        from .operations import import_hf
        from .progress import SILENT

        where = None if directory is None else str(directory)
        return import_hf(self._ctx, where, progress or SILENT, link=link, dry_run=dry_run)

    @in_family
    def reconcile(self, *, rebuild: bool = False, progress: Progress | None = None) -> ReconcileReport:
        """Bring index and disk into agreement: enter what was placed or changed by hand, drop rows without files.

        Args:
            rebuild: Begin a new index, and hash every file.
            progress: Who is told.

        Raises:
            LockTimeoutError: A verify or reconcile is under way.
            IndexUnavailableError, StorageError, OfflineMissError: The root or its index cannot be written.

        Concurrency:
            I7. Writes, moves and removes no file.
        """
        from .operations import reconcile

        return reconcile(self._ctx, rebuild=rebuild, progress=progress)
