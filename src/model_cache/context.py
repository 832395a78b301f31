"""What one operation is handed: the places below a root, the policy, the clock, the failure points, the index, the Hub."""

from __future__ import annotations

import errno
import os

from . import disk, hosts, modes, trust
from .clock import Clock
from .errors import CacheFullError, OfflineMissError, SettingError, StorageError, quoted
from .layout import OWN, Entry
from .platforms import at
from .platforms.space import is_read_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .fleet.fleet import Fleet
    from .hub.client import Hub
    from .hub.tokens import Token
    from .index import Index
    from .mounts import Mount
    from .pace import Pace
    from .progress import Progress
    from .settings import Settings

# The cache's own directories; `.model-cache/` itself comes first.
_DIRECTORIES = ("locks", "used", "damaged", "listings", "partial", "trash", "quarantine")


def no_failure_points(_step: str) -> None:
    """The failure points of normal operation: nothing happens at any step."""


def holder_name() -> str:
    """This process, as others see it in messages: pid@host. For display only, pids lie across pid namespaces."""
    import socket

    return f"{os.getpid()}@{socket.gethostname()}"


def state_name(root: str) -> str:
    """The name of a root's directory below a `state_dir`, which may be that of several roots."""
    from hashlib import sha256  # only who sets one pays for it

    return f"{os.path.basename(root) or 'root'}-{sha256(os.fsencode(root)).hexdigest()[:16]}"


class Places:
    """Paths below `{root}/.model-cache/`, and of what one host has for itself; names only, no I/O.

    With a `state_dir` the index is no longer where the files are: it and the locks of those who use it are this host's own. What
    hosts tell each other by (write locks, last uses, damage, listings) stays with the files.

    Attributes:
        own: The directory beside the files.
        state: The directory of the index.
        host: What the partials of this host end with, so that no two hosts ever write one file, whatever their locks say; empty
            where there is no `state_dir`, and until the root is prepared.
    """

    def __init__(self, root: str, state_dir: str | None = None) -> None:
        self.root = root
        self.own = own = f"{root}/{OWN}" if root != "/" else f"/{OWN}"
        self.state = state = own if state_dir is None else f"{state_dir}/{state_name(root)}"
        self.host = ""
        self.index = f"{state}/index.db"
        self.index_lock = f"{state}/index.lock"
        self.backups = f"{state}/backup"
        self.evictor_lock = f"{state}/gc.lock"
        self.verify_lock = f"{state}/verify.lock"
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
        return f"{self.partials}{key}{self.host}"


class Context:
    """One root as operations see it.

    Args:
        settings: Root and policy.
        token: A token for the Hub, False for none, None to look where the Hub's own client looks.
        clock: Source of time.
        step: Called with the name of each step just before it is done; tests kill or fail there.
        hub: Stands in for the client of `settings.endpoint`.
        pace: When a file comes over several connections, if not as `Pace` says.
        mount: What the root is on, if not what the kernel says.
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
        mount: Mount | None = None,
    ) -> None:
        if not (token is None or isinstance(token, (str, bool))):
            raise SettingError(f"token: expected a string, True, False or None, found {type(token).__name__}")
        self.settings = settings
        self.places = Places(settings.root, settings.state_dir)
        self.clock = clock or Clock()
        self.step = step or no_failure_points
        self.pace = pace
        self._token = token
        self._token_found: tuple[Token | None] | None = None
        self._hub = hub
        self._mount = mount
        self._hub_is_for = ""  # what `settings.sends` was when the client was made; empty for one that was handed in
        self._unsaid = ""  # a warning about the Hub that the caller has not been given
        self._index: Index | None = None
        self._fleets: dict[tuple[str | None, str | None], Fleet] = {}  # by the settings they were made of
        self._root_path: Path | None = None
        self._real_root = ""
        self._distrust: StorageError | None = None
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
                real.setdefault(at.real_path(root), root)
            real.pop(at.real_path(self.root), None)
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
            self._distrust = trust.distrust(self.root)
        return self._real_root

    def refuse_distrusted(self) -> None:
        """Refuse a root that somebody else can change at will: looked at when it is first used, which a hit does not pay.

        Raises:
            StorageError: Every user may write it, or it is a symlink of another user.
        """
        if self.real_root and self._distrust is not None:
            raise self._distrust

    @property
    def mount(self) -> Mount | None:
        """What the existing root is on, None where this system does not tell; looked for once."""
        if self._mount is None:
            from .mounts import find

            self._mount = find(self.root)
        return self._mount

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
        if self._hub is None or self._hub_is_for not in ("", self.settings.sends):
            from .hub.client import HubClient
            from .hub.failures import Shared

            settings = self.settings
            shared = None if settings.sends == "token" else Shared(self.root, settings.private_root)
            self._token_found = None
            self._hub = HubClient(
                settings.endpoint,
                token=self._found_token(),
                clock=self.clock,
                etag_timeout=settings.etag_timeout,
                download_timeout=settings.download_timeout,
                shared=shared,
            )
            self._hub_is_for = settings.sends
        return self._hub

    @property
    def has_token(self) -> bool:
        """Whether a token goes with what the Hub is asked."""
        return self._found_token() is not None

    def _found_token(self) -> Token | None:
        """The token, looked for once."""
        if self._token_found is None:
            self._token_found = (self._find_token(),)
        return self._token_found[0]

    def _find_token(self) -> Token | None:
        """The token to send to the endpoint; one that was only found does not go where somebody else says."""
        from .hub.tokens import find_token

        if self.settings.sends == "nothing":
            if self._token is True:
                raise SettingError(
                    f"token=True: no token is sent for {self.root}, which a group shares", hint="share_gated=True"
                )
            return None
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
            made = fleet.opened(*usable, self.places.engines, self.settings.file_mode, self.clock)
            if said:
                made.tell(said)
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
        trust.refuse(self.root)
        own, mode = self.places.own, self.settings.directory_mode
        path = self.root
        try:
            if not disk.is_directory(own) or modes.is_closed(own, mode):
                os.makedirs(os.path.dirname(self.root), exist_ok=True)
                modes.make_directory(self.root, mode)
                path = own
                modes.make_directory(own, mode)
                disk.tag(self.root, self.settings.file_mode)
            for path in (*(f"{own}/{name}" for name in _DIRECTORIES), self.places.state, self.places.backups):
                if not disk.is_directory(path) or modes.is_closed(path, mode):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    modes.make_directory(path, mode)
            if self.settings.state_dir is not None and not self.places.host:
                self.places.host = "." + hosts.identity(self.places.state, self.settings.file_mode)
            if not os.access(own, os.W_OK):
                found = errno.EROFS if is_read_only(own) else errno.EACCES
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
