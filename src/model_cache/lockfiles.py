"""Lock files, as a program sees them: make one, have the cache hold its bytes, check them. Imported where it is used."""

from __future__ import annotations

from .layout import DEFAULT_REVISION
from .surface import in_family

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from .context import Context
    from .download.request import Request
    from .lockfile.checking import LockReport
    from .lockfile.format import Locked
    from .lockfile.syncing import SyncReport
    from .progress import Progress
    from .selection import Patterns


class LockFiles:
    """The part of `ModelCache` that is about lock files."""

    _ctx: Context

    def _request(self, force: bool, offline: bool | None, progress: Progress | None) -> Request:
        raise NotImplementedError

    def _forget(self) -> None:
        raise NotImplementedError

    @in_family
    def lock(
        self,
        repo: str | None = None,
        *filenames: str,
        revision: str = DEFAULT_REVISION,
        repo_type: str = "model",
        include: Patterns = None,
        exclude: Patterns = None,
        from_cache: bool = False,
        used_within: str | float | None = None,
        output: str | os.PathLike[str] | None = None,
        add: bool = False,
        force: bool = False,
        workers: int = 8,
        progress: Progress | None = None,
    ) -> list[Locked]:
        """Write down which bytes a deployment needs: commit, size and sha256 of files.

        Args:
            repo: `name` or `owner/name`; None, with `from_cache`: all that is in the cache.
            *filenames: These files alone; without them all of the repo that the patterns leave.
            revision: Branch, tag or commit; the commit that it stands for now is what is written down.
            repo_type: `model`, `dataset`, `space` or `kernel`.
            include, exclude: Patterns of whole paths; one that ends in `/` means everything below.
            from_cache: Take what is in the cache, with its recorded hashes, and ask nobody.
            used_within: Of that only what was used since (seconds, or text such as `30d`).
            output: The lock file to write, atomically; None: nothing is written.
            add: Keep what the file has of other repos and revisions.
            force: Overwrite a file that is no lock file.
            workers: Files that are fetched at the same time: small ones, whose sha256 the Hub does not know.
            progress: Who is told.

        Returns:
            The files of the lock file, each with `entry`, `commit`, `size` in bytes, `sha256` and `git_sha1`.

        Raises:
            SettingError: A pattern matches nothing, or the arguments contradict each other.
            LockFileError: `output` is there and is no lock file.
            OfflineMissError: The network is switched off; or (`from_cache`) nothing is there.
            IntegrityError: Bytes that are not the Hub's; or (`from_cache`) files that were damaged, changed or placed by hand.
            DownloadError, CacheFullError, StorageError: As `fetch`.
        """
        from .lockfile.lock import Target, lock
        from .lockfile.making import Asked
        from .operations import check_jobs
        from .units import parse_duration

        check_jobs(workers, "workers")

        asked = Asked(repo, revision, repo_type, filenames, include, exclude)
        seconds = None if used_within is None else parse_duration(used_within, "used_within")
        request = self._request(False, None, progress)
        target = Target(output, add, force)
        return lock(self._ctx, asked, request, target, cached=from_cache, used_within=seconds, workers=workers)

    @in_family
    def sync(
        self,
        path: str | os.PathLike[str],
        *,
        offline: bool | None = None,
        workers: int = 8,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> SyncReport:
        """Make the cache hold exactly the bytes that a lock file names, or fail.

        Args:
            path: Of the lock file.
            offline: Never ask the network; None: as this cache was made.
            workers: Files that are fetched at the same time.
            dry_run: Only say what would be fetched and replaced.
            progress: Who is told.

        Raises:
            LockFileError: The lock file cannot be read, or makes no sense.
            OfflineMissError: Something is not there, and may not or cannot be downloaded.
            StorageError: Somebody's own bytes stand at a path; they are left alone, and nothing was changed.
            InUseError: Other bytes that are to be replaced are in use.
            CacheFullError: No room.
            DownloadError, IntegrityError, LockTimeoutError: As `fetch`.

        Concurrency:
            I1, I2, I3, I7. No name is trusted: a file whose hash the index does not know for sure is hashed.
        """
        from .lockfile.files import read
        from .lockfile.syncing import sync
        from .operations import check_jobs

        check_jobs(workers, "workers")
        files = read(path)
        try:
            request = self._request(False, offline, progress)
            return sync(self._ctx, files, request, workers=workers, dry_run=dry_run)
        finally:
            self._forget()

    @in_family
    def verify_lock(
        self,
        path: str | os.PathLike[str],
        *,
        rate: str | int | None = None,
        jobs: int | None = None,
        direct: bool = False,
        progress: Progress | None = None,
    ) -> LockReport:
        """Read the files that a lock file names and compare them with its hashes, whatever the index says.

        Args:
            path: Of the lock file.
            rate: Bytes per second at most, of all readers together.
            jobs: Files read at the same time; None: one per processor, four at most.
            direct: Read the disk and not the page cache, as far as pages are not mapped.
            progress: Who is told.

        Raises:
            LockFileError: The lock file cannot be read, or makes no sense.

        Concurrency:
            I6. Takes no lock and writes nothing.
        """
        from .lockfile.checking import check
        from .lockfile.files import read
        from .operations import how_to_read
        from .progress import SILENT

        files = read(path)
        return check(self._ctx, files, how_to_read(rate, jobs, direct=direct), progress or SILENT)
