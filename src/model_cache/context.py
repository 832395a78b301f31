"""What one operation is handed: the places below a root, the policy, the clock, the failure points, the index, the Hub."""

from __future__ import annotations

import errno
import os

from . import disk, stats
from .clock import Clock
from .errors import CacheFullError, OfflineMissError, SettingError, StorageError, quoted
from .layout import OWN, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .fleet.fleet import Fleet
    from .hub.client import Hub
    from .hub.tokens import Token
    from .index import Index
    from .pace import Pace
    from .progress import Progress
    from .settings import Settings

# The cache's own directories; `.model-cache/` itself comes first.
_DIRECTORIES = ("locks", "used", "damaged", "listings", "partial", "trash", "quarantine", "backup")


def no_failure_points(_step: str) -> None:
    """The failure points of normal operation: nothing happens at any step."""


def holder_name() -> str:
    """This process, as others see it in messages: pid@host. For display only, pids lie across pid namespaces."""
    import socket

    return f"{os.getpid()}@{socket.gethostname()}"


class Places:
    """Paths below `{root}/.model-cache/`; names only, no I/O."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.own = own = f"{root}/{OWN}" if root != "/" else f"/{OWN}"
        self.index = f"{own}/index.db"
        self.index_lock = f"{own}/index.lock"
        self.backups = f"{own}/backup"
        self.evictor_lock = f"{own}/gc.lock"
        self.verify_lock = f"{own}/verify.lock"
        self.used = f"{own}/used/"
        self.damaged = f"{own}/damaged/"
        self.listings = f"{own}/listings/"
        self.partials = f"{own}/partial/"
        self.locks = f"{own}/locks/"
        self.trash = f"{own}/trash/"
        self.quarantine = f"{own}/quarantine/"
        self.engines = f"{own}/engine-"

    def listing(self, key: str) -> str:
        """The listing of a repo."""
        return f"{self.listings}{key}.json"

    def lock(self, key: str) -> str:
        """The write lock of an entry."""
        return f"{self.locks}{key}.lock"

    def note(self, key: str) -> str:
        """What the holder of the write lock tells those who wait."""
        return f"{self.locks}{key}.json"

    def partial(self, key: str) -> str:
        """Bytes of an entry's download that is not complete."""
        return f"{self.partials}{key}"


class Context:
    """One root as operations see it.

    Args:
        settings: Root and policy.
        token: A token for the Hub, False for none, None to look where the Hub's own client looks.
        clock: Source of time.
        step: Called with the name of each step just before it is done; tests kill or fail there.
        hub: Stands in for the client of `settings.endpoint`.
        pace: When a file comes over several connections, if not as `Pace` says.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        token: str | bool | None = None,
        clock: Clock | None = None,
        step: Callable[[str], None] | None = None,
        hub: Hub | None = None,
        pace: Pace | None = None,
    ) -> None:
        if not (token is None or isinstance(token, (str, bool))):
            raise SettingError(f"token: expected a string, True, False or None, found {type(token).__name__}")
        self.settings = settings
        self.places = Places(settings.root)
        self.clock = clock or Clock()
        self.step = step or no_failure_points
        self.pace = pace
        self._token = token
        self._token_found: tuple[Token | None] | None = None
        self._hub = hub
        self._unsaid = ""  # a warning about the Hub that the caller has not been given
        self._index: Index | None = None
        self._fleets: dict[tuple[str | None, str | None], Fleet] = {}  # by the settings they were made of
        self._root_path: Path | None = None
        self._real_root = ""
        self._folds: bool | None = None
        self._lower: tuple[Context, ...] = ()
        self._lower_roots: tuple[str, ...] = ()  # what `_lower` was made of
        self.told: set[str] = set()  # lower roots that something has been said of
        # Leases kept for readers that cannot touch: (until when, by the monotonic clock; descriptor; pid).
        self.kept: list[tuple[float, int]] = []
        self.kept_pid = 0

    @property
    def root(self) -> str:
        """Absolute path of the root."""
        return self.settings.root

    @property
    def root_path(self) -> Path:
        """The root as programs are handed it; a path below it is made faster from this than from its text."""
        if self._root_path is None:
            from pathlib import Path

            self._root_path = Path(self.root)
        return self._root_path

    @property
    def lower(self) -> tuple[Context, ...]:
        """The roots below this one, which are only read; not this very root, and none twice, by whatever name."""
        if self._lower_roots is not self.settings.lower:
            real: dict[str, str] = {}
            for root in self.settings.lower:
                real.setdefault(os.path.realpath(root), root)
            real.pop(os.path.realpath(self.root), None)
            self._lower = tuple(
                Context(self.settings.below(root), clock=self.clock, step=self.step) for root in real.values()
            )
            self._lower_roots = self.settings.lower
        return self._lower

    def path(self, entry: Entry) -> Path:
        """The entry's place, as programs are handed it; raises InvalidNameError where it is longer than a path may be."""
        entry.path(self.root)
        return self.root_path / entry.relative

    @property
    def real_root(self) -> str:
        """The root without symlinks; known once it exists."""
        if not self._real_root:
            self._real_root = disk.real_directory(self.root)
        return self._real_root

    @property
    def folds(self) -> bool:
        """Whether the file system takes names that differ by case for one; asked once, of the cache's own directory."""
        if self._folds is None and os.path.isdir(self.places.own):
            self._folds = os.path.isdir(f"{self.root}/{OWN.upper()}")
        return bool(self._folds)

    def forget_real_root(self) -> None:
        """Look again where the root leads."""
        self._real_root = ""

    @property
    def hub(self) -> Hub:
        """The Hub's client, made on first use: a hit loads no HTTP code."""
        if self._hub is None:
            from .hub.client import HubClient

            settings = self.settings
            self._hub = HubClient(
                settings.endpoint,
                token=self._found_token(),
                clock=self.clock,
                etag_timeout=settings.etag_timeout,
                download_timeout=settings.download_timeout,
            )
        return self._hub

    def _found_token(self) -> Token | None:
        """The token, looked for once."""
        if self._token_found is None:
            self._token_found = (self._find_token(),)
        return self._token_found[0]

    def _find_token(self) -> Token | None:
        """The token to send to the endpoint; one that was only found does not go where somebody else says."""
        from .hub.tokens import find_token

        foreign = self.settings.endpoint_is_foreign
        if foreign and self._token is True:
            raise SettingError(f"token=True: not sent to {self._foreign_endpoint}", hint=self._own_endpoint)
        token = find_token(self._token, self.settings.environ)
        if token is None or not foreign or isinstance(self._token, str):
            return token
        self._unsaid = f"{token.source} is not sent to {self._foreign_endpoint}; {self._own_endpoint}"
        from .log import logger

        logger.warning(self._unsaid)
        return None

    def meet_hub(self, progress: Progress) -> None:
        """Look for the token before anything is written, so that an unusable one leaves nothing behind.

        An unusable address is none of the settings. The client itself is made by who leads.
        """
        if self._hub is None:
            self._found_token()
        text, self._unsaid = self._unsaid, ""
        if text:
            progress.warning(text)

    @property
    def _foreign_endpoint(self) -> str:
        return (
            f"{self.settings.endpoint}, which {self.settings.policy_file} names: others than this user and root can"
            " write that file"
        )

    @property
    def _own_endpoint(self) -> str:
        return f"if it is the right one: export HF_ENDPOINT={quoted(self.settings.endpoint)}"

    @property
    def index(self) -> Index:
        """The index, made on first use: a hit loads no SQL code."""
        if self._index is None:
            from .index import Index

            self._index = Index(
                self.places.index,
                self.places.index_lock,
                self.settings.file_mode,
                self.clock,
                self.step,
                read_only=self.settings.read_only,
            )
        return self._index

    @property
    def fleet(self) -> Fleet | None:
        """What is shared with other hosts, made on first use; None, and nothing of it loaded, where no setting names it."""
        engines = (self.settings.tier, self.settings.lead)
        if engines[0] is None:
            return None
        if engines not in self._fleets:
            from .fleet import fleet

            usable = engines if not (said := self.settings.foreign_engines) else (None, None)
            if said:
                from .log import logger

                logger.warning(said)
            made = fleet.opened(*usable, self.places.engines, self.settings.file_mode, self.clock)
            self._fleets.setdefault(engines, made)  # of threads that come at once, one made it
        return self._fleets[engines]

    @property
    def fleets(self) -> list[Fleet]:
        """Those that were made so far."""
        return list(self._fleets.values())

    def close(self) -> None:
        """Close this thread's connections to the indexes, if there are any: not when a thread's locals are torn down."""
        for ctx in (self, *self._lower):
            if ctx._index is not None:
                ctx._index.close()

    def prepare(self, entry: Entry | None = None) -> None:
        """Make the root and the cache's own directories where they are missing.

        Args:
            entry: What it is done for, for messages.

        Raises:
            OfflineMissError: The root is read-only, by setting or by the file system.
            CacheFullError: There is no room for a directory.
            StorageError: Something else stands in the way.
        """
        if self.settings.read_only:
            raise self.read_only_miss("MODEL_CACHE_READ_ONLY is set", entry)
        own, mode = self.places.own, self.settings.directory_mode
        path = self.root
        try:
            if not disk.is_directory(own):
                os.makedirs(os.path.dirname(self.root), exist_ok=True)
                disk.make_directory(self.root, mode)
                path = own
                disk.make_directory(own, mode)
                disk.tag(self.root)
            for name in _DIRECTORIES:
                path = f"{own}/{name}"
                if not disk.is_directory(path):
                    disk.make_directory(path, mode)
            if not os.access(own, os.W_OK):
                found = errno.EROFS if stats.is_read_only(own) else errno.EACCES
                raise OSError(found, os.strerror(found), own)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and os.path.isdir(self.root):
                raise self.read_only_miss(os.strerror(error.errno), entry) from None
            raise self._no_root(error, path) from None

    def read_only_miss(self, reason: str, entry: Entry | None = None) -> OfflineMissError:
        """The error for a miss in a root that cannot be written."""
        what = "" if entry is None else f"{entry} is "
        where = "the file by hand" if entry is None else f"the file at {quoted(entry.path(self.root))}"
        return OfflineMissError(
            f"{what}not in the cache, and nothing can be downloaded into {self.root} ({reason})",
            hint=f"place {where}, or set MODEL_CACHE_DIR to a directory you may write",
            reason=reason,
        )

    def _no_root(self, error: OSError, path: str) -> StorageError | CacheFullError:
        reason = os.strerror(error.errno) if error.errno else str(error)
        source, hint = self.settings.root_source, "set MODEL_CACHE_DIR to a directory you may write"
        if path == self.root or not os.path.isdir(self.root):
            message, hint = (
                f"cannot make the root {self.root} (from {source}): {reason}",
                "name a directory you may write",
            )
        else:
            message = f"cannot make {path} for the root {self.root} (from {source}): {reason}"
        if disk.is_full(error):
            return CacheFullError(message, hint="free some space there, or set MODEL_CACHE_DIR to another file system")
        return StorageError(message, hint=hint, path=path, errno=error.errno or 0)
